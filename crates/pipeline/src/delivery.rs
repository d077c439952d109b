//! A delivery: an envelope in a sink's hands, from the moment it is taken until its rows are accounted for.

use std::sync::Arc;
use std::time::Instant;

use sockeye_record::Envelope;

use crate::figures::Figures;
use crate::ledger::{DropReason, Ledger};
use crate::queue::Queue;

/// An envelope in a sink's hands. It must say what became of it; if it is merely dropped, its rows count as
/// [`DropReason::Rejected`], or as lost with the sink when that has ended.
#[derive(Debug)]
pub struct Delivery {
    queue: Queue,
    payload: Payload,
    rows: u64,
    /// What it takes of the queue's bytes.
    counted: usize,
    offered: Instant,
    resolved: bool,
}

#[derive(Debug)]
enum Payload {
    Whole(Arc<Envelope>),
    Part(Vec<u8>),
    /// Somebody else has the bytes.
    Released,
}

impl Delivery {
    pub(crate) fn new(queue: Queue, envelope: Arc<Envelope>, offered: Instant) -> Self {
        let (rows, counted) = (envelope.rows(), envelope.bytes().len());
        Self { queue, payload: Payload::Whole(envelope), rows, counted, offered, resolved: false }
    }

    /// The envelope's bytes; none after [`Delivery::release`].
    pub fn bytes(&self) -> &[u8] {
        match &self.payload {
            Payload::Whole(envelope) => envelope.bytes(),
            Payload::Part(bytes) => bytes,
            Payload::Released => &[],
        }
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The other side has it.
    pub fn delivered(self) {
        let (rows, bytes, took) = (self.rows, self.counted, self.offered.elapsed());
        self.resolve(|ledger, figures| {
            ledger.delivered += rows;
            figures.delivered_payloads += 1;
            figures.delivered_bytes += bytes as u64;
            figures.latency.observe(took);
        });
    }

    /// It is lost.
    pub fn dropped(self, reason: DropReason) {
        let rows = self.rows;
        self.resolve(|ledger, _| ledger.drop_rows(reason, rows));
    }

    /// The sink has it on a disk, from where it is to be delivered later: its bytes make room in the queue, its rows
    /// stay in flight until [`Queue::spooled_delivered`] or [`Queue::spooled_dropped`].
    pub fn spooled(self) {
        let rows = self.rows;
        self.resolve(|ledger, _| {
            ledger.in_flight += rows;
            ledger.spooled += rows;
        });
    }

    /// Lets go of the bytes, of which a client library has its own copy now. They go on to count in the queue, once.
    pub fn release(&mut self) {
        self.payload = Payload::Released;
    }

    /// Makes several of it, with bytes and rows of their own, each of which is to be resolved. They may have more bytes
    /// than it had, for frames of their own; together they have its rows.
    pub fn split(mut self, parts: Vec<(Vec<u8>, u64)>) -> Vec<Self> {
        let (bytes, rows) = parts.iter().fold((0, 0), |(bytes, rows), (part, part_rows)| {
            (bytes + part.len(), rows + part_rows)
        });
        assert_eq!(rows, self.rows, "parts have the rows of the whole");
        self.resolved = true;
        self.queue.recount(self.counted, bytes);
        parts
            .into_iter()
            .map(|(part, rows)| Self {
                queue: self.queue.clone(),
                counted: part.len(),
                payload: Payload::Part(part),
                rows,
                offered: self.offered,
                resolved: false,
            })
            .collect()
    }

    /// An attempt failed and will be made again. Counted by itself when [`crate::SendError::Retry`] is returned.
    pub fn retried(&self) {
        self.queue.retried();
    }

    /// Bytes that the queue may hold, this envelope's included: a sink that gathers must let go long before.
    pub fn queue_bytes(&self) -> usize {
        self.queue.limits().bytes
    }

    /// Whether somebody waits for the room that this and others take.
    pub fn holds_up_others(&self) -> bool {
        self.queue.holds_up_others()
    }

    fn resolve(mut self, account: impl FnOnce(&mut Ledger, &mut Figures)) {
        self.resolved = true;
        self.queue.resolve(self.rows, self.counted, account);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.resolved {
            let late =
                self.queue.flush_deadline().is_some_and(|deadline| Instant::now() >= deadline);
            let otherwise = if late { DropReason::Shutdown } else { DropReason::Rejected };
            let reason = self.queue.gone().unwrap_or(otherwise);
            let rows = self.rows;
            self.queue.resolve(rows, self.counted, |ledger, _| ledger.drop_rows(reason, rows));
        }
    }
}
