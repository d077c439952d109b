//! Logs: short lines on stderr, JSON lines, or entries of the journal.

mod limit;

use std::io::{self, IsTerminal, stderr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use limit::Limit;
pub use tracing_subscriber::filter::LevelFilter as Level;

/// What is logged, how and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Least level.
    pub level: Level,
    /// How a line on stderr looks. An entry of the journal has fields in any case.
    pub format: Format,
    /// Where to.
    pub to: Target,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To the journal where stderr leads there, else to stderr.
    Auto,
    /// To stderr.
    Stderr,
    /// To the journal, as entries with fields and priorities.
    Journald,
}

/// The log that has been set up.
#[derive(Debug, Clone)]
pub struct Log {
    level: reload::Handle<Level, Registry>,
    limit: Arc<Limit>,
    plain: bool,
}

/// Sets up the log of this process. Of several calls the first one counts.
///
/// # Errors
/// The journal's socket is not there, and [`Target::Journald`] was asked for.
pub fn init(settings: Settings) -> io::Result<Log> {
    let journal = match settings.to {
        Target::Journald => Some(tracing_journald::layer()?),
        Target::Auto if is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) => {
            tracing_journald::layer().ok()
        }
        Target::Auto | Target::Stderr => None,
    };
    let (level, handle) = reload::Layer::new(settings.level);
    let limit = Arc::new(Limit::default());
    let log = Log {
        level: handle,
        limit: Arc::clone(&limit),
        plain: journal.is_none() && settings.format == Format::Text,
    };
    let registry = tracing_subscriber::registry().with(level).with(limit::Shared(limit));
    // A log that can't be written is lost: with internal errors on, the complaint about it would panic, on the same stderr.
    let lines = fmt::layer()
        .with_target(false)
        .log_internal_errors(false)
        .with_ansi(stderr().is_terminal() && settings.format == Format::Text)
        .with_writer(stderr);
    let output = match (journal, settings.format) {
        (Some(journal), _) => {
            let journal = journal.with_syslog_identifier("sockeye".into());
            let journal = journal.with_field_prefix(Some("SOCKEYE".into()));
            journal.with_priority_mappings(priorities()).boxed()
        }
        (None, Format::Json) => lines.json().flatten_event(true).with_current_span(false).boxed(),
        (None, Format::Text) => lines.boxed(),
    };
    // Somebody, a test, has set one up before.
    let _ = registry.with(output).try_init();
    Ok(log)
}

impl Log {
    /// Another least level, from here on.
    pub fn set_level(&self, level: Level) {
        // It lives as long as the process.
        let _ = self.level.reload(level);
    }

    /// Says how many lines were left out since this was last called, by their place in the source. To be called now and then.
    pub fn tell_suppressed(&self) {
        self.limit.tell();
    }

    /// Whether it is lines for people: then words that are no log may stand beside it.
    pub fn is_plain(&self) -> bool {
        self.plain
    }
}

/// As systemd has them: what is normal is informational, and not a notice.
fn priorities() -> PriorityMappings {
    PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
        ..PriorityMappings::new()
    }
}

/// Whether stderr leads to the journal: systemd says which device and inode that is.
fn is_journal(stream: Option<&str>) -> bool {
    let Some((device, inode)) = stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    device.parse() == Ok(stderr.dev()) && inode.parse() == Ok(stderr.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_stderr_is_counts_as_the_journal() {
        let stderr = std::fs::metadata("/proc/self/fd/2").unwrap();
        let (device, inode) = (stderr.dev(), stderr.ino());
        assert!(is_journal(Some(&format!("{device}:{inode}"))));
        let other = format!("{device}:{}", inode + 1);
        for stream in [None, Some(""), Some("x:y"), Some("7"), Some(other.as_str())] {
            assert!(!is_journal(stream), "{stream:?}");
        }
    }
}
