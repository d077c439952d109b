//! What a dump needs of a socket; the kernel's, or a scripted one in tests.

use std::io;

use sockeye_sys::{DiagSocket, Received};

/// A bound netlink socket with a receive timeout.
pub trait Channel {
    /// Port id that replies must carry.
    fn port_id(&self) -> u32;

    /// Sends one request.
    fn send(&mut self, request: &[u8]) -> io::Result<()>;

    /// Receives one datagram; `EAGAIN` when the receive timeout has passed.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Received>;
}

impl Channel for DiagSocket {
    fn port_id(&self) -> u32 {
        DiagSocket::port_id(self)
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        DiagSocket::send(self, request)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        DiagSocket::recv(self, buffer)
    }
}
