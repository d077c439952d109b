//! Sinks that are slow, stuck, failing or dying, and what their ledgers say.

mod kit;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kit::{BYTES, PATIENCE, ROWS, SOON, close, deliver, offer, queue, serve, wait};
use sockeye_pipeline::{Delivery, DropReason, SendError, Sink, SinkThread, WhenFull};

fn error() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

#[test]
fn a_slow_sink_delivers_everything_in_order() {
    let queue = queue(2, WhenFull::Wait);
    let thread = serve(&queue, |delivery| {
        thread::sleep(Duration::from_millis(2));
        deliver(delivery)
    });
    for _ in 0..50 {
        offer(&queue).unwrap();
    }
    let ledger = close(&queue, thread, PATIENCE);
    assert_eq!((ledger.read, ledger.delivered, ledger.in_flight), (50 * ROWS, 50 * ROWS, 0));
}

#[test]
fn a_sink_that_confirms_later_from_another_thread_keeps_the_bytes_until_then() {
    let queue = queue(3, WhenFull::Wait);
    let (client, confirmations) = mpsc::channel::<Delivery>();
    let broker = thread::spawn(move || {
        for delivery in confirmations {
            thread::sleep(Duration::from_millis(2));
            delivery.delivered();
        }
    });
    let thread = serve(&queue, move |delivery| {
        client.send(delivery).unwrap();
        Ok(())
    });
    for _ in 0..50 {
        offer(&queue).unwrap();
        assert!(queue.pending_bytes() <= 3 * BYTES);
    }
    wait(&queue, 3 * BYTES, "confirmations", |ledger| ledger.delivered == 50 * ROWS);
    assert_eq!(close(&queue, thread, PATIENCE).dropped_rows(), 0);
    broker.join().unwrap();
}

#[test]
fn a_dying_sink_loses_what_waits_and_what_comes_but_not_what_it_had_delivered() {
    let queue = queue(100, WhenFull::Wait);
    let (go, wait_for_all) = mpsc::channel::<()>();
    let mut sent = 0;
    let thread = serve(&queue, move |delivery| {
        if sent == 0 {
            wait_for_all.recv().unwrap();
        }
        sent += 1;
        if sent <= 3 { deliver(delivery) } else { Err(SendError::Closed(delivery, Some(error()))) }
    });
    for _ in 0..10 {
        offer(&queue).unwrap();
    }
    go.send(()).unwrap();
    wait(&queue, 100 * BYTES, "the death", |ledger| ledger.in_flight == 0);
    assert_eq!(offer(&queue), Err(DropReason::SinkClosed));
    let ledger = close(&queue, thread, PATIENCE);
    assert_eq!(
        (ledger.delivered, ledger.dropped[DropReason::SinkClosed as usize]),
        (3 * ROWS, 8 * ROWS)
    );
}

#[test]
fn a_sink_that_panics_is_not_waited_for() {
    let queue = queue(1, WhenFull::Wait);
    let thread = serve(&queue, |_| panic!("on purpose"));
    while offer(&queue) != Err(DropReason::SinkClosed) {}
    let ledger = close(&queue, thread, PATIENCE);
    assert_eq!((ledger.in_flight, ledger.dropped_rows()), (0, ledger.read));
}

#[test]
fn a_sink_that_fails_and_then_works_loses_nothing_and_counts_its_attempts() {
    let queue = queue(9, WhenFull::Wait);
    let mut attempts = 0;
    let thread = serve(&queue, move |delivery| {
        attempts += 1;
        if attempts % 2 == 0 { deliver(delivery) } else { Err(SendError::Retry(delivery, error())) }
    });
    for _ in 0..5 {
        offer(&queue).unwrap();
    }
    wait(&queue, 9 * BYTES, "everything", |ledger| ledger.delivered == 5 * ROWS);
    let ledger = close(&queue, thread, PATIENCE);
    assert_eq!((ledger.read, ledger.dropped_rows(), ledger.retries), (5 * ROWS, 0, 5));
}

