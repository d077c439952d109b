//! Rows of our `msgpack` skipped one by one: maps with a 16-bit count, of texts to integers and texts.

use std::io::{self, BufRead};

use super::cursor::{Cursor, walk};
use super::torn::Tail;

/// How a file of `len` bytes ends.
pub(crate) fn tail(reader: impl BufRead, len: u64) -> io::Result<Tail> {
    walk(reader, len, "it holds no msgpack rows", Cursor::row)
}

impl<R: BufRead> Cursor<R> {
    /// False when it is no row of ours.
    fn row(&mut self) -> io::Result<bool> {
        if self.big_endian(1)? != MAP16 {
            return Ok(false);
        }
        for _ in 0..self.big_endian(2)? {
            if !self.text()? || !self.value()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn text(&mut self) -> io::Result<bool> {
        let marker = self.big_endian(1)?;
        self.text_of(marker)
    }

    fn text_of(&mut self, marker: u64) -> io::Result<bool> {
        let len = match marker {
            0xa0..=0xbf => marker & 0x1f,
            0xd9 => self.big_endian(1)?,
            0xda => self.big_endian(2)?,
            0xdb => self.big_endian(4)?,
            _ => return Ok(false),
        };
        self.skip(len)?;
        Ok(true)
    }

    fn value(&mut self) -> io::Result<bool> {
        let marker = self.big_endian(1)?;
        match marker {
            0x00..=0x7f | 0xe0..=0xff => {}
            // uint 8 to 64 and int 8 to 64.
            0xcc..=0xcf => self.skip(1 << (marker - 0xcc))?,
            0xd0..=0xd3 => self.skip(1 << (marker - 0xd0))?,
            _ => return self.text_of(marker),
        }
        Ok(true)
    }
}

const MAP16: u64 = 0xde;
