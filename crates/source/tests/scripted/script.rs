//! A channel to the scripted kernel, and what it says most often.

use std::io;
use std::time::Duration;

use sockeye_pipeline::{Completeness, Incomplete, Stop};
use sockeye_source::sockdiag::{Channel, Dump, DumpStats};
use sockeye_sys::Received;
use sockeye_testkit::scripted::{ScriptedKernel, Step, inet_diag, message};
use sockeye_wire::{AttrSet, Request, StateSet};

pub(crate) const PORT: u32 = 4711;
pub(crate) const SEQ: u32 = 77;
pub(crate) const MULTI: u16 = 2;
pub(crate) const GETSOCK: u16 = 18;
pub(crate) const DONE: u16 = 3;
pub(crate) const ERROR: u16 = 2;

/// The scripted kernel as a dump sees it.
pub(crate) struct Scripted(pub(crate) ScriptedKernel);

impl Channel for Scripted {
    fn port_id(&self) -> u32 {
        PORT
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.0.send(request)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let datagram = self.0.recv(buffer)?;
        Ok(Received {
            len: datagram.len.min(buffer.len()),
            truncated: datagram.len > buffer.len(),
            from_kernel: datagram.from_kernel,
        })
    }
}

/// A kernel that waits for at most a millisecond.
pub(crate) fn scripted(script: impl IntoIterator<Item = Step>) -> Scripted {
    Scripted(ScriptedKernel::new(Duration::from_millis(1), script).unwrap())
}

/// A dump of everything that may take 30 ms.
pub(crate) fn dump(stop: &Stop) -> Dump<'_> {
    Dump {
        request: Request { states: StateSet::DEFAULT, attrs: AttrSet::DEFAULT, bytecode: &[] },
        seq: SEQ,
        wanted: AttrSet::DEFAULT,
        timeout: Duration::from_millis(30),
        stop,
    }
}

/// The cookies of the rows and the statistics, without the time that it took.
pub(crate) fn run(script: impl IntoIterator<Item = Step>) -> (Vec<u64>, DumpStats) {
    let mut cookies = Vec::new();
    let stop = Stop::default();
    let mut kernel = scripted(script);
    let row = |row: &sockeye_wire::InetDiag<'_>| cookies.push(row.cookie());
    let stats = dump(&stop).run(&mut kernel, &mut [0; 4096], || true, row);
    assert_eq!(kernel.0.steps_left(), 0, "the dump ended early");
    assert_eq!(stats.sockets, cookies.len() as u64);
    (cookies, DumpStats { took: Duration::ZERO, ..stats })
}

/// A message of one socket.
pub(crate) fn socket(cookie: u64) -> Vec<u8> {
    reply(GETSOCK, &inet_diag(2, cookie, &[]))
}

/// A message that answers the dump.
pub(crate) fn reply(kind: u16, payload: &[u8]) -> Vec<u8> {
    message(kind, MULTI, SEQ, PORT, payload)
}

/// `NLMSG_DONE` with an errno as the kernel sends it: negated.
pub(crate) fn done(errno: i32) -> Vec<u8> {
    reply(DONE, &(-errno).to_ne_bytes())
}

/// A datagram of these messages, from the kernel.
pub(crate) fn chunk(messages: &[Vec<u8>]) -> Step {
    Step::Kernel(messages.concat())
}

/// The statistics of a dump that received these, nothing odd counted.
pub(crate) fn stats(chunks: u64, bytes: usize, sockets: u64, why: Option<Incomplete>) -> DumpStats {
    DumpStats {
        chunks,
        bytes: bytes as u64,
        sockets,
        foreign: 0,
        malformed: 0,
        unknown_attributes: 0,
        long_tcp_info: 0,
        took: Duration::ZERO,
        completeness: why.map_or(Completeness::Complete, Completeness::Incomplete),
    }
}
