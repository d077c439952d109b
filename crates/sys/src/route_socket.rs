//! A `NETLINK_ROUTE` socket: to ask for ids of namespaces, or to hear of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::{Received, datagram};

/// A socket of the namespace of the thread that opened it: ids are as seen from there.
#[derive(Debug)]
pub struct RouteSocket {
    socket: Socket,
}

impl RouteSocket {
    /// A socket to ask with. Replies come at once; `patience` is for a kernel that has none.
    pub fn to_ask(patience: Duration) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        let timeout = TimeVal::new(
            i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            i64::from(patience.subsec_micros()),
        );
        setsockopt(&socket, sockopt::ReceiveTimeout, &timeout)?;
        Ok(Self { socket })
    }

    /// A socket that hears of ids that come and go, and of nothing else. Its receives do not wait.
    pub fn to_hear_of_nsids() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        setsockopt(&socket, sockopt::RcvBuf, &HEARING_BUFFER_BYTES)?;
        socket.bind_auto()?;
        socket.add_membership(RTNLGRP_NSID)?;
        Ok(Self { socket })
    }

    /// Sends one request to the kernel.
    pub fn send(&self, request: &[u8]) -> io::Result<()> {
        datagram::send(&self.socket, request)
    }

    /// Receives one datagram.
    ///
    /// # Errors
    /// `EAGAIN`: there is none, or none came in time; `EINTR`: call again; `ENOBUFS`: the kernel had no room for some.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        datagram::recv(&self.socket, buffer)
    }
}

impl AsFd for RouteSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

const RTNLGRP_NSID: u32 = 28;
const HEARING_BUFFER_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_heard_where_no_namespace_comes_or_goes() {
        let socket = RouteSocket::to_hear_of_nsids().unwrap();
        match socket.recv(&mut [0; 1024]) {
            Ok(received) => assert!(received.from_kernel),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EAGAIN)),
        }
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_waited_for() {
        let socket = RouteSocket::to_ask(Duration::from_millis(5)).unwrap();
        let error = socket.recv(&mut [0; 1024]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    }
}
