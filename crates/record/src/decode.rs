//! `protobufList` back to records: whatever is whole, and where what is not begins.

use std::io::{self, BufRead, BufReader, Read};

use prost::Message;
use thiserror::Error;

use crate::v1::XtcpFlatRecord;

/// Reads a stream of length-prefixed envelopes, row by row; memory is bounded by the longest row.
#[derive(Debug)]
pub struct Records<R> {
    input: BufReader<R>,
    offset: u64,
    /// Where the envelope that is being read, or would be next, begins.
    whole: u64,
    /// Bytes of the envelope that is being read.
    left: u64,
    row: Vec<u8>,
    ended: bool,
}

/// What is wrong with the input, and the byte offset at which the part that is not whole begins.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The input ends inside an envelope; the rows before are whole.
    #[error("offset {offset}: truncated: the {what} that begins here is not whole")]
    Truncated {
        /// Where.
        offset: u64,
        /// What was being read.
        what: &'static str,
    },
    /// Bytes that can't be a `protobufList`; nothing behind them can be trusted.
    #[error("offset {offset}: not a protobufList: {what}")]
    Corrupt {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// One row is corrupt inside; reading goes on behind it.
    #[error("offset {offset}: corrupt row: {error}")]
    Row {
        /// Where.
        offset: u64,
        /// What prost says.
        error: prost::DecodeError,
    },
    /// The input itself can't be read.
    #[error("offset {offset}: {error}")]
    Io {
        /// Where.
        offset: u64,
        /// The system's error.
        error: io::Error,
    },
}

impl<R: Read> Records<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 16, input),
            offset: 0,
            whole: 0,
            left: 0,
            row: Vec::new(),
            ended: false,
        }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn read(&mut self) -> Result<Option<XtcpFlatRecord>, DecodeError> {
        loop {
            while self.left == 0 {
                let offset = self.offset;
                self.whole = offset;
                if self.at_end()? {
                    return Ok(None);
                }
                let len = self.varint(offset, ENVELOPE)?;
                if len == 0 {
                    // Nobody writes an envelope without rows; a file system that lost power leaves zeros.
                    return Err(corrupt(offset, "an envelope of 0 bytes".into()));
                }
                if len > MAX_ENVELOPE_BYTES {
                    return Err(corrupt(offset, format!("an envelope of {len} bytes")));
                }
                self.left = len;
            }
            let start = self.offset;
            let tag = self.inner_varint(start)?;
            match (tag >> 3, tag & 7) {
                (10, 2) => return self.row(start).map(Some),
                (field, 2) if field != 0 => {
                    let len = self.inner_varint(start)?;
                    self.skip(len, start)?;
                }
                (field, 0) if field != 0 => {
                    self.inner_varint(start)?;
                }
                (field, 1) if field != 0 => self.skip(8, start)?,
                (field, 5) if field != 0 => self.skip(4, start)?,
                (field, wire_type) => {
                    return Err(corrupt(
                        start,
                        format!("field {field} of wire type {wire_type} in an Envelope"),
                    ));
                }
            }
        }
    }

    fn row(&mut self, start: u64) -> Result<XtcpFlatRecord, DecodeError> {
        let len = self.inner_varint(start)?;
        if len > self.left {
            return Err(corrupt(
                start,
                format!("a row of {len} bytes where the envelope has {} left", self.left),
            ));
        }
        if len > MAX_ROW_BYTES {
            return Err(corrupt(start, format!("a row of {len} bytes")));
        }
        self.row.clear();
        let read = (&mut self.input).take(len).read_to_end(&mut self.row);
        let read = read.map_err(|error| DecodeError::Io { offset: self.offset, error })? as u64;
        self.offset += read;
        self.left -= read;
        if read < len {
            return Err(DecodeError::Truncated { offset: start, what: "row" });
        }
        XtcpFlatRecord::decode(self.row.as_slice())
            .map_err(|error| DecodeError::Row { offset: start, error })
    }

    /// A varint inside an envelope, which may not reach beyond it.
    fn inner_varint(&mut self, start: u64) -> Result<u64, DecodeError> {
        let before = self.offset;
        let value = self.varint(start, "row")?;
        let taken = self.offset - before;
        self.left = self
            .left
            .checked_sub(taken)
            .ok_or_else(|| corrupt(start, "a field reaches beyond its envelope".into()))?;
        Ok(value)
    }

    fn varint(&mut self, start: u64, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            if self.at_end()? {
                return Err(DecodeError::Truncated { offset: start, what });
            }
            let byte = self.input.buffer().first().copied().unwrap_or_default();
            self.input.consume(1);
            self.offset += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(corrupt(start, "a varint of more than 64 bits".into()))
    }

    fn skip(&mut self, len: u64, start: u64) -> Result<(), DecodeError> {
        self.left = self
            .left
            .checked_sub(len)
            .ok_or_else(|| corrupt(start, "a field reaches beyond its envelope".into()))?;
        let skipped = io::copy(&mut (&mut self.input).take(len), &mut io::sink());
        let skipped = skipped.map_err(|error| DecodeError::Io { offset: self.offset, error })?;
        self.offset += skipped;
        if skipped < len {
            Err(DecodeError::Truncated { offset: start, what: ENVELOPE })
        } else {
            Ok(())
        }
    }

    fn at_end(&mut self) -> Result<bool, DecodeError> {
        let offset = self.offset;
        loop {
            match self.input.fill_buf() {
                Ok(bytes) => return Ok(bytes.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DecodeError::Io { offset, error }),
            }
        }
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<XtcpFlatRecord, DecodeError>;

    /// The next whole record. A [`DecodeError::Row`] may be followed by more, any other error is the last item.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_) | Err(DecodeError::Row { .. })));
        item
    }
}

