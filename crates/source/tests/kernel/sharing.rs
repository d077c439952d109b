//! Small namespaces share envelopes, and encodings share the read.

use std::collections::BTreeSet;
use std::thread::available_parallelism;

use sockeye_record::Format;
use sockeye_source::sockdiag::Netlinkers::Fixed;
use sockeye_source::sockdiag::Settings;
use sockeye_testkit::netns::TestNetns;

use crate::eye::{Eye, alone, connections, cookies, decode, encoding, settings, with_listeners};

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn the_rows_of_many_small_namespaces_fill_no_more_envelopes_than_dumps_run_at_once() {
    let _alone = alone();
    let namespaces = with_listeners("share", 30);
    for max_threads in [1, 6, 64] {
        let kits = available_parallelism().unwrap().get().min(max_threads);
        let mut eye = Eye::new(Settings { max_threads, ..settings() });
        for _ in 0..2 {
            let poll = eye.poll();
            assert!(namespaces.iter().all(|(netns, _)| poll.rows_of(netns).len() == 1));
            assert!(poll.lanes[0].len() <= kits, "{} envelopes", poll.lanes[0].len());
        }
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn two_encodings_at_once_give_the_same_rows() {
    let _alone = alone();
    let netns = TestNetns::new("lanes").unwrap();
    let _held = connections(&netns, 30);
    let columns = "netns_inode,record_counter,inet_diag_msg_socket_cookie";
    let encodings = vec![
        encoding(Format::ProtobufList, None),
        encoding(Format::ProtobufList, Some(columns)),
        encoding(Format::Csv, Some(columns)),
    ];
    let mut eye = Eye::new(Settings { encodings, netlinkers: Fixed(2), ..settings() });
    let poll = eye.poll();
    assert_eq!(cookies(&poll.rows_of(&netns)).len(), 90);
    let lanes = |lane: usize| poll.lanes[lane].iter().flat_map(|envelope| decode(envelope));
    let key = |row: sockeye_record::v1::XtcpFlatRecord| {
        (row.netns_inode, row.record_counter, row.inet_diag_msg_socket_cookie)
    };
    let full: BTreeSet<_> = lanes(0).map(key).collect();
    assert_eq!(lanes(1).map(key).collect::<BTreeSet<_>>(), full);
    let text = String::from_utf8(poll.lanes[2].concat()).unwrap();
    let lines = text.lines().map(|line| {
        let mut words = line.split(',').map(|word| word.parse::<u64>().unwrap());
        (words.next().unwrap(), words.next().unwrap(), words.next().unwrap())
    });
    assert_eq!(lines.collect::<BTreeSet<_>>(), full);
}
