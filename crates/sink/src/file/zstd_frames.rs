//! Borders of zstd frames, found from their headers alone (RFC 8878, section 3.1): nothing is decompressed.

use std::io::{self, BufRead};

use super::cursor::{Cursor, walk};
use super::torn::Tail;

/// How a file of `len` bytes ends.
pub(crate) fn tail(reader: impl BufRead, len: u64) -> io::Result<Tail> {
    walk(reader, len, "it holds no zstd frames", Cursor::frame)
}

impl<R: BufRead> Cursor<R> {
    /// False when no frame begins here, or it is corrupt.
    fn frame(&mut self) -> io::Result<bool> {
        let Some(magic) = self.magic()? else { return Ok(false) };
        if magic & !0xf == SKIPPABLE {
            return self.skippable();
        }
        if magic != MAGIC {
            return Ok(false);
        }
        let descriptor = self.little_endian(1)?;
        let single_segment = descriptor >> 5 & 1;
        let content_size = match (descriptor >> 6, single_segment) {
            (0, single_segment) => single_segment,
            (power, _) => 1 << power,
        };
        let dictionary = match descriptor & 3 {
            3 => 4,
            len => len,
        };
        self.skip(1 - single_segment + dictionary + content_size)?;
        loop {
            let block = self.little_endian(3)?;
            let (last, kind, size) = (block & 1, block >> 1 & 3, block >> 3);
            match kind {
                // A block of one repeated byte has only that.
                1 => self.skip(1)?,
                3 => return Ok(false),
                _ => self.skip(size)?,
            }
            if last == 1 {
                break;
            }
        }
        let checksum = descriptor >> 2 & 1;
        self.skip(4 * checksum)?;
        Ok(true)
    }

    /// `None` when the file ends in it and was not about to be ours.
    fn magic(&mut self) -> io::Result<Option<u64>> {
        let magic = self.at_most(4)?;
        match <[u8; 4]>::try_from(magic.as_slice()) {
            Ok(magic) => Ok(Some(u64::from(u32::from_le_bytes(magic)))),
            Err(_) if MAGIC.to_le_bytes().starts_with(&magic) => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Err(_) => Ok(None),
        }
    }

    /// Frames that others have put between ours. We write none: a torn one is not ours.
    fn skippable(&mut self) -> io::Result<bool> {
        match self.little_endian(4).and_then(|len| self.skip(len)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The longest header of a frame.
pub(crate) const MAX_HEADER: u64 = 18;
const MAGIC: u64 = 0xfd2f_b528;
const SKIPPABLE: u64 = 0x184d_2a50;
