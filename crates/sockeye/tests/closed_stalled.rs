//! A sink that nobody reads: rows of polls make room for those of closed sockets, which nobody will give again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod closed_kit;
mod common;

use std::io::Read;
use std::thread;
use std::time::Duration;

use closed_kit::{Ground, balance, closed_rows, truth_of};
use common::Daemon;
use sockeye_testkit::brief::BriefOptions;
use sockeye_testkit::load::{Load, LoadOptions};
use sockeye_testkit::netns::{Netns, TestNetns, require_root};

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn rows_of_polls_are_dropped_before_any_of_a_closed_socket() {
    require_root();
    let crowded = TestNetns::new("crowded").unwrap();
    let load = LoadOptions {
        netns: Some(crowded.path()),
        connections: 2_000,
        bytes: 1..=1,
        ..LoadOptions::default()
    };
    let _load = Load::spawn(&load).unwrap();
    let mut grounds =
        [Ground::new("brief", &BriefOptions { connections: 5_000, ..BriefOptions::default() })];
    let columns = "netns,netns_inode,record_kind,inet_diag_msg_socket_cookie";
    let arguments = ["--closed", "on", "--frequency", "200ms", "--timeout", "100ms", "--columns"];
    let queue = ["--queue-bytes", "2MiB", "--envelope-flush-bytes", "65536"];
    let mut daemon = Daemon::start(&[&arguments[..], &[columns], &queue].concat());
    // Polls fill the queue above its half; then they are skipped.
    thread::sleep(Duration::from_secs(3));
    grounds[0].go();
    let truth = truth_of(&mut grounds);
    assert_eq!(truth.len(), 10_000);
    thread::sleep(Duration::from_secs(2));
    let mut stdout = daemon.child.stdout.take().unwrap();
    daemon.signal("TERM");
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        stdout.read_to_end(&mut all).unwrap();
        all
    });
    let (code, said) = daemon.wait(Duration::from_secs(20));
    assert_eq!(code, Some(0), "{said}");
    let rows = common::rows(&reader.join().unwrap());
    let closed = closed_rows(&rows, &grounds);
    assert!(closed.keys().eq(truth.keys()), "{} of {}", closed.len(), truth.len());
    let (read, delivered, dropped) = balance(&said, "sockeye: stdout: read ");
    assert_eq!(delivered, rows.len() as u64, "{said}");
    assert!(dropped >= 1_000, "{said}");
    println!("read {read}, dropped {dropped}");
}
