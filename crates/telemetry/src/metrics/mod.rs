//! Metrics: a table of families, each a line that says its name and how its samples follow from what is observed.

mod exposition;
mod histogram;
mod page;
mod samples;

pub use exposition::{Format, expose};
pub use histogram::Histogram;
pub use page::page;
pub use samples::{Buckets, Samples};

/// One family of metrics. A table of them is everything that is exported, in order.
pub struct Metric<S: ?Sized> {
    /// Its whole name; that of a counter ends in `_total`.
    pub name: &'static str,
    /// What its figures mean.
    pub kind: Kind,
    /// Names of its labels. Their values are closed enums, or bounded in number.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence without a full stop.
    pub help: &'static str,
    /// Gives its samples.
    pub collect: Collect<S>,
}

/// How the samples of a family follow from what is observed.
pub type Collect<S> = fn(&S, &mut Samples<'_>);

/// What figures mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from the daemon's start on.
    Counter,
    /// It is as it is now.
    Gauge,
    /// Observations, counted by their size.
    Histogram,
}

impl Kind {
    /// Its name in both formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl<S: ?Sized> Metric<S> {
    /// A line of the table.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
        collect: Collect<S>,
    ) -> Self {
        Self { name, kind, labels, help, collect }
    }
}
