//! One dump: a request, its chunks and `NLMSG_DONE`.

use std::time::{Duration, Instant};

use nix::libc::{EAGAIN, EINTR, ENOBUFS};
use sockeye_pipeline::{Completeness, Incomplete, Stop};
use sockeye_wire::inet_diag::{SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK};
use sockeye_wire::netlink::{NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};
use sockeye_wire::{AttrSet, InetDiag, Message, Messages, Request};

use super::channel::Channel;

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
    /// Once it takes longer than [`LIVENESS_AFTER`], `alive` is asked now and then whether the namespace still has a
    /// process or mount: an open socket would keep a dead one.
    ///
    /// It never fails as a whole: sockets read before something went wrong are good, and
    /// [`DumpStats::completeness`] says what the first thing was.
    pub fn run(
        &self,
        channel: &mut impl Channel,
        buffer: &mut [u8],
        mut alive: impl FnMut() -> bool,
        mut row: impl FnMut(&InetDiag<'_>),
    ) -> DumpStats {
        let began = Instant::now();
        let mut progress = Progress { port_id: channel.port_id(), seq: self.seq, wanted: self.wanted, stats: EMPTY };
        if let Err(error) = channel.send(self.request.encode(self.seq).as_bytes()) {
            progress.wrong(Incomplete::Failed(error.raw_os_error().unwrap_or(0)));
        } else {
            self.receive(channel, buffer, began, &mut progress, &mut alive, &mut row);
        }
        DumpStats { took: began.elapsed(), ..progress.stats }
    }

    fn receive(
        &self,
        channel: &mut impl Channel,
        buffer: &mut [u8],
        began: Instant,
        progress: &mut Progress,
        alive: &mut impl FnMut() -> bool,
        row: &mut impl FnMut(&InetDiag<'_>),
    ) {
        let mut next_look = LIVENESS_AFTER;
        loop {
            let waited = began.elapsed();
            if waited >= self.timeout {
                return progress.wrong(Incomplete::Timeout);
            }
            if self.stop.requested() {
                return progress.wrong(Incomplete::Stopped);
            }
            if waited >= next_look {
                if !alive() {
                    return progress.wrong(Incomplete::Vanished);
                }
                next_look = began.elapsed() + LIVENESS_EVERY;
            }
            let received = match channel.recv(buffer) {
                Ok(received) => received,
                Err(error) => match error.raw_os_error() {
                    Some(EINTR | EAGAIN) => continue,
                    // The kernel goes on behind what it dropped.
                    Some(ENOBUFS) => {
                        progress.wrong(Incomplete::Lost);
                        continue;
                    }
                    errno => return progress.wrong(Incomplete::Failed(errno.unwrap_or(0))),
                },
            };
            let chunk = buffer.get(..received.len).unwrap_or_default();
            progress.stats.chunks += 1;
            progress.stats.bytes += chunk.len() as u64;
            if !received.from_kernel {
                progress.stats.foreign += 1;
                continue;
            }
            if received.truncated {
                progress.wrong(Incomplete::Truncated);
            }
            if progress.chunk(chunk, received.truncated, row) == Step::Ended {
                return;
            }
        }
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
    fn chunk(&mut self, chunk: &[u8], truncated: bool, row: &mut impl FnMut(&InetDiag<'_>)) -> Step {
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
                if let Some(errno @ 1..) = message.errno() {
                    self.wrong(Incomplete::Ended(errno));
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
                self.stats.long_tcp_info += u64::from(socket.info().is_some_and(|info| info.unknown_bytes() > 0));
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

/// From here on a dump looks whether its namespace still lives, so that nothing dead is held for a second.
const LIVENESS_AFTER: Duration = Duration::from_millis(400);
const LIVENESS_EVERY: Duration = Duration::from_millis(250);

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
