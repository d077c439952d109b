//! The memory that the kernel writes to while a receive is in flight: the bytes, the sender's address, the flags.

use std::mem;

use nix::libc;

use crate::Received;

/// Room for one datagram, with the headers of `recvmsg`.
///
/// Both parts are vectors because the kernel keeps pointers into them. A vector may be moved without touching what
/// it points to, which a `Box` may not in Rust's aliasing model. There is no `Debug`: it would read what the kernel writes.
pub(crate) struct RecvMemory {
    bytes: Vec<u8>,
    headers: Vec<Headers>,
}

struct Headers {
    message: libc::msghdr,
    part: libc::iovec,
    sender: libc::sockaddr_nl,
}

impl RecvMemory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], headers: vec![Headers::empty()] }
    }

    /// Points the headers at the memory and returns what `IORING_OP_RECVMSG` takes.
    ///
    /// From here until the completion nothing may be called on `self`: the kernel writes to all of it. Moving it is
    /// allowed, dropping it is not.
    pub(crate) fn arm(&mut self) -> *mut libc::msghdr {
        let (base, len) = (self.bytes.as_mut_ptr(), self.bytes.len());
        let [headers] = self.headers.as_mut_slice() else {
            unreachable!("made with one and never resized")
        };
        *headers = Headers::empty();
        headers.part = libc::iovec { iov_base: base.cast(), iov_len: len };
        headers.message.msg_name = (&raw mut headers.sender).cast();
        headers.message.msg_namelen = SENDER_BYTES;
        headers.message.msg_iov = &raw mut headers.part;
        headers.message.msg_iovlen = 1;
        &raw mut headers.message
    }

    /// What a receive of `len` bytes brought; with `MSG_TRUNC`, `len` is that of the datagram.
    pub(crate) fn received(&self, len: usize) -> Received {
        let from_kernel = self.headers.first().is_some_and(|headers| {
            headers.message.msg_namelen == SENDER_BYTES && headers.sender.nl_pid == 0
        });
        let capacity = self.bytes.len();
        Received { len: len.min(capacity), truncated: len > capacity, from_kernel }
    }

    /// The first `len` bytes.
    pub(crate) fn bytes(&self, len: usize) -> &[u8] {
        self.bytes.get(..len).unwrap_or(&self.bytes)
    }
}

impl Headers {
    #[expect(unsafe_code, reason = "both C structures have private padding on some targets")]
    fn empty() -> Self {
        // SAFETY: every field is an integer or a raw pointer, for which all bits zero is a value.
        unsafe { mem::zeroed() }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "12 bytes")]
const SENDER_BYTES: libc::socklen_t = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
