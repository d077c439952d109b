//! `msgpack`: a map a row, keys are the column names; addresses are strings, absent columns left out.

use rmp::encode::{write_sint, write_str, write_uint};

use super::line::Line;
use super::text::address;
use super::{Part, RowFormat, RowWriter, Settings};
use crate::column::Column;
use crate::visit::Visit;

/// The format.
pub(crate) struct Msgpack;

impl RowFormat for Msgpack {
    type Row<'o> = Row<'o>;

    fn begin<'o>(line: Line<'o>, _: &'o Settings) -> Row<'o> {
        let out = line.into_buffer();
        let start = out.len();
        out.extend_from_slice(&[MAP16, 0, 0]);
        Row { out, start, columns: 0 }
    }

    fn part<'o>(line: Line<'o>, _: &'o Settings, _: usize) -> Row<'o> {
        let out = line.into_buffer();
        let start = out.len();
        Row { out, start, columns: 0 }
    }
}

/// One map, always with a 16-bit count: the count is known only at the end.
pub(crate) struct Row<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    columns: u32,
}

impl RowWriter for Row<'_> {
    fn splice(&mut self, part: &Part) {
        self.out.extend_from_slice(part.bytes());
        self.columns += part.columns;
    }

    fn end(self) {
        let count = u16::try_from(self.columns).expect("there are fewer columns than 65536");
        if let Some(place) = self.out.get_mut(self.start + 1..self.start + 3) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }

    fn end_part(self) -> u32 {
        self.columns
    }
}

impl Visit for Row<'_> {
    fn u32(&mut self, column: &'static Column, value: u32) {
        self.u64(column, u64::from(value));
    }

    fn u64(&mut self, column: &'static Column, value: u64) {
        self.key(column);
        write_uint(self.out, value).expect(VEC);
    }

    fn i64(&mut self, column: &'static Column, value: i64) {
        self.key(column);
        write_sint(self.out, value).expect(VEC);
    }

    fn str(&mut self, column: &'static Column, value: &str) {
        self.key(column);
        write_str(self.out, value).expect(VEC);
    }

    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        self.key(column);
        if value.len() > MAX_ADDRESS_BYTES {
            let mut text = Vec::new();
            address(&mut text, value);
            write_str(self.out, &String::from_utf8_lossy(&text)).expect(VEC);
            return;
        }
        // The text is at most 45 bytes long: the marker str8 and its length, mended when it is written.
        self.out.extend_from_slice(&[STR8, 0]);
        let start = self.out.len();
        address(self.out, value);
        let len = u8::try_from(self.out.len() - start).expect("45 characters at the most");
        if let Some(place) = self.out.get_mut(start - 1) {
            *place = len;
        }
    }

    fn algorithm(&mut self, column: &'static Column, value: i32) {
        self.i64(column, i64::from(value));
    }
}

impl Row<'_> {
    fn key(&mut self, column: &'static Column) {
        write_str(self.out, column.name).expect(VEC);
        self.columns += 1;
    }
}

const VEC: &str = "a Vec takes every write";
const MAP16: u8 = 0xde;
const STR8: u8 = 0xd9;
/// Foreign files may call anything an address.
const MAX_ADDRESS_BYTES: usize = 16;
