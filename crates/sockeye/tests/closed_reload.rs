//! SIGHUP while connections end all the time: none is lost, none told of twice, differences go on, and no row stands under a
//! header of other columns.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod closed_kit;
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use closed_kit::{COLUMNS, Ground, assert_true, closed_rows, count, truth_of};
use common::{Daemon, cookie, eventually, number, sockeye};
use sockeye_testkit::brief::{BriefOptions, End};
use sockeye_testkit::netns::require_root;

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn ends_of_connections_are_told_of_once_and_in_the_right_columns_whatever_is_reloaded() {
    require_root();
    let options = BriefOptions {
        connections: 3_000,
        life_us: 0..=2_000_000,
        parts: 4,
        rate: 500,
        end: End::Reset,
        ..BriefOptions::default()
    };
    let mut grounds = [Ground::new("reload", &options)];
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    configure(here, 0);
    let mut command = sockeye();
    command.current_dir(here).args(["run", "--config", "s.toml", "--closed", "on", "--deltas"]);
    let daemon = Daemon::spawn(command.args([
        "--jitter",
        "0",
        "--frequency",
        "300ms",
        "--timeout",
        "250ms",
    ]));
    let jsonl = here.join("rows.jsonl");
    let read = || fs::read(&jsonl).unwrap_or_default();
    eventually(Duration::from_secs(20), "rows", || {
        count(&read(), grounds[0].netns.name().as_bytes()) > 0
    });
    grounds.iter_mut().for_each(Ground::go);
    for turn in 1..=8 {
        thread::sleep(Duration::from_millis(900));
        configure(here, turn);
        daemon.signal("HUP");
    }
    let truth = truth_of(&mut grounds);
    eventually(Duration::from_secs(20), "the last ends", || {
        count(&read(), b"\"record_kind\":2") >= truth.len()
    });
    thread::sleep(Duration::from_millis(700));
    daemon.signal("TERM");
    let (code, said) = daemon.wait(Duration::from_secs(20));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.matches("reloaded: it holds from the next poll on").count() >= 7, "{said}");

    let rows = common::rows(&read());
    let closed = closed_rows(&rows, &grounds);
    assert_true(&closed, &truth);
    let mut sums: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
    for row in rows.iter().filter(|row| number(row, "netns_inode") == grounds[0].inode) {
        let key = (grounds[0].inode, cookie(row));
        if truth.contains_key(&key) {
            let (bytes, firsts) = sums.entry(key).or_default();
            *bytes += number(row, "delta_bytes_sent");
            *firsts += number(row, "delta_flags") & 1;
        }
    }
    for (key, (bytes, firsts)) in &sums {
        let row = &closed[key];
        assert_eq!((*bytes, *firsts), (number(row, "tcp_info_bytes_sent"), 1), "{row:?}");
    }
    let labels: std::collections::BTreeSet<&str> =
        closed.values().map(|row| common::string(row, "label")).collect();
    assert!(labels.len() >= 6, "{labels:?}");

    let mut files = 0;
    for entry in fs::read_dir(here).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            files += 1;
            let text = fs::read_to_string(path).unwrap();
            let columns: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
            let wrong = columns.iter().filter(|it| **it != columns[0]).count();
            assert_eq!(
                wrong,
                0,
                "of {} lines below {}",
                columns.len(),
                text.lines().next().unwrap()
            );
        }
    }
    assert!(files >= 7, "{files}");
}

/// A label for each turn, and a file whose columns change at each.
fn configure(here: &Path, turn: u32) {
    let columns =
        if turn.is_multiple_of(2) { "label,record_kind" } else { "label,record_kind,netns" };
    let text = format!(
        "label = \"l{turn}\"\n\
         [[sink]]\ndest = \"file:rows.jsonl\"\nmarshal = \"jsonl\"\ncolumns = \"label,{COLUMNS}\"\n\
         [[sink]]\ndest = \"file:rows.csv\"\nmarshal = \"csv\"\ncolumns = \"{columns}\"\n"
    );
    fs::write(here.join("s.toml"), text).unwrap();
}
