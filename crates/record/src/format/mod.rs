//! How rows look: the formats, and the encoder that turns rows of one dump after the other into bytes.

mod address;
mod cells;
mod decimal;
mod delimited;
mod eights;
mod json;
mod line;
mod msgpack;
mod proto;
mod proto_json;
mod proto_text;
pub mod table;
mod text;
mod varint;

use std::fmt;

use sockeye_sys::avx512::{Avx512, Work};

use self::line::{Line, Scratch};
use crate::columns::{
    COLUMNS, Index, dump_head, dump_tail, record, socket_head, socket_tail, tracked,
};
use crate::joined::Deltas;
use crate::row::{CLOSED, COMPLETE, DumpContext, NSID, Polled, SocketRow, SocketView, Structs};
use crate::selection::{Columns, Every, Selection};
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
///
/// Equal ones write the same rows: what a format chooses by itself equals the same choice spelled out.
#[derive(Debug, Clone, Eq)]
pub struct Encoding {
    /// The format.
    pub format: Format,
    /// The columns; `None` for the format's own choice (a few for `table`, else all).
    pub columns: Option<Selection>,
    /// Names and times for people: `None` for the format's own choice (true for csv, tsv and table).
    pub humanize: Option<bool>,
}

impl PartialEq for Encoding {
    fn eq(&self, other: &Self) -> bool {
        self.format == other.format
            && self.columns == other.columns
            && self.humanizes() == other.humanizes()
    }
}

impl Encoding {
    fn humanizes(&self) -> bool {
        let for_people = matches!(self.format, Format::Csv | Format::Tsv | Format::Table);
        self.humanize.unwrap_or(for_people)
    }
}

/// Turns rows into bytes of one [`Encoding`]. Belongs to one reader; allocates only when its buffers grow.
#[derive(Debug, Clone)]
pub struct Encoder {
    format: Format,
    selection: Selection,
    complete: bool,
    /// Whether common rows go a shorter way.
    shortcut: bool,
    /// Whether it is eight columns wide, in the format that can.
    avx512: Option<Avx512>,
    /// Of the dump, for the column `attributes`.
    flags: u64,
    /// Whether the dump is one of closed sockets.
    closed: bool,
    settings: Settings,
    head: Part,
    tail: Part,
    scratch: Scratch,
    cells: cells::Cells,
    brief: Option<table::Brief>,
}

/// Encoded columns that are the same for every row of a dump.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    /// Padded: see [`line`].
    bytes: Vec<u8>,
    len: usize,
    columns: u32,
    /// Place in the table of the first column that it may have.
    first: usize,
}

/// What the writers of rows are told.
#[derive(Debug, Clone, Default)]
struct Settings {
    humanize: bool,
    separator: u8,
    /// How many columns are written, and for each place in the table how many of them stand before it.
    cells: usize,
    before: Vec<u16>,
    /// Whether the columns are written in the order of the table.
    in_order: bool,
}

/// A format that needs no look back: what it writes of a row stays as it is.
trait RowFormat {
    /// Writes one row.
    type Row<'o>: RowWriter;
    /// Whether it has a path of its own for common rows: code of 10 to 20 KiB, for those formats that gain by it.
    const COMMON: bool = false;
    /// Whether it is protobufList, whose common rows [`eights`] writes.
    const EIGHTS: bool = false;
    /// Begins a row.
    fn begin<'o>(line: Line<'o>, settings: &'o Settings) -> Self::Row<'o>;
    /// Begins a part that will be copied into rows, whose columns begin at this place of the table.
    fn part<'o>(line: Line<'o>, settings: &'o Settings, _first: usize) -> Self::Row<'o> {
        Self::begin(line, settings)
    }
}

/// Writes one row; begun by its [`RowFormat`], ended by [`RowWriter::end`].
trait RowWriter: Visit {
    /// Copies a part made before.
    fn splice(&mut self, part: &Part);
    /// Ends the row.
    fn end(self);
    /// Ends a part; returns how many columns it has, where that matters.
    fn end_part(self) -> u32;
}

