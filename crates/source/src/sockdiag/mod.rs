//! Every TCP socket of every network namespace, by netlink `sock_diag` dumps.
//!
//! A poll scans for namespaces, gives each to its reader threads (or to a shared pool when there are more than threads),
//! and ends when every dump has ended. Nothing is held of a namespace but while it is being dumped.

mod channel;
mod counters;
mod deadline;
mod dump;
mod kit;
mod parked;
mod reader;
mod readers;
mod sample;
mod settings;
mod source;

pub use channel::Channel;
pub use counters::{Counters, Totals};
pub use dump::{Dump, DumpStats};
pub use readers::POOL_THREADS;
pub use sample::Modulus;
pub use settings::{Host, Settings};
pub use source::SockDiag;
