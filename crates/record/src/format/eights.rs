//! `protobufList` eight columns at a time: the integers of common rows go from the kernel's structs into fields by [`Avx512`].
//!
//! The bytes are those of [`ProtobufList`]: a row that does not fit goes its way, and tests compare the two.

use sockeye_sys::avx512::{Avx512, Eight, Field, LANES};
use sockeye_wire::companions::SkMemInfo;
use sockeye_wire::inet_diag::MSG_BYTES;
use sockeye_wire::tcp_info::{FIELDS, KNOWN_BYTES};

use super::line::Line;
use super::proto::{self, ProtobufList};
use super::{Part, RowFormat, RowWriter, Settings};
use crate::column::{Column, Kind, Presence};
use crate::columns::{COLUMNS, Index};
use crate::row::{NEVER, Structs, UNLIMITED};
use crate::visit::Visit;

/// One `Envelope.row`.
pub(crate) struct Row<'o> {
    plain: proto::Row<'o>,
    avx512: Avx512,
    structs: Structs<'o>,
}

impl<'o> Row<'o> {
    /// Begins a row of these structs, which [`fit`].
    #[inline(always)]
    pub(crate) fn begin(
        line: Line<'o>,
        settings: &'o Settings,
        avx512: Avx512,
        structs: Structs<'o>,
    ) -> Self {
        Self { plain: ProtobufList::begin(line, settings), avx512, structs }
    }

    /// Writes the run that begins with this column, and returns whether it is one of a run. All columns are constants, and so is
    /// this.
    #[inline(always)]
    fn write_run_of(&mut self, column: &'static Column) -> bool {
        let Structs { msg, info, skmeminfo } = self.structs;
        self.write_if_of(column, &FAMILY_TO_PORTS, msg)
            || self.write_if_of(column, &INTERFACE_TO_INODE, msg)
            || self.write_if_of(column, &INFO, info)
            || self.write_if_of(column, &SOCKET_MEMORY, skmeminfo)
            || self.write_if_of(column, &ACCECN, info)
    }

    #[inline(always)]
    fn write_if_of<const N: usize, const TAG: usize, const EIGHTS: usize>(
        &mut self,
        column: &'static Column,
        run: &'static Run<N, TAG, EIGHTS>,
        of: &[u8; N],
    ) -> bool {
        if column.index == run.first {
            for eight in &run.eights {
                self.plain.line.put_with(|out| self.avx512.put(eight, of, out));
            }
        }
        (run.first..=run.last).contains(&column.index)
    }
}

/// Whether the fields of these structs have room for all integers: those of 64 bits for what has 42.
#[inline(always)]
pub(crate) fn fit(structs: &Structs<'_>) -> bool {
    let mut all = number(structs.msg, COOKIE.offset);
    for at in COUNTERS {
        all |= number(structs.info, at);
    }
    for at in RATES {
        // What is not written fits; 42 ones would be taken for it.
        all |= number(structs.info, at).wrapping_sub(UNLIMITED);
    }
    all >> 42 == 0
}

#[inline(always)]
fn number<const N: usize>(of: &[u8; N], at: usize) -> u64 {
    let bytes = of.get(at..).and_then(<[u8]>::first_chunk).expect("tables name places in structs");
    u64::from_le_bytes(*bytes)
}

impl RowWriter for Row<'_> {
    #[inline(always)]
    fn splice(&mut self, part: &Part) {
        self.plain.splice(part);
    }

    #[inline(always)]
    fn end(self) {
        self.plain.end();
    }

    fn end_part(self) -> u32 {
        self.plain.end_part()
    }
}

impl Visit for Row<'_> {
    #[inline(always)]
    fn u32(&mut self, column: &'static Column, value: u32) {
        if !self.write_run_of(column) {
            self.plain.u32(column, value);
        }
    }

    #[inline(always)]
    fn u64(&mut self, column: &'static Column, value: u64) {
        if !self.write_run_of(column) {
            self.plain.u64(column, value);
        }
    }

    #[inline(always)]
    fn i64(&mut self, column: &'static Column, value: i64) {
        self.plain.i64(column, value);
    }

    #[inline(always)]
    fn str(&mut self, column: &'static Column, value: &str) {
        self.plain.str(column, value);
    }

    #[inline(always)]
    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        self.plain.bytes(column, value);
    }

    #[inline(always)]
    fn algorithm(&mut self, column: &'static Column, value: i32) {
        self.plain.algorithm(column, value);
    }
}