/// The one place that knows which type writes which format: calls `method::<F>`, or does `look_back` for the formats that
/// write a row only when it is whole.
macro_rules! stream_or_look_back {
    ($encoder:ident.$method:ident($($argument:expr),*), $look_back:block) => {
        match $encoder.format {
            Format::ProtobufList => $encoder.$method::<proto::ProtobufList>($($argument),*),
            Format::ProtoJson => $encoder.$method::<proto_json::ProtoJson>($($argument),*),
            Format::ProtoText => $encoder.$method::<proto_text::ProtoText>($($argument),*),
            Format::Msgpack => $encoder.$method::<msgpack::Msgpack>($($argument),*),
            Format::Jsonl => $encoder.$method::<json::Jsonl>($($argument),*),
            Format::Csv | Format::Tsv if $encoder.settings.in_order => {
                $encoder.$method::<delimited::Delimited>($($argument),*);
            }
            Format::Csv | Format::Tsv | Format::Table => $look_back,
        }
    };
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
        let mut settings = Settings::of(&selection, format);
        settings.humanize = encoding.humanizes();
        let complete = selection.is_complete();
        let cells = cells::Cells::default();
        let (head, tail, scratch) = (Part::default(), Part::default(), Scratch::default());
        Self {
            format,
            selection,
            complete,
            shortcut: complete,
            avx512: Avx512::detect(),
            flags: 0,
            closed: false,
            settings,
            head,
            tail,
            scratch,
            cells,
            brief,
        }
    }

    /// The same encoder without the shorter way of common rows, which must make no difference: tests compare them.
    #[doc(hidden)]
    #[must_use]
    pub fn without_shortcut(self) -> Self {
        Self { shortcut: false, ..self }
    }

    /// The same encoder for any processor; its rows are the same bytes.
    #[must_use]
    pub fn without_avx512(self) -> Self {
        Self { avx512: None, ..self }
    }

    /// Whether a row of protobufList goes eight columns at a time. No difference is to be seen, so tests ask.
    #[doc(hidden)]
    pub fn goes_eight_wide(&self, row: &SocketRow<'_>) -> bool {
        let may = self.avx512.is_some() && self.shortcut && !self.closed;
        may && row.common().is_some_and(|structs| eights::fit(&structs))
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
        self.closed = dump.record_kind == CLOSED;
        stream_or_look_back!(self.begin_parts(dump), {
            if let Some(brief) = &mut self.brief {
                brief.begin_dump(|visit| dump_head(dump, &self.selection, visit));
            } else {
                self.cells.begin_dump(self.settings.humanize, |visit| {
                    dump_head(dump, &self.selection, visit);
                    dump_tail(dump, &self.selection, visit);
                });
            }
        });
    }

    /// Appends one row of the dump that began last to `out`.
    #[inline]
    pub fn row(&mut self, row: &SocketRow<'_>, out: &mut Vec<u8>) {
        self.pend(row, out);
        self.settle(out);
    }

    /// The same, sooner or later: until [`Encoder::settle`], which is to come before `out` is read, written or changed for
    /// another, the last [`Encoder::pending`] bytes are not there yet.
    #[inline]
    pub fn pend(&mut self, row: &SocketRow<'_>, out: &mut Vec<u8>) {
        stream_or_look_back!(self.stream(row, out), {
            let row = &SocketView::new(row, self.closed, self.flags);
            if let Some(brief) = &mut self.brief {
                brief.row(out, |visit| socket_head(row, &self.selection, visit));
            } else {
                self.cells.row(
                    self.settings.humanize,
                    &self.selection,
                    self.settings.separator,
                    out,
                    |visit| {
                        socket_head(row, &self.selection, visit);
                        tracked(row, &self.selection, visit);
                        socket_tail(row, &self.selection, visit);
                    },
                );
            }
        });
    }

    /// Bytes of rows that are not in their buffer yet.
    #[inline]
    pub fn pending(&self) -> usize {
        self.scratch.pending()
    }

    /// Appends what is pending to the buffer that it belongs to.
    #[inline]
    pub fn settle(&mut self, out: &mut Vec<u8>) {
        self.scratch.settle(out);
    }

    /// Appends one decoded record to `out`.
    pub fn record(&mut self, decoded: &XtcpFlatRecord, out: &mut Vec<u8>) {
        self.write_record(decoded, out);
        self.settle(out);
    }

    fn write_record(&mut self, decoded: &XtcpFlatRecord, out: &mut Vec<u8>) {
        stream_or_look_back!(self.stream_record(decoded, out), {
            if let Some(brief) = &mut self.brief {
                brief.begin_dump(|_| ());
                brief.row(out, |visit| record(decoded, &self.selection, visit));
            } else {
                self.cells.begin_dump(self.settings.humanize, |_| ());
                self.cells.row(
                    self.settings.humanize,
                    &self.selection,
                    self.settings.separator,
                    out,
                    |visit| {
                        record(decoded, &self.selection, visit);
                    },
                );
            }
        });
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

    fn begin_parts<F: RowFormat>(&mut self, dump: &DumpContext<'_>) {
        let Self { selection, scratch, settings, .. } = self;
        self.head.write(0, |bytes| {
            let mut head = F::part(Line::apart(scratch, bytes), settings, 0);
            dump_head(dump, selection, &mut head);
            head.end_part()
        });
        let first = Index::record_kind as usize;
        self.tail.write(first, |bytes| {
            let mut tail = F::part(Line::apart(scratch, bytes), settings, first);
            dump_tail(dump, selection, &mut tail);
            tail.end_part()
        });
    }

    /// One row. What most rows are is decided once and not for each column.
    #[inline(always)]
    fn stream<F: RowFormat>(&mut self, row: &SocketRow<'_>, out: &mut Vec<u8>) {
        if F::COMMON
            && self.shortcut
            && !self.closed
            && let Some(structs) = row.common()
        {
            let (row, deltas) = (&row.polled, row.deltas.as_ref());
            if F::EIGHTS
                && let Some(avx512) = self.avx512
                && eights::fit(&structs)
            {
                avx512.call(EightWide { encoder: self, avx512, row, deltas, structs, out });
            } else {
                self.stream_common::<F>(row, deltas, structs, out);
            }
        } else {
            // Its own copy, since the borrow checker can't know that a writer leaves it alone.
            let columns = self.selection.bits();
            self.stream_columns::<F>(&SocketView::new(row, self.closed, self.flags), &columns, out);
        }
    }

    /// A function for each format: each has the registers for itself.
    #[inline(never)]
    fn stream_common<F: RowFormat>(
        &mut self,
        row: &Polled<'_>,
        deltas: Option<&Deltas>,
        structs: Structs<'_>,
        out: &mut Vec<u8>,
    ) {
        let row = SocketView::common(row, deltas, structs, self.flags);
        self.stream_columns::<F>(&row, &Every, out);
    }

    #[inline(always)]
    fn stream_columns<F: RowFormat>(
        &mut self,
        row: &SocketView<'_>,
        columns: &impl Columns,
        out: &mut Vec<u8>,
    ) {
        let writer = F::begin(Line::new(&mut self.scratch, out), &self.settings);
        write_columns(writer, &self.head, &self.tail, row, columns);
    }

    fn stream_record<F: RowFormat>(&mut self, decoded: &XtcpFlatRecord, out: &mut Vec<u8>) {
        let mut writer = F::begin(Line::new(&mut self.scratch, out), &self.settings);
        record(decoded, &self.selection, &mut writer);
        writer.end();
    }
}

