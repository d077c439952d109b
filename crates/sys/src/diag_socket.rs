//! A `NETLINK_SOCK_DIAG` socket: bound, sized, with a receive timeout.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::datagram;

/// A kernel socket that belongs to the network namespace of the thread that opened it, whichever thread uses it later.
///
/// It keeps that namespace alive until it is dropped.
#[derive(Debug)]
pub struct DiagSocket {
    socket: Socket,
    port_id: u32,
}

/// What one `recvfrom` brought.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes now in the buffer.
    pub len: usize,
    /// The datagram was longer than the buffer and its end is lost (`MSG_TRUNC`).
    pub truncated: bool,
    /// The sender's port id is 0: the kernel, not another process.
    pub from_kernel: bool,
}

impl DiagSocket {
    /// Opens and binds a socket in the calling thread's network namespace.
    ///
    /// `recv_timeout` bounds every receive, so that its owner can look at the clock and at the stop flag.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT`: the kernel has no `NETLINK_SOCK_DIAG`; `EMFILE`: raise the limit of open files.
    pub fn open(recv_timeout: Duration) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        let address = socket.bind_auto()?;
        let timeout = TimeVal::new(
            i64::try_from(recv_timeout.as_secs()).unwrap_or(i64::MAX),
            i64::from(recv_timeout.subsec_micros()),
        );
        setsockopt(&socket, sockopt::ReceiveTimeout, &timeout)?;
        // A stable kernel of 2025 refused dumps on small receive buffers; rmem_max may cap this, which is no error.
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES)?;
        Ok(Self { socket, port_id: address.port_number() })
    }

    /// The netlink port id that the kernel gave this socket; replies to it carry the same.
    pub fn port_id(&self) -> u32 {
        self.port_id
    }

    /// Sends one request to the kernel. For a dump the kernel fills the first reply inside this call.
    pub fn send(&self, request: &[u8]) -> io::Result<()> {
        datagram::send(&self.socket, request)
    }

    /// Receives one datagram into `buffer`; blocks for at most the receive timeout.
    ///
    /// # Errors
    /// `EAGAIN`: the timeout passed; `EINTR`: call again; `ENOBUFS`: the kernel dropped replies.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        datagram::recv(&self.socket, buffer)
    }
}

impl AsRawFd for DiagSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;
