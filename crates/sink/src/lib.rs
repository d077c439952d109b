//! Where envelopes go: nowhere, the standard streams, and files; as they are or as aligned tables.
//!
//! Every sink owns what it writes to, lives on a thread of its own, and may block there. [`Null`], [`Stream`] and
//! [`FileSink`] are sinks by themselves; [`TableWriter`] puts aligned tables into one that can [`Put`].

#![forbid(unsafe_code)]

mod file;
#[cfg(test)]
#[path = "../tests/kit/mod.rs"]
mod kit;
mod null;
mod put;
mod stream;
mod table;

pub use file::{FileSettings, FileSink, OpenError, PathPattern, PatternError};
pub use null::Null;
pub use put::{Put, PutError};
pub use stream::Stream;
pub use table::TableWriter;
