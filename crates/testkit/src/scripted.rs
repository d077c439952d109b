//! A scripted kernel: the other end of a netlink socket, which says what a test tells it to, and what may go wrong.
//!
//! Datagrams really go through a socket pair, so a buffer that is too small truncates as it would with the kernel's.
//! Nothing is sent before it is asked for: a step of the script is taken at every receive.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// What happens at one receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The kernel sends a datagram.
    Kernel(Vec<u8>),
    /// Another process sends one.
    Stranger(Vec<u8>),
    /// The receive fails.
    Fail(Errno),
    /// Nothing comes until the receive timeout has passed.
    Silence,
}

/// Both ends of the pair, and the script.
#[derive(Debug)]
pub struct ScriptedKernel {
    ours: OwnedFd,
    kernel: OwnedFd,
    script: VecDeque<Step>,
    refusal: Option<Errno>,
    requests: Vec<Vec<u8>>,
}

/// What one receive brought, as `recvfrom` with `MSG_TRUNC` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Its length before it was cut to the buffer.
    pub len: usize,
    /// The sender is the kernel.
    pub from_kernel: bool,
}

impl ScriptedKernel {
    /// A kernel that goes through `script` and is silent afterwards.
    ///
    /// # Errors
    /// No more file descriptors.
    pub fn new(recv_timeout: Duration, script: impl IntoIterator<Item = Step>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, kernel) = socketpair(AddressFamily::Unix, SockType::Datagram, None, flags)?;
        let micros = i64::try_from(recv_timeout.as_micros()).unwrap_or(i64::MAX);
        setsockopt(&ours, sockopt::ReceiveTimeout, &TimeVal::microseconds(micros))?;
        let script = script.into_iter().collect();
        Ok(Self { ours, kernel, script, refusal: None, requests: Vec::new() })
    }

    /// Refuses every request with this errno.
    #[must_use]
    pub fn refusing(self, errno: Errno) -> Self {
        Self { refusal: Some(errno), ..self }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// That of [`ScriptedKernel::refusing`].
    pub fn send(&mut self, request: &[u8]) -> io::Result<()> {
        if let Some(errno) = self.refusal {
            return Err(errno.into());
        }
        send(self.ours.as_raw_fd(), request, MsgFlags::empty())?;
        let mut arrived = vec![0; request.len() + 1];
        let len = recv(self.kernel.as_raw_fd(), &mut arrived, MsgFlags::empty())?;
        arrived.truncate(len);
        self.requests.push(arrived);
        Ok(())
    }

    /// Takes the next step of the script and receives what it brings.
    ///
    /// # Errors
    /// The step's errno; `EAGAIN` when nothing comes within the receive timeout.
    pub fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let from_kernel = match self.script.pop_front() {
            Some(Step::Fail(errno)) => return Err(errno.into()),
            Some(Step::Kernel(bytes)) => self.say(&bytes).map(|()| true)?,
            Some(Step::Stranger(bytes)) => self.say(&bytes).map(|()| false)?,
            Some(Step::Silence) | None => true,
        };
        let len = recv(self.ours.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?;
        Ok(Datagram { len, from_kernel })
    }

    /// The requests so far.
    pub fn requests(&self) -> &[Vec<u8>] {
        &self.requests
    }

    /// Steps that were not asked for.
    pub fn steps_left(&self) -> usize {
        self.script.len()
    }

    fn say(&self, bytes: &[u8]) -> io::Result<()> {
        send(self.kernel.as_raw_fd(), bytes, MsgFlags::empty())?;
        Ok(())
    }
}

/// A netlink message, padded to a multiple of four. Its length is what `nlmsg_len` says until a test writes over it.
pub fn message(kind: u16, flags: u16, seq: u32, port_id: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(16 + payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(payload.len() + 20);
    bytes.extend(len.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(seq.to_ne_bytes());
    bytes.extend(port_id.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The payload of a socket's message: `struct inet_diag_msg` of an established loopback connection, and attributes.
pub fn inet_diag(family: u8, cookie: u64, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![family, 1, 0, 0];
    bytes.extend([0x1f, 0x90, 0x01, 0xbb]);
    for address in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        bytes.extend(address);
        bytes.extend([0; 12]);
    }
    bytes.extend([0; 4]);
    // The low word first.
    let (low, high) = (cookie & 0xffff_ffff, cookie >> 32);
    for word in [low, high] {
        bytes.extend(u32::try_from(word).unwrap_or(0).to_ne_bytes());
    }
    bytes.extend([0; 20]);
    for (number, payload) in attributes {
        bytes.extend(u16::try_from(4 + payload.len()).unwrap_or(u16::MAX).to_ne_bytes());
        bytes.extend(number.to_ne_bytes());
        bytes.extend(*payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(5);

    #[test]
    fn steps_come_one_a_receive_and_silence_afterwards_is_eagain() {
        let script = [
            Step::Kernel(vec![1, 2, 3]),
            Step::Fail(Errno::ENOBUFS),
            Step::Stranger(vec![4]),
            Step::Silence,
        ];
        let mut kernel = ScriptedKernel::new(TIMEOUT, script).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(kernel.recv(&mut buffer).unwrap(), Datagram { len: 3, from_kernel: true });
        assert_eq!(buffer[..3], [1, 2, 3]);
        assert_eq!(kernel.recv(&mut buffer).unwrap_err().raw_os_error(), Some(105));
        assert_eq!(kernel.recv(&mut buffer).unwrap(), Datagram { len: 1, from_kernel: false });
        assert_eq!(kernel.steps_left(), 1);
        for _ in 0..2 {
            let error = kernel.recv(&mut buffer).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_datagram_longer_than_the_buffer_tells_its_whole_length() {
        let mut kernel = ScriptedKernel::new(TIMEOUT, [Step::Kernel(vec![7; 100])]).unwrap();
        let mut buffer = [0; 10];
        assert_eq!(kernel.recv(&mut buffer).unwrap().len, 100);
        assert_eq!(buffer, [7; 10]);
    }

    #[test]
    fn requests_are_kept_unless_they_are_refused() {
        let mut kernel = ScriptedKernel::new(TIMEOUT, []).unwrap();
        kernel.send(b"request").unwrap();
        assert_eq!(kernel.requests(), [b"request".to_vec()]);
        let mut refusing = kernel.refusing(Errno::EPERM);
        assert_eq!(refusing.send(b"again").unwrap_err().raw_os_error(), Some(1));
        assert_eq!(refusing.requests().len(), 1);
    }

    #[test]
    fn messages_and_sockets_have_the_lengths_of_the_kernels() {
        let socket = inet_diag(2, 0x1_0000_0002, &[(5, &[9])]);
        assert_eq!(socket.len(), 72 + 8);
        assert_eq!(socket[44..52], [2u32.to_ne_bytes(), 1u32.to_ne_bytes()].concat());
        let message = message(18, 2, 1, 7, &[1, 2, 3]);
        assert_eq!((message.len(), message[0]), (20, 19));
    }
}
