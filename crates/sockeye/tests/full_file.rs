//! A file that may not grow is as a full disk: waited for, counted, and never fatal.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use common::{Daemon, SOON, eventually};

#[test]
fn a_file_at_its_limit_does_not_end_the_daemon_and_has_no_half_row() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows.jsonl");
    let _listeners: Vec<_> =
        (0..20).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut command = Command::new("sh");
    // The limit is in blocks of 512 bytes; a poll of twenty listeners takes some 40 KiB, and others may have sockets too.
    let run = format!(
        "ulimit -f 100; exec {} run --own-netns-only --frequency 200ms --timeout 100ms --jitter 0 \
                       --shutdown-timeout 3s --envelope-flush-bytes 8192 \
                       --columns 'tcp_info_*,inet_diag_msg_*' --dest file:{}",
        env!("CARGO_BIN_EXE_sockeye"),
        file.display()
    );
    let daemon = Daemon::spawn(command.args(["-c", &run]));
    eventually(SOON, "the file has reached its limit", || {
        fs::metadata(&file).is_ok_and(|metadata| metadata.len() > 20_000)
    });
    std::thread::sleep(Duration::from_secs(1));
    daemon.signal("TERM");
    let (code, said) = daemon.wait(SOON);
    assert_eq!(code, Some(0), "{said}");
    let written = common::rows(&fs::read(&file).unwrap()).len();
    assert!(said.contains(&format!("= delivered {written} + dropped ")), "{written} rows: {said}");
    assert!(said.contains("(shutdown ") && said.contains(" retries"), "{said}");
    assert!(said.contains("File too large"), "{said}");
    assert!(!said.contains("DOES NOT BALANCE"), "{said}");
}