/// Columns that follow one another and are integers of one struct.
struct Run<const N: usize, const TAG: usize, const EIGHTS: usize> {
    first: usize,
    last: usize,
    eights: [Eight<N, TAG>; EIGHTS],
}

/// Where an integer lies in its struct: the source of a [`Field`].
#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    first_bit: u32,
    bits: u32,
    big_endian: bool,
}

impl<const N: usize, const TAG: usize, const EIGHTS: usize> Run<N, TAG, EIGHTS> {
    /// The columns from `first` to `last` that are filled lie at these places, in this order.
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    const fn new(first: Index, last: Index, places: &[Place]) -> Self {
        let (first, last) = (first as usize, last as usize);
        // It is there in every common row, or the whole run would be missing.
        assert!(COLUMNS[first].filled && COLUMNS[first].presence.allows_zero());
        let mut eights = [Eight::NONE; EIGHTS];
        let (mut index, mut number) = (first, 0);
        while index <= last {
            if COLUMNS[index].filled {
                let field = places[number].field(&COLUMNS[index], TAG);
                eights[number / LANES] = eights[number / LANES].with(number % LANES, field);
                number += 1;
            }
            index += 1;
        }
        assert!(number == places.len() && places.len().div_ceil(LANES) == EIGHTS);
        Self { first, last, eights }
    }
}

impl Place {
    const fn byte(offset: usize) -> Self {
        Self { offset, first_bit: 0, bits: 8, big_endian: false }
    }

    const fn port(offset: usize) -> Self {
        Self { bits: 16, big_endian: true, ..Self::byte(offset) }
    }

    const fn word(offset: usize) -> Self {
        Self { bits: 32, ..Self::byte(offset) }
    }

    const fn field(&self, column: &'static Column, tag_bytes: usize) -> Field {
        let Self { offset, first_bit, bits, big_endian } = *self;
        assert!(matches!(column.kind, Kind::Uint32 | Kind::Uint64));
        let limit = match (column.presence, bits) {
            (Presence::InfoNonZero(_), 64) => Some(UNLIMITED),
            (Presence::InfoNonZero(_), _) => Some(NEVER as u64),
            _ => None,
        };
        let (tag, len) = proto::tag(column, proto::VARINT);
        assert!(len == tag_bytes);
        Field { offset, first_bit, bits, big_endian, limit, tag }
    }
}

/// The places of the integers of `tcp_info`, in the order of their columns, which is that of the struct.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const INFO_PLACES: [Place; FIELDS.len() + BIT_FIELDS.len()] = {
    let mut places = [Place::byte(0); FIELDS.len() + BIT_FIELDS.len()];
    let mut number = 0;
    while number < places.len() {
        places[number] = if number < BIT_FIELDS_AT {
            whole(number)
        } else if number < BIT_FIELDS_AT + BIT_FIELDS.len() {
            BIT_FIELDS[number - BIT_FIELDS_AT]
        } else {
            whole(number - BIT_FIELDS.len())
        };
        number += 1;
    }
    places
};

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
#[expect(clippy::cast_possible_truncation, reason = "at most eight bytes")]
const fn whole(field: usize) -> Place {
    Place { bits: 8 * FIELDS[field].bytes as u32, ..Place::byte(FIELDS[field].offset) }
}

/// `tcpi_snd_wscale`, `tcpi_rcv_wscale`, `tcpi_delivery_rate_app_limited`, `tcpi_fastopen_client_fail`; of x86, which lays
/// them out from the lowest bit on.
const BIT_FIELDS: [Place; 4] = [
    Place { bits: 4, ..Place::byte(6) },
    Place { first_bit: 4, bits: 4, ..Place::byte(6) },
    Place { bits: 1, ..Place::byte(7) },
    Place { first_bit: 1, bits: 2, ..Place::byte(7) },
];
/// How many columns of whole bytes come before.
const BIT_FIELDS_AT: usize = 6;

