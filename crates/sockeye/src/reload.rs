//! SIGHUP: the configuration is read again, checked as a whole, and what can change holds from the next poll on.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sockeye_filter::Filter;
use tracing::{error, info, warn};

use crate::cli::RunArgs;
use crate::config::settings::SinkSpec;
use crate::config::{self, Changes, Checked, Invocation, changes};
use crate::exit::Failure;

/// Set by a signal, taken by the poll loop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requested(Arc<AtomicBool>);

impl Requested {
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// The configuration that is in force.
pub(crate) struct Reload<'a> {
    arguments: Vec<OsString>,
    /// Of the start: what can't change is compared with that.
    first: &'a Invocation,
    current: Option<Invocation>,
    specs: Vec<SinkSpec>,
}

/// What has changed, and what the daemon is to go on with.
pub(crate) struct Reloaded {
    new: Invocation,
    /// Options whose values are new.
    pub(crate) live: BTreeSet<String>,
    /// The destinations that run, with the columns of now.
    pub(crate) specs: Vec<SinkSpec>,
    pub(crate) filter: Option<Filter>,
}

impl Reloaded {
    /// The options. Of those that are read at start alone, the values may be others than those in force.
    pub(crate) fn run(&self) -> Option<&RunArgs> {
        match &self.new.command {
            crate::cli::Command::Run(run) => Some(run),
            _ => None,
        }
    }
}

impl<'a> Reload<'a> {
    /// Destinations are those that were opened.
    pub(crate) fn new(first: &'a Invocation, specs: Vec<SinkSpec>) -> Self {
        Self { arguments: std::env::args_os().collect(), first, current: None, specs }
    }

    /// Reads everything again: the file anew, flags and environment as they were. `None`, with a line in the log, when
    /// something is wrong, and when nothing is new that could be changed.
    pub(crate) fn read(&self) -> Option<Reloaded> {
        match self.try_read() {
            Ok(reloaded) if reloaded.live.is_empty() => {
                info!("reloaded: nothing that can change has changed");
                None
            }
            Ok(reloaded) => Some(reloaded),
            Err(failure) => {
                error!(error = %failure, "not reloaded: the configuration is wrong; the one before stays in force");
                None
            }
        }
    }

    /// It is in force from the next poll on.
    pub(crate) fn took(&mut self, reloaded: Reloaded) {
        info!(changed = %list(&reloaded.live), "reloaded: it holds from the next poll on");
        self.specs = reloaded.specs;
        self.current = Some(reloaded.new);
    }

    fn try_read(&self) -> Result<Reloaded, Failure> {
        let new = config::load(&self.arguments)?;
        let Checked { specs, filter, .. } = new.checked()?;
        let specs = changes::merge(&self.specs, &specs)?;
        let changes = Changes::between(self.current.as_ref().unwrap_or(self.first), &new);
        let at_start = Changes::between(self.first, &new).at_start;
        if !at_start.is_empty() {
            warn!(options = %list(&at_start), "these are read at start only: restart for their new values");
        }
        Ok(Reloaded { new, live: changes.live, specs, filter })
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// How long a poll may wait for each slow sink: all of them together get a part of what the dumps' timeout leaves of the
/// frequency.
pub(crate) fn patience(run: &RunArgs, sinks: usize) -> Duration {
    let all = (run.frequency.saturating_sub(run.collect.timeout) / 2).min(LONGEST_PATIENCE);
    all / u32::try_from(sinks.max(1)).unwrap_or(u32::MAX)
}

const LONGEST_PATIENCE: Duration = Duration::from_secs(2);
