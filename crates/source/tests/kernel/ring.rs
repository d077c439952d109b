//! Reading through a ring: the same rows as by blocking reads, by fewer threads, and nothing is held.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use sockeye_pipeline::{Completeness, Incomplete, Queue, QueueLimits, Source as _, Take, WhenFull};
use sockeye_record::Limits;
use sockeye_source::sockdiag::Netlinkers::Fixed;
use sockeye_source::sockdiag::{IoUring, PlanMode, Settings};
use sockeye_testkit::netns::{Netns, TestNetns};
use sockeye_testkit::procfs;
use sockeye_testkit::veth::{VethEnd, veth_pair};

use crate::eye::{
    Eye, Poll, SOON, alone, connections, cookies, readers, settings, ss_cookies, with_listeners,
    within,
};

fn ring(recv_batch: u16, cqe_batch: u16) -> Settings {
    Settings { io_uring: Some(IoUring { recv_batch, cqe_batch }), ..settings() }
}

/// What must be the same however it was read: by cookie, state, addresses and ports.
type Rows = BTreeMap<u64, (u32, Vec<u8>, Vec<u8>, u32, u32)>;

fn rows(poll: &Poll, netns: &impl Netns) -> Rows {
    let rows = poll.rows_of(netns);
    let mut numbers: Vec<u64> = rows.iter().map(|row| row.record_counter).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=rows.len() as u64).collect::<Vec<_>>());
    let row = |row: sockeye_record::v1::XtcpFlatRecord| {
        let ports =
            (row.inet_diag_msg_socket_source_port, row.inet_diag_msg_socket_destination_port);
        let addresses = (row.inet_diag_msg_socket_source, row.inet_diag_msg_socket_destination);
        let state = row.inet_diag_msg_state;
        (row.inet_diag_msg_socket_cookie, (state, addresses.0, addresses.1, ports.0, ports.1))
    };
    let all = rows.len();
    let rows: Rows = rows.into_iter().map(row).collect();
    assert_eq!(rows.len(), all, "a socket came twice");
    rows
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn every_plan_brings_the_rows_of_blocking_reads_at_every_size_of_the_ring() {
    let _alone = alone();
    let (empty, small, large) = (
        TestNetns::new("none").unwrap(),
        TestNetns::new("some").unwrap(),
        TestNetns::new("large").unwrap(),
    );
    let _held = (connections(&small, 4), connections(&large, 300));
    let listeners = with_listeners("listen", 5);
    for plan in [PlanMode::Auto, PlanMode::Full] {
        let base = Settings { plan, netlinkers: Fixed(3), split_from: 500, ..settings() };
        let mut blocking = Eye::new(base.clone());
        for io_uring in [(64, 128), (1, 1), (3, 4096)] {
            let mut eye = Eye::new(Settings {
                io_uring: ring(io_uring.0, io_uring.1).io_uring,
                ..base.clone()
            });
            let mut nothing = 0;
            for round in 0..3 {
                let (one, other) = (blocking.poll(), eye.poll());
                for netns in
                    [&empty, &small, &large].into_iter().chain(listeners.iter().map(|it| &it.0))
                {
                    let name = netns.name();
                    assert_eq!(rows(&one, netns), rows(&other, netns), "{name} {io_uring:?}");
                    other.assert_complete(name);
                }
                assert_eq!(cookies(&other.rows_of(&large)), ss_cookies(&large));
                assert_eq!((rows(&other, &small).len(), rows(&other, &large).len()), (12, 900));
                let plan_of = |netns: &TestNetns| other.part(netns.name()).plan;
                if plan == PlanMode::Auto {
                    assert_eq!(plan_of(&large), "parts");
                    // A socket of another kind, such as that of a dump, counts for a moment after it was closed.
                    assert!(["nothing", "listeners"].contains(&plan_of(&empty)));
                    nothing += u32::from(plan_of(&empty) == "nothing");
                    assert!(["listeners", "check"].contains(&plan_of(&listeners[0].0)));
                    let expected = if round == 0 { "walk" } else { "lookups" };
                    assert!(
                        [expected, "check"].contains(&plan_of(&small)),
                        "{} {round}",
                        plan_of(&small)
                    );
                }
            }
            assert!(nothing > 0 || plan == PlanMode::Full);
        }
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_few_threads_serve_two_hundred_namespaces_and_leave_nothing_behind() {
    let _alone = alone();
    let namespaces = with_listeners("serve", 200);
    let pid = std::process::id();
    let counts = || (procfs::file_descriptors(pid).unwrap(), readers());
    // Every thread that has looked where it is keeps its directory in procfs open, this one too.
    sockeye_sys::netns::current().unwrap();
    let before = counts();
    let processors = thread::available_parallelism().unwrap().get();
    for max_threads in [1, 64] {
        let mut eye = Eye::new(Settings { max_threads, ..ring(64, 128) });
        eye.poll();
        let idle = procfs::file_descriptors(pid).unwrap();
        let poll = eye.poll();
        let inodes: BTreeSet<u64> = poll.rows().iter().map(|row| row.netns_inode).collect();
        for (netns, _) in &namespaces {
            assert!(inodes.contains(&netns.inode().unwrap()));
            assert_eq!(poll.part(netns.name()).rows, 1);
            poll.assert_complete(netns.name());
        }
        assert_eq!(procfs::file_descriptors(pid).unwrap(), idle, "a poll leaves nothing open");
        let threads = processors.min(max_threads).min(4);
        let names: Vec<String> = (0..threads).map(|i| format!("nl-ring-{i}")).collect();
        let mut found = readers();
        found.sort_unstable();
        assert_eq!(found, names);
        drop(eye);
        within(SOON, "threads and descriptors are gone", || counts() == before);
    }
}

const CABLES: [&str; 4] = ["skt-c0", "skt-c1", "skt-c2", "skt-c3"];

fn cable(stays: &impl Netns, goes: &impl Netns, name: &str) {
    let end = |interface| VethEnd { interface, addresses: &[] };
    veth_pair(stays, end(name), goes, end("far")).unwrap();
}

fn peers(stays: &impl Netns) -> usize {
    stays.exec("ip", &["-o", "link", "show"]).unwrap().matches("skt-c").count()
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn namespaces_that_die_while_one_of_them_waits_for_a_sink_are_gone_within_a_second() {
    let _alone = alone();
    for (recv_batch, plan) in [(64, PlanMode::Full), (1, PlanMode::Full), (64, PlanMode::Auto)] {
        let stays = TestNetns::new("stays").unwrap();
        let goes: Vec<TestNetns> = (0..4).map(|_| TestNetns::new("goes").unwrap()).collect();
        let names: Vec<String> = goes.iter().map(|netns| netns.name().to_owned()).collect();
        CABLES.iter().zip(&goes).for_each(|(name, goes)| cable(&stays, goes, name));
        assert_eq!(peers(&stays), 4);
        let held: Vec<_> = goes.iter().map(|netns| connections(netns, 100)).collect();
        let queue = Queue::new("stuck", QueueLimits { bytes: 1, when_full: WhenFull::Wait });
        let limits = Limits { rows: 10, bytes: 1 << 20 };
        let settings = Settings { limits, plan, ..ring(recv_batch, 128) };
        let mut eye = Eye::with_queues(settings, vec![queue.clone()]);
        let poll = thread::spawn(move || {
            eye.outlet.begin_poll();
            eye.source.poll(&eye.outlet, &eye.stop)
        });
        within(SOON, "the queue is full", || queue.pending_bytes() > 0);
        thread::sleep(Duration::from_millis(100));
        drop((held, goes));
        within(Duration::from_secs(1), "the peers vanish", || peers(&stays) == 0);
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
        let of_these: Vec<_> =
            parts.iter().filter(|part| names.contains(&part.part.to_string())).collect();
        assert_eq!(of_these.len(), 4);
        let vanished = Completeness::Incomplete(Incomplete::Vanished);
        assert!(of_these.iter().any(|part| part.completeness == vanished), "{of_these:?}");
        assert!(
            of_these.iter().all(|part| {
                part.completeness == vanished
                    || (part.completeness, part.rows) == (Completeness::Complete, 300)
            }),
            "{of_these:?}"
        );
        assert_eq!(queue.ledger().delivered, parts.iter().map(|part| part.rows).sum::<u64>());
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_stop_and_a_deadline_end_every_conversation() {
    let _alone = alone();
    let netns = TestNetns::new("ends").unwrap();
    let _held = connections(&netns, 300);
    let _listeners = with_listeners("ends", 30);
    let full = || Settings { plan: PlanMode::Full, ..ring(64, 128) };

    let mut late = Eye::new(Settings { timeout: Duration::from_nanos(1), ..full() });
    let poll = late.poll();
    let why = poll.part(netns.name()).completeness;
    assert_eq!(why, Completeness::Incomplete(Incomplete::Timeout));
    assert!(poll.part(netns.name()).rows < 900);

    let mut stopped = Eye::new(full());
    stopped.stop.request();
    let parts = stopped.source.poll(&stopped.outlet, &stopped.stop);
    let why = Completeness::Incomplete(Incomplete::Stopped);
    assert!(parts.len() >= 31 && parts.iter().all(|part| part.completeness == why));

    // In the middle: the first envelope waits, and stop is what it waits for.
    let queue = Queue::new("stuck", QueueLimits { bytes: 1, when_full: WhenFull::Wait });
    let limits = Limits { rows: 10, bytes: 1 << 20 };
    let mut eye = Eye::with_queues(Settings { limits, ..full() }, vec![queue.clone()]);
    let stop = eye.stop.clone();
    let poll = thread::spawn(move || {
        eye.outlet.begin_poll();
        eye.source.poll(&eye.outlet, &eye.stop)
    });
    within(SOON, "the queue is full", || queue.pending_bytes() > 0);
    stop.request();
    let began = Instant::now();
    let parts = poll.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(parts.iter().any(|part| part.completeness == why), "{parts:?}");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_ring_that_cannot_be_made_is_no_reason_not_to_read() {
    let _alone = alone();
    let netns = TestNetns::new("noring").unwrap();
    let _held = connections(&netns, 3);
    // Out of range: no kernel makes it.
    let mut eye = Eye::new(ring(0, 0));
    let poll = eye.poll();
    assert_eq!(cookies(&poll.rows_of(&netns)), ss_cookies(&netns));
    poll.assert_complete(netns.name());
}
