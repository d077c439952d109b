//! A sink hears of another encoding between the last envelope before and the first one behind.

#![allow(clippy::unwrap_used, missing_docs, reason = "these are tests")]

mod kit;

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use kit::{ROWS, offer, queue};
use sockeye_pipeline::{Delivery, DropReason, SendError, Sink, SinkThread, WhenFull};
use sockeye_record::{Encoding, Format};

struct Listens(Sender<String>);

impl Sink for Listens {
    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        delivery.delivered();
        self.0.send("envelope".into()).unwrap();
        Ok(())
    }

    fn encoding(&mut self, encoding: &Encoding) -> io::Result<()> {
        self.0.send(encoding.format.name().into()).unwrap();
        Ok(())
    }
}

fn encoding(format: Format) -> Encoding {
    Encoding { format, columns: None, humanize: None }
}

#[test]
fn envelopes_before_a_change_and_behind_it_keep_their_sides() {
    let queue = queue(100, WhenFull::Wait);
    offer(&queue).unwrap();
    queue.change_encoding(encoding(Format::Csv));
    queue.change_encoding(encoding(Format::Tsv));
    offer(&queue).unwrap();
    let (heard, said) = channel();
    let thread = SinkThread::spawn(queue.clone(), Box::new(Listens(heard))).unwrap();
    queue.close(Instant::now() + Duration::from_secs(20));
    let said: Vec<String> = said.iter().collect();
    assert_eq!(said, ["envelope", "tsv", "envelope"], "of two changes without rows the last");
    thread.join();
    assert_eq!(queue.ledger().delivered, 2 * ROWS);
}

#[test]
fn a_sink_that_has_gone_is_not_told() {
    let queue = queue(100, WhenFull::Wait);
    queue.abandon(DropReason::SinkClosed);
    queue.change_encoding(encoding(Format::Csv));
    assert!(matches!(queue.take(Duration::ZERO), sockeye_pipeline::Take::Closed));
}
