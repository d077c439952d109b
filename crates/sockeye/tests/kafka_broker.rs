//! A real broker, that is there, goes away, and comes back: the ledger says what it has.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;
mod kafka_kit;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kafka_kit::{Cgroup, Crowd, Shipper, distinct, figure, rows, skipped};
use sockeye_testkit::kafka::{AnyBroker, Broker, Settings};
use sockeye_testkit::netns::{Netns, require_root};

const MINUTE: Duration = Duration::from_mins(1);

/// These tests measure a daemon beside a broker and 20,000 sockets: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    require_root();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn what_the_ledger_calls_delivered_is_what_a_consumer_gets_each_row_once() {
    let _alone = alone();
    let (broker, crowd) = (AnyBroker::get().unwrap(), Crowd::new("many"));
    let dir = tempfile::tempdir().unwrap();
    let topic = format!("skt-{}-many", std::process::id());
    let sink = format!("kafka:{}", broker.bootstrap());
    if let AnyBroker::Own(broker) = &broker {
        broker.create_topic(&topic, 3, &[]).unwrap();
    }
    let shipper = Shipper::start(
        &dir.path().join("log"),
        &[
            "--dest",
            &sink,
            "--topic",
            &topic,
            "--max-loops",
            "11",
            "--frequency",
            "5s",
            "--timeout",
            "4900ms",
            "--jitter",
            "0",
            "--queue-bytes",
            "512MiB",
            "--kafka-set",
            "allow.auto.create.topics=true",
        ],
    );
    let said = shipper.wait(2 * MINUTE);
    let (read, delivered) = (figure(&said, &sink, "read"), figure(&said, &sink, "delivered"));
    assert!(read >= 200_000, "{said}");
    assert_eq!((delivered, figure(&said, &sink, "dropped")), (read, 0), "{said}");
    let rows = rows(&broker.bootstrap(), &topic);
    assert_eq!(distinct(&rows), delivered);
    let crowd = crowd.netns.inode().unwrap();
    let of_crowd = rows.iter().filter(|(inode, ..)| *inode == crowd).count();
    assert_eq!(of_crowd, 11 * 20_002, "two listeners, 20,000 ends of connections a poll: {said}");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn half_a_minute_without_a_broker_costs_polls_and_no_row_that_was_called_delivered() {
    let _alone = alone();
    let mut broker = Broker::start(&Settings::default()).unwrap();
    let crowd = Crowd::new("outage");
    broker.create_topic("xtcp", 3, &[]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sink = format!("kafka:{}", broker.bootstrap());
    let limit = 256 << 20;
    let cgroup = Cgroup::new(limit);
    let mut shipper = Shipper::start_in(
        cgroup.as_ref(),
        &dir.path().join("log"),
        &[
            "--dest",
            &sink,
            "--frequency",
            "1s",
            "--timeout",
            "900ms",
            "--jitter",
            "0",
            "--log-level",
            "debug",
        ],
    );
    shipper.says("polled poll=4", MINUTE);
    broker.kill().unwrap();
    let began = Instant::now();
    thread::sleep(Duration::from_secs(20));
    // Its queue is full by now: what is left to do is to wait.
    let ticks = shipper.ticks();
    thread::sleep(Duration::from_secs(30).saturating_sub(began.elapsed()));
    let idle = shipper.ticks() - ticks;
    assert!(idle < 30, "{idle} ticks of 10 ms in ten seconds");
    broker.start_again().unwrap();
    shipper.says("the broker takes messages again", MINUTE);
    thread::sleep(Duration::from_secs(3));
    let peak = shipper.peak();
    assert!(peak < limit, "{peak} bytes");
    assert_eq!(cgroup.as_ref().map_or(0, Cgroup::kills), 0);
    let said = shipper.stop(MINUTE);
    let unreachable = said.matches("no broker can be reached").count();
    assert_eq!(unreachable, 1, "a line a minute: {said}");
    assert!(said.contains("; unreachable "), "{said}");
    assert!(skipped(&said) >= 20, "{said}");
    let (read, delivered) = (figure(&said, &sink, "read"), figure(&said, &sink, "delivered"));
    assert_eq!(read, delivered + figure(&said, &sink, "dropped"), "{said}");
    assert!(delivered >= 5 * 20_000, "{said}");
    let rows = rows(&broker.bootstrap(), "xtcp");
    assert_eq!(distinct(&rows), delivered, "{said}");
    assert!(rows.iter().any(|(inode, ..)| *inode == crowd.netns.inode().unwrap()));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn with_a_spool_neither_an_outage_nor_the_death_of_the_daemon_costs_a_row() {
    let _alone = alone();
    let mut broker = Broker::start(&Settings::default()).unwrap();
    let crowd = Crowd::new("spool");
    broker.create_topic("xtcp", 1, &[]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let sink = format!("kafka:{}", broker.bootstrap());
    let arguments = [
        "--dest",
        &sink,
        "--frequency",
        "2s",
        "--timeout",
        "1900ms",
        "--jitter",
        "0",
        "--log-level",
        "debug",
        "--shutdown-timeout",
        "2m",
        "--spool-dir",
        spool.to_str().unwrap(),
    ];
    let mut first = Shipper::start(&dir.path().join("first"), &arguments);
    first.says("polled poll=2", MINUTE);
    broker.kill().unwrap();
    first.says("polled poll=6", MINUTE);
    // What stalls is on the disk after two seconds, and the next poll is not due yet.
    thread::sleep(Duration::from_secs(1));
    let said = first.kill();
    let polls = said.matches(" polled poll=").count();
    let arguments = [&arguments[..], &["--max-loops", "8"]].concat();
    let mut second = Shipper::start(&dir.path().join("second"), &arguments);
    second.says("the spool has rows from before; they go first", MINUTE);
    second.says("polled poll=2", MINUTE);
    broker.start_again().unwrap();
    second.says("the broker takes messages again", MINUTE);
    let said = second.wait(2 * MINUTE);
    let recovered = kafka_kit::recovered(&said);
    assert!(recovered >= 4 * 20_000, "{said}");
    assert_eq!(figure(&said, &sink, "read"), figure(&said, &sink, "delivered"), "{said}");
    assert_eq!(figure(&said, &sink, "dropped"), 0, "{said}");
    let polls = polls + said.matches(" polled poll=").count();
    // Rows of every poll of both, all of them. One that was on its way when a daemon or a broker died may come twice.
    let crowd = crowd.netns.inode().unwrap();
    let mut by_poll: BTreeMap<i64, BTreeSet<u64>> = BTreeMap::new();
    for (_, timestamp, counter) in
        rows(&broker.bootstrap(), "xtcp").into_iter().filter(|(inode, ..)| *inode == crowd)
    {
        by_poll.entry(timestamp).or_default().insert(counter);
    }
    let whole = (1..=20_002).collect::<BTreeSet<u64>>();
    let found = by_poll.values().filter(|counters| **counters == whole).count();
    assert_eq!(found, polls, "{said}");
    assert!(by_poll.len() <= polls + 1, "but for the one that was cut off by the death");
    let left: Vec<_> = fs::read_dir(spool.join("kafka-xtcp")).unwrap().collect();
    assert_eq!(left.len(), 1, "the lock alone");
}
