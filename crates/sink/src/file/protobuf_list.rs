//! Envelopes of our `protobufList` skipped row by row: rows and nothing else.

use std::io::{self, BufRead};

use super::cursor::{Cursor, walk};
use super::torn::Tail;

/// How a file of `len` bytes ends, from the lengths alone: no row is decoded.
pub(crate) fn structure(reader: impl BufRead, len: u64) -> io::Result<Tail> {
    walk(reader, len, "it is no protobufList to its end", Cursor::envelope)
}

impl<R: BufRead> Cursor<R> {
    /// False when it is no envelope of ours.
    fn envelope(&mut self) -> io::Result<bool> {
        // An envelope has at least one row.
        let Some(len @ 1..=MAX_ENVELOPE_BYTES) = self.varint()? else { return Ok(false) };
        let end = self.read() + len;
        while self.read() < end {
            if self.little_endian(1)? != ROW {
                return Ok(false);
            }
            let Some(row) = self.varint()? else { return Ok(false) };
            if row > end.saturating_sub(self.read()) {
                return Ok(false);
            }
            self.skip(row)?;
        }
        Ok(self.read() == end)
    }

    /// None when it has more than 63 bits.
    fn varint(&mut self) -> io::Result<Option<u64>> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.little_endian(1)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

/// Field 10, length-delimited.
const ROW: u64 = 0x52;
/// Far beyond what any writer makes.
const MAX_ENVELOPE_BYTES: u64 = 1 << 31;
