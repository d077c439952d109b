//! Logs: short lines on stderr.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::LevelFilter;

/// Sends events of at least `level` to stderr; colours only where a terminal shows them. Later calls do nothing.
pub fn init(level: LevelFilter) {
    let format = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        // A log that can't be written is lost: with this on, the complaint about it would panic, on the same stderr.
        .log_internal_errors(false)
        .with_ansi(stderr().is_terminal());
    // Somebody, a test, has set one up before.
    let _ = format.with_writer(stderr).try_init();
}

pub use tracing_subscriber::filter::LevelFilter as Level;
