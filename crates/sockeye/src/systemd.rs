//! What the daemon tells systemd: ready, reloading, stopping, the last poll, and that the poll loop lives.
//!
//! The watchdog is fed by the thread of the poll loop alone, between polls and at the end of each: when that thread is
//! stuck, systemd restarts the service, however well the others are.

use std::time::{Duration, Instant};

use sd_notify::{NotifyState, notify};
use sockeye_pipeline::{Completeness, Event};
use tracing::debug;

/// The socket of systemd, when it was this process that systemd started.
#[derive(Debug)]
pub(crate) struct Systemd {
    /// How often the watchdog is fed at the least.
    pace: Option<Duration>,
    fed: Option<Instant>,
    status: Option<Instant>,
}

impl Systemd {
    /// Reads the environment.
    pub(crate) fn new() -> Self {
        // Half of what systemd waits, as it asks for.
        let pace = sd_notify::watchdog_enabled().map(|wanted| wanted / 2);
        Self { pace, fed: None, status: None }
    }

    /// The poll loop lives.
    pub(crate) fn feed(&mut self) {
        let Some(pace) = self.pace else { return };
        if self.fed.is_none_or(|fed| fed.elapsed() >= pace / 2) {
            self.fed = Some(Instant::now());
            say(&[NotifyState::Watchdog]);
        }
    }

    /// The status line is the last poll, at most once a second.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        let Event::Polled { poll, took, parts } = event else { return };
        self.feed();
        if self.status.is_some_and(|said| said.elapsed() < STATUS_PACE) {
            return;
        }
        self.status = Some(Instant::now());
        let rows: u64 = parts.iter().map(|part| part.rows).sum();
        let incomplete =
            parts.iter().filter(|part| part.completeness != Completeness::Complete).count();
        let status = format!(
            "poll {poll}: {rows} rows of {} namespaces, {incomplete} incomplete, in {} ms",
            parts.len(),
            took.as_millis()
        );
        say(&[NotifyState::Status(&status)]);
    }
}

/// Everything is open: polls begin, or go on with what was reloaded.
pub(crate) fn ready() {
    say(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(_) => say(&[NotifyState::Reloading]),
    }
}

/// The end has begun and may take so long.
pub(crate) fn stopping(at_most: Duration) {
    let at_most = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    say(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(at_most)]);
}

/// Without a systemd there is nobody to tell.
fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        debug!(%error, "systemd was not told");
    }
}

const STATUS_PACE: Duration = Duration::from_secs(1);
