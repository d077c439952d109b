//! A netlink socket that hears of closed TCP sockets, and batches of what it heard.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

/// A member of the TCP destroy groups of the namespace of the thread that opened it.
#[derive(Debug)]
pub struct EventSocket {
    socket: Socket,
}

/// Room for some datagrams, and what the last receive brought.
pub struct EventBatch {
    bytes: Vec<u8>,
    headers: Vec<libc::mmsghdr>,
    parts: Vec<libc::iovec>,
    senders: Vec<libc::sockaddr_nl>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    received: usize,
}

/// One datagram.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Id of the namespace that it comes from; `None`: our own.
    pub nsid: Option<u32>,
    /// The kernel sent it, not another process.
    pub from_kernel: bool,
    /// It was longer than there was room for, and its end is lost.
    pub truncated: bool,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl EventSocket {
    /// Opens a socket and joins the groups.
    ///
    /// `all`: of every namespace that has an id in the calling thread's. `buffer_bytes` is what the kernel may keep for
    /// us; without `CAP_NET_ADMIN` it is at most `net.core.rmem_max`.
    ///
    /// # Errors
    /// `EPERM` with `all`: `CAP_NET_BROADCAST` is missing, or the user namespace is not that of the network namespace.
    /// `EPROTONOSUPPORT`: the kernel has no `NETLINK_SOCK_DIAG`.
    pub fn open(all: bool, buffer_bytes: usize) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        if all {
            socket.set_listen_all_namespaces(true)?;
        }
        // The kernel doubles it, and counts what it needs for itself against it.
        let half = (buffer_bytes / 2).min(MOST_BUFFER_BYTES);
        if setsockopt(&socket, sockopt::RcvBufForce, &half).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &half)?;
        }
        socket.bind_auto()?;
        for group in [SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY] {
            socket.add_membership(group)?;
        }
        Ok(Self { socket })
    }

    /// Bytes that the kernel keeps for us at the most; they may be fewer than asked for.
    pub fn buffer_bytes(&self) -> io::Result<usize> {
        Ok(getsockopt(&self.socket, sockopt::RcvBuf)?)
    }

    /// How many datagrams the kernel had no room for since the socket was opened. The count goes round.
    ///
    /// # Errors
    /// `ENOPROTOOPT` before Linux 4.12.
    #[expect(unsafe_code, reason = "nix has no wrapper for SO_MEMINFO")]
    pub fn lost(&self) -> io::Result<u32> {
        let mut meminfo = [0u32; MEMINFO_WORDS];
        let mut len = libc::socklen_t::try_from(size_of_val(&meminfo)).expect("36");
        let fd = self.socket.as_raw_fd();
        // SAFETY: `meminfo` is a live array of which `len` is the size in bytes, and any bytes are integers; the kernel
        // writes at most `len` bytes. `fd` is open as long as `self`.
        let result = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                SO_MEMINFO,
                meminfo.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        Errno::result(result)?;
        Ok(meminfo[SK_MEMINFO_DROPS])
    }

    /// Receives what is there, as far as the batch has room; returns how many datagrams that were.
    ///
    /// # Errors
    /// `EAGAIN`: there is nothing. `ENOBUFS`: the kernel had no room for some; what it had room for comes next.
    #[expect(unsafe_code, reason = "nix allocates for every control message")]
    pub fn recv(&self, batch: &mut EventBatch) -> io::Result<usize> {
        batch.received = 0;
        batch.arm();
        let capacity = libc::c_uint::try_from(batch.headers.len()).unwrap_or(libc::c_uint::MAX);
        let (fd, headers) = (self.socket.as_raw_fd(), batch.headers.as_mut_ptr());
        #[allow(
            clippy::cast_sign_loss,
            clippy::unnecessary_cast,
            reason = "the type of the flags is not the same in every libc"
        )]
        let flags = (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as _;
        // SAFETY: `headers` points to `capacity` initialised headers, which `arm` has just pointed to memory that
        // `batch` owns, each to its own, and which nobody touches during the call. `fd` is open as long as `self`.
        let received =
            unsafe { libc::recvmmsg(fd, headers, capacity, flags, std::ptr::null_mut()) };
        batch.received = usize::try_from(Errno::result(received)?).unwrap_or(0);
        Ok(batch.received)
    }
}

