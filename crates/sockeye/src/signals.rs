//! Signals: the first SIGTERM or SIGINT stops, a second one ends at once, SIGHUP reopens files and reloads.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};
use sockeye_pipeline::{Reopen, Stop};
use tracing::info;

use crate::reload::Requested;
use crate::systemd;

/// What SIGHUP does.
pub(crate) enum Hangup {
    /// Files are opened again, and the configuration is read again: of a daemon.
    Reloads(Vec<Reopen>, Requested),
    /// What it does by itself, which is to end the process: of a command whose terminal has gone.
    Ends,
}

/// Serves signals for as long as the process lives. A stop leaves the sinks as long as `flush`.
pub(crate) fn serve(stop: &Stop, hangup: Hangup, flush: Duration) -> Result<()> {
    end_by_the_second().context(REFUSED)?;
    // A file at RLIMIT_FSIZE is as a full disk then: an error of the write, which is tried again.
    flag::register(SIGXFSZ, Arc::default()).context(REFUSED)?;
    let mut wanted = vec![SIGTERM, SIGINT];
    if matches!(hangup, Hangup::Reloads(..)) {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted).context(REFUSED)?;
    let stop = stop.clone();
    let serve = move || {
        for signal in &mut signals {
            if let (SIGHUP, Hangup::Reloads(sinks, configuration)) = (signal, &hangup) {
                sinks.iter().for_each(Reopen::request);
                configuration.request();
                info!("SIGHUP: files are opened again");
                continue;
            }
            stop.request();
            end_in_any_case(flush);
            systemd::stopping(flush + GRACE);
            // Last, since it waits where nobody reads the log.
            info!(signal, "stopping; once more to end at once");
        }
    };
    thread::Builder::new().name("signals".into()).spawn(serve).context("no thread for signals")?;
    Ok(())
}

/// In the handler itself: it works when every thread is stuck.
fn end_by_the_second() -> std::io::Result<()> {
    let first = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds nothing. The code is what a shell reports of a process that the signal
        // has killed.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&first))?;
        flag::register(signal, Arc::clone(&first))?;
    }
    Ok(())
}

/// Ends the process when it has not ended by itself: something is stuck that should not be, such as a write to a stderr
/// that nobody reads. Without a thread for it, a second signal has to do.
fn end_in_any_case(flush: Duration) {
    let end = move || {
        thread::sleep(flush + GRACE);
        low_level::exit(1);
    };
    let _ = thread::Builder::new().name("last-resort".into()).spawn(end);
}

/// For the end of the dumps under way and for the last words.
const GRACE: Duration = Duration::from_secs(3);
const REFUSED: &str = "signals can't be handled";