/// How many of them have numbers below 3000.
const OLD_INFO: usize = INFO_PLACES.len() - 8;
const COOKIE: Place = Place { bits: 64, ..Place::byte(44) };

static FAMILY_TO_PORTS: Run<MSG_BYTES, 2, 1> = Run::new(
    Index::inet_diag_msg_family,
    Index::inet_diag_msg_socket_destination_port,
    &[
        Place::byte(0),
        Place::byte(1),
        Place::byte(2),
        Place::byte(3),
        Place::port(4),
        Place::port(6),
    ],
);
static INTERFACE_TO_INODE: Run<MSG_BYTES, 2, 1> = Run::new(
    Index::inet_diag_msg_socket_interface,
    Index::inet_diag_msg_inode,
    &[
        Place::word(40),
        COOKIE,
        Place::word(52),
        Place::word(56),
        Place::word(60),
        Place::word(64),
        Place::word(68),
    ],
);
static INFO: Run<KNOWN_BYTES, 2, 8> = Run::new(
    Index::tcp_info_state,
    Index::tcp_info_total_rto_time,
    INFO_PLACES.split_at(OLD_INFO).0,
);
static ACCECN: Run<KNOWN_BYTES, 3, 1> = Run::new(
    Index::tcp_info_received_ce,
    Index::tcp_info_accecn_word,
    INFO_PLACES.split_at(OLD_INFO).1,
);
/// All but the last one, which is the ninth.
static SOCKET_MEMORY: Run<{ SkMemInfo::BYTES }, 2, 1> = Run::new(
    Index::sk_mem_info_rmem_alloc,
    Index::sk_mem_info_backlog,
    &[
        Place::word(0),
        Place::word(4),
        Place::word(8),
        Place::word(12),
        Place::word(16),
        Place::word(20),
        Place::word(24),
        Place::word(28),
    ],
);

/// Places of the integers of 64 bits in `tcp_info`: those that are absent while all ones, and the others.
const RATES: [usize; 2] = longs(true);
const COUNTERS: [usize; 8] = longs(false);

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn longs<const COUNT: usize>(may_be_absent: bool) -> [usize; COUNT] {
    let mut offsets = [0; COUNT];
    let (mut index, mut number, mut found) = (Index::tcp_info_state as usize, 0, 0);
    while number < OLD_INFO {
        let absent = matches!(COLUMNS[index].presence, Presence::InfoNonZero(_));
        if INFO_PLACES[number].bits == 64 && absent == may_be_absent {
            offsets[found] = INFO_PLACES[number].offset;
            found += 1;
        }
        index += 1;
        number += 1;
    }
    assert!(found == COUNT);
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_fit_whose_long_numbers_have_42_bits_or_are_absent() {
        let fits = |cookie: u64, number: Option<(usize, u64)>| {
            let (mut msg, mut info) = ([0xff; MSG_BYTES], [0; KNOWN_BYTES]);
            msg[COOKIE.offset..][..8].copy_from_slice(&cookie.to_le_bytes());
            if let Some((at, value)) = number {
                info[at..][..8].copy_from_slice(&value.to_le_bytes());
            }
            let skmeminfo = &[0xff; SkMemInfo::BYTES];
            fit(&Structs { msg: &msg, info: &info, skmeminfo })
        };
        let most = (1 << 42) - 1;
        assert!(fits(most, None) && !fits(most + 1, None) && !fits(u64::MAX, None));
        for at in COUNTERS {
            assert!(fits(0, Some((at, most))), "{at}");
            assert!(!fits(0, Some((at, most + 1))) && !fits(0, Some((at, u64::MAX))), "{at}");
        }
        for at in RATES {
            assert!(fits(0, Some((at, most - 1))) && fits(0, Some((at, UNLIMITED))), "{at}");
            assert!(!fits(0, Some((at, most))) && !fits(0, Some((at, UNLIMITED - 1))), "{at}");
        }
    }
}
