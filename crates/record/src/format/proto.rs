//! `protobufList`: rows as fields of an `Envelope`, written straight from the view; the bytes are those of prost.
//!
//! Repeated fields concatenate, so an envelope is its rows behind each other, with one length in front.

use std::num::{NonZeroU32, NonZeroU64};

use super::line::Line;
use super::varint::{SPREAD_BITS, spread, tagged};
use super::{HEADROOM, Part, RowFormat, RowWriter, Settings};
use crate::column::Column;
use crate::visit::Visit;

/// The format.
pub(crate) struct ProtobufList;

impl RowFormat for ProtobufList {
    type Row<'o> = Row<'o>;
    const COMMON: bool = true;
    const EIGHTS: bool = true;

    #[inline(always)]
    fn begin<'o>(mut line: Line<'o>, _: &'o Settings) -> Row<'o> {
        // Most rows take 128 to 16383 bytes: two bytes for the length. `end` mends the others.
        line.put(&[ROW_TAG, 0, 0], ROW_PREFIX_BYTES);
        Row { line }
    }

    fn part<'o>(line: Line<'o>, _: &'o Settings, _: usize) -> Row<'o> {
        Row { line }
    }
}

/// One `Envelope.row`.
pub(crate) struct Row<'o> {
    pub(super) line: Line<'o>,
}

impl RowWriter for Row<'_> {
    #[inline(always)]
    fn splice(&mut self, part: &Part) {
        self.line.put_part(part);
    }

    #[inline(always)]
    fn end(mut self) {
        let len = self.line.len() - ROW_PREFIX_BYTES;
        if let 0x80..=0x3fff = len {
            #[expect(clippy::cast_possible_truncation, reason = "seven bits each")]
            self.line.mend(1, &[len as u8 & 0x7f | 0x80, (len >> 7) as u8]);
            self.line.end();
        } else {
            let (prefix, used) = varint_bytes(len as u64);
            let (out, start) = self.line.end_now();
            out.splice(start + 1..start + ROW_PREFIX_BYTES, prefix.into_iter().take(used));
        }
    }

    fn end_part(self) -> u32 {
        self.line.end_now();
        0
    }
}

impl Visit for Row<'_> {
    #[inline(always)]
    fn u32(&mut self, column: &'static Column, value: u32) {
        // proto3: the default is not written.
        if let Some(value) = NonZeroU32::new(value) {
            let (tag, tag_len) = tag(column, VARINT);
            if value.get() < 0x80 {
                #[expect(clippy::cast_possible_truncation, reason = "at most three bytes")]
                let field = tag as u32 | value.get() << (tag_len * 8);
                self.line.put(&field.to_le_bytes(), tag_len + 1);
            } else if tag_len == 2 {
                let (field, len) = tagged(tag, value);
                self.line.put(&field.to_le_bytes(), len);
            } else {
                let (varint, len) = spread(value.into());
                self.line.put(&(tag | varint << (tag_len * 8)).to_le_bytes(), tag_len + len);
            }
        }
    }

    #[inline(always)]
    fn u64(&mut self, column: &'static Column, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            self.u32(column, value);
        } else if let Some(value) = NonZeroU64::new(value) {
            let (tag, tag_len) = tag(column, VARINT);
            self.line.put(&tag.to_le_bytes(), tag_len);
            if value.get() >> SPREAD_BITS == 0 {
                let (varint, len) = spread(value);
                self.line.put(&varint.to_le_bytes(), len);
            } else {
                let (varint, len) = varint_bytes(value.get());
                self.line.put(&varint, len);
            }
        }
    }

    #[inline(always)]
    fn i64(&mut self, column: &'static Column, value: i64) {
        self.u64(column, value.cast_unsigned());
    }

    #[inline(always)]
    fn str(&mut self, column: &'static Column, value: &str) {
        self.bytes(column, value.as_bytes());
    }

    #[inline(always)]
    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        let (tag, tag_len) = tag(column, LEN);
        if let (Ok(v4), 2) = (<[u8; 4]>::try_from(value), tag_len) {
            // Most are addresses of IPv4: tag, length and address in one.
            let field = tag | 4 << 16 | u64::from(u32::from_le_bytes(v4)) << 24;
            self.line.put(&field.to_le_bytes(), 7);
        } else if let len @ 1..0x80 = value.len() as u64 {
            self.line.put(&(tag | len << (tag_len * 8)).to_le_bytes(), tag_len + 1);
            self.line.put_bytes(value);
        } else if let Some(len) = NonZeroU64::new(value.len() as u64) {
            let (varint, varint_len) = spread(len);
            self.line.put(&(tag | varint << (tag_len * 8)).to_le_bytes(), tag_len + varint_len);
            self.line.put_bytes(value);
        }
    }

    #[inline(always)]
    fn algorithm(&mut self, column: &'static Column, value: i32) {
        // An enum is an int32, whose negative values are ten bytes long.
        self.u64(column, i64::from(value).cast_unsigned());
    }
}

