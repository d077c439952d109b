//! The queue: its bound, its patience, and its ledger at every moment.

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kit::{BYTES, PATIENCE, ROWS, SOON, envelope, envelope_of, offer, queue, wait};
use sockeye_pipeline::{Delivery, DropReason, Queue, Stop, Take, WhenFull};

fn take(queue: &Queue) -> Delivery {
    match queue.take(PATIENCE) {
        Take::Delivery(delivery) => delivery,
        other => panic!("{other:?}"),
    }
}

const IMPATIENT: WhenFull = WhenFull::Drop { patience: Duration::ZERO };

#[test]
fn the_ledger_balances_and_the_bound_holds_under_many_producers() {
    for when_full in [WhenFull::Wait, WhenFull::Drop { patience: PATIENCE }, IMPATIENT] {
        let queue = queue(10, when_full);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let consumer = scope.spawn(|| {
                let mut held = Vec::new();
                for turn in 0u64.. {
                    match queue.take(Duration::from_millis(20)) {
                        Take::Delivery(delivery) => held.push(delivery),
                        Take::Closed => return,
                        Take::Idle | Take::EndOfPoll | Take::Encoding(_) => {
                            held.drain(..).for_each(Delivery::delivered);
                        }
                    }
                    if held.len() == 4 {
                        match turn % 3 {
                            0 => held.drain(..).for_each(Delivery::delivered),
                            1 => held
                                .drain(..)
                                .for_each(|delivery| delivery.dropped(DropReason::Rejected)),
                            _ => held.clear(),
                        }
                    }
                }
            });
            let watcher = scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let (ledger, pending) = (queue.ledger(), queue.pending_bytes());
                    assert!(ledger.balances(), "{ledger}");
                    assert!(pending <= 10 * BYTES, "{pending}");
                }
            });
            let producers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            // Its outcome is in the ledger.
                            let _ = queue.offer(Arc::new(envelope()), &Stop::default());
                        }
                    })
                })
                .collect();
            for producer in producers {
                producer.join().unwrap();
            }
            queue.close(Instant::now() + PATIENCE);
            consumer.join().unwrap();
            done.store(true, Ordering::Release);
            watcher.join().unwrap();
        });
        let ledger = queue.ledger();
        assert_eq!(
            (ledger.read, ledger.in_flight, queue.pending_bytes()),
            (800 * ROWS, 0, 0),
            "{ledger}"
        );
        let full = ledger.dropped[DropReason::QueueFull as usize];
        assert!(when_full != WhenFull::Wait || full == 0, "{ledger}");
        assert_eq!(
            ledger.delivered + ledger.dropped[DropReason::Rejected as usize] + full,
            800 * ROWS
        );
    }
}

#[test]
fn rows_that_wait_for_room_are_in_flight() {
    let queue = queue(1, WhenFull::Wait);
    offer(&queue).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.offer(Arc::new(envelope()), &Stop::default()));
        wait(&queue, BYTES, "the second offer", |ledger| ledger.read == 2 * ROWS);
        assert_eq!(queue.ledger().in_flight, 2 * ROWS);
        take(&queue).delivered();
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
    assert_eq!((queue.ledger().delivered, queue.ledger().in_flight), (ROWS, ROWS));
}

#[test]
fn bytes_count_until_the_sink_has_resolved_them_and_not_until_it_took_them() {
    let queue = queue(1, IMPATIENT);
    offer(&queue).unwrap();
    let delivery = take(&queue);
    assert_eq!(queue.pending_bytes(), BYTES);
    assert_eq!(offer(&queue), Err(DropReason::QueueFull));
    delivery.delivered();
    assert_eq!(offer(&queue), Ok(()));
}

#[test]
fn an_envelope_longer_than_the_queue_passes_alone() {
    let queue = queue(2, IMPATIENT);
    offer(&queue).unwrap();
    let long = || Arc::new(envelope_of(7, 3));
    assert_eq!(queue.offer(long(), &Stop::default()), Err(DropReason::QueueFull));
    take(&queue).delivered();
    assert_eq!(queue.offer(long(), &Stop::default()), Ok(()));
    assert_eq!(queue.pending_bytes(), 3 * BYTES);
    assert_eq!(offer(&queue), Err(DropReason::QueueFull));
    take(&queue).delivered();
    let ledger = queue.ledger();
    assert_eq!((ledger.delivered, ledger.dropped_rows()), (ROWS + 7, 7 + ROWS));
}

