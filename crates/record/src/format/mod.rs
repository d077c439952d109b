//! How rows look: the formats, and the encoder that turns rows of one dump after the other into bytes.

mod cells;
mod json;
mod msgpack;
mod proto;
mod proto_json;
mod proto_text;
pub mod table;
mod text;

use std::fmt;

use crate::columns::{dump_head, dump_tail, record, socket_head, socket_tail};
use crate::row::{COMPLETE, DumpContext, NSID, SocketRow};
use crate::selection::Selection;
use crate::v1::XtcpFlatRecord;
use crate::visit::Visit;

/// What `--marshal` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is documented with its name in `FORMATS`")]
pub enum Format {
    ProtobufList,
    ProtoJson,
    ProtoText,
    Msgpack,
    Jsonl,
    Csv,
    Tsv,
    Table,
}

/// A format with its settings: rows are encoded once for each distinct one in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// The format.
    pub format: Format,
    /// The columns; `None` for the format's own choice (a few for `table`, else all).
    pub columns: Option<Selection>,
    /// Names and times for people: `None` for the format's own choice (true for csv, tsv and table).
    pub humanize: Option<bool>,
}

/// Turns rows into bytes of one [`Encoding`]. Belongs to one reader; allocates only when its buffers grow.
#[derive(Debug, Clone)]
pub struct Encoder {
    format: Format,
    selection: Selection,
    complete: bool,
    /// Of the dump, for the column `attributes`.
    flags: u64,
    humanize: bool,
    head: Part,
    tail: Part,
    cells: cells::Cells,
    brief: Option<table::Brief>,
}

/// Encoded columns that are the same for every row of a dump.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    bytes: Vec<u8>,
    columns: u32,
}

