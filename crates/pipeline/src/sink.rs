//! Sink: where envelopes go; and the thread that serves one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sockeye_record::Encoding;
use tracing::{debug, error, info, warn};

use crate::delivery::Delivery;
use crate::figures::Link;
use crate::ledger::DropReason;
use crate::queue::{Queue, Take};

/// A place that takes envelopes. Lives on a thread of its own; may block, since nothing waits for it but its queue.
pub trait Sink: Send {
    /// Called once, before anything else, with the queue that it serves.
    fn start(&mut self, _queue: &Queue) {}

    /// Takes one envelope. Resolve it when the other side has it: now, or later from a callback.
    ///
    /// # Errors
    /// [`SendError::Retry`]: nothing of it was delivered; it will be sent again after a pause.
    /// [`SendError::Closed`]: the sink has ended for good.
    fn send(&mut self, delivery: Delivery) -> Result<(), SendError>;

    /// Everything of a poll has been sent.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`]: the sink has ended for good; quietly, unless the error wraps another. Any other
    /// is logged, and the sink goes on. The same holds for the calls below.
    fn end_of_poll(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// How long to wait for the next envelope before [`Sink::idle`] is called. One that has something to wait for in
    /// there, such as confirmations, says zero.
    fn nap(&self) -> Duration {
        IDLE
    }

    /// Called a few times a second while nothing comes: for work that goes by the clock.
    fn idle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What is sent from here on is in this encoding: for one that writes something in front of the rows, such as a header.
    fn encoding(&mut self, _encoding: &Encoding) -> io::Result<()> {
        Ok(())
    }

    /// SIGHUP: open again what somebody may have moved away.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Nothing will be sent any more: flush, complete, close, until [`Queue::flush_deadline`], which may come closer
    /// meanwhile. Called again after a pause while it fails, until that deadline.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why an envelope was not taken. It comes back.
#[derive(Debug)]
pub enum SendError {
    /// It may work later: a full disk, a broker away.
    Retry(Delivery, io::Error),
    /// It will never work again; `None` when that is nobody's fault (a reader that has seen enough).
    Closed(Delivery, Option<io::Error>),
}

/// The thread that serves one sink.
#[derive(Debug)]
pub struct SinkThread {
    queue: Queue,
    reopen: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl SinkThread {
    /// Starts serving `queue` with `sink`.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(queue: Queue, sink: Box<dyn Sink>) -> io::Result<Self> {
        let reopen = Arc::new(AtomicBool::new(false));
        let server = Server {
            queue: queue.clone(),
            sink,
            reopen: Arc::clone(&reopen),
            last_complaint: None,
        };
        let name = format!("sink-{}", queue.name())
            .chars()
            .filter(|char| *char != '\0')
            .take(15)
            .collect();
        let thread = thread::Builder::new().name(name).spawn(move || server.serve())?;
        Ok(Self { queue, reopen, thread })
    }

    /// The queue that it serves.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// A handle that asks the sink to open again what it writes to.
    pub fn reopen(&self) -> Reopen {
        Reopen(Arc::clone(&self.reopen))
    }

    /// Whether the sink has ended: by itself, or after its queue was closed and is empty.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the sink to flush, until the deadline that its queue was closed with. What is left then is dropped
    /// and counted; a sink stuck in a system call is left behind.
    pub fn join(self) {
        let deadline = self.queue.flush_deadline().unwrap_or_else(Instant::now) + GRACE;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        self.queue.abandon(DropReason::Shutdown);
        if self.thread.is_finished() {
            // A panic has ended the process already.
            let _ = self.thread.join();
        }
    }
}

/// Asks a sink to open again what it writes to.
#[derive(Debug, Clone)]
#[must_use]
pub struct Reopen(Arc<AtomicBool>);

impl Reopen {
    /// It will be done before the next envelope, or within a fraction of a second.
    pub fn request(&self) {
        self.0.store(true, Ordering::Release);
    }
}

struct Server {
    queue: Queue,
    sink: Box<dyn Sink>,
    reopen: Arc<AtomicBool>,
    last_complaint: Option<Instant>,
}

impl Server {
    fn serve(mut self) {
        self.sink.start(&self.queue);
        loop {
            self.reopen_if_asked();
            match self.queue.take(self.sink.nap()) {
                Take::Delivery(delivery) => {
                    if !self.send(delivery) {
                        return;
                    }
                }
                Take::EndOfPoll => {
                    let flushed = self.sink.end_of_poll();
                    if !self.went_well(flushed) {
                        return;
                    }
                }
                Take::Encoding(encoding) => {
                    let changed = self.sink.encoding(&encoding);
                    if !self.went_well(changed) {
                        return;
                    }
                }
                Take::Idle => {
                    let done = self.sink.idle();
                    if !self.went_well(done) {
                        return;
                    }
                }
                Take::Closed => return self.finish(),
            }
        }
    }

    fn finish(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let finished = self.sink.finish();
            let failed = finished.is_err();
            if !self.went_well(finished) {
                return;
            }
            if !failed || !self.queue.wait_to_retry(pause) {
                break;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.queue.abandon(DropReason::Shutdown);
    }

    fn reopen_if_asked(&mut self) {
        if self.reopen.swap(false, Ordering::AcqRel) {
            let reopened = self.sink.reopen();
            self.complain_about(reopened, "sink can't be reopened");
        }
    }

    /// Sends until it is resolved, or for good not; false when the sink has ended.
    fn send(&mut self, mut delivery: Delivery) -> bool {
        let mut pause = FIRST_PAUSE;
        let rows = delivery.rows();
        loop {
            match self.sink.send(delivery) {
                Ok(()) => {
                    self.queue.accepted(rows);
                    if pause > FIRST_PAUSE {
                        self.queue.set_link(Link::Up);
                        info!(sink = self.queue.name(), "sink works again");
                    }
                    return true;
                }
                Err(SendError::Retry(back, error)) => {
                    delivery = back;
                    delivery.retried();
                    self.queue.set_link(Link::Down);
                    self.complain_about(Err(error), "sink failed; trying again");
                    if !self.queue.wait_to_retry(pause) {
                        delivery.dropped(DropReason::Shutdown);
                        self.queue.abandon(DropReason::Shutdown);
                        return true;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    // What it writes to may be the very thing that has to be opened again.
                    self.reopen_if_asked();
                }
                Err(SendError::Closed(back, error)) => {
                    back.dropped(DropReason::SinkClosed);
                    self.ended(error);
                    return false;
                }
            }
        }
    }

    /// False when a sink that writes when a poll ends has lost its other side.
    fn went_well(&mut self, result: io::Result<()>) -> bool {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.ended(error.get_ref().is_some().then_some(error));
                false
            }
            other => {
                self.complain_about(other, "sink failed");
                true
            }
        }
    }

    fn ended(&self, error: Option<io::Error>) {
        if let Some(error) = error {
            error!(sink = self.queue.name(), %error, "sink has ended; its rows are being lost");
        } else {
            debug!(sink = self.queue.name(), "sink has ended: nobody reads it any more");
        }
        self.queue.abandon(DropReason::SinkClosed);
    }

    /// One line a minute, however often it fails.
    fn complain_about(&mut self, result: io::Result<()>, what: &str) {
        let Err(error) = result else { return };
        if self.last_complaint.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            self.last_complaint = Some(Instant::now());
            warn!(sink = self.queue.name(), %error, "{what}");
        }
    }
}

/// Also when the sink panics: nobody waits for it for ever.
impl Drop for Server {
    fn drop(&mut self) {
        self.queue.abandon(DropReason::SinkClosed);
    }
}

const IDLE: Duration = Duration::from_millis(200);
/// For a sink that puts what it could not deliver into a safe place.
const GRACE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const COMPLAINT_INTERVAL: Duration = Duration::from_mins(1);
