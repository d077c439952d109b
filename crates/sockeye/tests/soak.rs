//! Ten minutes, or `SOAK_MINUTES`, of everything that moves: namespaces and connections come and go, the broker is killed again and
//! again, somebody scrapes. What the daemon takes has to stay flat, and its ledgers have to balance.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, eventually, sockeye};
use sockeye_testkit::brief::{BriefLoad, BriefOptions, End};
use sockeye_testkit::kafka::{Broker, Settings};
use sockeye_testkit::load::{Load, LoadOptions};
use sockeye_testkit::netns::{Netns as _, TestNetns};
use sockeye_testkit::procfs;

/// What the daemon takes at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    resident_bytes: u64,
    threads: u64,
    files: usize,
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn memory_threads_and_files_stay_flat_while_everything_moves() {
    let length = Duration::from_secs(60 * minutes());
    let folder = tempfile::tempdir().unwrap();
    let (socket, said) = (folder.path().join("socket"), folder.path().join("said"));
    let mut broker = Broker::start(&Settings::default()).unwrap();
    broker.create_topic("soak", 1, &["retention.bytes=10000000", "segment.bytes=5000000"]).unwrap();
    let steady = TestNetns::new("steady").unwrap();
    let options =
        LoadOptions { netns: Some(steady.path()), connections: 500, ..LoadOptions::default() };
    let _held = Load::spawn(&options).unwrap();
    let daemon = start(&broker.bootstrap(), &socket, &said);
    eventually(Duration::from_secs(30), "an answer", || ask(&socket, "/healthz").0 == 200);
    the_queue_is_at_high_water_once(&mut broker, &socket);
    let before = ["kafka", "null"].map(|sink| delivered(&socket, sink));

    let end = Instant::now() + length;
    let mut samples = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| connections_come_and_go(&steady, end));
        scope.spawn(|| namespaces_come_and_go(end));
        scope.spawn(|| the_broker_is_killed(&mut broker, end));
        scope.spawn(|| somebody_looks(&socket, end));
        while Instant::now() < end {
            samples.push(taken(daemon.pid()));
            thread::sleep(Duration::from_secs(1));
        }
    });

    // What is allocated once, by this program and by its libraries, is by then.
    let (_, after) = samples.split_at(samples.len() / 5);
    let (first, second) = after.split_at(after.len() / 2);
    let (first, second) = (most(first), most(second));
    println!("{} samples; at the most {first:?}, then {second:?}", samples.len());
    let resident: Vec<_> =
        samples.iter().step_by(10).map(|taken| taken.resident_bytes >> 10).collect();
    assert!(
        second.resident_bytes <= first.resident_bytes / 20 * 21 + (2 << 20),
        "memory grows: {resident:?} KiB, one in ten seconds"
    );
    assert!(second.threads <= first.threads + 1, "threads grow");
    assert!(second.files <= first.files + 4, "open files grow");

    daemon.signal("TERM");
    let (code, _) = daemon.wait(Duration::from_mins(1));
    let said = std::fs::read_to_string(said).unwrap();
    assert_eq!(code, Some(0), "{said}");
    let (kafka, null) = (ledger(&said, "kafka:"), ledger(&said, "null:"));
    println!("kafka {kafka:?}, null {null:?}");
    for [read, delivered, dropped, in_flight] in [kafka, null] {
        assert_eq!((read, in_flight), (delivered + dropped, 0), "{said}");
    }
    let polls = length.as_secs() * 2;
    let [to_kafka, to_null] = [kafka[1] - before[0], null[1] - before[1]];
    assert!(
        to_null > polls / 2 * 1000 && null[2] == 0,
        "{to_null}: half of the polls, a thousand sockets each; {null:?}"
    );
    assert!(to_kafka > to_null / 2, "{to_kafka} of {to_null}");
}

fn start(broker: &str, socket: &Path, said: &Path) -> Daemon {
    let (kafka, listen) = (format!("kafka:{broker}"), format!("unix:{}", socket.display()));
    let mut command = sockeye();
    command
        .args(["run", "--dest", &kafka, "--topic", "soak", "--dest", "null", "--listen", &listen]);
    command.args(["--frequency", "500ms", "--timeout", "400ms", "--queue-bytes", "8MiB"]);
    command.args(["--closed", "on", "--deltas"]);
    let child = command.stdout(Stdio::null()).stderr(File::create(said).unwrap()).spawn().unwrap();
    Daemon { child }
}