#[test]
fn offers_do_not_make_a_failing_sink_try_more_often() {
    let queue = queue(2000, WhenFull::Wait);
    let began = Instant::now();
    let thread = serve(&queue, |delivery| Err(SendError::Retry(delivery, error())));
    for _ in 0..2000 {
        offer(&queue).unwrap();
    }
    wait(&queue, 2000 * BYTES, "two attempts", |ledger| ledger.retries >= 2);
    let retries = queue.ledger().retries;
    let tenths = u64::try_from(began.elapsed().as_millis()).unwrap() / 100;
    assert!(retries <= tenths + 1, "{retries} attempts in {tenths} tenths of a second");
    close(&queue, thread, Duration::ZERO);
}

#[test]
fn a_failing_sink_is_reopened_when_asked_between_two_attempts() {
    struct Moved(bool);
    impl Sink for Moved {
        fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
            if self.0 { deliver(delivery) } else { Err(SendError::Retry(delivery, error())) }
        }
        fn reopen(&mut self) -> io::Result<()> {
            self.0 = true;
            Ok(())
        }
    }
    let queue = queue(9, WhenFull::Wait);
    let thread = SinkThread::spawn(queue.clone(), Box::new(Moved(false))).unwrap();
    offer(&queue).unwrap();
    wait(&queue, 9 * BYTES, "an attempt", |ledger| ledger.retries > 0);
    thread.reopen().request();
    wait(&queue, 9 * BYTES, "the delivery", |ledger| ledger.delivered == ROWS);
    close(&queue, thread, PATIENCE);
}

#[test]
fn a_failing_sink_gives_up_at_the_flush_deadline() {
    let queue = queue(9, WhenFull::Wait);
    let thread = serve(&queue, |delivery| Err(SendError::Retry(delivery, error())));
    for _ in 0..4 {
        offer(&queue).unwrap();
    }
    wait(&queue, 9 * BYTES, "an attempt", |ledger| ledger.retries > 0);
    let began = Instant::now();
    let ledger = close(&queue, thread, Duration::from_millis(300));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!((ledger.dropped[DropReason::Shutdown as usize], ledger.in_flight), (4 * ROWS, 0));
    assert_eq!(offer(&queue), Err(DropReason::Shutdown));
}

#[test]
fn a_failing_sink_that_works_again_before_the_flush_deadline_loses_nothing() {
    let queue = queue(9, WhenFull::Wait);
    let works = Arc::new(AtomicBool::new(false));
    let disk = Arc::clone(&works);
    let thread = serve(&queue, move |delivery| {
        if disk.load(Ordering::Acquire) {
            deliver(delivery)
        } else {
            Err(SendError::Retry(delivery, error()))
        }
    });
    for _ in 0..4 {
        offer(&queue).unwrap();
    }
    wait(&queue, 9 * BYTES, "an attempt", |ledger| ledger.retries > 0);
    queue.close(Instant::now() + PATIENCE);
    wait(&queue, 9 * BYTES, "another attempt", |ledger| ledger.retries > 1);
    works.store(true, Ordering::Release);
    thread.join();
    assert_eq!((queue.ledger().delivered, queue.ledger().dropped_rows()), (4 * ROWS, 0));
}

#[test]
fn a_sink_stuck_in_a_system_call_is_left_behind_at_the_deadline() {
    let queue = queue(9, WhenFull::Wait);
    let (taken, in_hand) = mpsc::channel::<()>();
    let (free, stuck) = mpsc::channel::<()>();
    let thread = serve(&queue, move |delivery| {
        taken.send(()).unwrap();
        // Until the test lets go of the other end.
        let _ = stuck.recv();
        deliver(delivery)
    });
    for _ in 0..4 {
        offer(&queue).unwrap();
    }
    in_hand.recv().unwrap();
    let began = Instant::now();
    let ledger = close(&queue, thread, Duration::from_millis(200));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!((ledger.in_flight, ledger.dropped[DropReason::Shutdown as usize]), (ROWS, 3 * ROWS));
    drop(free);
    wait(&queue, 9 * BYTES, "the one in hand", |ledger| ledger.delivered == ROWS);
    assert_eq!(queue.ledger().in_flight, 0);
}

