//! One exchange with the kernel: what was asked, and how far the replies have come.

use std::time::Duration;

use nix::libc::{ENOENT, ESTALE};
use sockeye_pipeline::{Completeness, Incomplete};
use sockeye_sys::Received;
use sockeye_wire::inet_diag::is_socket;
use sockeye_wire::netlink::{NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};
use sockeye_wire::{InetDiag, Layouts, Message, Messages};

use super::dump::DumpStats;

/// Whether more replies are to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    GoOn,
    Ended,
}

/// The replies of one exchange so far. It knows nothing of sockets and clocks, so that whoever receives can feed it.
#[derive(Debug)]
pub(crate) struct Progress {
    port_id: u32,
    first_seq: u32,
    expected: Expected,
    /// What it has seen; `took` is left to whoever has the clock.
    pub(crate) stats: DumpStats,
    /// The longest `tcp_info`.
    pub(crate) tcp_info_bytes: usize,
}

/// What ends an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// `NLMSG_DONE`.
    Done,
    /// One reply to each of the requests that are left.
    Replies { asked: u32, left: u32 },
}

impl Progress {
    /// A dump that was requested with this sequence number.
    pub(crate) fn dump(port_id: u32, seq: u32) -> Self {
        let expected = Expected::Done;
        Self { port_id, first_seq: seq, expected, stats: EMPTY, tcp_info_bytes: 0 }
    }

    /// So many lookups, numbered from `first_seq`.
    pub(crate) fn lookups(port_id: u32, first_seq: u32, asked: u32) -> Self {
        let expected = Expected::Replies { asked, left: asked };
        Self { port_id, first_seq, expected, stats: EMPTY, tcp_info_bytes: 0 }
    }