/// A common row of `protobufList` where the processor has [`Avx512`].
struct EightWide<'a> {
    encoder: &'a mut Encoder,
    avx512: Avx512,
    row: &'a Polled<'a>,
    deltas: Option<&'a Deltas>,
    structs: Structs<'a>,
    out: &'a mut Vec<u8>,
}

impl Work for EightWide<'_> {
    #[inline(always)]
    fn call(self) {
        let Encoder { flags, settings, head, tail, scratch, .. } = self.encoder;
        let row = SocketView::common(self.row, self.deltas, self.structs, *flags);
        let line = Line::new(scratch, self.out);
        let writer = eights::Row::begin(line, settings, self.avx512, self.structs);
        write_columns(writer, head, tail, &row, &Every);
    }
}

#[inline(always)]
fn write_columns(
    mut writer: impl RowWriter,
    head: &Part,
    tail: &Part,
    row: &SocketView<'_>,
    columns: &impl Columns,
) {
    writer.splice(head);
    socket_head(row, columns, &mut writer);
    writer.splice(tail);
    if row.is_tracked() {
        tracked(row, columns, &mut writer);
    }
    socket_tail(row, columns, &mut writer);
    writer.end();
}

impl Settings {
    fn of(selection: &Selection, format: Format) -> Self {
        let mut before = Vec::new();
        let mut cells = 0;
        for column in &COLUMNS {
            before.push(cells);
            cells += u16::from(selection.contains(column.index));
        }
        Self {
            humanize: false,
            separator: separator(format),
            cells: usize::from(cells),
            before,
            in_order: selection.order().is_sorted(),
        }
    }

    /// The place in a row of the column at this place in the table.
    #[inline(always)]
    fn place(&self, index: usize) -> usize {
        self.before.get(index).copied().unwrap_or_default().into()
    }
}

impl Part {
    /// The bytes.
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn write(&mut self, first: usize, write: impl FnOnce(&mut Vec<u8>) -> u32) {
        self.bytes.clear();
        self.first = first;
        self.columns = write(&mut self.bytes);
        self.seal();
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
