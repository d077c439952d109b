//! Where envelopes go: nowhere, the standard streams, files and Kafka; as they are or as aligned tables.
//!
//! Every sink owns what it writes to, lives on a thread of its own, and may block there. [`Null`], [`Stream`] and
//! [`FileSink`] are sinks by themselves; [`TableWriter`] puts aligned tables into one that can [`Put`]. `kafka`, behind the
//! feature of that name, keeps in a [`spool`] what it can't deliver.

#![forbid(unsafe_code)]

mod file;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(test)]
#[path = "../tests/kit/mod.rs"]
mod kit;
mod null;
mod put;
pub mod spool;
mod stream;
mod table;

pub use file::{FileSettings, FileSink, OpenError, PathPattern, PatternError};
pub use null::Null;
pub use put::{Put, PutError};
pub use stream::Stream;
pub use table::TableWriter;
