//! A daemon that ships to a broker, what the broker has then, and what the daemon said about it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use sockeye_record::v1::Envelope;
use sockeye_testkit::load::{Load, LoadOptions};
use sockeye_testkit::netns::{Netns, TestNetns};

use super::common::sockeye;

/// What makes a row this row: the namespace, the poll, the number in it.
pub type RowKey = (u64, i64, u64);

/// Every row of a topic, in the order of its partitions, as prost reads it.
pub fn rows(bootstrap: &str, topic: &str) -> Vec<RowKey> {
    let mut rows = Vec::new();
    for payload in payloads(bootstrap, topic) {
        let row = Envelope::decode_length_delimited(payload.as_slice()).unwrap().row;
        rows.extend(row.iter().map(|it| (it.netns_inode, it.timestamp_ns, it.record_counter)));
    }
    rows
}

/// Every message of a topic as it is, in the order of its partitions.
pub fn payloads(bootstrap: &str, topic: &str) -> Vec<Vec<u8>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30)).unwrap();
    let mut places = TopicPartitionList::new();
    let mut open = BTreeSet::new();
    for partition in metadata.topics()[0].partitions() {
        places.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        open.insert(partition.id());
    }
    consumer.assign(&places).unwrap();
    let mut payloads = Vec::new();
    while !open.is_empty() {
        match consumer.poll(Duration::from_secs(30)).expect("a message or the end") {
            Ok(message) => {
                assert!(message.key().is_none());
                payloads.push(message.payload().unwrap().to_vec());
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                open.remove(&partition);
            }
            Err(error) => panic!("{error}"),
        }
    }
    payloads
}

/// Some 20,000 sockets in a namespace of their own.
pub struct Crowd {
    pub netns: TestNetns,
    _loads: Vec<Load>,
}

impl Crowd {
    pub fn new(name: &str) -> Self {
        let netns = TestNetns::new(name).unwrap();
        let options = LoadOptions {
            netns: Some(netns.path()),
            connections: 5000,
            bytes: 100..=200,
            ..LoadOptions::default()
        };
        let other =
            LoadOptions { client_addresses: vec!["127.0.0.2".parse().unwrap()], ..options.clone() };
        let loads = Load::spawn_all([&options, &other]).unwrap();
        Self { netns, _loads: loads }
    }
}

/// A memory cgroup, of whichever version the host has.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// None where even root may not make one: in a user namespace.
    pub fn new(limit: u64) -> Option<Self> {
        let name = format!("skt-{}", std::process::id());
        let (second, first) = (Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/memory"));
        let path = if first.is_dir() { first.join(name) } else { second.join(name) };
        if !first.is_dir() {
            let _ = fs::write(second.join("cgroup.subtree_control"), "+memory");
        }
        fs::create_dir(&path).ok()?;
        let cgroup = Self(path);
        let file = if first.is_dir() { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(cgroup.0.join(file), limit.to_string()).ok()?;
        Some(cgroup)
    }

    /// Times that the limit was in the way and something had to be killed for it.
    pub fn kills(&self) -> u64 {
        let read = |file: &str| fs::read_to_string(self.0.join(file)).ok();
        let text = read("memory.events").or_else(|| read("memory.oom_control")).unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.map_or(0, |count| count.trim().parse().unwrap())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A daemon whose log is a file; killed when dropped.
pub struct Shipper {
    child: Child,
    log: PathBuf,
}

impl Shipper {
    pub fn start(log: &Path, arguments: &[&str]) -> Self {
        Self::spawn(sockeye().arg("run").args(arguments), log)
    }

    pub fn start_in(cgroup: Option<&Cgroup>, log: &Path, arguments: &[&str]) -> Self {
        let Some(cgroup) = cgroup else { return Self::start(log, arguments) };
        let mut command = Command::new("sh");
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", cgroup.0.display());
        command.args(["-c", &enter, "sh", env!("CARGO_BIN_EXE_sockeye"), "run"]).args(arguments);
        Self::spawn(&mut command, log)
    }

    pub fn spawn(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { child: command.spawn().unwrap(), log: log.into() }
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for words in the log.
    pub fn says(&mut self, words: &str, within: Duration) {
        let deadline = Instant::now() + within;
        while !self.log().contains(words) {
            assert!(self.is_alive() && Instant::now() < deadline, "no {words:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The largest resident memory so far, in bytes.
    pub fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Processor time so far, in clock ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log()
    }

    /// SIGTERM; then as [`Shipper::wait`].
    pub fn stop(self, within: Duration) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
        self.wait(within)
    }

    /// What it said to its end, which must be a good one.
    pub fn wait(mut self, within: Duration) -> String {
        let deadline = Instant::now() + within;
        while self.is_alive() {
            assert!(Instant::now() < deadline, "still running: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = self.log();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{said}");
        assert!(!said.contains("DOES NOT BALANCE"), "{said}");
        said
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number of a sink's ledger: the one behind a word.
pub fn figure(said: &str, sink: &str, word: &str) -> u64 {
    let lines = said.lines().filter_map(|line| line.strip_prefix("sockeye: "));
    let line = lines
        .filter_map(|line| line.strip_prefix(sink))
        .find(|line| line.contains("read ") && line.contains("= delivered "))
        .unwrap_or_else(|| panic!("no ledger of {sink}: {said}"));
    let Some((_, behind)) = line.split_once(&format!("{word} ")) else { return 0 };
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{word}: {line}"))
}

/// Rows that a spool had when the daemon started.
pub fn recovered(said: &str) -> u64 {
    let (before, _) = said.split_once(" from the spool) = delivered").expect(said);
    before.rsplit('(').next().unwrap().parse().unwrap()
}

/// How many polls were skipped because every sink was behind.
pub fn skipped(said: &str) -> u64 {
    let (before, _) = said.split_once(" at high water").unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Sees that no row is there twice, and returns how many there are.
pub fn distinct(rows: &[RowKey]) -> u64 {
    let distinct: BTreeSet<&RowKey> = rows.iter().collect();
    assert_eq!(distinct.len(), rows.len(), "a row is there twice");
    rows.len() as u64
}