#[test]
fn a_stalled_sink_costs_a_moment_and_not_the_patience() {
    let queue = queue(1, WhenFull::Drop { patience: 10 * PATIENCE });
    offer(&queue).unwrap();
    let held = take(&queue);
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(offer(&queue), Err(DropReason::QueueFull));
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    held.delivered();
    assert_eq!(offer(&queue), Ok(()));
    let ledger = queue.ledger();
    assert_eq!(
        (ledger.delivered, ledger.dropped_rows(), ledger.in_flight),
        (ROWS, 1000 * ROWS, ROWS)
    );
}

#[test]
fn a_moving_sink_costs_at_most_the_patience_of_a_poll() {
    let patience = Duration::from_millis(200);
    let queue = queue(2, WhenFull::Drop { patience });
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Take::Delivery(delivery) = queue.take(PATIENCE) {
                thread::sleep(Duration::from_millis(10));
                delivery.delivered();
            }
        });
        let began = Instant::now();
        for _ in 0..6000 {
            let _ = offer(&queue);
        }
        // The sink alone would take a minute.
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        queue.close(Instant::now() + PATIENCE);
    });
    let ledger = queue.ledger();
    assert_eq!(
        ledger.delivered + ledger.dropped[DropReason::QueueFull as usize],
        6000 * ROWS,
        "{ledger}"
    );
    assert!(ledger.delivered >= 2 * ROWS && ledger.dropped_rows() > 0, "{ledger}");
}

#[test]
fn without_patience_nothing_is_waited_for() {
    let queue = queue(3, IMPATIENT);
    for turn in 0..10 {
        assert_eq!(offer(&queue).is_ok(), turn < 3);
    }
    assert_eq!(queue.ledger().dropped[DropReason::QueueFull as usize], 7 * ROWS);
}

#[test]
fn a_queue_that_waits_loses_nothing_to_a_slow_sink() {
    let queue = queue(2, WhenFull::Wait);
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Take::Delivery(delivery) = queue.take(PATIENCE) {
                // Longer than a stall, once in a while.
                thread::sleep(Duration::from_millis(if queue.ledger().delivered == 0 {
                    250
                } else {
                    2
                }));
                delivery.delivered();
            }
        });
        for _ in 0..50 {
            offer(&queue).unwrap();
        }
        queue.close(Instant::now() + PATIENCE);
    });
    assert_eq!((queue.ledger().delivered, queue.ledger().dropped_rows()), (50 * ROWS, 0));
}

#[test]
fn a_queue_that_waits_stops_waiting_when_asked_to_stop() {
    let queue = queue(1, WhenFull::Wait);
    offer(&queue).unwrap();
    let stop = Stop::default();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.offer(Arc::new(envelope()), &stop));
        wait(&queue, BYTES, "the second offer", |ledger| ledger.read == 2 * ROWS);
        stop.request();
        assert_eq!(waiting.join().unwrap(), Err(DropReason::Shutdown));
    });
    assert_eq!((queue.ledger().in_flight, queue.ledger().dropped_rows()), (ROWS, ROWS));
}

#[test]
fn what_a_full_queue_refuses_after_a_request_to_stop_is_lost_by_the_stop() {
    let queue = queue(1, WhenFull::Drop { patience: Duration::ZERO });
    offer(&queue).unwrap();
    assert_eq!(offer(&queue), Err(DropReason::QueueFull));
    let stop = Stop::default();
    stop.request();
    assert_eq!(queue.offer(Arc::new(envelope()), &stop), Err(DropReason::Shutdown));
}

#[test]
fn bytes_that_a_client_has_a_copy_of_count_until_they_are_resolved() {
    let queue = queue(1, WhenFull::Drop { patience: Duration::ZERO });
    let envelope = Arc::new(envelope());
    queue.offer(Arc::clone(&envelope), &Stop::default()).unwrap();
    let mut delivery = take(&queue);
    delivery.release();
    assert_eq!((Arc::strong_count(&envelope), delivery.bytes().len()), (1, 0));
    assert_eq!(offer(&queue), Err(DropReason::QueueFull));
    delivery.delivered();
    assert_eq!((queue.pending_bytes(), queue.ledger().delivered), (0, ROWS));
    offer(&queue).unwrap();
}

