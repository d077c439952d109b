//! The one table of columns: number, name, kind, presence, meaning, unit, text and where the value comes from.
//!
//! Everything that a row can look like is driven by it: protobuf, JSON, CSV, `MessagePack`, tables, the `.proto` file.
//! A column is one line of `column_table.rs`; the groups there are those that are constant for a dump (encoded once and
//! copied), those of each socket, and those that only a row has of which polls remember something.
//!
//! Numbers and names below 3000 are `xtcp_flat_record.v1`'s and never change.

use sockeye_wire::attrs::nr;

use crate::column::{Column, Kind, Meaning, Presence, apply, is_default, is_filled, unfilled};
use crate::joined::{INODE, UID};
use crate::row::{DumpContext, SocketView, finite_rate, finite_ssthresh, kernel_text, sampled};
use crate::selection::{Columns, Selection};
use crate::v1::XtcpFlatRecord;
use crate::visit::{Recorded, Visit};

include!("column_table.rs");
