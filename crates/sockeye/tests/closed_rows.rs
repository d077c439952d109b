//! Every connection has a row when it ends, however short it was, with exactly what went over it; and none has two.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod closed_kit;
mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use closed_kit::{Eye, Ground, assert_true, closed_rows, ledger, said_before, truth_of};
use common::number;
use sockeye_testkit::brief::{BriefOptions, End};
use sockeye_testkit::netns::{Netns, TestNetns, require_root};
use sockeye_testkit::states;

/// Four namespaces; in every second one connections are reset.
fn grounds(options: &BriefOptions) -> Vec<Ground> {
    let mut grounds = Vec::new();
    for (seed, end) in [End::Fin, End::Reset, End::Fin, End::Reset].into_iter().enumerate() {
        let options = BriefOptions { seed: seed as u64 + 1, end, ..options.clone() };
        grounds.push(Ground::new("brief", &options));
    }
    grounds
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn forty_thousand_connections_between_two_polls_are_eighty_thousand_rows() {
    require_root();
    let mut grounds = grounds(&BriefOptions { connections: 10_000, ..BriefOptions::default() });
    let eye = Eye::open(&["--frequency", "10m"]);
    eye.sees(&grounds);
    grounds.iter_mut().for_each(Ground::go);
    let truth = truth_of(&mut grounds);
    assert_eq!(truth.len(), 80_000);
    let file = eye.file.clone();
    let (rows, said) = eye.end(80_000);
    let closed = closed_rows(&rows, &grounds);
    assert_true(&closed, &truth);
    assert!(said.contains("sockeye: 1 polls, "), "{said}");
    assert_eq!(said_before(&said, " lost; "), 0, "{said}");
    let (read, delivered, dropped) = ledger(&said, &file);
    assert_eq!((read, delivered, dropped), (rows.len() as u64, rows.len() as u64, 0));
    // No poll has seen any of them: nothing is invented.
    assert!(closed.values().all(|row| !row.contains_key("joined")));
    assert!(closed.values().all(|row| !row.contains_key("inet_diag_msg_uid")));
    assert!(closed.values().all(|row| number(row, "inet_diag_msg_state") == 7));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn none_is_missed_while_polls_run_and_namespaces_come_and_go() {
    require_root();
    let options = BriefOptions {
        connections: 5_000,
        life_us: 0..=50_000,
        parts: 3,
        rate: 2_000,
        ..BriefOptions::default()
    };
    let mut grounds = grounds(&options);
    let eye = Eye::open(&["--frequency", "200ms", "--timeout", "100ms"]);
    eye.sees(&grounds);
    let done = AtomicBool::new(false);
    let truth = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                come_and_go();
            }
        });
        grounds.iter_mut().for_each(Ground::go);
        let truth = truth_of(&mut grounds);
        done.store(true, Ordering::Relaxed);
        truth
    });
    assert_eq!(truth.len(), 40_000);
    let (rows, said) = eye.end(40_000);
    let closed = closed_rows(&rows, &grounds);
    assert_true(&closed, &truth);
    assert!(said_before(&said, " polls, ") >= 5, "{said}");
    // Some lived long enough to be seen: their owner is known, and since when they were.
    let seen = || closed.values().filter(|row| row.contains_key("first_seen_ns"));
    assert!(seen().count() > 100, "{}", seen().count());
    for row in seen() {
        assert_eq!(
            (number(row, "inet_diag_msg_uid"), number(row, "joined") & 5),
            (0, 5),
            "{row:?}"
        );
        assert!(number(row, "first_seen_ns") <= number(row, "timestamp_ns"), "{row:?}");
    }
}

/// A namespace with a listener and a connection, for a moment.
fn come_and_go() {
    let netns = TestNetns::new("moment").unwrap();
    let sockets = netns.enter(|| {
        let listener = states::listener("127.0.0.1:0".parse().unwrap(), 4, None).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        (listener, client)
    });
    thread::sleep(Duration::from_millis(30));
    drop(sockets);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_namespace_that_goes_with_its_connections_is_accounted_for() {
    require_root();
    let options = BriefOptions {
        connections: 500,
        life_us: 60_000_000..=60_000_000,
        ..BriefOptions::default()
    };
    let mut ground = Ground::new("dying", &options);
    let eye = Eye::open(&["--frequency", "200ms", "--timeout", "100ms"]);
    eye.sees(std::slice::from_ref(&ground));
    ground.go();
    thread::sleep(Duration::from_secs(1));
    let inode = ground.inode;
    let name = ground.netns.name().to_owned();
    // The generator is killed, and the namespace with it.
    let began = Instant::now();
    drop(ground);
    thread::sleep(Duration::from_secs(2).saturating_sub(began.elapsed()));
    let (rows, said) = eye.finish();
    let of_it = |row: &&sockeye_testkit::Row| number(row, "netns_inode") == inode;
    let closed = rows.iter().filter(of_it).filter(|row| number(row, "record_kind") == 2);
    let closed: Vec<_> = closed.collect();
    assert!(closed.iter().all(|row| common::string(row, "netns") == name));
    let unknown = said_before(&said, " closed connections of unknown namespaces");
    let gone = said_before(&said, " sockets gone with their namespace without an event");
    println!("{} rows, {unknown} of unknown namespaces, {gone} without an event", closed.len());
    assert!(closed.len() as u64 + unknown + gone >= 1000, "{said}");
}