#[test]
fn spooled_rows_make_room_and_stay_in_flight_until_the_spool_says_what_became_of_them() {
    let queue = queue(1, WhenFull::Drop { patience: Duration::ZERO });
    queue.recovered(5);
    offer(&queue).unwrap();
    take(&queue).spooled();
    let ledger = queue.ledger();
    assert_eq!((ledger.read, ledger.recovered), (ROWS + 5, 5));
    assert_eq!((ledger.in_flight, ledger.spooled, queue.pending_bytes()), (ROWS + 5, ROWS + 5, 0));
    offer(&queue).unwrap();
    queue.spooled_delivered(ROWS);
    queue.spooled_dropped(5, DropReason::SpoolFull);
    let ledger = queue.ledger();
    assert_eq!((ledger.delivered, ledger.dropped_for(DropReason::SpoolFull)), (ROWS, 5));
    assert_eq!((ledger.in_flight, ledger.spooled), (ROWS, 0));
    assert!(ledger.balances(), "{ledger}");
}

#[test]
fn the_parts_of_a_split_envelope_are_resolved_one_by_one() {
    let queue = queue(1, WhenFull::Drop { patience: Duration::ZERO });
    offer(&queue).unwrap();
    let mut parts = take(&queue).split(vec![(vec![1; 3], ROWS - 1), (vec![2; 4], 1)]);
    assert_eq!((queue.pending_bytes(), queue.ledger().in_flight), (7, ROWS));
    let last = parts.pop().unwrap();
    assert_eq!((last.rows(), last.bytes()), (1, &[2; 4][..]));
    last.delivered();
    assert_eq!((queue.pending_bytes(), queue.ledger().delivered), (3, 1));
    parts.pop().unwrap().dropped(DropReason::MessageTooLarge);
    let ledger = queue.ledger();
    assert_eq!(ledger.dropped_for(DropReason::MessageTooLarge), ROWS - 1);
    assert!(ledger.balances() && ledger.in_flight == 0, "{ledger}");
}

#[test]
fn an_offer_that_waits_ends_with_the_sink_and_for_its_reason() {
    for reason in [DropReason::SinkClosed, DropReason::Shutdown] {
        let queue = queue(1, WhenFull::Wait);
        offer(&queue).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.offer(Arc::new(envelope()), &Stop::default()));
            wait(&queue, BYTES, "the second offer", |ledger| ledger.read == 2 * ROWS);
            queue.abandon(reason);
            assert_eq!(waiting.join().unwrap(), Err(reason));
        });
        // The first reason stays.
        queue.abandon(DropReason::Rejected);
        assert_eq!(offer(&queue), Err(reason));
        assert_eq!(queue.ledger().dropped[reason as usize], 3 * ROWS);
        assert!(matches!(queue.take(PATIENCE), Take::Closed));
    }
}

#[test]
fn a_delivery_that_is_merely_dropped_says_why_it_was_lost() {
    let queue = queue(9, WhenFull::Wait);
    for _ in 0..3 {
        offer(&queue).unwrap();
    }
    let (first, second, third) = (take(&queue), take(&queue), take(&queue));
    drop(first);
    assert_eq!(queue.ledger().dropped[DropReason::Rejected as usize], ROWS);
    queue.close(Instant::now());
    drop(second);
    assert_eq!(queue.ledger().dropped[DropReason::Shutdown as usize], ROWS);
    queue.abandon(DropReason::SinkClosed);
    drop(third);
    assert_eq!(queue.ledger().dropped[DropReason::SinkClosed as usize], ROWS);
    assert_eq!((queue.ledger().in_flight, queue.pending_bytes()), (0, 0));
}

#[test]
fn polls_that_brought_nothing_do_not_fill_the_queue_of_a_stuck_sink() {
    let queue = queue(9, WhenFull::Wait);
    for _ in 0..1000 {
        queue.end_of_poll();
    }
    offer(&queue).unwrap();
    queue.end_of_poll();
    let taken: Vec<&str> = (0..4)
        .map(|_| match queue.take(Duration::ZERO) {
            Take::Delivery(_) => "envelope",
            Take::EndOfPoll => "end",
            Take::Encoding(_) => "encoding",
            Take::Idle => "idle",
            Take::Closed => "closed",
        })
        .collect();
    assert_eq!(taken, ["end", "envelope", "end", "idle"]);
}

#[test]
fn a_closed_queue_gives_what_it_has_before_it_says_so() {
    let queue = queue(9, WhenFull::Wait);
    offer(&queue).unwrap();
    queue.close(Instant::now() + PATIENCE);
    take(&queue).delivered();
    assert!(matches!(queue.take(PATIENCE), Take::Closed));
}
