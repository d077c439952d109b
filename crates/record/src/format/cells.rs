//! `csv` and `tsv`, and tables of chosen columns: cells of text in the order asked for.

use super::text::{address, integer};
use crate::algorithm::enum_name;
use crate::column::Column;
use crate::columns::{COLUMNS, COUNT};
use crate::names::{name, rfc3339};
use crate::selection::Selection;
use crate::visit::Visit;

/// The text of one row's cells, and where each column's lies. Those of the dump stay from row to row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cells {
    text: Vec<u8>,
    /// By place in the table; `(0, 0)` is empty.
    places: Vec<(usize, usize)>,
    dump_text: usize,
    dump_places: Vec<(usize, usize)>,
}

impl Cells {
    /// Takes the columns that are constant for a dump.
    pub(crate) fn begin_dump(&mut self, humanize: bool, columns: impl FnOnce(&mut Row<'_>)) {
        self.text.clear();
        self.places.clear();
        self.places.resize(COUNT, (0, 0));
        columns(&mut Row { cells: self, humanize });
        self.dump_text = self.text.len();
        self.dump_places.clone_from(&self.places);
    }

    /// Appends one line to `out`.
    pub(crate) fn row(
        &mut self,
        humanize: bool,
        selection: &Selection,
        separator: u8,
        out: &mut Vec<u8>,
        columns: impl FnOnce(&mut Row<'_>),
    ) {
        self.text.truncate(self.dump_text);
        self.places.clone_from(&self.dump_places);
        columns(&mut Row { cells: self, humanize });
        let line = out.len();
        for (place, index) in selection.order().iter().enumerate() {
            if place > 0 {
                out.push(separator);
            }
            let (start, end) = self.places.get(*index).copied().unwrap_or_default();
            quoted(out, self.text.get(start..end).unwrap_or_default(), separator);
        }
        // A line with nothing on it is no row to whoever reads it.
        if out.len() == line && separator != super::table::CELL_END {
            out.extend_from_slice(b"\"\"");
        }
        out.push(b'\n');
    }
}

/// Where the columns of one row write their cells.
pub(crate) struct Row<'c> {
    cells: &'c mut Cells,
    humanize: bool,
}

impl Row<'_> {
    fn cell(&mut self, column: &'static Column, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.cells.text.len();
        write(&mut self.cells.text);
        if let Some(cell) = self.cells.places.get_mut(column.index) {
            *cell = (start, self.cells.text.len());
        }
    }
}

impl Visit for Row<'_> {
    fn u32(&mut self, column: &'static Column, value: u32) {
        let name = if self.humanize { name(column.meaning, u64::from(value)) } else { None };
        self.cell(column, |text| match name {
            Some(name) => text.extend_from_slice(name.as_bytes()),
            None => integer(text, value),
        });
    }

    fn u64(&mut self, column: &'static Column, value: u64) {
        self.cell(column, |text| integer(text, value));
    }

    fn i64(&mut self, column: &'static Column, value: i64) {
        let wanted = self.humanize && column.meaning == crate::column::Meaning::TimestampNs;
        let time = if wanted { rfc3339(value) } else { None };
        self.cell(column, |text| match time {
            Some(time) => text.extend_from_slice(time.as_bytes()),
            None => integer(text, value),
        });
    }

    fn str(&mut self, column: &'static Column, value: &str) {
        self.cell(column, |text| text.extend_from_slice(value.as_bytes()));
    }

    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        self.cell(column, |text| address(text, value));
    }

    fn algorithm(&mut self, column: &'static Column, value: i32) {
        let name = if self.humanize { enum_name(value) } else { None };
        self.cell(column, |text| match name {
            Some(name) => text.extend_from_slice(name.as_bytes()),
            None => integer(text, value),
        });
    }
}

/// The header line.
pub(crate) fn header(selection: &Selection, separator: u8) -> Vec<u8> {
    let names: Vec<&[u8]> = selection
        .order()
        .iter()
        .filter_map(|index| COLUMNS.get(*index))
        .map(|column| column.name.as_bytes())
        .collect();
    let mut line = names.join(&separator);
    line.push(b'\n');
    line
}

/// Appends a field as RFC 4180 wants it. Tables have no quotes: there, what would break a line becomes `?`.
pub(crate) fn quoted(out: &mut Vec<u8>, text: &[u8], separator: u8) {
    if separator == super::table::CELL_END {
        super::table::put_text(out, text);
    } else if needs_quotes(text, separator) {
        out.push(b'"');
        for byte in text {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(text);
    }
}

/// Whether a field can't stand as it is.
#[inline(always)]
pub(crate) fn needs_quotes(text: &[u8], separator: u8) -> bool {
    text.iter().any(|byte| matches!(byte, b'"' | b'\r' | b'\n') || *byte == separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_row_is_forgotten_before_the_next_and_that_of_the_dump_stays() {
        let selection: Selection = "hostname,tcp_info_rtt".parse().unwrap();
        let column = |name: &str| COLUMNS.iter().find(|column| column.name == name).unwrap();
        let (mut cells, mut out) = (Cells::default(), Vec::new());
        cells.begin_dump(false, |row| row.str(column("hostname"), "h"));
        for rtt in [1234, 5678] {
            cells
                .row(false, &selection, b',', &mut out, |row| row.u32(column("tcp_info_rtt"), rtt));
            assert_eq!(cells.text.len(), 5);
        }
        assert_eq!(out, b"h,1234\nh,5678\n");
    }
}
