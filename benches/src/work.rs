//! What has a cost of its own: decoding, filtering, encoding in each format, and cutting envelopes.

use std::fmt;
use std::hint::black_box;

use sockeye_filter::{Filter, Resolved};
use sockeye_record::{
    BufferPool, Builder, DAEMON_VERSION, DumpContext, Encoder, Encoding, FORMATS, Format, Limits,
    POLL, SCHEMA_VERSION, SocketRow,
};
use sockeye_wire::{InetDiag, Layouts, Messages};

use crate::recorded::Recorded;
use crate::request::by_default;

/// One thing that has a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Messages to views.
    Decode,
    /// Views to those that an expression wants; it has a term that only the last look can decide.
    Filter,
    /// Views to bytes.
    Encode(Format),
    /// Messages to bytes: what a socket costs a reader.
    Row(Format),
    /// The same on a processor that can not write eight columns at a time.
    RowWithoutAvx512(Format),
    /// Messages to envelopes, a cut every [`ENVELOPE_ROWS`] rows.
    Envelope(Format),
}

/// A case with all that it needs, ready to be run again and again.
#[derive(Debug)]
pub struct Work<'a> {
    case: Case,
    chunk: &'a [u8],
    rows: u64,
    layouts: Layouts,
    sockets: Vec<InetDiag<'a>>,
    filter: Resolved,
    encoder: Encoder,
    builder: Builder,
    out: Vec<u8>,
}

impl Case {
    /// All cases.
    pub fn all() -> Vec<Self> {
        let formats = || FORMATS.iter().map(|(format, ..)| *format);
        let mut cases = vec![Self::Decode, Self::Filter];
        cases.extend(formats().map(Self::Encode));
        cases.extend([Format::ProtobufList, Format::Jsonl].map(Self::Row));
        cases.push(Self::RowWithoutAvx512(Format::ProtobufList));
        cases.extend([Format::ProtobufList, Format::ProtoJson].map(Self::Envelope));
        cases
    }

    /// The case of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|case| case.to_string() == name)
    }
}

/// A name for tables and files: `encode-jsonl`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode => f.write_str("decode"),
            Self::Filter => f.write_str("filter"),
            Self::Encode(format) => write!(f, "encode-{}", format.name()),
            Self::Row(format) => write!(f, "row-{}", format.name()),
            Self::RowWithoutAvx512(format) => write!(f, "row-{}-without-avx512", format.name()),
            Self::Envelope(format) => write!(f, "envelope-{}", format.name()),
        }
    }
}

impl<'a> Work<'a> {
    /// Prepares a case over these messages, with all columns.
    pub fn new(case: Case, recorded: &'a Recorded) -> Self {
        let format = match case {
            Case::Decode | Case::Filter => Format::ProtobufList,
            Case::Encode(format)
            | Case::Row(format)
            | Case::RowWithoutAvx512(format)
            | Case::Envelope(format) => format,
        };
        let encoding = Encoding { format, columns: None, humanize: None };
        let attrs = by_default().attrs;
        let dump = dump();
        let mut encoder = Encoder::new(&encoding);
        if let Case::RowWithoutAvx512(_) = case {
            encoder = encoder.without_avx512();
        }
        encoder.begin_dump(&dump);
        let limits = Limits { rows: ENVELOPE_ROWS, bytes: 768 * 1024 };
        let mut builder = Builder::new(Encoder::new(&encoding), limits, BufferPool::new(4));
        builder.begin_dump(&dump);
        Self {
            case,
            chunk: recorded.chunk(),
            rows: recorded.rows(),
            layouts: Layouts::new(attrs),
            sockets: recorded.sockets(attrs),
            filter: filter(),
            encoder,
            builder,
            out: Vec::new(),
        }
    }

    /// Rows of a round.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Does it once for every row; returns something that depends on all of them.
    pub fn round(&mut self) -> u64 {
        self.out.clear();
        match self.case {
            Case::Decode => self.decode(),
            Case::Filter => self.filter(),
            Case::Encode(_) => self.encode(),
            Case::Row(_) | Case::RowWithoutAvx512(_) => self.row(),
            Case::Envelope(_) => self.envelope(),
        }
    }

    /// Rounds until nothing grows any more: buffers have their size, the pool has its envelopes.
    pub fn warm_up(&mut self) {
        for _ in 0..ENVELOPE_ROWS.div_ceil(self.rows) * 8 {
            black_box(self.round());
        }
    }

    fn decode(&mut self) -> u64 {
        let mut sum = 0;
        each(self.chunk, &mut self.layouts, |socket, number| {
            sum += number + socket.info().and_then(|info| info.rto_us()).map_or(0, u64::from);
            black_box(socket);
        });
        sum
    }

