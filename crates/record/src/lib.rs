//! Rows: one table of columns, the encoders that it drives, the envelope builder and the prost types.

#![forbid(unsafe_code)]

mod algorithm;
#[macro_use]
mod column;
mod columns;
pub mod decode;
mod envelope;
mod format;
mod joined;
mod names;
mod row;
mod selection;
mod visit;

/// `xtcp_flat_record.v1`: the consumer's side, and the oracle of the encoders. Made by `cargo xtask gen`.
#[expect(missing_docs, clippy::pedantic, reason = "generated")]
#[path = "generated/xtcp_flat_record.v1.rs"]
#[rustfmt::skip]
pub mod v1;

pub use column::{Column, Kind, Meaning, Presence};
pub use columns::{COLUMNS, COUNT};
pub use envelope::{BufferPool, Builder, CutReason, Envelope, Limits};
pub use format::{Encoder, Encoding, FORMATS, Format, UnknownFormat, table};
pub use joined::{Deltas, Joined};
pub use row::{CLOSED, DAEMON_VERSION, DumpContext, POLL, SCHEMA_VERSION, SocketRow};
pub use selection::{Selection, UnknownColumn};
