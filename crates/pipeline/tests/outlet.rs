//! The outlet: which sinks a poll is for, and that none slows another.

mod kit;

use std::thread;
use std::time::{Duration, Instant};

use kit::{BYTES, PATIENCE, ROWS, SOON, close, deliver, envelope, queue, serve, wait};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use sockeye_pipeline::{DropReason, Outlet, PollGate, Queue, Stop, Take, WhenFull};

fn outlet(lanes: &[&[&Queue]]) -> Outlet {
    let lanes =
        lanes.iter().map(|queues| queues.iter().map(|queue| (*queue).clone()).collect()).collect();
    Outlet::new(lanes, Stop::default())
}

fn fill(queue: &Queue, envelopes: usize) {
    for _ in 0..envelopes {
        assert_eq!(kit::offer(queue), Ok(()));
    }
}

fn drain(queue: &Queue) {
    while let Take::Delivery(delivery) = queue.take(Duration::ZERO) {
        delivery.delivered();
    }
}

#[test]
fn above_its_mark_the_only_sink_stops_the_polls() {
    let only = queue(10, WhenFull::Wait);
    let outlet = outlet(&[&[&only]]);
    fill(&only, 5);
    assert_eq!(outlet.begin_poll(), PollGate::Open, "half is not above");
    fill(&only, 1);
    assert_eq!(outlet.begin_poll(), PollGate::HighWater);
    drain(&only);
    assert_eq!(outlet.begin_poll(), PollGate::Open);
    assert_eq!(only.ledger().dropped_rows(), 0);
}

#[test]
fn a_poll_that_does_not_begin_pauses_nobody() {
    let only = queue(10, WhenFull::Wait);
    let outlet = outlet(&[&[&only]]);
    fill(&only, 6);
    assert_eq!(outlet.begin_poll(), PollGate::HighWater);
    // A source that is told by the kernel sends between polls.
    outlet.send(0, envelope());
    assert_eq!((only.ledger().in_flight, only.ledger().dropped_rows()), (7 * ROWS, 0));
}

#[test]
fn of_two_sinks_only_the_one_that_is_behind_loses_the_poll() {
    let (behind, ready) = (queue(10, WhenFull::Wait), queue(10, WhenFull::Wait));
    let outlet = outlet(&[&[&behind], &[&ready]]);
    fill(&behind, 6);
    assert_eq!(outlet.begin_poll(), PollGate::Open);
    for lane in [0, 1] {
        outlet.send(lane, envelope());
        outlet.send(lane, envelope());
    }
    assert_eq!(behind.ledger().dropped[DropReason::HighWater as usize], 2 * ROWS);
    assert_eq!((behind.ledger().in_flight, ready.ledger().in_flight), (6 * ROWS, 2 * ROWS));
    outlet.end_of_poll();
    outlet.send(0, envelope());
    assert_eq!(behind.ledger().in_flight, 7 * ROWS, "the pause ends with the poll");
    drain(&behind);
    assert_eq!(outlet.begin_poll(), PollGate::Open);
    outlet.send(0, envelope());
    assert_eq!(behind.ledger().dropped_rows(), 2 * ROWS);
    assert!(behind.ledger().balances() && ready.ledger().balances());
}

#[test]
fn a_sink_that_has_ended_does_not_count_and_without_any_there_is_no_poll() {
    let (first, second) = (queue(10, WhenFull::Wait), queue(10, WhenFull::Wait));
    let outlet = outlet(&[&[&first, &second]]);
    first.abandon(DropReason::SinkClosed);
    assert_eq!(outlet.begin_poll(), PollGate::Open);
    fill(&second, 6);
    assert_eq!(outlet.begin_poll(), PollGate::HighWater, "the other one can't ask for it");
    second.abandon(DropReason::SinkClosed);
    assert_eq!(outlet.begin_poll(), PollGate::Closed);
}

#[test]
fn one_sink_never_slows_another_beyond_its_patience() {
    let stalled = queue(2, WhenFull::Drop { patience: PATIENCE });
    let slow = queue(2, WhenFull::Drop { patience: Duration::from_millis(200) });
    let fast = queue(1000, WhenFull::Wait);
    let outlet = outlet(&[&[&stalled, &slow, &fast]]);
    let slow_thread = serve(&slow, |delivery| {
        thread::sleep(Duration::from_millis(50));
        deliver(delivery)
    });
    let fast_thread = serve(&fast, deliver);
    assert_eq!(outlet.begin_poll(), PollGate::Open);
    let began = Instant::now();
    for _ in 0..1000 {
        outlet.send(0, envelope());
    }
    // Waiting for the slow one takes 50 s, for the stalled one for ever.
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    wait(&fast, 1000 * BYTES, "everything", |ledger| ledger.delivered == 1000 * ROWS);
    assert_eq!(stalled.ledger().dropped[DropReason::QueueFull as usize], 998 * ROWS);
    let slow = close(&slow, slow_thread, PATIENCE);
    assert_eq!(slow.delivered + slow.dropped[DropReason::QueueFull as usize], 1000 * ROWS);
    assert!(slow.delivered >= 2 * ROWS && slow.dropped_rows() > 0, "{slow}");
    assert_eq!(close(&fast, fast_thread, PATIENCE).dropped_rows(), 0);
}

#[test]
fn a_sink_with_room_gets_its_envelope_while_one_named_before_it_is_waited_for() {
    let (full, ready) = (queue(1, WhenFull::Wait), queue(1, WhenFull::Wait));
    fill(&full, 1);
    let outlet = outlet(&[&[&full, &ready]]);
    let (taken, waits) = thread::scope(|scope| {
        let sending = scope.spawn(|| outlet.send(0, envelope()));
        let (taken, waits) = (ready.take(SOON), !sending.is_finished());
        // Lets the other go, whatever came of it.
        drain(&full);
        (taken, waits)
    });
    let Take::Delivery(delivery) = taken else { panic!("it waits behind the other: {taken:?}") };
    delivery.delivered();
    assert!(waits, "the other has no room yet");
    drain(&full);
    for queue in [&full, &ready] {
        assert!(queue.ledger().balances() && queue.ledger().dropped_rows() == 0);
    }
    assert_eq!((full.ledger().delivered, ready.ledger().delivered), (2 * ROWS, ROWS));
}

#[test]
fn a_sink_that_is_not_behind_gets_the_only_processor_before_envelopes_pile_up() {
    // Threads that are started from here on share it.
    let mut only_one = CpuSet::new();
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
    only_one.set(first).unwrap();
    sched_setaffinity(Pid::from_raw(0), &only_one).unwrap();
    let envelopes = 2000;
    let queue = queue(envelopes, WhenFull::Wait);
    let outlet = outlet(&[&[&queue]]);
    let thread = serve(&queue, deliver);
    for envelope in std::iter::repeat_with(envelope).take(envelopes) {
        outlet.send(0, envelope);
    }
    let ledger = close(&queue, thread, PATIENCE);
    assert_eq!(ledger.delivered, envelopes as u64 * ROWS);
    let most = queue.snapshot().figures.most_pending_bytes / BYTES;
    // A time slice has hundreds.
    assert!(most < 60, "{most} envelopes were waiting");
}