/// A tag's bytes, first one lowest, and how many they are; all columns are constants, and so is this.
#[inline(always)]
pub(super) const fn tag(column: &'static Column, wire_type: u32) -> (u64, usize) {
    let tag = (column.number << 3 | wire_type) as u64;
    match tag {
        0..0x80 => (tag, 1),
        0x80..0x4000 => (tag & 0x7f | 0x80 | tag >> 7 << 8, 2),
        _ => (tag & 0x7f | 0x80 | (tag >> 7 & 0x7f | 0x80) << 8 | tag >> 14 << 16, 3),
    }
}

/// Length of the list entry whose envelope takes `body` bytes.
pub(crate) fn sealed_len(body: usize) -> usize {
    varint_len(body as u64) + body
}

/// Writes the length in front of the rows.
pub(crate) fn seal(buffer: &mut [u8]) -> usize {
    let (prefix, used) = varint_bytes(buffer.len().saturating_sub(HEADROOM) as u64);
    let start = HEADROOM - used;
    for (place, byte) in buffer.iter_mut().skip(start).zip(prefix.into_iter().take(used)) {
        *place = byte;
    }
    start
}

/// A varint by itself, and how many of the bytes it takes.
fn varint_bytes(mut value: u64) -> ([u8; MAX_VARINT_BYTES], usize) {
    let mut bytes = [0; MAX_VARINT_BYTES];
    let mut used = 0;
    for byte in &mut bytes {
        used += 1;
        #[expect(clippy::cast_possible_truncation, reason = "the low seven bits")]
        let low = value as u8 & 0x7f;
        value >>= 7;
        if value == 0 {
            *byte = low;
            break;
        }
        *byte = low | 0x80;
    }
    (bytes, used)
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

const ROW_TAG: u8 = 10 << 3 | 2;
const ROW_PREFIX_BYTES: usize = 3;
const MAX_VARINT_BYTES: usize = 10;
pub(super) const VARINT: u32 = 0;
const LEN: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::line::Scratch;

    #[test]
    fn the_length_of_a_varint_is_what_it_takes() {
        for value in [0, 1, 127, 128, 16383, 16384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            prost::encoding::encode_varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value), "{value}");
            let (bytes, used) = varint_bytes(value);
            assert_eq!(bytes[..used], out, "{value}");
        }
    }

    #[test]
    fn rows_of_every_length_get_the_prefix_that_prost_would_write() {
        for len in [0, 1, 127, 128, 16383, 16384, 70000] {
            let mut out = b"before".to_vec();
            let (mut scratch, settings) = (Scratch::default(), Settings::default());
            let mut row = ProtobufList::begin(Line::new(&mut scratch, &mut out), &settings);
            row.line.put_through(|out| out.extend(std::iter::repeat_n(7, len)));
            row.end();
            scratch.settle(&mut out);
            let mut expected = b"before".to_vec();
            expected.push(ROW_TAG);
            prost::encoding::encode_varint(len as u64, &mut expected);
            expected.extend(std::iter::repeat_n(7, len));
            assert!(out == expected, "{len}");
        }
    }
}
