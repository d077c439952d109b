//! Signals: the first SIGTERM or SIGINT stops, a second one ends at once, SIGHUP reopens files.

use std::thread;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sockeye_pipeline::Stop;
use tracing::info;

/// Serves signals on a thread of its own, for as long as the process lives.
pub(crate) fn serve(stop: &Stop, reopen: impl Fn() + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals can't be handled")?;
    let stop = stop.clone();
    let serve = move || {
        for signal in &mut signals {
            if signal == SIGHUP {
                reopen();
            } else if stop.requested() {
                // What a shell reports of a process that the signal has killed.
                signal_hook::low_level::exit(128 + signal);
            } else {
                info!(signal, "stopping; once more to end at once");
                stop.request();
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(serve).context("no thread for signals")?;
    Ok(())
}
