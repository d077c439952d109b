//! Brief connections in namespaces, a daemon that hears of their ends, and its rows held against what was true.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sockeye_testkit::Row;
use sockeye_testkit::brief::{Brief, BriefLoad, BriefOptions, End};
use sockeye_testkit::netns::{Netns, TestNetns};

use crate::common::{self, Daemon, cookie, eventually, number, sockeye};

/// A daemon that writes jsonl of few columns to a file.
pub struct Eye {
    pub daemon: Daemon,
    pub file: PathBuf,
    _directory: tempfile::TempDir,
}

pub const COLUMNS: &str = "timestamp_ns,netns,netns_inode,record_counter,record_kind,inet_diag_msg_family,\
    inet_diag_msg_state,inet_diag_msg_socket_cookie,inet_diag_msg_uid,congestion_algorithm_string,joined,first_seen_ns,\
    delta_*,tcp_info_bytes_sent,tcp_info_bytes_retrans,tcp_info_bytes_received,tcp_info_segs_out,tcp_info_segs_in";

impl Eye {
    pub fn open(arguments: &[&str]) -> Self {
        Self::spawn(sockeye().arg("run"), arguments)
    }

    /// Inside of a namespace, with an eye for no other.
    pub fn open_in(netns: &TestNetns, arguments: &[&str]) -> Self {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.path().display())).arg("--");
        command.arg(sockeye().get_program()).args(["run", "--own-netns-only", "--listen=off"]);
        Self::spawn(&mut command, arguments)
    }

    fn spawn(command: &mut Command, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rows.jsonl");
        let dest = format!("file:{}", file.display());
        command.args(["--closed", "on", "--jitter", "0", "--columns", COLUMNS, "--dest", &dest]);
        let daemon = Daemon::spawn(command.args(arguments));
        Self { daemon, file, _directory: directory }
    }

    /// Waits until a poll has seen something in each of these namespaces.
    pub fn sees(&self, grounds: &[Ground]) {
        eventually(Duration::from_secs(20), "a poll of all namespaces", || {
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            grounds.iter().all(|ground| text.contains(ground.netns.name()))
        });
    }

    /// Waits until the file has so many closed rows of brief connections; then it is ended. Its rows, and what it said.
    pub fn end(self, closed: usize) -> (Vec<Row>, String) {
        let mut before = (0, 0);
        eventually(Duration::from_secs(30), "all closed rows", || {
            let text = fs::read(&self.file).unwrap_or_default();
            let now = count(&text, b"\"record_kind\":2");
            std::thread::sleep(Duration::from_millis(200));
            // Too few for a while is as good as it gets: the assertions say what is missing.
            before = if before.0 == now { (now, before.1 + 1) } else { (now, 0) };
            now >= closed || before.1 > 20
        });
        std::thread::sleep(Duration::from_millis(300));
        self.finish()
    }

    pub fn finish(self) -> (Vec<Row>, String) {
        self.daemon.signal("TERM");
        let (code, said) = self.daemon.wait(Duration::from_secs(20));
        assert_eq!(code, Some(0), "{said}");
        (common::rows(&fs::read(&self.file).unwrap()), said)
    }
}

/// A namespace and the brief connections in it.
pub struct Ground {
    pub netns: TestNetns,
    pub inode: u64,
    pub end: End,
    load: Option<BriefLoad>,
}

impl Ground {
    pub fn new(label: &str, options: &BriefOptions) -> Self {
        let netns = TestNetns::new(label).unwrap();
        let options = BriefOptions { netns: Some(netns.path()), ..options.clone() };
        let load = Some(BriefLoad::spawn(&options).unwrap());
        Self { inode: netns.inode().unwrap(), netns, end: options.end, load }
    }

    pub fn go(&mut self) {
        self.load.as_mut().unwrap().go().unwrap();
    }

