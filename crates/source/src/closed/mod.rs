//! Every connection that closes, as the kernel tells of it: the TCP destroy groups of `sock_diag`.
//!
//! One socket in our own namespace hears of all that have an id there ([`ids`]); none is entered but to find interfaces
//! that a filter names, and none is held. What an event lacks comes from what polls remember ([`crate::track`]).
//!
//! What is not told: connections of a namespace before it was found and had an id; the end of `TIME_WAIT` and of
//! requests; sockets of the kernel itself. A socket that was never connected, a listener among them, is no row.

mod counters;
mod ears;
mod finder;
mod hearing;
mod ids;
mod label;
mod listener;
mod pace;
mod rows;
mod settings;
mod shared;
mod source;

pub use counters::{Counters, Totals};
pub use settings::{ClosedError, Scope, Settings};
pub use source::{Closed, Handover, PLAN};