/// Writes one row of a format that needs no look back; begun by the format, ended by [`RowWriter::end`].
trait RowWriter<'o>: Visit + Sized {
    /// Begins a row at the end of `out`.
    fn begin(out: &'o mut Vec<u8>, humanize: bool) -> Self;
    /// Begins a part that will be spliced into rows.
    fn part(out: &'o mut Vec<u8>, humanize: bool) -> Self;
    /// Columns written so far.
    fn columns(&self) -> u32 {
        0
    }
    /// Copies a part made before.
    fn splice(&mut self, part: &Part);
    /// Ends the row.
    fn end(self);
}

impl Encoder {
    /// An encoder of this encoding, for rows that come from the kernel.
    pub fn new(encoding: &Encoding) -> Self {
        Self::with_columns(encoding, Selection::filled())
    }

    /// An encoder for decoded records, which may hold columns that only other writers fill.
    ///
    /// Where columns have a header they are those that Sockeye fills; elsewhere the others show where there are any.
    pub fn for_records(encoding: &Encoding) -> Self {
        let has_header = matches!(encoding.format, Format::Csv | Format::Tsv);
        Self::with_columns(
            encoding,
            if has_header { Selection::filled() } else { Selection::all() },
        )
    }

    fn with_columns(encoding: &Encoding, every: Selection) -> Self {
        let format = encoding.format;
        let brief =
            (format == Format::Table && encoding.columns.is_none()).then(table::Brief::default);
        let selection = encoding.columns.clone().unwrap_or(every);
        let humanize = encoding
            .humanize
            .unwrap_or(matches!(format, Format::Csv | Format::Tsv | Format::Table));
        let complete = selection.is_complete();
        let cells = cells::Cells::default();
        let (head, tail) = (Part::default(), Part::default());
        Self { format, selection, complete, flags: 0, humanize, head, tail, cells, brief }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What stands once at the start of a file or stream: the header line of csv and tsv, else nothing.
    pub fn header(&self) -> Vec<u8> {
        match self.format {
            Format::Csv => cells::header(&self.selection, b','),
            Format::Tsv => cells::header(&self.selection, b'\t'),
            _ => Vec::new(),
        }
    }

    /// The header and the alignment of a table's columns.
    pub fn table_header(&self) -> Vec<table::Heading> {
        if self.brief.is_some() {
            table::brief_headings()
        } else {
            table::headings(&self.selection)
        }
    }

    /// Takes what is constant for the rows that follow.
    pub fn begin_dump(&mut self, dump: &DumpContext<'_>) {
        self.flags = match (self.complete, dump.nsid) {
            (true, Some(_)) => COMPLETE | NSID,
            (true, None) => COMPLETE,
            (false, _) => 0,
        };
        match self.format {
            Format::ProtobufList => self.begin_parts::<proto::Row<'_>>(dump),
            Format::ProtoJson => self.begin_parts::<proto_json::Row<'_>>(dump),
            Format::ProtoText => self.begin_parts::<proto_text::Row<'_>>(dump),
            Format::Msgpack => self.begin_parts::<msgpack::Row<'_>>(dump),
            Format::Jsonl => self.begin_parts::<json::Row<'_>>(dump),
            Format::Csv | Format::Tsv | Format::Table => {
                if let Some(brief) = &mut self.brief {
                    brief.begin_dump(|visit| dump_head(dump, &self.selection, visit));
                } else {
                    self.cells.begin_dump(self.humanize, |visit| {
                        dump_head(dump, &self.selection, visit);
                        dump_tail(dump, &self.selection, visit);
                    });
                }
            }
        }
    }

    /// Appends one row of the dump that began last to `out`.
    #[inline]
    pub fn row(&mut self, row: &SocketRow<'_>, out: &mut Vec<u8>) {
        let row = &SocketRow { flags: self.flags, ..*row };
        match self.format {
            Format::ProtobufList => self.stream::<proto::Row<'_>>(row, out),
            Format::ProtoJson => self.stream::<proto_json::Row<'_>>(row, out),
            Format::ProtoText => self.stream::<proto_text::Row<'_>>(row, out),
            Format::Msgpack => self.stream::<msgpack::Row<'_>>(row, out),
            Format::Jsonl => self.stream::<json::Row<'_>>(row, out),
            Format::Csv | Format::Tsv | Format::Table => {
                if let Some(brief) = &mut self.brief {
                    brief.row(out, |visit| socket_head(row, &self.selection, visit));
                } else {
                    self.cells.row(
                        self.humanize,
                        &self.selection,
                        separator(self.format),
                        out,
                        |visit| {
                            socket_head(row, &self.selection, visit);
                            socket_tail(row, &self.selection, visit);
                        },
                    );
                }
            }
        }
    }

    /// Appends one decoded record to `out`.
    pub fn record(&mut self, decoded: &XtcpFlatRecord, out: &mut Vec<u8>) {
        match self.format {
            Format::ProtobufList => self.stream_record::<proto::Row<'_>>(decoded, out),
            Format::ProtoJson => self.stream_record::<proto_json::Row<'_>>(decoded, out),
            Format::ProtoText => self.stream_record::<proto_text::Row<'_>>(decoded, out),
            Format::Msgpack => self.stream_record::<msgpack::Row<'_>>(decoded, out),
            Format::Jsonl => self.stream_record::<json::Row<'_>>(decoded, out),
            Format::Csv | Format::Tsv | Format::Table => {
                if let Some(brief) = &mut self.brief {
                    brief.begin_dump(|_| ());
                    brief.row(out, |visit| record(decoded, &self.selection, visit));
                } else {
                    self.cells.begin_dump(self.humanize, |_| ());
                    self.cells.row(
                        self.humanize,
                        &self.selection,
                        separator(self.format),
                        out,
                        |visit| {
                            record(decoded, &self.selection, visit);
                        },
                    );
                }
            }
        }
    }

    /// Length of an envelope whose rows take `body` bytes.
    pub(crate) fn sealed_len(&self, body: usize) -> usize {
        match self.format {
            Format::ProtobufList => proto::sealed_len(body),
            Format::ProtoJson => proto_json::sealed_len(body),
            _ => body,
        }
    }

    /// Puts the envelope's frame around the rows that begin at [`HEADROOM`] of `buffer`; returns where it begins.
    pub(crate) fn seal(&self, buffer: &mut Vec<u8>) -> usize {
        match self.format {
            Format::ProtobufList => proto::seal(buffer),
            Format::ProtoJson => proto_json::seal(buffer),
            _ => HEADROOM,
        }
    }

    fn begin_parts<'o, W: RowWriter<'o>>(&'o mut self, dump: &DumpContext<'_>) {
        self.head.bytes.clear();
        self.tail.bytes.clear();
        let mut head = W::part(&mut self.head.bytes, self.humanize);
        dump_head(dump, &self.selection, &mut head);
        self.head.columns = head.columns();
        let mut tail = W::part(&mut self.tail.bytes, self.humanize);
        dump_tail(dump, &self.selection, &mut tail);
        self.tail.columns = tail.columns();
    }

    #[inline(always)]
    fn stream<'o, W: RowWriter<'o>>(&self, row: &SocketRow<'_>, out: &'o mut Vec<u8>) {
        let mut writer = W::begin(out, self.humanize);
        writer.splice(&self.head);
        socket_head(row, &self.selection, &mut writer);
        writer.splice(&self.tail);
        socket_tail(row, &self.selection, &mut writer);
        writer.end();
    }

    fn stream_record<'o, W: RowWriter<'o>>(&self, decoded: &XtcpFlatRecord, out: &'o mut Vec<u8>) {
        let mut writer = W::begin(out, self.humanize);
        record(decoded, &self.selection, &mut writer);
        writer.end();
    }
}

impl Format {
    /// The name that `--marshal` takes.
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|(format, ..)| *format == self).map_or("", |(_, name, _)| name)
    }
}

impl std::str::FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let known = FORMATS.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(text));
        known.map(|(format, ..)| *format).ok_or_else(|| UnknownFormat(text.into()))
    }
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = FORMATS.iter().map(|(_, name, _)| *name).collect();
        write!(f, "unknown format {:?}; allowed: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownFormat {}

fn separator(format: Format) -> u8 {
    match format {
        Format::Csv => b',',
        Format::Tsv => b'\t',
        _ => table::CELL_END,
    }
}

/// Room before the rows of an envelope for the frame that is known only when it is sealed.
pub(crate) const HEADROOM: usize = 16;

/// The formats, their names, and what they are.
pub const FORMATS: [(Format, &str, &str); 8] = [
    (Format::ProtobufList, "protobufList", "varint length and Envelope, as ClickHouse reads it"),
    (Format::ProtoJson, "protoJson", "an Envelope a line in protobuf's JSON mapping"),
    (Format::ProtoText, "protoText", "an Envelope in protobuf's text format, a row a line"),
    (Format::Msgpack, "msgpack", "a MessagePack map a row, one behind the other"),
    (Format::Jsonl, "jsonl", "a JSON object a line and row"),
    (Format::Csv, "csv", "RFC 4180 with a header"),
    (Format::Tsv, "tsv", "the same with tabs"),
    (Format::Table, "table", "aligned columns for people"),
];
