//! Rows of closed sockets come first, wait for nobody and are dropped last.

mod kit;

use std::time::{Duration, Instant};

use kit::{BYTES, ROWS, envelope, envelope_of, offer, queue};
use sockeye_pipeline::{DropReason, Outlet, PollGate, Queue, Stop, Take, WhenFull};

fn outlet(queue: &Queue) -> Outlet {
    Outlet::new(vec![vec![queue.clone()]], Stop::default())
}

fn dropped(queue: &Queue) -> u64 {
    let ledger = queue.ledger();
    assert!(ledger.balances(), "{ledger}");
    assert_eq!(ledger.dropped_rows(), ledger.dropped_for(DropReason::QueueFull), "{ledger}");
    ledger.dropped_rows()
}

#[test]
fn polls_leave_an_eighth_once_there_are_closed_sockets() {
    let queue = queue(16, IMPATIENT);
    let outlet = outlet(&queue);
    (0..15).for_each(|_| offer(&queue).unwrap());
    outlet.keep_room_for_closed();
    assert_eq!(offer(&queue), Err(DropReason::QueueFull));
    outlet.send_closed(0, envelope());
    assert_eq!((dropped(&queue), queue.pending_bytes()), (ROWS, 16 * BYTES));
}

#[test]
fn what_polls_have_brought_last_makes_room() {
    let queue = queue(4, WhenFull::Wait);
    let outlet = outlet(&queue);
    for rows in 1..=3 {
        outlet.send(0, envelope_of(rows, 1));
    }
    outlet.send_closed(0, envelope_of(30, 1));
    assert_eq!(dropped(&queue), 0);
    outlet.send_closed(0, envelope_of(40, 2));
    assert_eq!((dropped(&queue), queue.pending_bytes()), (2 + 3, 4 * BYTES));
    let mut rows = Vec::new();
    while let Take::Delivery(delivery) = queue.take(Duration::ZERO) {
        rows.push(delivery.rows());
        delivery.delivered();
    }
    assert_eq!(rows, [1, 30, 40]);
}

#[test]
fn what_the_sink_has_taken_makes_no_room_and_nothing_is_displaced_in_vain() {
    let queue = queue(2, WhenFull::Wait);
    let outlet = outlet(&queue);
    outlet.send(0, envelope_of(1, 1));
    let Take::Delivery(held) = queue.take(Duration::ZERO) else { panic!() };
    outlet.send(0, envelope_of(2, 1));
    let began = Instant::now();
    outlet.send_closed(0, envelope_of(30, 2));
    assert!(began.elapsed() < kit::SOON, "nobody is waited for");
    assert_eq!((dropped(&queue), queue.ledger().in_flight), (30, 3));
    outlet.send_closed(0, envelope_of(20, 1));
    assert_eq!((dropped(&queue), queue.ledger().in_flight), (32, 21));
    held.delivered();
}

#[test]
fn one_that_is_longer_than_the_queue_passes_alone() {
    let queue = queue(2, IMPATIENT);
    let outlet = outlet(&queue);
    outlet.send(0, envelope_of(1, 1));
    outlet.send_closed(0, envelope_of(30, 3));
    assert_eq!((dropped(&queue), queue.ledger().in_flight), (1, 30));
}

#[test]
fn a_pause_is_not_for_closed_sockets() {
    let (behind, idle) = (queue(2, IMPATIENT), queue(2, IMPATIENT));
    let outlet = Outlet::new(vec![vec![behind.clone()], vec![idle]], Stop::default());
    outlet.send(0, envelope_of(1, 1));
    outlet.send_closed(0, envelope_of(2, 1));
    assert_eq!(outlet.begin_poll(), PollGate::Open);
    outlet.send(0, envelope());
    assert_eq!(behind.ledger().dropped_for(DropReason::HighWater), ROWS);
    outlet.send_closed(0, envelope_of(3, 1));
    assert_eq!((behind.ledger().in_flight, behind.ledger().dropped_rows()), (5, ROWS + 1));
    behind.abandon(DropReason::SinkClosed);
    outlet.send_closed(0, envelope_of(4, 1));
    assert_eq!(behind.ledger().dropped_for(DropReason::SinkClosed), 5 + 4);
    assert!(behind.ledger().balances());
}

const IMPATIENT: WhenFull = WhenFull::Drop { patience: Duration::ZERO };
