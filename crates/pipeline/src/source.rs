//! Source: where rows come from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::outlet::Outlet;
use crate::stop::Stop;

/// Something that reads rows and sends them, encoded, into the outlet.
///
/// A polled source does its work in [`Source::poll`]. One that is told by the kernel (closed sockets) begins in
/// [`Source::start`] with threads of its own, sends whenever it has an envelope, and uses `poll` to send what it has
/// gathered and to report.
pub trait Source: Send {
    /// Its name, for logs and metrics.
    fn name(&self) -> &'static str;

    /// Called once, before the first poll.
    fn start(&mut self, _outlet: &Outlet, _stop: &Stop) {}

    /// Reads everything once and sends it. Returns early, with incomplete parts, when `stop` is requested.
    fn poll(&mut self, outlet: &Outlet, stop: &Stop) -> Vec<PartReport>;

    /// Called once, after the last poll: everything that was read is sent, and its threads have ended, when it returns.
    /// The end need not come from `stop`: it may be the last of `--max-polls`, or of the sinks.
    fn finish(&mut self, _outlet: &Outlet) {}
}

/// What became of one part of a poll: for sockets, one network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReport {
    /// Name of the part.
    pub part: Arc<str>,
    /// How it was read, in the source's own words.
    pub plan: &'static str,
    /// Rows sent.
    pub rows: u64,
    /// Things seen, the ones that sampling left out included.
    pub seen: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Time from the first request to the last reply.
    pub took: Duration,
    /// Whether this was everything.
    pub completeness: Completeness,
}

/// Whether a part was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// To its end, and nothing was left out.
    Complete,
    /// The first thing that went wrong.
    Incomplete(Incomplete),
}

/// What keeps a part from being complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incomplete {
    /// It took longer than `--timeout`.
    Timeout,
    /// The daemon is stopping.
    Stopped,
    /// The namespace went away between being found and being read.
    Vanished,
    /// A privilege is missing.
    Denied,
    /// The kernel refused, with this errno.
    Refused(i32),
    /// The dump ended with this errno.
    Ended(i32),
    /// The kernel dropped replies (`ENOBUFS`, `NLMSG_OVERRUN`).
    Lost,
    /// The kernel says that the dump is inconsistent (`NLM_F_DUMP_INTR`).
    Interrupted,
    /// A reply was longer than the buffer.
    Truncated,
    /// Bytes that make no sense.
    Malformed,
    /// A system call failed with this errno.
    Failed(i32),
}

impl Incomplete {
    /// Every reason as a label.
    pub const NAMES: [&'static str; 11] = [
        "timeout",
        "stopped",
        "vanished",
        "denied",
        "refused",
        "ended",
        "lost",
        "interrupted",
        "truncated",
        "malformed",
        "failed",
    ];

    /// The reason as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Stopped => "stopped",
            Self::Vanished => "vanished",
            Self::Denied => "denied",
            Self::Refused(_) => "refused",
            Self::Ended(_) => "ended",
            Self::Lost => "lost",
            Self::Interrupted => "interrupted",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Refused(errno) | Self::Ended(errno) | Self::Failed(errno) => {
                write!(f, ": {}", std::io::Error::from_raw_os_error(*errno))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_among_the_names() {
        use Incomplete::{
            Denied, Ended, Failed, Interrupted, Lost, Malformed, Refused, Stopped, Timeout,
            Truncated, Vanished,
        };
        let all = [
            Timeout,
            Stopped,
            Vanished,
            Denied,
            Refused(1),
            Ended(1),
            Lost,
            Interrupted,
            Truncated,
            Malformed,
            Failed(1),
        ];
        assert_eq!(all.map(Incomplete::name), Incomplete::NAMES);
    }
}