/// Offset up to which a `protobufList` consists of whole envelopes, and the rows in them: where a torn tail begins.
pub fn whole_prefix(input: impl Read) -> io::Result<u64> {
    let mut records = Records::new(input);
    for record in &mut records {
        if let Err(DecodeError::Io { error, .. }) = record {
            return Err(error);
        }
    }
    Ok(records.whole)
}

fn corrupt(offset: u64, what: String) -> DecodeError {
    DecodeError::Corrupt { offset, what }
}

const ENVELOPE: &str = "envelope";
/// Far beyond what any writer makes; a length above it is noise.
const MAX_ENVELOPE_BYTES: u64 = 1 << 31;
const MAX_ROW_BYTES: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::Envelope;

    fn list(hostnames: &[&[&str]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for names in hostnames {
            let row = names
                .iter()
                .map(|name| XtcpFlatRecord { hostname: (*name).into(), ..Default::default() });
            Envelope { row: row.collect() }.encode_length_delimited(&mut bytes).unwrap();
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
        let (mut rows, mut errors) = (Vec::new(), Vec::new());
        for item in Records::new(bytes) {
            match item {
                Ok(record) => rows.push(record.hostname),
                Err(error) => errors.push(error.to_string()),
            }
        }
        (rows, errors)
    }

    #[test]
    fn every_row_of_every_envelope_comes_in_order() {
        let (rows, errors) = read(&list(&[&["a", "b"], &["c"]]));
        assert_eq!((rows.join(","), errors.len()), ("a,b,c".into(), 0));
    }

    #[test]
    fn zeros_that_a_power_failure_left_are_no_envelopes() {
        let mut bytes = list(&[&["a", "b"]]);
        let end = bytes.len();
        bytes.extend([0; 4096]);
        let (rows, errors) = read(&bytes);
        assert_eq!(rows.join(","), "a,b");
        assert_eq!(errors, [format!("offset {end}: not a protobufList: an envelope of 0 bytes")]);
        assert_eq!(whole_prefix(&bytes[..]).unwrap(), end as u64);
    }

    #[test]
    fn a_truncated_list_gives_the_whole_rows_and_the_offset_of_the_torn_one() {
        let bytes = list(&[&["a", "b"], &["c"]]);
        let first = list(&[&["a", "b"]]).len();
        for cut in first + 1..bytes.len() {
            let (rows, errors) = read(&bytes[..cut]);
            assert_eq!(rows.join(","), "a,b", "{cut}");
            assert_eq!(
                errors,
                [format!("offset {}: truncated: the row that begins here is not whole", first + 1)]
            );
        }
        assert_eq!(read(&bytes[..2]).0.len(), 0);
    }

    #[test]
    fn a_corrupt_row_is_reported_and_the_ones_behind_it_are_read() {
        let mut bytes = list(&[&["aaaa", "b"]]);
        let place = bytes.windows(4).position(|window| window == b"aaaa").unwrap();
        bytes[place] = 0xff;
        let (rows, errors) = read(&bytes);
        assert_eq!(rows, ["b"]);
        assert!(errors[0].starts_with("offset 1: corrupt row: "), "{errors:?}");
    }

    #[test]
    fn noise_is_refused_where_it_begins() {
        let mut bytes = list(&[&["a"]]);
        let end = bytes.len();
        bytes.extend([3, 0x53, 0x53, 0x53]);
        let (rows, errors) = read(&bytes);
        assert_eq!(rows, ["a"]);
        assert_eq!(
            errors,
            [format!(
                "offset {}: not a protobufList: field 10 of wire type 3 in an Envelope",
                end + 1
            )]
        );
        for noise in [&[0xff; 11][..], &[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]] {
            assert_eq!(
                read(noise).1,
                ["offset 0: not a protobufList: a varint of more than 64 bits"]
            );
        }
        assert!(
            read(&[2, 0x52, 9]).1[0].contains("a row of 9 bytes where the envelope has 0 left")
        );
    }

    #[test]
    fn the_whole_prefix_ends_with_the_last_whole_envelope() {
        let bytes = list(&[&["a", "b"], &["c"]]);
        let first = list(&[&["a", "b"]]).len() as u64;
        assert_eq!(whole_prefix(&bytes[..]).unwrap(), bytes.len() as u64);
        assert_eq!(whole_prefix(&bytes[..bytes.len() - 1]).unwrap(), first);
        assert_eq!(whole_prefix(&bytes[..3]).unwrap(), 0);
        // A field that Sockeye does not know, behind the last row of its envelope.
        let mut foreign = list(&[&["a"]]);
        foreign[0] += 2;
        foreign.extend([0x58, 1]);
        let whole = foreign.len() as u64;
        foreign.extend(&bytes[..5]);
        assert_eq!(whole_prefix(&foreign[..]).unwrap(), whole);
    }
}