impl AsFd for EventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl EventBatch {
    /// Room for so many datagrams.
    pub fn new(datagrams: usize) -> Self {
        Self {
            bytes: vec![0; datagrams * DATAGRAM_BYTES],
            headers: (0..datagrams).map(|_| no_header()).collect(),
            parts: (0..datagrams)
                .map(|_| libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 })
                .collect(),
            senders: (0..datagrams).map(|_| no_sender()).collect(),
            controls: vec![[0; CONTROL_WORDS]; datagrams],
            received: 0,
        }
    }

    /// How many datagrams it has room for.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// What the last receive brought.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let datagrams = self.bytes.chunks_exact(DATAGRAM_BYTES).zip(&self.headers);
        let from = self.senders.iter().zip(&self.controls);
        datagrams.zip(from).take(self.received).map(|((bytes, header), (sender, control))| {
            let len = header.msg_len as usize;
            let sent = header.msg_hdr.msg_namelen == SENDER_BYTES;
            let truncated = len > bytes.len() || header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            Event {
                nsid: nsid(control),
                from_kernel: sent && sender.nl_pid == 0,
                truncated,
                bytes: bytes.get(..len).unwrap_or(bytes),
            }
        })
    }

    /// Points every header at its memory.
    fn arm(&mut self) {
        let Self { bytes, headers, parts, senders, controls, .. } = self;
        let memory = bytes.chunks_exact_mut(DATAGRAM_BYTES).zip(parts).zip(senders).zip(controls);
        for (header, (((bytes, part), sender), control)) in headers.iter_mut().zip(memory) {
            *control = [0; CONTROL_WORDS];
            *sender = no_sender();
            *part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            *header = no_header();
            header.msg_hdr.msg_name = (&raw mut *sender).cast();
            header.msg_hdr.msg_namelen = SENDER_BYTES;
            header.msg_hdr.msg_iov = &raw mut *part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            #[allow(
                clippy::cast_possible_truncation,
                clippy::unnecessary_cast,
                reason = "32; the type is not the same in every libc"
            )]
            let control_bytes = size_of::<[u64; CONTROL_WORDS]>() as _;
            header.msg_hdr.msg_controllen = control_bytes;
        }
    }
}

/// The id in `NETLINK_LISTEN_ALL_NSID`, as the kernel lays a control message out: its length, level and type, and, where
/// the next word begins, an `int`.
fn nsid(control: &[u64; CONTROL_WORDS]) -> Option<u32> {
    let mut bytes = [0; size_of::<[u64; CONTROL_WORDS]>()];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(control) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    let word = |at: usize| bytes.get(at..)?.first_chunk().copied().map(i32::from_ne_bytes);
    let level = size_of::<usize>();
    let data = (level + 8).next_multiple_of(size_of::<usize>());
    let is_nsid =
        word(level) == Some(libc::SOL_NETLINK) && word(level + 4) == Some(LISTEN_ALL_NSID);
    u32::try_from(word(data)?).ok().filter(|_| is_nsid)
}

#[expect(unsafe_code, reason = "the C structure has private padding on some targets")]
fn no_header() -> libc::mmsghdr {
    // SAFETY: every field is an integer or a raw pointer, for which all bits zero is a value.
    unsafe { mem::zeroed() }
}

#[expect(unsafe_code, reason = "the C structure has private padding")]
fn no_sender() -> libc::sockaddr_nl {
    // SAFETY: every field is an integer, for which all bits zero is a value.
    unsafe { mem::zeroed() }
}

