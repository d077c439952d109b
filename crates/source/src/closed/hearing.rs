//! Ids of namespaces: asked for and heard of.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{EAGAIN, EEXIST, EINTR, EIO, ENOBUFS};
use sockeye_netns::NetnsFd;
use sockeye_sys::RouteSocket;
use sockeye_wire::Messages;
use sockeye_wire::netlink::NLMSG_ERROR;
use sockeye_wire::nsid::{self, RTM_DELNSID, RTM_NEWNSID};

use super::ids::{Ids, News};

/// The ids, and the socket that hears of them. Behind one lock: who binds an id must have heard all news before.
#[derive(Debug)]
pub(super) struct Hearing {
    pub(super) ids: Ids,
    socket: Arc<RouteSocket>,
    buffer: Vec<u8>,
}

/// Asks for ids of namespaces and gives them one.
#[derive(Debug)]
pub(super) struct Asking {
    socket: RouteSocket,
    seq: u32,
}

/// What the news say beside what they say of ids.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    /// There is an id whose owner is to be found.
    pub(super) given: bool,
    /// How often news were lost.
    pub(super) lost: u64,
}

impl Hearing {
    pub(super) fn new() -> io::Result<Self> {
        let socket = Arc::new(RouteSocket::to_hear_of_nsids()?);
        Ok(Self { ids: Ids::default(), socket, buffer: vec![0; BUFFER_BYTES] })
    }

    /// The socket, to wait for news.
    pub(super) fn socket(&self) -> Arc<RouteSocket> {
        Arc::clone(&self.socket)
    }

    /// Takes all news.
    pub(super) fn catch_up(&mut self) -> Heard {
        let mut heard = Heard::default();
        loop {
            let received = match self.socket.recv(&mut self.buffer) {
                Ok(received) if received.from_kernel => received,
                Ok(_) => continue,
                Err(error) => match error.raw_os_error() {
                    Some(EINTR) => continue,
                    Some(ENOBUFS) => {
                        heard.lost += 1;
                        self.ids.hear(News::Lost);
                        continue;
                    }
                    _ => return heard,
                },
            };
            let chunk = self.buffer.get(..received.len).unwrap_or_default();
            for message in Messages::new(chunk).flatten() {
                match (message.kind, nsid::nsid_of(&message)) {
                    (RTM_NEWNSID, Some(nsid)) => {
                        heard.given = true;
                        self.ids.hear(News::Given(nsid));
                    }
                    (RTM_DELNSID, Some(nsid)) => self.ids.hear(News::Ended(nsid)),
                    _ => {}
                }
            }
        }
    }
}

impl Asking {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { socket: RouteSocket::to_ask(PATIENCE)?, seq: 0 })
    }

    /// The id of a namespace; it gets one if it has none.
    ///
    /// # Errors
    /// `EPERM`: it has none, and `CAP_NET_ADMIN` is missing to give it one.
    pub(super) fn id_or_new(&mut self, netns: &NetnsFd) -> Result<u32, Errno> {
        if let Some(nsid) = self.id(netns)? {
            return Ok(nsid);
        }
        self.seq = self.seq.wrapping_add(1);
        let request = nsid::assign(self.seq, fd_of(netns)?);
        match self.exchange(&request)? {
            // Somebody else was faster.
            (_, Some(0 | EEXIST)) => self.id(netns)?.ok_or(Errno::ENOENT),
            (_, errno) => Err(Errno::from_raw(errno.unwrap_or(EIO))),
        }
    }

    /// The id of a namespace, if it has one.
    pub(super) fn id(&mut self, netns: &NetnsFd) -> Result<Option<u32>, Errno> {
        self.seq = self.seq.wrapping_add(1);
        let request = nsid::ask(self.seq, fd_of(netns)?);
        match self.exchange(&request)? {
            (nsid, None) => Ok(nsid),
            (_, Some(errno)) => Err(Errno::from_raw(errno)),
        }
    }

    /// The id in the reply, or the errno.
    fn exchange(&mut self, request: &[u8]) -> Result<(Option<u32>, Option<i32>), Errno> {
        let failed = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(EIO));
        self.socket.send(request).map_err(failed)?;
        let mut buffer = [0; ANSWER_BYTES];
        let mut interrupted = 0;
        loop {
            let received = match self.socket.recv(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.raw_os_error() == Some(EINTR) && interrupted < 8 => {
                    interrupted += 1;
                    continue;
                }
                Err(error) if error.raw_os_error() == Some(EAGAIN) => return Err(Errno::ETIMEDOUT),
                Err(error) => return Err(failed(error)),
            };
            if !received.from_kernel {
                continue;
            }
            let chunk = buffer.get(..received.len).unwrap_or_default();
            for message in Messages::new(chunk).flatten().filter(|message| message.seq == self.seq)
            {
                match message.kind {
                    RTM_NEWNSID => return Ok((nsid::nsid_of(&message), None)),
                    NLMSG_ERROR => return Ok((None, Some(message.errno().unwrap_or(EIO)))),
                    _ => {}
                }
            }
        }
    }
}

fn fd_of(netns: &NetnsFd) -> Result<u32, Errno> {
    u32::try_from(netns.as_fd().as_raw_fd()).map_err(|_| Errno::EBADF)
}

const BUFFER_BYTES: usize = 8192;
const ANSWER_BYTES: usize = 512;
/// The kernel answers inside of the call.
const PATIENCE: Duration = Duration::from_secs(1);
