//! `jsonl`: one object a line; numbers as numbers, addresses as text, absent columns left out.

use super::text::{address, integer, json_string};
use super::{Part, RowWriter};
use crate::algorithm::enum_name;
use crate::column::{Column, Meaning};
use crate::names::{name, rfc3339};
use crate::visit::Visit;

/// One line. Every key brings the comma before it; the first comma becomes the brace.
pub(crate) struct Row<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    humanize: bool,
}

impl<'o> RowWriter<'o> for Row<'o> {
    #[inline(always)]
    fn begin(out: &'o mut Vec<u8>, humanize: bool) -> Self {
        let start = out.len();
        Self { out, start, humanize }
    }

    fn part(out: &'o mut Vec<u8>, humanize: bool) -> Self {
        Self::begin(out, humanize)
    }

    #[inline(always)]
    fn splice(&mut self, part: &Part) {
        self.out.extend_from_slice(&part.bytes);
    }

    #[inline(always)]
    fn end(self) {
        close(self.out, self.start);
        self.out.push(b'\n');
    }
}

impl Visit for Row<'_> {
    #[inline(always)]
    fn u32(&mut self, column: &'static Column, value: u32) {
        self.key(column);
        integer(self.out, value);
        if self.humanize
            && let Some(name) = name(column.meaning, u64::from(value))
        {
            self.name_of(column, name);
        }
    }

    #[inline(always)]
    fn u64(&mut self, column: &'static Column, value: u64) {
        self.key(column);
        integer(self.out, value);
    }

    #[inline(always)]
    fn i64(&mut self, column: &'static Column, value: i64) {
        self.key(column);
        integer(self.out, value);
        if self.humanize
            && column.meaning == Meaning::TimestampNs
            && let Some(time) = rfc3339(value)
        {
            self.out.extend_from_slice(b",\"timestamp\":");
            json_string(self.out, &time);
        }
    }

    #[inline(always)]
    fn str(&mut self, column: &'static Column, value: &str) {
        self.key(column);
        json_string(self.out, value);
    }

    #[inline(always)]
    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        self.key(column);
        self.out.push(b'"');
        address(self.out, value);
        self.out.push(b'"');
    }

    #[inline(always)]
    fn algorithm(&mut self, column: &'static Column, value: i32) {
        self.key(column);
        integer(self.out, value);
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
        self.out.extend_from_slice(column.json_key.as_bytes());
    }

    /// `--humanize` adds a key and leaves the number as it is, so that a consumer's types hold.
    fn name_of(&mut self, column: &'static Column, name: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(column.name.as_bytes());
        self.out.extend_from_slice(b"_name\":");
        json_string(self.out, name);
    }
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
