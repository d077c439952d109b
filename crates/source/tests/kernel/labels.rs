//! Each row carries the name and the inode of its own namespace, and no socket is missing.

use sockeye_source::sockdiag::Netlinkers::Fixed;
use std::collections::{BTreeMap, BTreeSet};

use sockeye_testkit::netns::{Netns, TestNetns};
use sockeye_testkit::netns_anonymous::AnonymousNetns;

use crate::eye::{Eye, alone, connections, cookies, settings, ss_cookies};

fn assert_seen(poll: &crate::eye::Poll, netns: &impl Netns, name: &str, sockets: usize) {
    let rows = poll.rows_of(netns);
    assert_eq!(cookies(&rows), ss_cookies(netns), "{name}");
    assert_eq!(rows.len(), sockets, "{name}");
    assert!(rows.iter().all(|row| row.netns == name), "{name}");
    let part = poll.part(name);
    assert_eq!((part.rows, part.seen), (sockets as u64, sockets as u64));
    poll.assert_complete(name);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn rows_of_named_and_anonymous_namespaces_carry_their_labels_and_are_those_of_ss() {
    let _alone = alone();
    let (blue, red) = (TestNetns::new("blue").unwrap(), TestNetns::new("red").unwrap());
    let anonymous = AnonymousNetns::new().unwrap();
    let held = (connections(&blue, 3), connections(&red, 5), connections(&anonymous, 7));
    for netlinkers in [1, 3] {
        let mut eye = Eye::new(sockeye_source::sockdiag::Settings {
            netlinkers: Fixed(netlinkers),
            ..settings()
        });
        let poll = eye.poll();
        assert_seen(&poll, &blue, blue.name(), 9);
        assert_seen(&poll, &red, red.name(), 15);
        let name = format!("netns:[{}]", anonymous.inode().unwrap());
        assert_seen(&poll, &anonymous, &name, 21);

        let mut names: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for row in poll.rows() {
            assert_eq!(row.hostname, "here");
            names.entry(row.netns_inode).or_default().insert(row.netns);
        }
        assert!(names.values().all(|names| names.len() == 1), "{names:?}");
    }
    drop(held);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_host_time_and_number_name_one_row() {
    let _alone = alone();
    let blue = TestNetns::new("unique").unwrap();
    let _held = connections(&blue, 20);
    let mut eye =
        Eye::new(sockeye_source::sockdiag::Settings { netlinkers: Fixed(4), ..settings() });
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        for row in eye.poll().rows() {
            assert!(seen.insert((row.netns_inode, row.timestamp_ns, row.record_counter)));
        }
    }
}
