//! Envelopes of our `protobufList` skipped row by row: rows and nothing else.

use std::io::{self, BufRead, Read};

use super::torn::Tail;

/// How a file of `len` bytes ends, from the lengths alone: no row is decoded.
pub(crate) fn structure(mut reader: impl BufRead, len: u64) -> io::Result<Tail> {
    let mut whole = 0;
    while whole < len {
        let mut cursor = Cursor { reader: &mut reader, read: 0 };
        match cursor.envelope() {
            Ok(true) => whole += cursor.read,
            Ok(false) => return Ok(Tail::Foreign("it is no protobufList to its end")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Tail::TornAt(whole));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Tail::after(whole, len))
}

struct Cursor<'r, R> {
    reader: &'r mut R,
    read: u64,
}

impl<R: BufRead> Cursor<'_, R> {
    /// False when it is no envelope of ours.
    fn envelope(&mut self) -> io::Result<bool> {
        // An envelope has at least one row.
        let Some(len @ 1..=MAX_ENVELOPE_BYTES) = self.varint()? else { return Ok(false) };
        let end = self.read + len;
        while self.read < end {
            if self.byte()? != ROW {
                return Ok(false);
            }
            let Some(row) = self.varint()? else { return Ok(false) };
            if row > end.saturating_sub(self.read) {
                return Ok(false);
            }
            self.skip(row)?;
        }
        Ok(self.read == end)
    }

    /// None when it has more than 63 bits.
    fn varint(&mut self) -> io::Result<Option<u64>> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.read += 1;
        Ok(u8::from_le_bytes(byte))
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(len), &mut io::sink())?;
        self.read += skipped;
        if skipped < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// Field 10, length-delimited.
const ROW: u8 = 0x52;
/// Far beyond what any writer makes.
const MAX_ENVELOPE_BYTES: u64 = 1 << 31;