    /// What was true of each connection.
    pub fn finish(&mut self) -> Vec<Brief> {
        self.load.take().unwrap().finish().unwrap().0
    }
}

/// Of each socket of brief connections: what it sent and received, and whether it was IPv6, by namespace and cookie.
pub fn truth_of(grounds: &mut [Ground]) -> BTreeMap<(u64, u64), (u64, u64, bool, End)> {
    let mut truth = BTreeMap::new();
    for ground in grounds {
        let (inode, end) = (ground.inode, ground.end);
        for brief in ground.finish() {
            truth.insert((inode, brief.client), (brief.up, brief.down, brief.ipv6, end));
            truth.insert((inode, brief.server), (brief.down, brief.up, brief.ipv6, end));
        }
    }
    truth
}

/// The closed rows of these namespaces, by namespace and cookie; none is there twice.
pub fn closed_rows(rows: &[Row], grounds: &[Ground]) -> BTreeMap<(u64, u64), Row> {
    let mut closed = BTreeMap::new();
    for row in rows.iter().filter(|row| number(row, "record_kind") == 2) {
        let inode = number(row, "netns_inode");
        let Some(ground) = grounds.iter().find(|ground| ground.inode == inode) else { continue };
        assert_eq!(common::string(row, "netns"), ground.netns.name());
        let before = closed.insert((inode, cookie(row)), row.clone());
        assert!(before.is_none(), "twice: {row:?} and {before:?}");
    }
    closed
}

/// Every socket has one closed row, with its bytes; and there is no other.
pub fn assert_true(
    closed: &BTreeMap<(u64, u64), Row>,
    truth: &BTreeMap<(u64, u64), (u64, u64, bool, End)>,
) {
    let missing = truth.keys().filter(|key| !closed.contains_key(key)).count();
    let unknown = closed.keys().filter(|key| !truth.contains_key(key)).count();
    assert_eq!((missing, unknown), (0, 0), "of {} sockets, {} rows", truth.len(), closed.len());
    for (key, (sent, received, ipv6, end)) in truth {
        let row = &closed[key];
        let first_sent = number(row, "tcp_info_bytes_sent") - number(row, "tcp_info_bytes_retrans");
        assert_eq!(first_sent, *sent, "{row:?}");
        // The FIN of the other end is counted where it came before the socket was gone.
        let fin = number(row, "tcp_info_bytes_received").checked_sub(*received).unwrap();
        assert!(fin == 0 || (fin == 1 && *end == End::Fin), "{fin} {row:?}");
        assert_eq!(number(row, "inet_diag_msg_family"), if *ipv6 { 10 } else { 2 });
    }
}

/// The number that stands before some words of what was said.
pub fn said_before(said: &str, words: &str) -> u64 {
    let Some((before, _)) = said.split_once(words) else { return 0 };
    before
        .rsplit(|char: char| !char.is_ascii_digit())
        .find(|it| !it.is_empty())
        .unwrap()
        .parse()
        .unwrap()
}

/// The ledger of the file, which must balance: rows read, delivered and dropped.
pub fn ledger(said: &str, sink: &Path) -> (u64, u64, u64) {
    let head = format!("sockeye: file:{}: read ", sink.display());
    balance(said, &head)
}

pub fn balance(said: &str, head: &str) -> (u64, u64, u64) {
    let line = said.lines().find(|line| line.starts_with(head)).unwrap_or_else(|| panic!("{said}"));
    let behind = |word: &str| -> u64 {
        let (_, behind) = line.split_once(word).unwrap();
        behind.split(|char: char| !char.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let (read, delivered) = (behind(": read "), behind("= delivered "));
    let (dropped, in_flight) = (behind("+ dropped "), behind("+ in flight "));
    assert_eq!(read, delivered + dropped + in_flight, "{line}");
    (read, delivered, dropped)
}

pub fn count(text: &[u8], words: &[u8]) -> usize {
    text.windows(words.len()).filter(|window| *window == words).count()
}
