//! Rows of our `msgpack` skipped one by one: maps with a 16-bit count, of texts to integers and texts.

use std::io::{self, BufRead, Read};

use super::torn::Tail;

/// How a file of `len` bytes ends.
pub(crate) fn tail(mut reader: impl BufRead, len: u64) -> io::Result<Tail> {
    let mut whole = 0;
    while whole < len {
        match row(&mut reader)? {
            Skipped::Bytes(bytes) => whole += bytes,
            Skipped::Torn => return Ok(Tail::TornAt(whole)),
            Skipped::Foreign => return Ok(Tail::Foreign("it holds no msgpack rows")),
        }
    }
    Ok(Tail::after(whole, len))
}

enum Skipped {
    Bytes(u64),
    Torn,
    Foreign,
}

fn row(reader: &mut impl BufRead) -> io::Result<Skipped> {
    let mut cursor = Cursor { reader, read: 0 };
    match cursor.row() {
        Ok(true) => Ok(Skipped::Bytes(cursor.read)),
        Ok(false) => Ok(Skipped::Foreign),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Skipped::Torn),
        Err(error) => Err(error),
    }
}

struct Cursor<'r, R> {
    reader: &'r mut R,
    read: u64,
}

impl<R: BufRead> Cursor<'_, R> {
    /// False when it is no row of ours.
    fn row(&mut self) -> io::Result<bool> {
        if self.number(1)? != MAP16 {
            return Ok(false);
        }
        for _ in 0..self.number(2)? {
            if !self.text()? || !self.value()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn text(&mut self) -> io::Result<bool> {
        let marker = self.number(1)?;
        self.text_of(marker)
    }

    fn text_of(&mut self, marker: u64) -> io::Result<bool> {
        let len = match marker {
            0xa0..=0xbf => marker & 0x1f,
            0xd9 => self.number(1)?,
            0xda => self.number(2)?,
            0xdb => self.number(4)?,
            _ => return Ok(false),
        };
        self.skip(len)?;
        Ok(true)
    }

    fn value(&mut self) -> io::Result<bool> {
        let marker = self.number(1)?;
        match marker {
            0x00..=0x7f | 0xe0..=0xff => {}
            // uint 8 to 64 and int 8 to 64.
            0xcc..=0xcf => self.skip(1 << (marker - 0xcc))?,
            0xd0..=0xd3 => self.skip(1 << (marker - 0xd0))?,
            _ => return self.text_of(marker),
        }
        Ok(true)
    }

    /// A big-endian number of up to 8 bytes.
    fn number(&mut self, bytes: usize) -> io::Result<u64> {
        let mut number = [0; 8];
        self.reader.read_exact(number.get_mut(8 - bytes..).unwrap_or_default())?;
        self.read += bytes as u64;
        Ok(u64::from_be_bytes(number))
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(len), &mut io::sink())?;
        self.read += skipped;
        if skipped < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

const MAP16: u64 = 0xde;
