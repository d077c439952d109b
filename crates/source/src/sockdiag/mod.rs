//! Every TCP socket of every network namespace, by netlink `sock_diag` dumps.
//!
//! A poll scans for namespaces, gives each to its reader threads (to a shared pool when there are more than threads, or
//! to a few threads that read many at once through rings), and ends when every dump has ended. Nothing is held of a namespace but while it is being dumped.

mod channel;
mod check;
pub mod cost;
mod counters;
mod deadline;
mod dump;
mod found;
mod health;
mod kept;
mod kit;
mod look;
mod memory;
mod numbers;
mod parked;
mod plan;
mod progress;
mod reader;
mod readers;
mod reading;
mod ring_conversation;
mod ring_pump;
mod ring_reader;
mod rows;
mod sample;
mod settings;
mod source;
pub mod split;

pub use channel::Channel;
pub use counters::{Counters, Totals};
pub use dump::{Dump, DumpStats};
pub use health::{Connections, HealthOf, PortClass, Spread, TcpHealth};
pub use plan::{Plan, PlanMode};
pub use readers::POOL_THREADS;
pub use sample::Modulus;
pub use settings::{Host, IoUring, Netlinkers, SPLIT_FROM, Settings};
pub use source::SockDiag;

pub(crate) use reader::Shared;
pub(crate) use rows::Ship;
pub(crate) use settings::NamedNetns;
