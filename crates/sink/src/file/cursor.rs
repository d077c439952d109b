//! Reading a file unit by unit, frame or envelope or row, to find where what is whole ends.

use std::io::{self, BufRead, Read};

use super::torn::Tail;

/// How a file of `len` bytes ends. `unit` reads one unit, and returns false when it is none of ours; the end of the file
/// inside of it is a torn one. `foreign` says what a file with anything else is not.
pub(crate) fn walk<R: BufRead>(
    reader: R,
    len: u64,
    foreign: &'static str,
    mut unit: impl FnMut(&mut Cursor<R>) -> io::Result<bool>,
) -> io::Result<Tail> {
    let mut whole = 0;
    let mut cursor = Cursor { reader, read: 0 };
    while whole < len {
        cursor.read = 0;
        match unit(&mut cursor) {
            Ok(true) => whole += cursor.read,
            Ok(false) => return Ok(Tail::Foreign(foreign)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Tail::TornAt(whole));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Tail::after(whole, len))
}

/// Reads one unit, and counts what it has read.
pub(crate) struct Cursor<R> {
    reader: R,
    read: u64,
}

impl<R: BufRead> Cursor<R> {
    /// Bytes of the unit so far.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// A little-endian number of up to 8 bytes.
    pub(crate) fn little_endian(&mut self, bytes: usize) -> io::Result<u64> {
        let mut number = [0; 8];
        self.fill(number.get_mut(..bytes).unwrap_or_default())?;
        Ok(u64::from_le_bytes(number))
    }

    /// A big-endian number of up to 8 bytes.
    pub(crate) fn big_endian(&mut self, bytes: usize) -> io::Result<u64> {
        let mut number = [0; 8];
        self.fill(number.get_mut(8 - bytes..).unwrap_or_default())?;
        Ok(u64::from_be_bytes(number))
    }

    /// So many bytes, or those that are left.
    pub(crate) fn at_most(&mut self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut taken = Vec::new();
        self.reader.by_ref().take(bytes).read_to_end(&mut taken)?;
        self.read += taken.len() as u64;
        Ok(taken)
    }

    /// Passes over so many bytes.
    pub(crate) fn skip(&mut self, len: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(len), &mut io::sink())?;
        self.read += skipped;
        if skipped < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(bytes)?;
        self.read += bytes.len() as u64;
        Ok(())
    }
}
