//! Envelopes to send, and a queue with a sink's thread behind it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use sockeye_pipeline::{
    Delivery, Ledger, Queue, QueueLimits, Sink, SinkThread, Stop, Take, WhenFull,
};
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_record::{BufferPool, Builder, Encoder, Encoding, Envelope, Format, Limits};

/// Encodes all columns in this format.
pub fn encoder(format: Format) -> Encoder {
    Encoder::for_records(&Encoding { format, columns: None, humanize: None })
}

/// `count` envelopes of two rows each; `record_counter` counts the rows from 1, and the text is hard to carry.
pub fn envelopes(format: Format, count: u64) -> Vec<Envelope> {
    let limits = Limits { rows: 2, bytes: usize::MAX };
    let mut builder = Builder::new(encoder(format), limits, BufferPool::new(4));
    let mut envelopes = Vec::new();
    for record_counter in 1..=2 * count {
        let record = XtcpFlatRecord {
            hostname: "host \"one\",\ntwo\n\t{}".into(),
            netns: "default".into(),
            record_counter,
            inet_diag_msg_state: 1,
            inet_diag_msg_socket_source: vec![10, 0, 0, 1],
            inet_diag_msg_socket_destination: vec![0x20; 16],
            ..Default::default()
        };
        builder.push_record(&record, |envelope| envelopes.push(envelope));
    }
    envelopes
}

/// The bytes of envelopes, one behind the other.
pub fn bytes(envelopes: &[Envelope]) -> Vec<u8> {
    envelopes.iter().flat_map(Envelope::bytes).copied().collect()
}

/// A queue that waits when it is full.
pub fn queue() -> Queue {
    Queue::new("test", QueueLimits { bytes: 1 << 20, when_full: WhenFull::Wait })
}

/// A sink with its thread and queue.
pub struct Served {
    pub queue: Queue,
    pub thread: SinkThread,
}

impl Served {
    pub fn start(sink: impl Sink + 'static) -> Self {
        let queue = queue();
        let thread = SinkThread::spawn(queue.clone(), Box::new(sink)).unwrap();
        Self { queue, thread }
    }

    pub fn offer(&self, envelopes: impl IntoIterator<Item = Envelope>) {
        for envelope in envelopes {
            let _ = self.queue.offer(Arc::new(envelope), &Stop::default());
            assert!(self.queue.ledger().balances(), "{}", self.queue.ledger());
        }
    }

    /// Waits for something to come true; the ledger balances all the while.
    pub fn wait(&self, what: &str, until: impl Fn(&Ledger) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !until(&self.queue.ledger()) {
            assert!(self.queue.ledger().balances(), "{}", self.queue.ledger());
            assert!(Instant::now() < deadline, "{what}: {}", self.queue.ledger());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Closes the queue and gives its last ledger, once the sink is done.
    pub fn close(self) -> Ledger {
        self.close_within(PATIENCE)
    }

    pub fn close_within(self, flush: Duration) -> Ledger {
        self.queue.close(Instant::now() + flush);
        self.thread.join();
        let ledger = self.queue.ledger();
        assert!(ledger.balances(), "{ledger}");
        ledger
    }
}

/// Takes an envelope's delivery out of a queue of its own.
pub fn delivery(queue: &Queue, envelope: Envelope) -> Delivery {
    queue.offer(Arc::new(envelope), &Stop::default()).unwrap();
    match queue.take(Duration::ZERO) {
        Take::Delivery(delivery) => delivery,
        other => panic!("{other:?}"),
    }
}

/// Sends without a thread; the sink must take every envelope.
pub fn send(sink: &mut impl Sink, envelopes: Vec<Envelope>) -> Ledger {
    let queue = queue();
    for envelope in envelopes {
        sink.send(delivery(&queue, envelope)).unwrap();
    }
    let ledger = queue.ledger();
    assert!(ledger.balances(), "{ledger}");
    ledger
}

const PATIENCE: Duration = Duration::from_mins(1);
