//! `csv` and `tsv` of columns in the order of the table, which is the default: cells are written where they stay.

use super::line::{GAP_BYTES, Line};
use super::{Part, RowFormat, RowWriter, Settings, cells};
use crate::algorithm::enum_name;
use crate::column::{Column, Meaning};
use crate::names::{name, rfc3339};
use crate::visit::Visit;

/// The format.
pub(crate) struct Delimited;

impl RowFormat for Delimited {
    type Row<'o> = Row<'o>;
    const COMMON: bool = true;

    #[inline(always)]
    fn begin<'o>(line: Line<'o>, settings: &'o Settings) -> Row<'o> {
        Row { line, settings, cell: 0 }
    }

    fn part<'o>(line: Line<'o>, settings: &'o Settings, first: usize) -> Row<'o> {
        Row { line, settings, cell: settings.place(first) }
    }
}

/// One line. A cell brings the separators before it, also those of empty cells.
pub(crate) struct Row<'o> {
    line: Line<'o>,
    settings: &'o Settings,
    /// The cell that the line has come to.
    cell: usize,
}

impl RowWriter for Row<'_> {
    #[inline(always)]
    fn splice(&mut self, part: &Part) {
        if part.len > 0 {
            self.go_to(self.settings.place(part.first));
            self.line.put_part(part);
            self.cell = part.columns as usize;
        }
    }

    #[inline(always)]
    fn end(mut self) {
        self.go_to(self.settings.cells.saturating_sub(1));
        // A line with nothing on it is no row to whoever reads it.
        if self.line.len() == 0 {
            self.line.put(b"\"\"", 2);
        }
        self.line.put(b"\n", 1);
        self.line.end();
    }

    fn end_part(self) -> u32 {
        self.line.end_now();
        u32::try_from(self.cell).expect("there are fewer columns than 2^32")
    }
}

impl Visit for Row<'_> {
    #[inline(always)]
    fn u32(&mut self, column: &'static Column, value: u32) {
        self.begin_cell(column);
        if self.settings.humanize
            && column.meaning != Meaning::Plain
            && let Some(name) = name(column.meaning, u64::from(value))
        {
            self.line.put_bytes(name.as_bytes());
        } else {
            self.line.put_integer(u64::from(value));
        }
    }

    #[inline(always)]
    fn u64(&mut self, column: &'static Column, value: u64) {
        self.begin_cell(column);
        self.line.put_integer(value);
    }

    #[inline(always)]
    fn i64(&mut self, column: &'static Column, value: i64) {
        self.begin_cell(column);
        if self.settings.humanize
            && column.meaning == Meaning::TimestampNs
            && let Some(time) = rfc3339(value)
        {
            self.line.put_bytes(time.as_bytes());
        } else {
            self.line.put_signed(value);
        }
    }

    #[inline(always)]
    fn str(&mut self, column: &'static Column, value: &str) {
        self.begin_cell(column);
        let separator = self.settings.separator;
        if value.len() <= 16 && !cells::needs_quotes(value.as_bytes(), separator) {
            self.line.put_bytes(value.as_bytes());
        } else {
            self.line.put_through(|out| cells::quoted(out, value.as_bytes(), separator));
        }
    }

    #[inline(always)]
    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        self.begin_cell(column);
        self.line.put_address(value);
    }

    #[inline(always)]
    fn algorithm(&mut self, column: &'static Column, value: i32) {
        self.begin_cell(column);
        match enum_name(value).filter(|_| self.settings.humanize) {
            Some(name) => self.line.put_bytes(name.as_bytes()),
            None => self.line.put_signed(i64::from(value)),
        }
    }
}

impl Row<'_> {
    #[inline(always)]
    fn begin_cell(&mut self, column: &'static Column) {
        self.go_to(self.settings.place(column.index));
    }

    /// Writes separators up to a cell.
    #[inline(always)]
    fn go_to(&mut self, cell: usize) {
        let mut gap = cell.saturating_sub(self.cell);
        while gap > GAP_BYTES {
            self.line.put(&[self.settings.separator; GAP_BYTES], GAP_BYTES);
            gap -= GAP_BYTES;
        }
        self.line.put(&[self.settings.separator; GAP_BYTES], gap);
        self.cell = cell;
    }
}
