//! The outlet: where sources send envelopes; it knows which sinks want which encoding.

use std::sync::Arc;

use sockeye_record::Envelope;

use crate::queue::Queue;
use crate::stop::Stop;

/// The queues behind each lane. A lane is one encoding in use: its rows are encoded once for all of its sinks.
#[derive(Debug, Clone)]
pub struct Outlet {
    lanes: Arc<Vec<Vec<Queue>>>,
    stop: Stop,
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
        Self { lanes: Arc::new(lanes), stop }
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Sends an envelope of lane `lane` to all of its sinks, first to those that have room. What a sink has no room for
    /// is dropped and in its ledger.
    pub fn send(&self, lane: usize, envelope: Envelope) {
        let envelope = Arc::new(envelope);
        let queues = || self.lanes.get(lane).into_iter().flatten();
        let ready: Vec<bool> =
            queues().map(|queue| queue.has_room(envelope.bytes().len())).collect();
        for first in [true, false] {
            for (queue, _) in queues().zip(&ready).filter(|(_, ready)| **ready == first) {
                // The queue's ledger has the reason.
                let _ = queue.offer(Arc::clone(&envelope), &self.stop);
            }
        }
    }

    /// Sends an envelope of closed sockets, which the kernel will not tell of again: no wait, and polls go second. What
    /// a sink has no room for even so is dropped and in its ledger.
    pub fn send_closed(&self, lane: usize, envelope: Envelope) {
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

    /// Every sink's queue.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.lanes.iter().flatten()
    }
}
