//! Everything that `run` can check before it opens something.

use sockeye_filter::Filter;

use super::Invocation;
use super::settings::SinkSpec;
use crate::cli::{Command, RunArgs};
use crate::exit::Failure;
use crate::footprint;

/// Options of `run` that are right and fit together.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    pub(crate) run: &'a RunArgs,
    pub(crate) specs: Vec<SinkSpec>,
    pub(crate) filter: Option<Filter>,
}

impl Invocation {
    /// The options of `run`, with destinations, filter and memory; every contradiction is refused.
    pub(crate) fn checked(&self) -> Result<Checked<'_>, Failure> {
        let Command::Run(run) = &self.command else {
            return Err(Failure::usage("no command run; allowed: run"));
        };
        let specs = self.sinks(run)?;
        let filter = self.filter()?;
        footprint::check(run, &specs)?;
        Ok(Checked { run, specs, filter })
    }
}
