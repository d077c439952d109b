//! One thread's `io_uring`: sends and receives on many diag sockets by one system call.
//!
//! Netlink works inside the calls: a send fills the first reply and a receive the next. Submitted to a ring, both are
//! done inside [`Ring::submit_and_wait`], one after another, as if they had been called one by one. The ring saves
//! system calls and never waits for one socket alone; it does not make the kernel's work faster or parallel.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io, mem};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use nix::errno::Errno;
use nix::libc;

use crate::ring_memory::RecvMemory;
use crate::ring_setup::{self, BEST_FIRST, RingError, Taskrun, errno_of};
use crate::ring_slots::{Operation, Slots};
use crate::{DiagSocket, Received};

/// A ring that belongs to one thread, with the memory of what is in flight.
///
/// Whatever the kernel may still read or write (request, buffer, socket) is held here until its completion was taken.
/// Dropping the ring cancels what is in flight and waits for the kernel to let go of it.
pub struct Ring {
    uring: IoUring,
    slots: Slots,
    /// Completed, not yet taken: ids with the kernel's result.
    completed: VecDeque<(u64, i32)>,
    /// Ids to cancel at the next submission.
    cancels: VecDeque<u64>,
    /// The memory whose bytes were lent last.
    lent: Option<RecvMemory>,
    idle: Vec<RecvMemory>,
    recv_batch: usize,
    cqe_batch: usize,
    buffer_bytes: usize,
    enters: u64,
    /// The kernel accepts submissions of the thread alone that made the ring.
    not_send: PhantomData<*mut ()>,
}

