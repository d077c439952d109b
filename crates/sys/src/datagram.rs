//! One datagram to the kernel, and one from it, whatever the netlink socket is for.

use std::io;

use netlink_sys::{Socket, SocketAddr};
use nix::libc;

use crate::Received;

/// Sends one request whole.
pub(crate) fn send(socket: &Socket, request: &[u8]) -> io::Result<()> {
    let sent = socket.send_to(request, &SocketAddr::new(0, 0), 0)?;
    if sent == request.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one, and tells how much of it there was and whether the kernel sent it.
pub(crate) fn recv(socket: &Socket, buffer: &mut [u8]) -> io::Result<Received> {
    let capacity = buffer.len();
    let mut space: &mut [u8] = buffer;
    let (len, sender) = socket.recv_from(&mut space, libc::MSG_TRUNC)?;
    Ok(Received {
        len: len.min(capacity),
        truncated: len > capacity,
        from_kernel: sender.port_number() == 0,
    })
}
