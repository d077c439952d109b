//! Contracts of the data plane: Source, Sink, the bounded queue between them, the ledger, the schedule and the stop.
//!
//! Nothing here knows a concrete source or sink. Data moves one way: a [`Source`] sends envelopes into the [`Outlet`],
//! which puts each into the [`Queue`] of every sink of its encoding; a thread per sink takes them out.

#![forbid(unsafe_code)]

mod collect;
mod delivery;
mod figures;
mod ledger;
mod outlet;
mod queue;
mod schedule;
mod sink;
mod source;
mod stop;

pub use collect::{Change, Collection, Event, Summary, collect};
pub use delivery::Delivery;
pub use figures::{Figures, Latency, Link};
pub use ledger::{DropReason, Ledger};
pub use outlet::{Outlet, PollGate, Sent};
pub use queue::{Queue, QueueLimits, Snapshot, Take, WhenFull};
pub use schedule::{Schedule, Tick};
pub use sink::{Reopen, SendError, Sink, SinkThread};
pub use source::{Completeness, Incomplete, PartReport, Source};
pub use stop::Stop;