/// Delivers, and fails in a way of its own when no envelope is at hand.
#[derive(Clone)]
struct Fails {
    at_end_of_poll: Option<io::ErrorKind>,
    when_idle: Option<io::ErrorKind>,
    /// So often at the end.
    at_finish: u64,
    finishes: Arc<AtomicU64>,
}

impl Fails {
    fn new() -> Self {
        Self { at_end_of_poll: None, when_idle: None, at_finish: 0, finishes: Arc::default() }
    }
}

impl Sink for Fails {
    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        deliver(delivery)
    }

    fn end_of_poll(&mut self) -> io::Result<()> {
        self.at_end_of_poll.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn idle(&mut self) -> io::Result<()> {
        self.when_idle.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn finish(&mut self) -> io::Result<()> {
        let before = self.finishes.fetch_add(1, Ordering::Relaxed);
        if before < self.at_finish { Err(error()) } else { Ok(()) }
    }
}

#[test]
fn a_sink_may_end_at_the_end_of_a_poll() {
    let queue = queue(9, WhenFull::Wait);
    let sink = Fails { at_end_of_poll: Some(io::ErrorKind::BrokenPipe), ..Fails::new() };
    let thread = SinkThread::spawn(queue.clone(), Box::new(sink.clone())).unwrap();
    offer(&queue).unwrap();
    queue.end_of_poll();
    let began = Instant::now();
    while !queue.sink_gone() {
        assert!(began.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(offer(&queue), Err(DropReason::SinkClosed));
    let ledger = close(&queue, thread, PATIENCE);
    assert_eq!((ledger.delivered, ledger.dropped_rows()), (ROWS, ROWS));
    assert_eq!(sink.finishes.load(Ordering::Relaxed), 0, "one that has ended is not finished");
}

#[test]
fn a_sink_may_end_while_nothing_comes() {
    let queue = queue(9, WhenFull::Wait);
    let sink = Fails { when_idle: Some(io::ErrorKind::BrokenPipe), ..Fails::new() };
    let thread = SinkThread::spawn(queue.clone(), Box::new(sink)).unwrap();
    let began = Instant::now();
    while !queue.sink_gone() {
        assert!(began.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(1));
    }
    close(&queue, thread, PATIENCE);
}

#[test]
fn any_other_failure_at_the_end_of_a_poll_does_not_end_the_sink() {
    let queue = queue(9, WhenFull::Wait);
    let sink = Fails { at_end_of_poll: Some(io::ErrorKind::StorageFull), ..Fails::new() };
    let thread = SinkThread::spawn(queue.clone(), Box::new(sink)).unwrap();
    for _ in 0..3 {
        offer(&queue).unwrap();
        queue.end_of_poll();
    }
    assert_eq!(close(&queue, thread, PATIENCE).delivered, 3 * ROWS);
}

#[test]
fn finishing_is_tried_again_until_it_works_or_the_deadline_passes() {
    let queue_of = || queue(9, WhenFull::Wait);
    let (queue, sink) = (queue_of(), Fails { at_finish: 2, ..Fails::new() });
    let thread = SinkThread::spawn(queue.clone(), Box::new(sink.clone())).unwrap();
    close(&queue, thread, PATIENCE);
    assert_eq!(sink.finishes.load(Ordering::Relaxed), 3);

    let (queue, sink) = (queue_of(), Fails { at_finish: u64::MAX, ..Fails::new() });
    let thread = SinkThread::spawn(queue.clone(), Box::new(sink)).unwrap();
    let began = Instant::now();
    close(&queue, thread, Duration::from_millis(200));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn a_queue_that_was_never_closed_can_be_joined_and_the_thread_ends() {
    let queue = queue(9, WhenFull::Wait);
    let (alive, dead) = mpsc::channel::<()>();
    let thread = serve(&queue, move |delivery| {
        let _ = &alive;
        deliver(delivery)
    });
    thread.join();
    assert_eq!(dead.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}