    fn filter(&self) -> u64 {
        let wanted = |socket: &&InetDiag<'_>| self.filter.matches(black_box(*socket));
        self.sockets.iter().filter(wanted).count() as u64
    }

    fn encode(&mut self) -> u64 {
        for (socket, number) in self.sockets.iter().zip(1..) {
            self.encoder.pend(&SocketRow::new(socket, number, 7, 0), &mut self.out);
        }
        self.encoder.settle(&mut self.out);
        black_box(&self.out).len() as u64
    }

    fn row(&mut self) -> u64 {
        each(self.chunk, &mut self.layouts, |socket, number| {
            self.encoder.pend(&SocketRow::new(socket, number, 7, 0), &mut self.out);
        });
        self.encoder.settle(&mut self.out);
        black_box(&self.out).len() as u64
    }

    fn envelope(&mut self) -> u64 {
        let mut bytes = 0;
        each(self.chunk, &mut self.layouts, |socket, number| {
            self.builder.push(&SocketRow::new(socket, number, 7, 0), |envelope| {
                bytes += black_box(envelope.bytes()).len() as u64;
            });
        });
        bytes
    }
}

/// The loop of a dump, as short as it can be.
#[inline]
fn each(chunk: &[u8], layouts: &mut Layouts, mut row: impl FnMut(&InetDiag<'_>, u64)) {
    let mut number = 0;
    for message in Messages::new(black_box(chunk)).flatten() {
        if let Ok(socket) = layouts.parse(message.payload) {
            number += 1;
            row(&socket, number);
        }
    }
}

/// Ports, hosts and all that joins them.
fn filter() -> Resolved {
    let filter: Result<Filter, _> = FILTER.parse();
    filter.expect("the expression is one").resolve(|_: &str| None)
}

/// What is the same in every row; texts as long as those of a container on a real host.
fn dump() -> DumpContext<'static> {
    DumpContext {
        schema_version: SCHEMA_VERSION,
        daemon_version: DAEMON_VERSION,
        timestamp_ns: 1_780_000_000_123_456_789,
        boottime_ns: 7_654_321_123_456,
        hostname: "host-0123.example.net",
        location: "rack-17",
        netns: "default",
        netns_inode: 4_026_531_840,
        nsid: None,
        container_id: "",
        container_runtime: "",
        label: "",
        tag: "",
        record_kind: POLL,
    }
}

/// Rows of an envelope in the cases that cut.
pub const ENVELOPE_ROWS: u64 = 1000;
const FILTER: &str =
    "( dport = :443 or dport = :8443 or src 10.0.0.0/8 ) or not dst 192.168.0.0/16";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_that_finds_it_again() {
        let cases = Case::all();
        assert_eq!(cases.len(), 15);
        for case in cases {
            assert_eq!(Case::named(&case.to_string()), Some(case));
        }
        assert_eq!(Case::named("encode-yaml"), None);
    }

    #[test]
    fn rows_that_are_measured_go_eight_columns_at_a_time_where_the_processor_can() {
        let recorded = Recorded::capture().unwrap();
        let can = sockeye_sys::avx512::Avx512::detect().is_some();
        for (case, expected) in [
            (Case::Row(Format::ProtobufList), can),
            (Case::RowWithoutAvx512(Format::ProtobufList), false),
        ] {
            let work = Work::new(case, &recorded);
            let goes =
                |socket| work.encoder.goes_eight_wide(&SocketRow::new(socket, 1, 3, 0)) == expected;
            assert!(work.sockets.iter().all(goes), "{case}");
        }
    }

    #[test]
    fn both_halves_of_a_row_make_the_bytes_of_a_whole_one() {
        let recorded = Recorded::capture().unwrap();
        let mut encode = Work::new(Case::Encode(Format::Jsonl), &recorded);
        let mut row = Work::new(Case::Row(Format::Jsonl), &recorded);
        let bytes = row.round();
        assert_eq!(bytes, row.round());
        assert_eq!(encode.round(), bytes);
        assert!(bytes / row.rows() > 500);
        let mut decode = Work::new(Case::Decode, &recorded);
        // A retransmission timeout is 200 ms at the least.
        assert!(decode.round() > 200_000 * decode.rows());
    }

    #[test]
    fn the_filter_wants_the_sockets_of_the_capture() {
        let recorded = Recorded::capture().unwrap();
        let mut work = Work::new(Case::Filter, &recorded);
        assert_eq!(work.round(), work.rows());
    }

    #[test]
    fn envelopes_are_cut_now_and_then() {
        let recorded = Recorded::capture().unwrap();
        let mut work = Work::new(Case::Envelope(Format::ProtobufList), &recorded);
        let rounds = ENVELOPE_ROWS.div_ceil(work.rows());
        let sealed: u64 = (0..rounds).map(|_| work.round()).sum();
        assert!(sealed > ENVELOPE_ROWS * 200, "{sealed}");
    }
}
