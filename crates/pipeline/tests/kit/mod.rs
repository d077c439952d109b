//! Envelopes of a known size, sinks that behave badly, and patience for slow machines.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use sockeye_pipeline::{
    Delivery, Ledger, Queue, QueueLimits, SendError, Sink, SinkThread, Stop, WhenFull,
};
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_record::{BufferPool, Builder, Encoder, Encoding, Envelope, Format, Limits};

/// An envelope of `rows` rows and exactly [`BYTES`] times `size` bytes.
pub fn envelope_of(rows: u64, size: usize) -> Envelope {
    let encoding = Encoding { format: Format::ProtoText, columns: None, humanize: None };
    let limits = Limits { rows, bytes: usize::MAX };
    let mut builder = Builder::new(Encoder::for_records(&encoding), limits, BufferPool::new(1));
    let mut envelope = None;
    for row in 1..=rows {
        let mut record = XtcpFlatRecord { hostname: "h".into(), ..Default::default() };
        if row == rows {
            // The last row fills up what is missing.
            let mut probe = Vec::new();
            Encoder::for_records(&encoding).record(&record, &mut probe);
            let missing = BYTES * size - builder.sealed_len() - probe.len();
            record.hostname.push_str(&"h".repeat(missing));
        }
        builder.push_record(&record, |cut| envelope = Some(cut));
    }
    let envelope = envelope.unwrap();
    assert_eq!((envelope.rows(), envelope.bytes().len()), (rows, BYTES * size));
    envelope
}

/// An envelope of [`ROWS`] rows and [`BYTES`] bytes.
pub fn envelope() -> Envelope {
    envelope_of(ROWS, 1)
}

/// A queue for this many envelopes.
pub fn queue(envelopes: usize, when_full: WhenFull) -> Queue {
    Queue::new("test", QueueLimits { bytes: envelopes * BYTES, when_full })
}

pub fn offer(queue: &Queue) -> Result<(), sockeye_pipeline::DropReason> {
    let outcome = queue.offer(Arc::new(envelope()), &Stop::default());
    assert!(queue.ledger().balances(), "{}", queue.ledger());
    outcome
}

/// Waits for something to come true; the ledger balances and the bound holds all the while.
pub fn wait(queue: &Queue, bytes: usize, what: &str, until: impl Fn(&Ledger) -> bool) {
    let began = Instant::now();
    loop {
        let (ledger, pending) = (queue.ledger(), queue.pending_bytes());
        assert!(ledger.balances(), "{ledger}");
        assert!(pending <= bytes, "{pending} bytes in a queue of {bytes}");
        if until(&ledger) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {ledger}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn close(queue: &Queue, thread: SinkThread, flush: Duration) -> Ledger {
    queue.close(Instant::now() + flush);
    thread.join();
    let ledger = queue.ledger();
    assert!(ledger.balances(), "{ledger}");
    ledger
}

/// A sink of a closure.
pub struct With<F>(pub F);

impl<F: FnMut(Delivery) -> Result<(), SendError> + Send> Sink for With<F> {
    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        self.0(delivery)
    }
}

pub fn serve(
    queue: &Queue,
    send: impl FnMut(Delivery) -> Result<(), SendError> + Send + 'static,
) -> SinkThread {
    SinkThread::spawn(queue.clone(), Box::new(With(send))).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a sink returns")]
pub fn deliver(delivery: Delivery) -> Result<(), SendError> {
    delivery.delivered();
    Ok(())
}

pub const ROWS: u64 = 5;
pub const BYTES: usize = 1000;
/// Far more than anything here takes, even on a loaded machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Far less than [`PATIENCE`], far more than what is waited for.
pub const SOON: Duration = Duration::from_secs(20);