/// How long the broker is away decides how much waits for it, and a busy host decides how long that is. Polls go on until half of
/// `--queue-bytes` waits: that has happened before anything is compared.
fn the_queue_is_at_high_water_once(broker: &mut Broker, socket: &Path) {
    broker.kill().unwrap();
    let dropped = r#"sockeye_queue_dropped_rows_total{sink="kafka",reason="high_water"}"#;
    eventually(Duration::from_mins(5), "a queue at high water", || metric(socket, dropped) > 0);
    broker.start_again().unwrap();
}

fn delivered(socket: &Path, sink: &str) -> u64 {
    metric(socket, &format!("sockeye_sink_delivered_rows_total{{sink=\"{sink}\"}}"))
}

/// 0 where there is none of this name and labels.
fn metric(socket: &Path, name: &str) -> u64 {
    let (status, text) = ask(socket, "/metrics");
    assert_eq!(status, 200, "{text}");
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

/// Two hundred a second, each for some milliseconds.
fn connections_come_and_go(netns: &TestNetns, end: Instant) {
    while Instant::now() < end {
        let options = BriefOptions {
            netns: Some(netns.path()),
            connections: 1000,
            rate: 200,
            life_us: 1000..=300_000,
            end: End::Reset,
            tells: false,
            ..BriefOptions::default()
        };
        let mut load = BriefLoad::spawn(&options).unwrap();
        load.go().unwrap();
        assert_eq!(load.finish().unwrap().1.connections, 1000);
    }
}

/// Each for two seconds, with connections in it.
fn namespaces_come_and_go(end: Instant) {
    while Instant::now() < end {
        let netns = TestNetns::new("comes").unwrap();
        let options =
            LoadOptions { netns: Some(netns.path()), connections: 5, ..LoadOptions::default() };
        let _held = Load::spawn(&options).unwrap();
        thread::sleep(Duration::from_secs(2));
    }
}

/// And is there again some seconds later.
fn the_broker_is_killed(broker: &mut Broker, end: Instant) {
    // The last outage ends before the daemon does.
    while Instant::now() + Duration::from_secs(45) < end {
        thread::sleep(Duration::from_secs(15));
        broker.kill().unwrap();
        thread::sleep(Duration::from_secs(5));
        broker.start_again().unwrap();
    }
}

fn somebody_looks(socket: &Path, end: Instant) {
    while Instant::now() < end {
        let (status, text) = ask(socket, "/metrics");
        assert_eq!(status, 200, "{text}");
        for line in text.lines().filter(|line| line.starts_with("sockeye_queue_imbalance_rows")) {
            assert!(line.ends_with(" 0"), "{line}");
        }
        assert_eq!(ask(socket, "/debug/polls").0, 200);
        assert_eq!(ask(socket, "/healthz").0, 200);
        thread::sleep(Duration::from_millis(500));
    }
}

fn ask(socket: &Path, path: &str) -> (u16, String) {
    let Ok(mut stream) = UnixStream::connect(socket) else { return (0, String::new()) };
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

fn taken(pid: u32) -> Taken {
    Taken {
        resident_bytes: procfs::resident_bytes(pid).unwrap(),
        threads: procfs::threads(pid).unwrap(),
        files: procfs::file_descriptors(pid).unwrap(),
    }
}

fn most(samples: &[Taken]) -> Taken {
    samples.iter().fold(Taken::default(), |most, it| Taken {
        resident_bytes: most.resident_bytes.max(it.resident_bytes),
        threads: most.threads.max(it.threads),
        files: most.files.max(it.files),
    })
}

/// Read, delivered, dropped and in flight, as the last line of a destination says.
fn ledger(said: &str, sink: &str) -> [u64; 4] {
    let line = said
        .lines()
        .find(|line| line.starts_with(&format!("sockeye: {sink}")) && line.contains(" = "));
    let line = line.unwrap_or_else(|| panic!("no ledger of {sink} in {said}"));
    ["read ", "delivered ", "dropped ", "in flight "].map(|word| {
        let (_, behind) = line.split_once(word).unwrap_or_else(|| panic!("no {word}in {line}"));
        let digits = behind.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        digits.parse().unwrap_or_else(|_| panic!("{line}"))
    })
}

fn minutes() -> u64 {
    std::env::var("SOAK_MINUTES").map_or(10, |minutes| minutes.parse().unwrap())
}