    /// Takes what one receive brought, and gives every socket in it, with the message's payload, to `row`.
    #[inline]
    pub(crate) fn feed(
        &mut self,
        received: Received,
        chunk: &[u8],
        layouts: &mut Layouts,
        row: &mut impl FnMut(&InetDiag<'_>, &[u8]),
    ) -> Step {
        self.stats.chunks += 1;
        self.stats.bytes += chunk.len() as u64;
        if !received.from_kernel {
            self.stats.foreign += 1;
            return Step::GoOn;
        }
        if received.truncated {
            self.wrong(Incomplete::Truncated);
        }
        for message in Messages::new(chunk) {
            match message {
                Ok(message) => {
                    if self.message(&message, layouts, row) == Step::Ended {
                        return Step::Ended;
                    }
                }
                // The cut end of a truncated chunk is no second fault.
                Err(_) if received.truncated => {}
                Err(_) => self.malformed(),
            }
        }
        Step::GoOn
    }

    /// How many receives are left at the least: the kernel sends the end of a dump by itself, and each reply too.
    pub(crate) fn receives(&self) -> usize {
        match self.expected {
            Expected::Done => 1,
            Expected::Replies { left, .. } => left as usize,
        }
    }

    /// The kernel dropped replies. It goes on with a dump behind what it dropped; lookups are not worth waiting for.
    pub(crate) fn lost(&mut self) -> Step {
        self.wrong(Incomplete::Lost);
        if self.expected == Expected::Done { Step::GoOn } else { Step::Ended }
    }

    /// Keeps the first thing that went wrong.
    pub(crate) fn wrong(&mut self, incomplete: Incomplete) {
        if self.stats.completeness == Completeness::Complete {
            self.stats.completeness = Completeness::Incomplete(incomplete);
        }
    }

    #[inline]
    fn message(
        &mut self,
        message: &Message<'_>,
        layouts: &mut Layouts,
        row: &mut impl FnMut(&InetDiag<'_>, &[u8]),
    ) -> Step {
        let span = match self.expected {
            Expected::Done => 1,
            Expected::Replies { asked, .. } => asked,
        };
        if message.seq.wrapping_sub(self.first_seq) >= span || message.port_id != self.port_id {
            self.stats.foreign += 1;
            return Step::GoOn;
        }
        if message.interrupted() {
            self.wrong(Incomplete::Interrupted);
        }
        match message.kind {
            kind if is_socket(kind) => {
                self.socket(message.payload, layouts, row);
                return self.answered();
            }
            NLMSG_DONE => {
                match message.errno() {
                    Some(0) => {}
                    Some(errno) => self.wrong(Incomplete::Ended(errno)),
                    // It does not say that this was everything.
                    None => self.malformed(),
                }
                return Step::Ended;
            }
            NLMSG_ERROR => return self.error(message.errno()),
            NLMSG_OVERRUN => self.wrong(Incomplete::Lost),
            NLMSG_NOOP => {}
            _ => self.malformed(),
        }
        Step::GoOn
    }

    fn error(&mut self, errno: Option<i32>) -> Step {
        match (errno, self.expected) {
            // An acknowledgement, which nobody asked for.
            (Some(0), _) => Step::GoOn,
            // The socket that was looked for has closed, which is an answer.
            (Some(ENOENT | ESTALE), Expected::Replies { .. }) => self.answered(),
            (Some(errno), expected) => {
                self.wrong(Incomplete::Refused(errno));
                if expected == Expected::Done { Step::Ended } else { self.answered() }
            }
            (None, _) => {
                self.malformed();
                Step::GoOn
            }
        }
    }

    /// One of the lookups has its reply.
    #[inline]
    fn answered(&mut self) -> Step {
        match &mut self.expected {
            Expected::Done => Step::GoOn,
            Expected::Replies { left, .. } => {
                *left = left.saturating_sub(1);
                if *left == 0 { Step::Ended } else { Step::GoOn }
            }
        }
    }

    #[inline]
    fn socket(
        &mut self,
        payload: &[u8],
        layouts: &mut Layouts,
        row: &mut impl FnMut(&InetDiag<'_>, &[u8]),
    ) {
        match layouts.parse(payload) {
            Ok(socket) => {
                self.stats.sockets += 1;
                self.stats.unknown_attributes += u64::from(socket.unknown_attributes());
                if let Some(info) = socket.info() {
                    self.stats.long_tcp_info += u64::from(info.unknown_bytes() > 0);
                    self.tcp_info_bytes = self.tcp_info_bytes.max(info.delivered_bytes());
                }
                row(&socket, payload);
            }
            Err(_) => self.malformed(),
        }
    }

    fn malformed(&mut self) {
        self.stats.malformed += 1;
        self.wrong(Incomplete::Malformed);
    }
}

/// Nothing seen yet.
pub(crate) const EMPTY: DumpStats = DumpStats {
    chunks: 0,
    bytes: 0,
    sockets: 0,
    foreign: 0,
    malformed: 0,
    unknown_attributes: 0,
    long_tcp_info: 0,
    took: Duration::ZERO,
    completeness: Completeness::Complete,
};

#[cfg(test)]
mod tests {
    use sockeye_wire::AttrSet;
    use sockeye_wire::inet_diag::SOCK_DIAG_BY_FAMILY;

    use super::*;

    const RECEIVED: Received = Received { len: 0, truncated: false, from_kernel: true };

    fn message(kind: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(16 + payload.len()).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(seq.to_ne_bytes());
        bytes.extend(9u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    fn found(seq: u32) -> Vec<u8> {
        let mut payload = [0; 72];
        payload[0] = 2;
        message(SOCK_DIAG_BY_FAMILY, seq, &payload)
    }

    fn error(seq: u32, errno: i32) -> Vec<u8> {
        message(NLMSG_ERROR, seq, &(-errno).to_ne_bytes())
    }

    fn feed(progress: &mut Progress, chunk: &[u8]) -> Step {
        progress.feed(RECEIVED, chunk, &mut Layouts::new(AttrSet::NONE), &mut |_, _| ())
    }

    #[test]
    fn lookups_end_when_each_has_its_reply_and_a_closed_socket_is_one() {
        let mut progress = Progress::lookups(9, 5, 3);
        assert_eq!(feed(&mut progress, &found(5)), Step::GoOn);
        assert_eq!(feed(&mut progress, &error(6, ENOENT)), Step::GoOn);
        assert_eq!(feed(&mut progress, &error(7, ESTALE)), Step::Ended);
        assert_eq!(progress.stats.sockets, 1);
        assert_eq!(progress.stats.completeness, Completeness::Complete);
    }

    #[test]
    fn a_reply_to_another_lookup_is_none_of_ours() {
        let mut progress = Progress::lookups(9, 5, 1);
        for seq in [4, 6] {
            assert_eq!(feed(&mut progress, &found(seq)), Step::GoOn);
        }
        assert_eq!((progress.stats.foreign, progress.stats.sockets), (2, 0));
        assert_eq!(feed(&mut progress, &found(5)), Step::Ended);
    }

    #[test]
    fn a_lookup_that_is_refused_is_answered_and_not_complete() {
        let mut progress = Progress::lookups(9, 5, 1);
        assert_eq!(feed(&mut progress, &error(5, 1)), Step::Ended);
        let refused = Completeness::Incomplete(Incomplete::Refused(1));
        assert_eq!(progress.stats.completeness, refused);
    }

    #[test]
    fn after_a_loss_a_dump_goes_on_and_lookups_end() {
        let mut dump = Progress::dump(9, 1);
        let mut lookups = Progress::lookups(9, 1, 2);
        assert_eq!((dump.lost(), lookups.lost()), (Step::GoOn, Step::Ended));
        let lost = Completeness::Incomplete(Incomplete::Lost);
        assert_eq!((dump.stats.completeness, lookups.stats.completeness), (lost, lost));
    }
}
