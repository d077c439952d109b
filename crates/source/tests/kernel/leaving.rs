//! Nothing of a namespace is held between polls: when it dies, the other ends of its cables vanish.

use std::thread;
use std::time::{Duration, Instant};

use sockeye_pipeline::{Completeness, Incomplete, Queue, QueueLimits, Source as _, Take, WhenFull};
use sockeye_record::Limits;
use sockeye_source::sockdiag::Netlinkers::Fixed;
use sockeye_source::sockdiag::Settings;
use sockeye_testkit::netns::{Netns, TestNetns};
use sockeye_testkit::netns_anonymous::AnonymousNetns;
use sockeye_testkit::veth::{VethEnd, veth_pair};

use crate::eye::{Eye, SOON, alone, connections, settings, within};

const CABLE: &str = "skt-cable";

fn cable(stays: &impl Netns, goes: &impl Netns) {
    let end = |interface| VethEnd { interface, addresses: &[] };
    veth_pair(stays, end(CABLE), goes, end("far")).unwrap();
}

fn peer_is_there(stays: &impl Netns) -> bool {
    stays.exec("ip", &["-o", "link", "show"]).unwrap().contains(CABLE)
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_namespace_that_dies_between_polls_is_gone_within_a_second() {
    let _alone = alone();
    let stays = TestNetns::new("stays").unwrap();
    for (max_threads, netlinkers) in [(1, 1), (4096, 3)] {
        let mut eye =
            Eye::new(Settings { max_threads, netlinkers: Fixed(netlinkers), ..settings() });
        let named = TestNetns::new("goes").unwrap();
        cable(&stays, &named);
        let poll = eye.poll();
        poll.assert_complete(named.name());
        assert!(peer_is_there(&stays));
        drop(named);
        within(Duration::from_secs(1), "the peer vanishes", || !peer_is_there(&stays));

        let anonymous = AnonymousNetns::new().unwrap();
        cable(&stays, &anonymous);
        let poll = eye.poll();
        poll.assert_complete(&format!("netns:[{}]", anonymous.inode().unwrap()));
        assert!(peer_is_there(&stays));
        drop(anonymous);
        within(Duration::from_secs(1), "the peer vanishes", || !peer_is_there(&stays));
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_namespace_that_dies_while_its_reader_waits_for_a_sink_is_gone_within_a_second() {
    let _alone = alone();
    let (stays, goes) = (TestNetns::new("stays").unwrap(), TestNetns::new("goes").unwrap());
    let name = goes.name().to_owned();
    cable(&stays, &goes);
    // More than one receive brings.
    let held = connections(&goes, 100);
    let queue = Queue::new("stuck", QueueLimits { bytes: 1, when_full: WhenFull::Wait });
    let limits = Limits { rows: 10, bytes: 1 << 20 };
    let mut eye = Eye::with_queues(Settings { limits, ..settings() }, vec![queue.clone()]);
    let poll = thread::spawn(move || {
        eye.outlet.begin_poll();
        eye.source.poll(&eye.outlet, &eye.stop)
    });
    within(SOON, "the queue is full", || queue.pending_bytes() > 0);
    thread::sleep(Duration::from_millis(100));
    drop((held, goes));
    assert!(peer_is_there(&stays), "the reader's socket holds the namespace");
    within(Duration::from_secs(1), "the peer vanishes", || !peer_is_there(&stays));
    assert!(!poll.is_finished());

    let sink = thread::spawn({
        let queue = queue.clone();
        move || {
            while let Take::Delivery(delivery) = queue.take(Duration::from_secs(20)) {
                delivery.delivered();
            }
        }
    });
    let parts = poll.join().unwrap();
    queue.close(Instant::now());
    sink.join().unwrap();
    let part = parts.iter().find(|part| *part.part == *name).unwrap();
    assert_eq!(part.completeness, Completeness::Incomplete(Incomplete::Vanished));
    assert!(part.rows > 0 && part.rows < 300, "{}", part.rows);
    assert_eq!(queue.ledger().delivered, parts.iter().map(|part| part.rows).sum::<u64>());
}
