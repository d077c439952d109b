//! The poll loop: how often, how late, when it ends, and sources that do not wait for polls.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kit::{PATIENCE, ROWS, SOON, close, deliver, envelope, queue, serve};
use sockeye_pipeline::{
    Change, Collection, Completeness, DropReason, Event, Incomplete, Outlet, PartReport, Queue,
    Schedule, Source, Stop, Summary, WhenFull, collect,
};

/// Sends one envelope a poll and writes down what it was asked for.
struct Polled {
    log: Arc<Log>,
    during: Box<dyn FnMut() + Send>,
}

#[derive(Default)]
struct Log {
    starts: AtomicU64,
    polls: AtomicU64,
    finishes: AtomicU64,
    polling: AtomicBool,
}

impl Polled {
    fn boxed(log: &Arc<Log>, during: impl FnMut() + Send + 'static) -> Box<dyn Source> {
        Box::new(Self { log: Arc::clone(log), during: Box::new(during) })
    }
}

impl Source for Polled {
    fn name(&self) -> &'static str {
        "polled"
    }

    fn start(&mut self, _: &Outlet, _: &Stop) {
        assert_eq!(self.log.polls.load(Ordering::Relaxed), 0);
        self.log.starts.fetch_add(1, Ordering::Relaxed);
    }

    fn poll(&mut self, outlet: &Outlet, stop: &Stop) -> Vec<PartReport> {
        assert!(
            !self.log.polling.swap(true, Ordering::Relaxed),
            "a poll began before the one before had ended"
        );
        self.log.polls.fetch_add(1, Ordering::Relaxed);
        (self.during)();
        outlet.send(0, envelope());
        self.log.polling.store(false, Ordering::Relaxed);
        let stopped = Completeness::Incomplete(Incomplete::Stopped);
        vec![PartReport {
            part: "part".into(),
            plan: "walk",
            rows: ROWS,
            seen: ROWS,
            bytes: 0,
            took: Duration::ZERO,
            completeness: if stop.requested() { stopped } else { Completeness::Complete },
        }]
    }

    fn finish(&mut self, _: &Outlet) {
        self.log.finishes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends from a thread of its own, whenever it likes; what it gathers it sends in the end.
#[derive(Default)]
struct Streaming {
    end: Stop,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Source for Streaming {
    fn name(&self) -> &'static str {
        "streaming"
    }

    fn start(&mut self, outlet: &Outlet, _: &Stop) {
        let (outlet, end, sent) = (outlet.clone(), self.end.clone(), Arc::clone(&self.sent));
        self.thread = Some(thread::spawn(move || {
            while !end.requested() {
                outlet.send(0, envelope());
                sent.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        }));
    }

    fn poll(&mut self, _: &Outlet, _: &Stop) -> Vec<PartReport> {
        Vec::new()
    }

    fn finish(&mut self, outlet: &Outlet) {
        self.end.request();
        self.thread.take().unwrap().join().unwrap();
        outlet.send(0, envelope());
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

fn run(
    sources: Vec<Box<dyn Source>>,
    queues: &[&Queue],
    (frequency, max_polls): (Duration, u64),
    stop: &Stop,
    observe: impl FnMut(Event<'_>),
) -> Summary {
    let lanes = vec![queues.iter().map(|queue| (*queue).clone()).collect()];
    let outlet = Outlet::new(lanes, stop.clone());
    let schedule = Schedule::new(Instant::now(), frequency, 0);
    let between = Box::new(|| None);
    collect(Collection { sources, outlet: &outlet, schedule, max_polls, between }, stop, observe)
}

const OFTEN: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_hours(1);

#[test]
fn exactly_as_many_polls_are_made_as_asked_for() {
    for max_polls in [1, 5] {
        let queue = queue(100, WhenFull::Wait);
        let thread = serve(&queue, deliver);
        let log = Arc::new(Log::default());
        let mut seen = Vec::new();
        let summary = run(
            vec![Polled::boxed(&log, || ())],
            &[&queue],
            (OFTEN, max_polls),
            &Stop::default(),
            |event| {
                if let Event::Polled { poll, parts, .. } = event {
                    seen.push((poll, parts.len()));
                }
            },
        );
        assert_eq!(
            (summary.polls, summary.rows, summary.incomplete_parts),
            (max_polls, max_polls * ROWS, 0)
        );
        assert_eq!(seen, (1..=max_polls).map(|poll| (poll, 1)).collect::<Vec<_>>());
        let counts =
            [&log.starts, &log.polls, &log.finishes].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, [1, max_polls, 1]);
        assert_eq!(close(&queue, thread, PATIENCE).delivered, max_polls * ROWS);
    }
}

#[test]
fn one_poll_does_not_wait_for_a_second_tick() {
    let queue = queue(9, WhenFull::Wait);
    let began = Instant::now();
    run(
        vec![Polled::boxed(&Arc::default(), || ())],
        &[&queue],
        (HOUR, 1),
        &Stop::default(),
        |_| (),
    );
    assert!(began.elapsed() < SOON);
}

#[test]
fn ticks_that_pass_during_a_poll_are_counted_and_not_caught_up() {
    let queue = queue(100, WhenFull::Wait);
    let log = Arc::new(Log::default());
    let slow = Polled::boxed(&log, || thread::sleep(Duration::from_millis(60)));
    let mut late = 0;
    let summary =
        run(vec![slow], &[&queue], (Duration::from_millis(10), 3), &Stop::default(), |event| {
            if let Event::Late { ticks } = event {
                late += ticks;
            }
        });
    // Two polls of six ticks each are followed by another one.
    assert!(summary.late_ticks >= 10, "{summary:?}");
    assert_eq!((summary.late_ticks, summary.polls), (late, 3));
}

#[test]
fn a_request_to_stop_ends_the_wait_for_the_next_tick() {
    let queue = queue(9, WhenFull::Wait);
    let (stop, log) = (Stop::default(), Arc::new(Log::default()));
    let began = Instant::now();
    let summary = run(vec![Polled::boxed(&log, || ())], &[&queue], (HOUR, 0), &stop, |event| {
        if !matches!(event, Event::Begins { .. }) {
            assert!(matches!(event, Event::Polled { poll: 1, .. }));
            stop.request();
        }
    });
    assert!(began.elapsed() < SOON);
    assert_eq!((summary.polls, log.finishes.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn a_request_to_stop_during_a_poll_makes_it_incomplete_and_the_last_one() {
    let queue = queue(9, WhenFull::Wait);
    let stop = Stop::default();
    let inner = stop.clone();
    let source = Polled::boxed(&Arc::default(), move || inner.request());
    let summary = run(vec![source], &[&queue], (OFTEN, 0), &stop, |_| ());
    assert_eq!((summary.polls, summary.incomplete_parts), (1, 1));
}

#[test]
fn the_end_of_the_last_sink_ends_the_polls() {
    let (first, second) = (queue(9, WhenFull::Wait), queue(9, WhenFull::Wait));
    let log = Arc::new(Log::default());
    let began = Instant::now();
    first.abandon(DropReason::SinkClosed);
    let summary = run(
        vec![Polled::boxed(&log, || ())],
        &[&first, &second],
        (HOUR, 0),
        &Stop::default(),
        |_| {
            second.abandon(DropReason::SinkClosed);
        },
    );
    assert!(began.elapsed() < SOON);
    assert_eq!((summary.polls, log.finishes.load(Ordering::Relaxed)), (1, 1));
    for queue in [first, second] {
        assert_eq!(queue.ledger().dropped[DropReason::SinkClosed as usize], ROWS);
    }
}

#[test]
fn with_one_sink_above_its_mark_polls_are_skipped_and_nothing_is_dropped() {
    let queue = queue(9, WhenFull::Wait);
    let stop = Stop::default();
    let mut high_water = 0;
    let summary =
        run(vec![Polled::boxed(&Arc::default(), || ())], &[&queue], (OFTEN, 0), &stop, |event| {
            if matches!(event, Event::HighWater) {
                high_water += 1;
                if high_water == 3 {
                    stop.request();
                }
            }
        });
    // Five are above half of nine.
    assert_eq!((summary.polls, summary.high_water_ticks), (5, 3));
    assert_eq!((queue.ledger().in_flight, queue.ledger().dropped_rows()), (5 * ROWS, 0));
}

#[test]
fn with_two_sinks_only_the_one_above_its_mark_loses_rows() {
    let (stuck, fine) = (queue(9, WhenFull::Wait), queue(100, WhenFull::Wait));
    let summary = run(
        vec![Polled::boxed(&Arc::default(), || ())],
        &[&stuck, &fine],
        (OFTEN, 20),
        &Stop::default(),
        |_| (),
    );
    assert_eq!((summary.polls, summary.high_water_ticks), (20, 0));
    assert_eq!((fine.ledger().in_flight, fine.ledger().dropped_rows()), (20 * ROWS, 0));
    let lost = stuck.ledger().dropped[DropReason::HighWater as usize];
    assert_eq!((stuck.ledger().in_flight, lost), (5 * ROWS, 15 * ROWS));
}

#[test]
fn a_streaming_source_works_beside_a_polled_one_and_loses_nothing() {
    for stopped in [false, true] {
        // Asked to stop, an offer does not wait for room any more: let there be some.
        let queue = queue(if stopped { 100_000 } else { 5 }, WhenFull::Wait);
        let thread = serve(&queue, deliver);
        let streaming = Streaming::default();
        let sent = Arc::clone(&streaming.sent);
        let sources: Vec<Box<dyn Source>> =
            vec![Polled::boxed(&Arc::default(), || ()), Box::new(streaming)];
        let stop = Stop::default();
        let max_polls = if stopped { 0 } else { 20 };
        let summary = run(sources, &[&queue], (OFTEN, max_polls), &stop, |event| {
            assert!(queue.ledger().balances(), "{}", queue.ledger());
            if stopped && matches!(event, Event::Polled { poll: 20, .. }) {
                stop.request();
            }
        });
        let ledger = close(&queue, thread, PATIENCE);
        let sent = sent.load(Ordering::Relaxed);
        assert_eq!(summary.polls, 20);
        assert!(sent > 1);
        assert_eq!((ledger.read, ledger.in_flight), ((20 + sent) * ROWS, 0));
        assert_eq!(ledger.delivered, ledger.read, "{ledger}");
    }
}

#[test]
fn a_change_holds_from_the_next_poll_on_and_no_row_is_lost_or_counted_twice() {
    let [first, second] = [queue(100, WhenFull::Wait), queue(100, WhenFull::Wait)];
    let stop = Stop::default();
    let [old, new] = [Arc::<Log>::default(), Arc::<Log>::default()];
    let outlet = Outlet::new(vec![vec![first.clone(), second.clone()]], stop.clone());
    let mut polled = 0;
    let (seen, told) = (Arc::clone(&old), Arc::clone(&new));
    let lanes = vec![vec![second.clone()], vec![first.clone()]];
    let handed_over = Arc::new(AtomicU64::new(0));
    let (before, after, counted) = (Arc::clone(&old), Arc::clone(&new), Arc::clone(&handed_over));
    let mut changed = Some(Change {
        sources: vec![Polled::boxed(&new, || {})],
        outlet: Outlet::new(lanes, stop.clone()),
        frequency: OFTEN,
        jitter_percent: 0,
        handover: Box::new(move || {
            assert_eq!(before.finishes.load(Ordering::Relaxed), 1, "the old rows are all sent");
            assert_eq!(after.starts.load(Ordering::Relaxed), 0, "and no new one is");
            counted.fetch_add(1, Ordering::Relaxed);
        }),
    });
    let between = move || {
        assert_eq!(
            told.starts.load(Ordering::Relaxed) > 0,
            seen.finishes.load(Ordering::Relaxed) > 0
        );
        // While an hour is waited for.
        (seen.polls.load(Ordering::Relaxed) == 1).then(|| changed.take()).flatten()
    };
    let began = Instant::now();
    let collection = Collection {
        sources: vec![Polled::boxed(&old, || {})],
        outlet: &outlet,
        schedule: Schedule::new(began, HOUR, 0),
        max_polls: 4,
        between: Box::new(between),
    };
    let mut begun = 0;
    let summary = collect(collection, &stop, |event| match event {
        Event::Polled { poll, .. } => polled = poll,
        Event::Begins { late } => {
            assert!(late < HOUR / 2);
            begun += 1;
        }
        _ => {}
    });
    assert!(began.elapsed() < HOUR / 2);
    assert_eq!((begun, handed_over.load(Ordering::Relaxed)), (4, 1));
    assert_eq!((summary.polls, summary.rows, polled), (4, 4 * ROWS, 4));
    let counts = |log: &Log| {
        let counts = [&log.starts, &log.polls, &log.finishes];
        counts.map(|count| count.load(Ordering::Relaxed))
    };
    assert_eq!((counts(&old), counts(&new)), ([1, 1, 1], [1, 3, 1]));
    // The new outlet's first lane is the second queue's.
    assert_eq!((first.ledger().read, second.ledger().read), (ROWS, 4 * ROWS));
}
