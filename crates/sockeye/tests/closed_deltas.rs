//! Sums of deltas are totals: over all rows of a connection they are its last counters, exactly.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod closed_kit;
mod common;

use std::collections::BTreeMap;

use closed_kit::{Eye, Ground, assert_true, closed_rows, said_before, truth_of};
use common::{cookie, number};
use sockeye_testkit::brief::{BriefOptions, End};
use sockeye_testkit::netns::require_root;

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn sums_of_deltas_over_twenty_polls_are_the_last_counters_of_ten_thousand_connections() {
    require_root();
    let options = |seed, end| BriefOptions {
        connections: 5_000,
        life_us: 0..=3_000_000,
        parts: 8,
        rate: 1_250,
        seed,
        end,
        ..BriefOptions::default()
    };
    let mut grounds = [
        Ground::new("deltas", &options(1, End::Fin)),
        Ground::new("deltas", &options(2, End::Reset)),
    ];
    let eye = Eye::open(&["--deltas", "--frequency", "300ms", "--timeout", "250ms"]);
    eye.sees(&grounds);
    grounds.iter_mut().for_each(Ground::go);
    let truth = truth_of(&mut grounds);
    let (rows, said) = eye.end(truth.len());
    assert!(said_before(&said, " polls, ") >= 20, "{said}");
    let closed = closed_rows(&rows, &grounds);
    assert_true(&closed, &truth);

    let mut sums: BTreeMap<(u64, u64), Sum> = BTreeMap::new();
    for row in &rows {
        let key = (number(row, "netns_inode"), cookie(row));
        if truth.contains_key(&key) {
            sums.entry(key).or_default().add(row);
        }
    }
    assert_eq!(sums.len(), truth.len());
    for (key, sum) in &sums {
        let last = COUNTERS.map(|name| number(&closed[key], &format!("tcp_info_{name}")));
        assert_eq!(sum.deltas, last, "{key:?} {:?}", closed[key]);
        assert_eq!(sum.firsts, 1, "{key:?}");
    }
    let rows_each = sums.values().map(|sum| sum.rows).max().unwrap();
    println!("{} rows of {} sockets, at most {rows_each} each", rows.len(), sums.len());
    assert!(rows_each >= 6, "{rows_each}");
}

#[derive(Default)]
struct Sum {
    rows: u64,
    firsts: u64,
    deltas: [u64; 5],
}

impl Sum {
    fn add(&mut self, row: &sockeye_testkit::Row) {
        let flags = number(row, "delta_flags");
        assert_eq!(flags & !9, 0, "no other flag than that of the first row: {row:?}");
        self.rows += 1;
        self.firsts += flags & 1;
        for (sum, name) in self.deltas.iter_mut().zip(COUNTERS) {
            *sum += number(row, &format!("delta_{name}"));
        }
    }
}

const COUNTERS: [&str; 5] =
    ["bytes_sent", "bytes_received", "bytes_retrans", "segs_out", "segs_in"];