/// What became of one [`Ring::send`] or [`Ring::recv`].
#[derive(Debug)]
pub enum Completion<'ring> {
    /// Of a send, as from [`DiagSocket::send`], with the request for another use.
    Sent(io::Result<()>, Vec<u8>),
    /// Of a receive, as from [`DiagSocket::recv`], with the bytes. `ECANCELED` (or `EINTR`): it was cancelled.
    Received(io::Result<(Received, &'ring [u8])>),
}

/// As many operations are in flight as the ring was made for: take completions first.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the ring is full: {limit} operations of this kind are in flight")]
pub struct RingFull {
    /// How many sends, and how many receives, may be in flight at once.
    pub limit: usize,
}

impl Ring {
    /// Whether this kernel allows all that a ring needs.
    pub fn probe() -> Result<(), RingError> {
        Self::new(1, 1, 1).map(drop)
    }

    /// A ring for at most `recv_batch` receives (and as many sends) in flight, each into `buffer_bytes`.
    ///
    /// A wait takes at most `cqe_batch` completions. Buffers are made when they are needed first, and kept until
    /// [`Ring::shrink`].
    pub fn new(recv_batch: u16, cqe_batch: u16, buffer_bytes: usize) -> Result<Self, RingError> {
        Self::with_taskrun(recv_batch, cqe_batch, buffer_bytes, &BEST_FIRST)
    }

    fn with_taskrun(
        recv_batch: u16,
        cqe_batch: u16,
        buffer_bytes: usize,
        choices: &[Taskrun],
    ) -> Result<Self, RingError> {
        let recv_batch = in_range("recv_batch", recv_batch.into(), MAX_BATCH)?;
        let cqe_batch = in_range("cqe_batch", cqe_batch.into(), MAX_BATCH)?;
        let buffer_bytes = in_range("buffer_bytes", buffer_bytes, MAX_BUFFER_BYTES)?;
        // A send and a receive for each; the kernel makes twice as much room for completions.
        let entries = u32::try_from(2 * recv_batch).expect("MAX_BATCH is small");
        Ok(Self {
            uring: ring_setup::set_up(entries, choices)?,
            slots: Slots::default(),
            completed: VecDeque::with_capacity(cqe_batch),
            cancels: VecDeque::new(),
            lent: None,
            idle: Vec::new(),
            recv_batch,
            cqe_batch,
            buffer_bytes,
            enters: 0,
            not_send: PhantomData,
        })
    }

    /// Queues a request to the kernel. `token` comes back with the completion.
    ///
    /// Operations are begun in the order in which they were queued, so a receive may be queued right behind its send. If the
    /// send fails, that receive waits for nothing: [`Ring::cancel`] it.
    pub fn send(
        &mut self,
        token: u32,
        socket: &Arc<DiagSocket>,
        request: Vec<u8>,
    ) -> Result<(), RingFull> {
        if self.slots.sends() >= self.recv_batch {
            return Err(self.full());
        }
        // The kernel refuses a request that it cannot hold in its send buffer, long before this length.
        let len = u32::try_from(request.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), request.as_ptr(), len).build();
        self.queue(token, socket, Operation::Send(request), entry)
    }

    /// Queues the receive of one datagram. One that finds nothing to read waits in the kernel.
    pub fn recv(&mut self, token: u32, socket: &Arc<DiagSocket>) -> Result<(), RingFull> {
        if self.slots.receives() >= self.recv_batch {
            return Err(self.full());
        }
        self.take_back();
        let mut memory = self.idle.pop().unwrap_or_else(|| RecvMemory::new(self.buffer_bytes));
        let message = memory.arm();
        let entry = opcode::RecvMsg::new(Fd(socket.as_raw_fd()), message)
            .flags(libc::MSG_TRUNC.cast_unsigned())
            .build();
        self.queue(token, socket, Operation::Recv(memory), entry)
    }

    /// Asks the kernel to give up what is in flight for `token`. Each operation still completes: cancelled, or done
    /// if it was too late.
    pub fn cancel(&mut self, token: u32) {
        for slot in self.slots.iter_mut().filter(|slot| slot.token == token && !slot.cancelled) {
            slot.cancelled = true;
            self.cancels.push_back(slot.id);
        }
    }

    /// Submits what is queued, waits until at least one operation has completed, and returns how many have.
    ///
    /// Returns 0 when `timeout` passed or nothing is in flight. The work of the kernel is not part of `timeout`: all
    /// dumps that were queued are begun, however long each takes.
    ///
    /// # Errors
    /// The kernel's; what was queued stays queued. `EAGAIN`: no memory in the kernel, try again later.
    pub fn submit_and_wait(&mut self, timeout: Duration) -> io::Result<usize> {
        let deadline = Instant::now() + timeout.min(LONGEST_WAIT);
        loop {
            self.reap(self.cqe_batch);
            self.queue_cancels();
            let submitted = self.uring.submission().is_empty();
            if self.slots.len() == 0 || (submitted && !self.completed.is_empty()) {
                return Ok(self.completed.len());
            }
            self.enter(deadline.saturating_duration_since(Instant::now()))?;
            self.reap(self.cqe_batch);
            let ended = self.cancels.is_empty() && !self.completed.is_empty();
            if ended || Instant::now() >= deadline {
                return Ok(self.completed.len());
            }
        }
    }

    /// The next of the completions that [`Ring::submit_and_wait`] took, with its token.
    ///
    /// The bytes are lent until the next call: a receive that is queued then uses the same buffer.
    pub fn next_completion(&mut self) -> Option<(u32, Completion<'_>)> {
        self.take_back();
        let (id, result) = self.completed.pop_front()?;
        let slot = self.slots.take(id)?;
        let result = outcome(result);
        let completion = match slot.operation {
            Operation::Send(request) => {
                let whole = request.len();
                let sent = result.and_then(|sent| {
                    if sent == whole { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
                });
                Completion::Sent(sent, request)
            }
            Operation::Recv(memory) => {
                let memory = self.lent.insert(memory);
                Completion::Received(result.map(|len| {
                    let received = memory.received(len);
                    (received, memory.bytes(received.len))
                }))
            }
        };
        Some((slot.token, completion))
    }

    /// How many sends and receives were queued whose completions were not taken yet.
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// How many receive buffers exist: those in use and those kept for use.
    pub fn buffers(&self) -> usize {
        self.slots.receives() + usize::from(self.lent.is_some()) + self.idle.len()
    }

    /// Frees the buffers that are not in use. With nothing in flight, none is left.
    pub fn shrink(&mut self) {
        self.lent = None;
        self.idle = Vec::new();
    }

    /// How many times `io_uring_enter` was called.
    pub fn enters(&self) -> u64 {
        self.enters
    }

    fn full(&self) -> RingFull {
        RingFull { limit: self.recv_batch }
    }

    /// Hands `entry` over with the operation that it points to.
    #[expect(unsafe_code, reason = "the entry points to memory")]
    fn queue(
        &mut self,
        token: u32,
        socket: &Arc<DiagSocket>,
        operation: Operation,
        entry: squeue::Entry,
    ) -> Result<(), RingFull> {
        let id = self.slots.insert(token, Arc::clone(socket), operation);
        let entry = entry.user_data(id);
        // SAFETY: `entry` points into vectors of `operation` and names the descriptor of `socket`. `slots` holds both,
        // without touching what the vectors point to, until the completion with this id was reaped, or forever.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        pushed.map_err(|_| {
            // Cancellations that could not be submitted are in the way; the kernel has not seen this entry.
            self.slots.take(id);
            self.full()
        })
    }

    #[expect(unsafe_code, reason = "entries may point to memory; this one does not")]
    fn queue_cancels(&mut self) {
        while let Some(id) = self.cancels.pop_front() {
            let entry = opcode::AsyncCancel::new(id).build().user_data(A_CANCEL);
            // SAFETY: a cancellation names a submission by its number and points to no memory.
            if unsafe { self.uring.submission().push(&entry) }.is_err() {
                self.cancels.push_front(id);
                return;
            }
        }
    }

    /// One `io_uring_enter`; one that a signal or the timeout ended is none the worse.
    fn enter(&mut self, timeout: Duration) -> io::Result<()> {
        let wanted = usize::from(self.completed.is_empty());
        let timeout = Timespec::from(timeout);
        self.enters += 1;
        match self.uring.submitter().submit_with_args(wanted, &SubmitArgs::new().timespec(&timeout))
        {
            Ok(_) => Ok(()),
            Err(error) => match errno_of(&error) {
                Errno::ETIME | Errno::EINTR => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Takes completions over until there are `limit`.
    fn reap(&mut self, limit: usize) {
        let mut queue = self.uring.completion();
        while self.completed.len() < limit {
            let Some(entry) = queue.next() else { return };
            if self.slots.contains(entry.user_data()) {
                self.completed.push_back((entry.user_data(), entry.result()));
            }
        }
    }

    fn take_back(&mut self) {
        self.idle.extend(self.lent.take());
    }

    /// Drops what has completed.
    fn forget_completed(&mut self) {
        self.reap(usize::MAX);
        for (id, _) in mem::take(&mut self.completed) {
            self.slots.take(id);
        }
    }
}

impl Drop for Ring {
    /// Requests, buffers and sockets that the kernel does not give back are leaked: it could still write to them.
    fn drop(&mut self) {
        let deadline = Instant::now() + LONGEST_DROP;
        self.forget_completed();
        while self.slots.len() > 0 && Instant::now() < deadline {
            // All, also those that were asked before: one that was about to begin then is found now.
            self.cancels = self.slots.iter_mut().map(|slot| slot.id).collect();
            self.queue_cancels();
            if self.enter(BETWEEN_CANCELS).is_err() {
                break;
            }
            self.forget_completed();
        }
        if self.slots.len() > 0 {
            mem::forget(mem::take(&mut self.slots));
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("in_flight", &self.in_flight())
            .field("buffers", &self.buffers())
            .field("enters", &self.enters)
            .finish_non_exhaustive()
    }
}

fn in_range(name: &'static str, value: usize, max: usize) -> Result<usize, RingError> {
    if (1..=max).contains(&value) {
        Ok(value)
    } else {
        Err(RingError::OutOfRange { name, value, max })
    }
}

/// A completion's result: a length, or an error number below zero.
fn outcome(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.saturating_neg()))
}

const MAX_BATCH: usize = 4096;
const MAX_BUFFER_BYTES: usize = 1 << 30;
/// The `user_data` of cancellations; no operation has it.
const A_CANCEL: u64 = u64::MAX;
const LONGEST_WAIT: Duration = Duration::from_hours(24);
const LONGEST_DROP: Duration = Duration::from_secs(2);
const BETWEEN_CANCELS: Duration = Duration::from_millis(10);

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
