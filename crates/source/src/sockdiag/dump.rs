//! One dump by blocking receives: a request, its chunks and `NLMSG_DONE`.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use nix::libc::{EAGAIN, EINTR, EIO, ENOBUFS};
use sockeye_pipeline::{Completeness, Incomplete, Stop};
use sockeye_sys::Received;
use sockeye_wire::{AttrSet, InetDiag, Layouts, Request};

use super::channel::Channel;
use super::deadline::Deadline;
use super::progress::{Progress, Step};

/// What to dump, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Dump<'a> {
    /// What is asked.
    pub request: Request<'a>,
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
        mut row: impl FnMut(&InetDiag<'_>),
    ) -> DumpStats {
        let never = Cell::default();
        let mut deadline = Deadline::new(self.timeout, self.stop, &never, alive);
        let mut layouts = Layouts::new(self.wanted);
        let mut progress = Progress::dump(channel.port_id(), self.seq);
        match channel.send(self.request.encode(self.seq).as_bytes()) {
            Ok(()) => receive(channel, buffer, &mut deadline, |got| match got {
                Got::Chunk(received, chunk) => {
                    progress.feed(received, chunk, &mut layouts, &mut |socket, _| row(socket))
                }
                Got::Lost => progress.lost(),
                Got::Nothing(why) => {
                    progress.wrong(why);
                    Step::Ended
                }
            }),
            Err(error) => progress.wrong(failed(&error)),
        }
        DumpStats { took: deadline.elapsed(), ..progress.stats }
    }
}

/// What a receive came to.
pub(crate) enum Got<'a> {
    /// Bytes.
    Chunk(Received, &'a [u8]),
    /// The kernel dropped replies.
    Lost,
    /// There will be no more, and why.
    Nothing(Incomplete),
}

/// Receives and gives what it got to `take`, until that says that the exchange has ended, or after [`Got::Nothing`].
pub(super) fn receive(
    channel: &mut impl Channel,
    buffer: &mut [u8],
    deadline: &mut Deadline<'_, impl FnMut() -> bool>,
    mut take: impl FnMut(Got<'_>) -> Step,
) {
    loop {
        if let Some(incomplete) = deadline.exceeded() {
            take(Got::Nothing(incomplete));
            return;
        }
        let step = match channel.recv(buffer) {
            Ok(received) => {
                let chunk = buffer.get(..received.len).unwrap_or_default();
                take(Got::Chunk(received, chunk))
            }
            Err(error) => match error.raw_os_error() {
                Some(EINTR | EAGAIN) => continue,
                Some(ENOBUFS) => take(Got::Lost),
                _ => {
                    take(Got::Nothing(failed(&error)));
                    return;
                }
            },
        };
        if step == Step::Ended {
            return;
        }
    }
}

/// A system call's error as what keeps a part from being complete.
pub(super) fn failed(error: &io::Error) -> Incomplete {
    Incomplete::Failed(error.raw_os_error().unwrap_or(EIO))
}
