//! One dump: a request, its chunks and `NLMSG_DONE`.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use nix::libc::{EAGAIN, EINTR, EIO, ENOBUFS};
use sockeye_pipeline::{Completeness, Incomplete, Stop};
use sockeye_wire::inet_diag::{SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK};
use sockeye_wire::netlink::{NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};
use sockeye_wire::{AttrSet, InetDiag, Message, Messages, Request};

use super::channel::Channel;
use super::deadline::Deadline;

/// What to dump, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Dump<'a> {
    /// What is asked.
    pub request: Request,
    /// Sequence number; replies to any other request are passed over.
    pub seq: u32,
    /// Attributes to read.
    pub wanted: AttrSet,
    /// How long it may take.
    pub timeout: Duration,
    /// Ends it early.
    pub stop: &'a Stop,
}

/// What one dump saw. Published once, at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpStats {
    /// Receives that brought bytes.
    pub chunks: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Sockets in them.
    pub sockets: u64,
    /// Messages that answer somebody else's request, or that the kernel did not send.
    pub foreign: u64,
    /// Messages and chunks that make no sense.
    pub malformed: u64,
    /// Attributes with unknown numbers.
    pub unknown_attributes: u64,
    /// Sockets whose `tcp_info` is longer than known here.
    pub long_tcp_info: u64,
    /// Time from the request to the end.
    pub took: Duration,
    /// Whether the kernel said that this was everything.
    pub completeness: Completeness,
}

impl Dump<'_> {
    /// Runs the dump and gives every socket to `row`.
    ///
    /// Once it takes longer than 400 ms, `alive` is asked now and then whether the namespace still has a process or
    /// mount: an open socket would keep a dead one.
    ///
    /// It never fails as a whole: sockets read before something went wrong are good, and
    /// [`DumpStats::completeness`] says what the first thing was.
    pub fn run(
        &self,
        channel: &mut impl Channel,
        buffer: &mut [u8],
        alive: impl FnMut() -> bool,
        row: impl FnMut(&InetDiag<'_>),
    ) -> DumpStats {
        self.run_paused(&Cell::default(), channel, buffer, alive, row)
    }

    /// As [`Dump::run`]; what `row` adds to `paused`, waiting for somebody else, does not count towards the timeout.
    pub(crate) fn run_paused(
        &self,
        paused: &Cell<Duration>,
        channel: &mut impl Channel,
        buffer: &mut [u8],
        alive: impl FnMut() -> bool,
        mut row: impl FnMut(&InetDiag<'_>),
    ) -> DumpStats {
        let mut deadline = Deadline::new(self.timeout, self.stop, paused, alive);
        let port_id = channel.port_id();
        let mut progress = Progress { port_id, seq: self.seq, wanted: self.wanted, stats: EMPTY };
        match channel.send(self.request.encode(self.seq).as_bytes()) {
            Ok(()) => progress.receive(channel, buffer, &mut deadline, &mut row),
            Err(error) => progress.wrong(failed(&error)),
        }
        DumpStats { took: deadline.elapsed(), ..progress.stats }
    }
}

#[derive(PartialEq, Eq)]
enum Step {
    GoOn,
    Ended,
}

struct Progress {
    port_id: u32,
    seq: u32,
    wanted: AttrSet,
    stats: DumpStats,
}

impl Progress {
    fn receive(
        &mut self,
        channel: &mut impl Channel,
        buffer: &mut [u8],
        deadline: &mut Deadline<'_, impl FnMut() -> bool>,
        row: &mut impl FnMut(&InetDiag<'_>),
    ) {
        loop {
            if let Some(incomplete) = deadline.exceeded() {
                return self.wrong(incomplete);
            }
            let received = match channel.recv(buffer) {
                Ok(received) => received,
                Err(error) => match error.raw_os_error() {
                    Some(EINTR | EAGAIN) => continue,
                    // The kernel goes on behind what it dropped.
                    Some(ENOBUFS) => {
                        self.wrong(Incomplete::Lost);
                        continue;
                    }
                    _ => return self.wrong(failed(&error)),
                },
            };
            let chunk = buffer.get(..received.len).unwrap_or_default();
            self.stats.chunks += 1;
            self.stats.bytes += chunk.len() as u64;
            if !received.from_kernel {
                self.stats.foreign += 1;
                continue;
            }
            if received.truncated {
                self.wrong(Incomplete::Truncated);
            }
            if self.chunk(chunk, received.truncated, row) == Step::Ended {
                return;
            }
        }
    }

    fn chunk(
        &mut self,
        chunk: &[u8],
        truncated: bool,
        row: &mut impl FnMut(&InetDiag<'_>),
    ) -> Step {
        for message in Messages::new(chunk) {
            match message {
                Ok(message) => {
                    if self.message(&message, row) == Step::Ended {
                        return Step::Ended;
                    }
                }
                // The cut end of a truncated chunk is no second fault.
                Err(_) if truncated => {}
                Err(_) => self.malformed(),
            }
        }
        Step::GoOn
    }

    #[inline]
    fn message(&mut self, message: &Message<'_>, row: &mut impl FnMut(&InetDiag<'_>)) -> Step {
        if message.seq != self.seq || message.port_id != self.port_id {
            self.stats.foreign += 1;
            return Step::GoOn;
        }
        if message.interrupted() {
            self.wrong(Incomplete::Interrupted);
        }
        match message.kind {
            TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY => self.socket(message.payload, row),
            NLMSG_DONE => {
                match message.errno() {
                    Some(0) => {}
                    Some(errno) => self.wrong(Incomplete::Ended(errno)),
                    // It does not say that this was everything.
                    None => self.malformed(),
                }
                return Step::Ended;
            }
            NLMSG_ERROR => match message.errno() {
                // An acknowledgement, which nobody asked for.
                Some(0) => {}
                Some(errno) => {
                    self.wrong(Incomplete::Refused(errno));
                    return Step::Ended;
                }
                None => self.malformed(),
            },
            NLMSG_OVERRUN => self.wrong(Incomplete::Lost),
            NLMSG_NOOP => {}
            _ => self.malformed(),
        }
        Step::GoOn
    }

    #[inline]
    fn socket(&mut self, payload: &[u8], row: &mut impl FnMut(&InetDiag<'_>)) {
        match InetDiag::parse(payload, self.wanted) {
            Ok(socket) => {
                self.stats.sockets += 1;
                self.stats.unknown_attributes += u64::from(socket.unknown_attributes());
                self.stats.long_tcp_info +=
                    u64::from(socket.info().is_some_and(|info| info.unknown_bytes() > 0));
                row(&socket);
            }
            Err(_) => self.malformed(),
        }
    }

    fn malformed(&mut self) {
        self.stats.malformed += 1;
        self.wrong(Incomplete::Malformed);
    }

    /// Keeps the first thing that went wrong.
    fn wrong(&mut self, incomplete: Incomplete) {
        if self.stats.completeness == Completeness::Complete {
            self.stats.completeness = Completeness::Incomplete(incomplete);
        }
    }
}

fn failed(error: &io::Error) -> Incomplete {
    Incomplete::Failed(error.raw_os_error().unwrap_or(EIO))
}

const EMPTY: DumpStats = DumpStats {
    chunks: 0,
    bytes: 0,
    sockets: 0,
    foreign: 0,
    malformed: 0,
    unknown_attributes: 0,
    long_tcp_info: 0,
    took: Duration::ZERO,
    completeness: Completeness::Complete,
};
