//! Sinks that are slower than the kernel, and a stop.

use std::thread;
use std::time::{Duration, Instant};

use sockeye_pipeline::{Completeness, Incomplete, Queue, QueueLimits, Source as _, Take, WhenFull};
use sockeye_record::Limits;
use sockeye_source::sockdiag::Settings;
use sockeye_testkit::netns::TestNetns;

use crate::eye::{Eye, alone, connections, settings};

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn waiting_for_a_slow_sink_is_not_part_of_the_dumps_timeout() {
    let _alone = alone();
    let netns = TestNetns::new("slow").unwrap();
    let _held = connections(&netns, 100);
    let queue = Queue::new("slow", QueueLimits { bytes: 1, when_full: WhenFull::Wait });
    let timeout = Duration::from_millis(250);
    let limits = Limits { rows: 20, bytes: 1 << 20 };
    let mut eye = Eye::with_queues(Settings { timeout, limits, ..settings() }, vec![queue.clone()]);
    let sink = thread::spawn({
        let queue = queue.clone();
        move || loop {
            match queue.take(Duration::from_secs(20)) {
                Take::Delivery(delivery) => {
                    thread::sleep(Duration::from_millis(50));
                    delivery.delivered();
                }
                Take::EndOfPoll | Take::Encoding(_) => {}
                _ => return,
            }
        }
    });
    eye.outlet.begin_poll();
    let parts = eye.source.poll(&eye.outlet, &eye.stop);
    let part = parts.iter().find(|part| *part.part == *netns.name()).unwrap();
    // 15 envelopes of 20 rows, 50 ms each.
    assert_eq!((part.rows, part.completeness), (300, Completeness::Complete));
    assert!(part.took > 2 * timeout, "{:?}", part.took);
    queue.close(Instant::now() + Duration::from_secs(20));
    sink.join().unwrap();
    assert_eq!(queue.ledger().dropped_rows(), 0);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn after_a_stop_nothing_is_opened_and_every_part_says_so() {
    let _alone = alone();
    let netns = TestNetns::new("stop").unwrap();
    let _held = connections(&netns, 1);
    let mut eye = Eye::new(settings());
    eye.stop.request();
    let poll = eye.poll();
    assert!(!poll.parts.is_empty() && poll.rows().is_empty());
    let stopped = Completeness::Incomplete(Incomplete::Stopped);
    assert!(poll.parts.iter().all(|part| part.completeness == stopped));
    assert_eq!(eye.source.counters().totals().dumps, 0);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn what_the_reports_do_not_say_is_in_the_counters() {
    let _alone = alone();
    let netns = TestNetns::new("count").unwrap();
    let _held = connections(&netns, 1);
    let mut eye = Eye::new(settings());
    let parts = eye.poll().parts.len() as u64;
    let totals = eye.source.counters().totals();
    assert_eq!((totals.namespaces, totals.places_failed), (parts, 0));
    assert!((1..=parts).contains(&totals.dumps) && totals.chunks >= totals.dumps);
    assert_eq!((totals.foreign, totals.malformed), (0, 0));
}
