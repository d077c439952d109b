//! The frame of an envelope in a spool: a header of 20 bytes, the message's key, the envelope.
//!
//! ```text
//!  0  magic "SKSP"
//!  4  state: 0 pending, 1 done; changed in place, hence not part of the checksum
//!  5  zero
//!  6  length of the key, u16      little endian, all of them
//!  8  length of the envelope, u32
//! 12  rows, u32
//! 16  CRC-32 of bytes 6 to 16, the key and the envelope
//! ```

use std::io::{self, ErrorKind, Read};

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) done: bool,
    pub(crate) key_len: u16,
    pub(crate) len: u32,
    pub(crate) rows: u32,
    crc: u32,
}

/// An envelope in its frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) key: Vec<u8>,
    pub(crate) envelope: Vec<u8>,
}

impl Header {
    /// The header of an envelope.
    ///
    /// # Errors
    /// It is longer, or has more rows, than a frame can say.
    pub(crate) fn new(key: &[u8], envelope: &[u8], rows: u64) -> io::Result<Self> {
        let too_long = |_| io::Error::new(ErrorKind::InvalidInput, "too long for a spool");
        let mut header = Self {
            done: false,
            key_len: key.len().try_into().map_err(too_long)?,
            len: envelope.len().try_into().map_err(too_long)?,
            rows: rows.try_into().map_err(too_long)?,
            crc: 0,
        };
        header.crc = header.crc_of(key, envelope);
        Ok(header)
    }

    /// One that is done, in front of what can't be read: it makes a frame of so many bytes, and fits no checksum.
    pub(crate) fn filling(frame: u64) -> Self {
        let len = u32::try_from(frame.saturating_sub(HEADER as u64)).unwrap_or(u32::MAX);
        Self { done: true, key_len: 0, len, rows: 0, crc: 0 }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (magic, rest) = bytes.split_at_mut(STATE);
        magic.copy_from_slice(&MAGIC);
        let (state, rest) = rest.split_at_mut(2);
        state.copy_from_slice(&[u8::from(self.done), 0]);
        let (counts, crc) = rest.split_at_mut(10);
        counts.copy_from_slice(&self.counts());
        crc.copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// `None` when it is none of ours.
    pub(crate) fn parse(bytes: [u8; HEADER]) -> Option<Self> {
        let [m0, m1, m2, m3, state, 0, k0, k1, l0, l1, l2, l3, r0, r1, r2, r3, c0, c1, c2, c3] =
            bytes
        else {
            return None;
        };
        (([m0, m1, m2, m3] == MAGIC) && state <= DONE).then(|| Self {
            done: state == DONE,
            key_len: u16::from_le_bytes([k0, k1]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            rows: u32::from_le_bytes([r0, r1, r2, r3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        })
    }

    /// Length of key and envelope.
    pub(crate) fn body(&self) -> u64 {
        u64::from(self.key_len) + u64::from(self.len)
    }

    /// Length of the whole frame.
    pub(crate) fn frame(&self) -> u64 {
        HEADER as u64 + self.body()
    }

    /// Reads what is behind the header; `None` when the checksum differs.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`]: it is torn.
    pub(crate) fn read_body(&self, mut reader: impl Read) -> io::Result<Option<Frame>> {
        let mut part = |len: u64| -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            // What a corrupt header claims is not allocated before it has been seen.
            reader.by_ref().take(len).read_to_end(&mut bytes)?;
            if (bytes.len() as u64) < len {
                Err(ErrorKind::UnexpectedEof.into())
            } else {
                Ok(bytes)
            }
        };
        let key = part(self.key_len.into())?;
        let envelope = part(self.len.into())?;
        Ok((self.crc_of(&key, &envelope) == self.crc).then_some(Frame { key, envelope }))
    }

    fn counts(&self) -> [u8; 10] {
        let ([k0, k1], [l0, l1, l2, l3]) = (self.key_len.to_le_bytes(), self.len.to_le_bytes());
        let [r0, r1, r2, r3] = self.rows.to_le_bytes();
        [k0, k1, l0, l1, l2, l3, r0, r1, r2, r3]
    }

    fn crc_of(&self, key: &[u8], envelope: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.counts());
        crc.update(key);
        crc.update(envelope);
        crc.finalize()
    }
}

pub(crate) const HEADER: usize = 20;
/// Where the state is, behind the begin of a frame.
pub(crate) const STATE: usize = 4;
pub(crate) const DONE: u8 = 1;
pub(crate) const MAGIC: [u8; 4] = *b"SKSP";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let header = Header::new(b"key", b"envelope", 7).unwrap();
        assert_eq!((header.rows, header.body(), header.frame()), (7, 11, 31));
        let bytes = header.to_bytes();
        assert_eq!(&bytes[..6], b"SKSP\0\0");
        assert_eq!(Header::parse(bytes), Some(header));
        let frame = header.read_body(&b"keyenvelope and more"[..]).unwrap().unwrap();
        assert_eq!(frame, Frame { key: b"key".into(), envelope: b"envelope".into() });
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is_and_the_state_is_none_of_them() {
        let good =
            [&Header::new(b"k", b"envelope", 7).unwrap().to_bytes()[..], b"kenvelope"].concat();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let header = Header::parse(bad[..HEADER].try_into().unwrap());
            let frame = header.map(|header| header.read_body(&bad[HEADER..]));
            let intact = matches!(frame, Some(Ok(Some(_))));
            assert_eq!(intact, at == STATE, "byte {at}");
        }
    }

    #[test]
    fn a_torn_body_is_an_early_end() {
        let header = Header::new(b"", b"envelope", 7).unwrap();
        let error = header.read_body(&b"envelop"[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}
