//! Walking the columns of a row: what an encoder implements, and how a decoded record is walked the same way.

use crate::column::{Column, Presence};
use crate::columns::Index;
use crate::joined::{self, HAS_DELTAS};
use crate::row::{CLOSED, COMPLETE, NSID};
use crate::v1::XtcpFlatRecord;

/// Called once for each column that a row has, in the order of the table.
pub(crate) trait Visit {
    fn u32(&mut self, column: &'static Column, value: u32);
    fn u64(&mut self, column: &'static Column, value: u64);
    fn i64(&mut self, column: &'static Column, value: i64);
    fn str(&mut self, column: &'static Column, value: &str);
    /// An address: 4 or 16 bytes in network order (a decoded record may hold anything).
    fn bytes(&mut self, column: &'static Column, value: &[u8]);
    /// A value of `CongestionAlgorithm`.
    fn algorithm(&mut self, column: &'static Column, value: i32);
}

/// What a decoded record tells about which of its zeros were delivered.
///
/// Protobuf does not write zeros. Rows with all columns say in `attributes` and `tcp_info_length` what there was;
/// of any other row only what is not zero is known to be there, and nothing is invented.
pub(crate) struct Recorded {
    complete: bool,
    attributes: u64,
    info_bytes: u32,
    closed: bool,
    joined: u32,
    deltas: bool,
    /// The column `attributes` as it is written again.
    rewritten: u64,
}

impl Recorded {
    /// `keeps_all`: whether the record is written again with all columns. If not, the next reader must not take what
    /// is missing for zero.
    pub(crate) fn of(record: &XtcpFlatRecord, keeps_all: bool) -> Self {
        let attributes = record.attributes;
        let rewritten = if keeps_all { attributes } else { attributes & !(COMPLETE | NSID) };
        Self {
            complete: attributes & COMPLETE != 0,
            attributes,
            info_bytes: record.tcp_info_length,
            closed: record.record_kind == CLOSED,
            joined: record.joined,
            deltas: record.delta_flags & HAS_DELTAS != 0,
            rewritten,
        }
    }

    pub(crate) fn u32<V: Visit>(&self, column: &'static Column, value: u32, visit: &mut V) {
        if value != 0 || self.delivered_zero(column) {
            visit.u32(column, value);
        }
    }

    pub(crate) fn u64<V: Visit>(&self, column: &'static Column, value: u64, visit: &mut V) {
        let value = if column.index == Index::attributes as usize { self.rewritten } else { value };
        if value != 0 || self.delivered_zero(column) {
            visit.u64(column, value);
        }
    }

    pub(crate) fn i64<V: Visit>(&self, column: &'static Column, value: i64, visit: &mut V) {
        if value != 0 || self.delivered_zero(column) {
            visit.i64(column, value);
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "text is never there and empty: one way to call them all"
    )]
    pub(crate) fn str<V: Visit>(&self, column: &'static Column, value: &str, visit: &mut V) {
        if !value.is_empty() {
            visit.str(column, value);
        }
    }

    #[expect(clippy::unused_self, reason = "an address is never empty: one way to call them all")]
    pub(crate) fn bytes<V: Visit>(&self, column: &'static Column, value: &[u8], visit: &mut V) {
        if !value.is_empty() {
            visit.bytes(column, value);
        }
    }

    #[expect(clippy::unused_self, reason = "0 is no algorithm: one way to call them all")]
    pub(crate) fn algorithm<V: Visit>(&self, column: &'static Column, value: i32, visit: &mut V) {
        if value != 0 {
            visit.algorithm(column, value);
        }
    }

    fn delivered_zero(&self, column: &Column) -> bool {
        self.complete
            && match column.presence {
                Presence::Always => true,
                Presence::NonZero | Presence::InfoNonZero(_) => false,
                Presence::Nsid => self.attributes & NSID != 0,
                Presence::Attr(nr) => {
                    self.attributes >> nr & 1 != 0 || self.joined & joined::bit_of(nr) != 0
                }
                Presence::Owner(bit) => !self.closed || self.joined & bit != 0,
                Presence::Deltas => self.deltas,
                Presence::Info(end) => self.info_bytes >= end,
            }
    }
}
