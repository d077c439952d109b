//! `jsonl`: one object a line; numbers as numbers, addresses as text, absent columns left out.

use super::line::Line;
use super::text::json_string;
use super::{Part, RowFormat, RowWriter, Settings};
use crate::algorithm::enum_name;
use crate::column::{Column, Meaning};
use crate::names::{name, rfc3339};
use crate::visit::Visit;

/// The format.
pub(crate) struct Jsonl;

impl RowFormat for Jsonl {
    type Row<'o> = Row<'o>;

    const COMMON: bool = true;

    #[inline(always)]
    fn begin<'o>(line: Line<'o>, settings: &'o Settings) -> Row<'o> {
        Row { line, humanize: settings.humanize }
    }
}

/// One line. Every key brings the comma before it; the first comma becomes the brace.
pub(crate) struct Row<'o> {
    line: Line<'o>,
    humanize: bool,
}

impl RowWriter for Row<'_> {
    #[inline(always)]
    fn splice(&mut self, part: &Part) {
        self.line.put_part(part);
    }

    #[inline(always)]
    fn end(mut self) {
        if self.line.len() == 0 {
            self.line.put(b"{", 1);
        } else {
            self.line.mend(0, b"{");
        }
        self.line.put(b"}\n", 2);
        self.line.end();
    }

    fn end_part(self) -> u32 {
        self.line.end_now();
        0
    }
}

impl Visit for Row<'_> {
    #[inline(always)]
    fn u32(&mut self, column: &'static Column, value: u32) {
        self.u64(column, u64::from(value));
        if self.humanize
            && column.meaning != Meaning::Plain
            && let Some(name) = name(column.meaning, u64::from(value))
        {
            self.name_of(column, name);
        }
    }

    #[inline(always)]
    fn u64(&mut self, column: &'static Column, value: u64) {
        self.key(column);
        self.line.put_integer(value);
    }

    #[inline(always)]
    fn i64(&mut self, column: &'static Column, value: i64) {
        self.key(column);
        self.line.put_signed(value);
        if self.humanize
            && column.meaning == Meaning::TimestampNs
            && let Some(time) = rfc3339(value)
        {
            // `timestamp_ns` has its time as `timestamp`.
            let key = column.json_key.as_bytes();
            self.line.put_known(key.strip_suffix(b"_ns\":").unwrap_or(key));
            self.line.put(b"\":", 2);
            self.line.put_through(|out| json_string(out, &time));
        }
    }

    #[inline(always)]
    fn str(&mut self, column: &'static Column, value: &str) {
        self.key(column);
        if value.len() <= 16 && value.bytes().all(is_plain) {
            self.line.put(b"\"", 1);
            self.line.put_bytes(value.as_bytes());
            self.line.put(b"\"", 1);
        } else {
            self.line.put_through(|out| json_string(out, value));
        }
    }

    #[inline(always)]
    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        self.key(column);
        self.line.put(b"\"", 1);
        self.line.put_address(value);
        self.line.put(b"\"", 1);
    }

    #[inline(always)]
    fn algorithm(&mut self, column: &'static Column, value: i32) {
        self.key(column);
        self.line.put_signed(i64::from(value));
        if self.humanize
            && let Some(name) = enum_name(value)
        {
            self.name_of(column, name);
        }
    }
}

impl Row<'_> {
    #[inline(always)]
    fn key(&mut self, column: &'static Column) {
        self.line.put_known(column.json_key.as_bytes());
    }

    /// `--humanize` adds a key and leaves the number as it is, so that a consumer's types hold.
    fn name_of(&mut self, column: &'static Column, name: &str) {
        self.line.put_through(|out| {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(column.name.as_bytes());
            out.extend_from_slice(b"_name\":");
            json_string(out, name);
        });
    }
}

/// Whether a character stands in a JSON string as it is.
#[inline(always)]
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..0x7f) && byte != b'"' && byte != b'\\'
}

/// Turns the comma at `start` into the opening brace and writes the closing one.
#[inline(always)]
pub(crate) fn close(out: &mut Vec<u8>, start: usize) {
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}
