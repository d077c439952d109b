//! `protobufList`: rows as fields of an `Envelope`, written straight from the view; the bytes are those of prost.
//!
//! Repeated fields concatenate, so an envelope is its rows behind each other, with one length in front.

use super::{HEADROOM, Part, RowWriter};
use crate::column::Column;
use crate::visit::Visit;

/// One `Envelope.row`.
pub(crate) struct Row<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl<'o> RowWriter<'o> for Row<'o> {
    #[inline(always)]
    fn begin(out: &'o mut Vec<u8>, _humanize: bool) -> Self {
        let start = out.len();
        // Most rows take 128 to 16383 bytes: two bytes for the length. `end` mends the others.
        out.extend_from_slice(&[ROW_TAG, 0, 0]);
        Self { out, start }
    }

    fn part(out: &'o mut Vec<u8>, _humanize: bool) -> Self {
        let start = out.len();
        Self { out, start }
    }

    #[inline(always)]
    fn splice(&mut self, part: &Part) {
        self.out.extend_from_slice(&part.bytes);
    }

    #[inline(always)]
    fn end(self) {
        let body = self.start + ROW_PREFIX_BYTES;
        let len = self.out.len() - body;
        if let 0x80..=0x3fff = len
            && let Some(place) = self.out.get_mut(self.start + 1..body)
        {
            #[expect(clippy::cast_possible_truncation, reason = "seven bits each")]
            place.copy_from_slice(&[len as u8 & 0x7f | 0x80, (len >> 7) as u8]);
        } else {
            let (prefix, used) = varint_bytes(len as u64);
            self.out.splice(self.start + 1..body, prefix.into_iter().take(used));
        }
    }
}

impl Visit for Row<'_> {
    #[inline(always)]
    fn u32(&mut self, column: &'static Column, value: u32) {
        self.u64(column, u64::from(value));
    }

    #[inline(always)]
    fn u64(&mut self, column: &'static Column, value: u64) {
        // proto3: the default is not written.
        if value != 0 {
            self.tag(column, VARINT);
            varint(self.out, value);
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
        if !value.is_empty() {
            self.tag(column, LEN);
            varint(self.out, value.len() as u64);
            self.out.extend_from_slice(value);
        }
    }

    #[inline(always)]
    fn algorithm(&mut self, column: &'static Column, value: i32) {
        // An enum is an int32, whose negative values are ten bytes long.
        self.u64(column, i64::from(value).cast_unsigned());
    }
}

impl Row<'_> {
    #[inline(always)]
    fn tag(&mut self, column: &'static Column, wire_type: u32) {
        varint(self.out, u64::from(column.number << 3 | wire_type));
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

#[inline(always)]
fn varint(out: &mut Vec<u8>, mut value: u64) {
    #[expect(clippy::cast_possible_truncation, reason = "the low seven bits")]
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80")]
    out.push(value as u8);
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
const VARINT: u32 = 0;
const LEN: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_varint_is_what_it_takes() {
        for value in [0, 1, 127, 128, 16383, 16384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            let (bytes, used) = varint_bytes(value);
            assert_eq!(bytes[..used], out, "{value}");
        }
    }

    #[test]
    fn rows_of_every_length_get_the_prefix_that_prost_would_write() {
        for len in [0, 1, 127, 128, 16383, 16384, 70000] {
            let mut out = b"before".to_vec();
            let row = Row::begin(&mut out, false);
            row.out.extend(std::iter::repeat_n(7, len));
            row.end();
            let mut expected = b"before".to_vec();
            expected.push(ROW_TAG);
            varint(&mut expected, len as u64);
            expected.extend(std::iter::repeat_n(7, len));
            assert!(out == expected, "{len}");
        }
    }
}
