//! Netlink framing: a chunk of bytes to messages, and what control messages say (`include/uapi/linux/netlink.h`).

use crate::bytes::{array, u16_ne, u32_ne};

/// Bytes of `struct nlmsghdr`.
pub const HEADER_BYTES: usize = 16;
/// `NLMSG_NOOP`.
pub const NLMSG_NOOP: u16 = 1;
/// `NLMSG_ERROR`: a refusal, or an acknowledgement when its errno is 0.
pub const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump, with an errno.
pub const NLMSG_DONE: u16 = 3;
/// `NLMSG_OVERRUN`: data was lost.
pub const NLMSG_OVERRUN: u16 = 4;
/// `NLM_F_MULTI`: a part of a dump.
pub const NLM_F_MULTI: u16 = 2;
/// `NLM_F_DUMP_INTR`: the dump was inconsistent because of a change meanwhile.
pub const NLM_F_DUMP_INTR: u16 = 16;

/// One message: its header's fields and the bytes behind it, without padding.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`: of the request that this answers.
    pub seq: u32,
    /// `nlmsg_pid`: the port id of the socket that asked.
    pub port_id: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// The errno of `NLMSG_ERROR` or `NLMSG_DONE` as a positive number; 0 is success, `None` a payload too short.
    ///
    /// The kernel sends it negated. A positive number in its place is passed on as it is.
    pub fn errno(&self) -> Option<i32> {
        array(self.payload, 0)
            .map(i32::from_ne_bytes)
            .map(|raw| raw.checked_abs().unwrap_or(i32::MAX))
    }

    /// The kernel says that the dump that this belongs to is inconsistent.
    pub fn interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }
}

/// Why a chunk can't be cut into messages any further. What came before is good.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Fewer bytes are left than a header has.
    Header {
        /// Where in the chunk.
        offset: usize,
    },
    /// `nlmsg_len` is smaller than a header: following it would loop for ever.
    Short {
        /// Where in the chunk.
        offset: usize,
        /// The length it claims.
        len: u32,
    },
    /// `nlmsg_len` reaches past the end of the chunk.
    Long {
        /// Where in the chunk.
        offset: usize,
        /// The length it claims.
        len: u32,
    },
}

/// The messages of one chunk, in order; ends after the first [`FrameError`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    chunk: &'a [u8],
    offset: usize,
}

impl<'a> Messages<'a> {
    /// Cuts `chunk`, the bytes of one receive.
    pub fn new(chunk: &'a [u8]) -> Self {
        Self { chunk, offset: 0 }
    }

    #[inline(always)]
    fn cut(&self, rest: &'a [u8]) -> Result<(Message<'a>, usize), FrameError> {
        let offset = self.offset;
        let header = rest.first_chunk::<HEADER_BYTES>().ok_or(FrameError::Header { offset })?;
        let len = u32_ne(header, 0).unwrap_or(0);
        let end = len as usize;
        if end < HEADER_BYTES {
            return Err(FrameError::Short { offset, len });
        }
        let payload = rest.get(HEADER_BYTES..end).ok_or(FrameError::Long { offset, len })?;
        let message = Message {
            kind: u16_ne(header, 4).unwrap_or(0),
            flags: u16_ne(header, 6).unwrap_or(0),
            seq: u32_ne(header, 8).unwrap_or(0),
            port_id: u32_ne(header, 12).unwrap_or(0),
            payload,
        };
        Ok((message, end))
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, FrameError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.chunk.get(self.offset..).filter(|rest| !rest.is_empty())?;
        match self.cut(rest) {
            Ok((message, end)) => {
                // Messages start at multiples of four; the padding is not part of nlmsg_len, and may be missing at the end.
                self.offset = (self.offset + ((end + 3) & !3)).min(self.chunk.len());
                Some(Ok(message))
            }
            Err(error) => {
                self.offset = self.chunk.len();
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: u32, kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(len.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(NLM_F_MULTI.to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(99u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn messages_follow_each_other_at_multiples_of_four() {
        let mut chunk = message(21, 20, b"abcde");
        chunk.extend([0; 3]);
        chunk.extend(message(18, 3, b"xy"));
        let messages: Vec<_> = Messages::new(&chunk).map(Result::unwrap).collect();
        assert_eq!(messages[0].payload, b"abcde");
        assert_eq!((messages[0].seq, messages[0].port_id, messages[0].flags), (7, 99, NLM_F_MULTI));
        assert_eq!((messages[1].kind, messages[1].payload), (NLMSG_DONE, &b"xy"[..]));
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn a_length_of_zero_ends_the_chunk_with_an_error_and_does_not_loop() {
        let chunk = message(0, 20, b"abcd");
        let all: Vec<_> = Messages::new(&chunk).collect();
        assert_eq!(all, [Err(FrameError::Short { offset: 0, len: 0 })]);
    }

    #[test]
    fn a_length_past_the_chunk_is_an_error_after_what_was_whole() {
        let mut chunk = message(20, 20, b"abcd");
        chunk.extend(message(u32::MAX, 20, b""));
        let all: Vec<_> = Messages::new(&chunk).collect();
        assert!(all[0].is_ok());
        assert_eq!(all[1], Err(FrameError::Long { offset: 20, len: u32::MAX }));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn fewer_bytes_than_a_header_are_an_error() {
        let all: Vec<_> = Messages::new(&[1, 2, 3]).collect();
        assert_eq!(all, [Err(FrameError::Header { offset: 0 })]);
    }

    #[test]
    fn an_errno_is_positive_and_absent_when_the_payload_is_too_short() {
        let done = message(20, NLMSG_DONE, &(-16i32).to_ne_bytes());
        let short = message(18, NLMSG_DONE, &[1, 2]);
        assert_eq!(Messages::new(&done).next().unwrap().unwrap().errno(), Some(16));
        assert_eq!(Messages::new(&short).next().unwrap().unwrap().errno(), None);
        let extreme = message(20, NLMSG_ERROR, &i32::MIN.to_ne_bytes());
        assert_eq!(Messages::new(&extreme).next().unwrap().unwrap().errno(), Some(i32::MAX));
    }
}
