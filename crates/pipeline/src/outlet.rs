//! The outlet: where sources send envelopes; it knows which sinks want which encoding.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sockeye_record::{CutReason, Envelope};

use crate::queue::Queue;
use crate::stop::Stop;

/// The queues behind each lane. A lane is one encoding in use: its rows are encoded once for all of its sinks.
#[derive(Debug, Clone)]
pub struct Outlet {
    lanes: Arc<Vec<Vec<Queue>>>,
    counts: Arc<Counts>,
    stop: Stop,
}

/// What was sent so far, whatever sinks there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Envelopes, by [`Sent::REASONS`].
    pub envelopes: [u64; Sent::REASONS.len()],
    /// Envelopes by their rows: how many had at most [`Sent::ROWS`], each bucket alone; the last one has those with more.
    pub by_rows: [u64; Sent::ROWS.len() + 1],
    /// Rows in all of them.
    pub rows: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    envelopes: [AtomicU64; Sent::REASONS.len()],
    by_rows: [AtomicU64; Sent::ROWS.len() + 1],
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// Whether a poll should begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollGate {
    /// At least one sink has room.
    Open,
    /// Every sink is above its high-water mark: ask the kernel later.
    HighWater,
    /// Every sink has ended for good.
    Closed,
}

impl Outlet {
    /// An outlet to these queues, by lane. Offers stop waiting for room when `stop` is requested.
    pub fn new(lanes: Vec<Vec<Queue>>, stop: Stop) -> Self {
        Self { lanes: Arc::new(lanes), counts: Arc::default(), stop }
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Sends an envelope of lane `lane` to all of its sinks, first to those that have room. What a sink has no room for
    /// is dropped and in its ledger.
    pub fn send(&self, lane: usize, envelope: Envelope) {
        self.counts.add(&envelope);
        let envelope = Arc::new(envelope);
        let queues = || self.lanes.get(lane).into_iter().flatten();
        let ready: Vec<bool> =
            queues().map(|queue| queue.has_room(envelope.bytes().len())).collect();
        let waits = queues().any(Queue::holds_envelopes);
        for first in [true, false] {
            for (queue, _) in queues().zip(&ready).filter(|(_, ready)| **ready == first) {
                // The queue's ledger has the reason.
                let _ = queue.offer(Arc::clone(&envelope), &self.stop);
            }
        }
        // The thread of a sink that is not behind has been woken, and may wait for this very processor. A time slice later there
        // would be some more megabytes of envelopes.
        if waits {
            thread::yield_now();
        }
    }

    /// Sends an envelope of closed sockets, which the kernel will not tell of again: no wait, and polls go second. What
    /// a sink has no room for even so is dropped and in its ledger.
    pub fn send_closed(&self, lane: usize, envelope: Envelope) {
        self.counts.add(&envelope);
        let envelope = Arc::new(envelope);
        for queue in self.lanes.get(lane).into_iter().flatten() {
            // The queue's ledger has the reason.
            let _ = queue.offer_closed(Arc::clone(&envelope));
        }
    }

    /// From now on polls leave an eighth of every queue to closed sockets.
    pub fn keep_room_for_closed(&self) {
        self.queues().for_each(Queue::keep_room_for_closed);
    }

    /// Decides about a poll, and pauses for its length the sinks that are too far behind while others are not. A poll
    /// that is not to begin pauses nobody: there may be sources that send between polls.
    pub fn begin_poll(&self) -> PollGate {
        let alive: Vec<(&Queue, bool)> = self
            .queues()
            .filter(|queue| !queue.sink_gone())
            .map(|queue| (queue, queue.above_high_water()))
            .collect();
        if alive.is_empty() {
            return PollGate::Closed;
        }
        if alive.iter().all(|(_, behind)| *behind) {
            return PollGate::HighWater;
        }
        for (queue, behind) in alive {
            queue.begin_poll(behind);
        }
        PollGate::Open
    }

    /// Tells every sink that a poll has ended.
    pub fn end_of_poll(&self) {
        self.queues().for_each(Queue::end_of_poll);
    }

    /// What was sent so far.
    pub fn sent(&self) -> Sent {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Sent {
            envelopes: self.counts.envelopes.each_ref().map(read),
            by_rows: self.counts.by_rows.each_ref().map(read),
            rows: read(&self.counts.rows),
            bytes: read(&self.counts.bytes),
        }
    }

    /// Every sink's queue.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.lanes.iter().flatten()
    }
}

impl Sent {
    /// Why envelopes are cut, in the order of [`Sent::envelopes`], and as labels.
    pub const REASONS: [(CutReason, &'static str); 3] = [
        (CutReason::Rows, "rows"),
        (CutReason::Bytes, "bytes"),
        (CutReason::EndOfPoll, "end_of_poll"),
    ];

    /// What two outlets have sent.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.envelopes.iter_mut().zip(other.envelopes).for_each(|(mine, theirs)| *mine += theirs);
        self.by_rows.iter_mut().zip(other.by_rows).for_each(|(mine, theirs)| *mine += theirs);
        Self { rows: self.rows + other.rows, bytes: self.bytes + other.bytes, ..self }
    }

    /// Upper bounds of [`Sent::by_rows`].
    pub const ROWS: [u64; 8] = [1, 10, 50, 100, 500, 1_000, 5_000, 10_000];
}

impl Counts {
    fn add(&self, envelope: &Envelope) {
        let rows = envelope.rows();
        let reason = Sent::REASONS.iter().position(|(reason, _)| *reason == envelope.reason());
        let bucket = Sent::ROWS.partition_point(|bound| *bound < rows);
        for (counter, count) in [
            (reason.and_then(|reason| self.envelopes.get(reason)), 1),
            (self.by_rows.get(bucket), 1),
            (Some(&self.rows), rows),
            (Some(&self.bytes), envelope.bytes().len() as u64),
        ] {
            if let Some(counter) = counter {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}