/// `enum sknetlink_groups`.
const SKNLGRP_INET_TCP_DESTROY: u32 = 1;
const SKNLGRP_INET6_TCP_DESTROY: u32 = 3;
/// `NETLINK_LISTEN_ALL_NSID`, option and control message.
const LISTEN_ALL_NSID: i32 = 8;
/// `SO_MEMINFO`, the same on the architectures that number options alike.
const SO_MEMINFO: libc::c_int = 55;
/// `SK_MEMINFO_VARS`.
const MEMINFO_WORDS: usize = 9;
const SK_MEMINFO_DROPS: usize = 8;
/// An event has 380 bytes on Linux 6.18.
const DATAGRAM_BYTES: usize = 1024;
const CONTROL_WORDS: usize = 4;
/// The kernel keeps the size in an `int`, doubled.
const MOST_BUFFER_BYTES: usize = 1 << 29;
#[expect(clippy::cast_possible_truncation, reason = "12 bytes")]
const SENDER_BYTES: libc::socklen_t = size_of::<libc::sockaddr_nl>() as libc::socklen_t;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    fn control(level: i32, kind: i32, data: i32) -> [u64; CONTROL_WORDS] {
        let pair = |a: i32, b: i32| {
            let [a, b] = [a.to_ne_bytes(), b.to_ne_bytes()];
            u64::from_ne_bytes([a, b].concat().try_into().unwrap())
        };
        [20, pair(level, kind), pair(data, 0), 0]
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_id_of_a_namespace_is_read_from_its_control_message_alone() {
        assert_eq!(nsid(&control(libc::SOL_NETLINK, 8, 7)), Some(7));
        assert_eq!(nsid(&control(libc::SOL_NETLINK, 8, -1)), None);
        assert_eq!(nsid(&control(libc::SOL_NETLINK, 3, 7)), None);
        assert_eq!(nsid(&control(libc::SOL_SOCKET, 8, 7)), None);
        assert_eq!(nsid(&[0; CONTROL_WORDS]), None);
    }

    #[test]
    fn both_ends_of_a_connection_are_heard_of_when_they_close() {
        let socket = EventSocket::open(false, 1 << 20).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop((TcpStream::connect(("127.0.0.1", port)).unwrap(), listener.accept().unwrap()));
        let mut batch = EventBatch::new(8);
        let (mut heard, began) = (0, Instant::now());
        while heard < 2 && began.elapsed() < Duration::from_secs(5) {
            match socket.recv(&mut batch) {
                Ok(received) => assert_eq!(batch.events().count(), received),
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EAGAIN)),
            }
            heard += batch.events().filter(|event| has_port(event, port)).count();
        }
        assert_eq!(heard, 2);
        assert_eq!(socket.lost().unwrap(), 0);
    }

    /// Whether it is whole and of a socket with this port at either end.
    fn has_port(event: &Event<'_>, port: u16) -> bool {
        assert!(event.from_kernel && !event.truncated && event.nsid.is_none());
        let ports = event.bytes.get(20..24).unwrap();
        ports.chunks_exact(2).any(|bytes| bytes == port.to_be_bytes())
    }

    #[test]
    fn what_there_was_no_room_for_is_counted() {
        let socket = EventSocket::open(false, 0).unwrap();
        let opened = || TcpListener::bind("127.0.0.1:0").unwrap();
        let mut batch = EventBatch::new(64);
        (0..200).for_each(|_| drop(opened()));
        let (mut heard, began) = (0, Instant::now());
        while began.elapsed() < Duration::from_millis(300) {
            heard += socket.recv(&mut batch).unwrap_or(0);
        }
        // Other tests of this process may close sockets of their own.
        assert!(heard + socket.lost().unwrap() as usize >= 200, "{heard}");
        assert!(socket.lost().unwrap() > 0 && socket.buffer_bytes().unwrap() < 10_000);
    }
}
