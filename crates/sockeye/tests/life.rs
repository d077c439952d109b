//! How it begins and ends: polls that are counted, signals, readers that go or do not read, files that are moved.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, SOON, eventually, listeners, number, rows, sockeye, text};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The distinct times of the dumps of these rows: one for each poll of one namespace.
fn polls(jsonl: &[u8]) -> usize {
    rows(jsonl).iter().map(|row| number(row, "timestamp_ns")).collect::<BTreeSet<_>>().len()
}

/// A line `SINK: read 5 = delivered 1 + dropped 2 (why 2) + in flight 2`.
#[derive(Debug)]
struct Ledger {
    read: u64,
    delivered: u64,
    dropped: u64,
    in_flight: u64,
    line: String,
}

/// The ledger of a sink in what was said, which must balance.
fn ledger(said: &str, sink: &str) -> Ledger {
    let prefix = format!("sockeye: {sink}: read ");
    let line = said
        .lines()
        .find(|line| line.starts_with(&prefix))
        .unwrap_or_else(|| panic!("no ledger of {sink}: {said}"));
    let behind = |word: &str| -> u64 {
        let (_, behind) = line.split_once(word).unwrap();
        behind.split(|char: char| !char.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let ledger = Ledger {
        read: behind(": read "),
        delivered: behind("= delivered "),
        dropped: behind("+ dropped "),
        in_flight: behind("+ in flight "),
        line: line.to_owned(),
    };
    assert_eq!(ledger.read, ledger.delivered + ledger.dropped + ledger.in_flight, "{line}");
    ledger
}

/// Waits until there is something to read from a pipe, without reading it.
fn wait_readable(pipe: &impl AsFd) {
    let ready =
        poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_000_u16))
            .unwrap();
    assert_eq!(ready, 1, "nothing came");
}

/// A daemon whose stdout is a full pipe that nobody reads.
fn stuck(arguments: &[&str]) -> Daemon {
    let daemon = Daemon::start(
        &[&["--own-netns-only", "--frequency", "200ms", "--timeout", "100ms"], arguments].concat(),
    );
    wait_readable(daemon.child.stdout.as_ref().unwrap());
    thread::sleep(Duration::from_millis(700));
    daemon
}

/// A file of one poll of our own namespace.
fn protobuf_list(directory: &tempfile::TempDir) -> String {
    let file = directory.path().join("rows").display().to_string();
    let dest = format!("file:{file}");
    let run = ["run", "--own-netns-only", "--max-loops", "1", "--marshal", "protobufList"];
    common::stdout(&[&run[..], &["--dest", &dest]].concat());
    file
}

#[test]
fn it_makes_as_many_polls_as_it_was_told_and_its_ledger_balances() {
    let _listeners = listeners();
    let arguments = [
        "run",
        "--own-netns-only",
        "--frequency",
        "200ms",
        "--timeout",
        "100ms",
        "--max-loops",
        "3",
    ];
    let began = Instant::now();
    let output = common::output(&arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(polls(&output.stdout), 3);
    // The third begins after two times the frequency.
    assert!(began.elapsed() >= Duration::from_millis(400));
    let count = rows(&output.stdout).len() as u64;
    assert!(count >= 240, "{count}");
    let ledger = ledger(&said, "stdout");
    assert_eq!((ledger.read, ledger.delivered, ledger.dropped), (count, count, 0), "{said}");
    let summary = format!("sockeye: 3 polls, {count} rows, 0 incomplete namespaces; skipped ");
    assert!(said.contains(&summary), "{said}");
}

#[test]
fn a_signal_while_idle_ends_it_with_0_and_a_ledger() {
    let _listeners = listeners();
    for signal in ["TERM", "INT"] {
        let mut daemon = Daemon::start(&["--own-netns-only", "--frequency", "1h"]);
        let mut lines = daemon.lines();
        lines.next().unwrap();
        let reader = thread::spawn(move || lines.count() as u64 + 1);
        thread::sleep(Duration::from_millis(200));
        daemon.signal(signal);
        let (code, said) = daemon.wait(BEFORE_THE_TIMEOUT);
        assert_eq!(code, Some(0), "{said}");
        let read = reader.join().unwrap();
        let ledger = ledger(&said, "stdout");
        assert_eq!((ledger.read, ledger.delivered), (read, read), "{signal}: {said}");
        assert!(said.contains(" INFO stopping; once more to end at once signal="), "{said}");
    }
}

#[test]
fn a_signal_at_any_time_of_a_poll_ends_it_with_0_and_a_ledger() {
    let _listeners = listeners();
    for (run, signal) in ["TERM", "INT", "TERM", "INT", "TERM", "INT"].into_iter().enumerate() {
        // Polls behind one another.
        let mut daemon = Daemon::start(&[
            "--own-netns-only",
            "--frequency",
            "2ms",
            "--timeout",
            "1ms",
            "--jitter",
            "0",
        ]);
        let mut lines = daemon.lines();
        lines.next().unwrap();
        let reader = thread::spawn(move || lines.count() as u64 + 1);
        thread::sleep(Duration::from_micros(100_000 + 333 * run as u64));
        daemon.signal(signal);
        let (code, said) = daemon.wait(SOON);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(ledger(&said, "stdout").delivered, reader.join().unwrap(), "{said}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once_while_its_reader_is_stuck() {
    let _listeners = listeners();
    for (first, second, code) in [("TERM", "TERM", 143), ("INT", "INT", 130), ("TERM", "INT", 130)]
    {
        let mut daemon = stuck(&[]);
        daemon.signal(first);
        thread::sleep(Duration::from_millis(300));
        assert!(daemon.child.try_wait().unwrap().is_none(), "it flushes");
        daemon.signal(second);
        let (ended, said) = daemon.wait(BEFORE_THE_TIMEOUT);
        assert_eq!(ended, Some(code), "{said}");
    }
}

#[test]
fn one_signal_gives_a_stuck_reader_the_shutdown_timeout_and_says_what_was_lost() {
    let _listeners = listeners();
    let daemon = stuck(&["--shutdown-timeout", "5s"]);
    let began = Instant::now();
    daemon.signal("TERM");
    let (code, said) = daemon.wait(SOON);
    assert_eq!(code, Some(0), "{said}");
    assert!(began.elapsed() >= Duration::from_millis(4_900), "{:?}", began.elapsed());
    let ledger = ledger(&said, "stdout");
    assert_eq!(ledger.delivered, 0, "{said}");
    // One envelope is half written; those behind it are given up.
    assert!(ledger.in_flight >= 80 && ledger.dropped >= 80, "{ledger:?}");
    assert!(
        ledger.line.contains(&format!("dropped {} (shutdown {})", ledger.dropped, ledger.dropped)),
        "{ledger:?}"
    );
}

#[test]
fn a_reader_that_wakes_up_within_the_shutdown_timeout_gets_everything() {
    let _listeners = listeners();
    let mut daemon = stuck(&[]);
    daemon.signal("TERM");
    thread::sleep(Duration::from_millis(500));
    let mut pipe = daemon.child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).unwrap();
        all
    });
    let (code, said) = daemon.wait(BEFORE_THE_TIMEOUT);
    assert_eq!(code, Some(0), "{said}");
    let count = rows(&reader.join().unwrap()).len() as u64;
    let ledger = ledger(&said, "stdout");
    assert_eq!((ledger.read, ledger.delivered), (count, count), "{said}");
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_it_alive() {
    let _listeners = listeners();
    let start = || {
        let arguments =
            ["--own-netns-only", "--frequency", "200ms", "--timeout", "100ms", "--dest", "stderr"];
        let daemon = Daemon::start(&[&arguments[..], &["--shutdown-timeout", "3s"]].concat());
        wait_readable(daemon.child.stderr.as_ref().unwrap());
        thread::sleep(Duration::from_millis(700));
        daemon
    };
    let at_once = start();
    at_once.signal("TERM");
    thread::sleep(Duration::from_millis(300));
    at_once.signal("TERM");
    assert_eq!(at_once.wait(SOON).0, Some(143));
    let alone = start();
    alone.signal("TERM");
    assert_eq!(alone.wait(SOON).0, Some(1));
}

#[test]
fn a_stuck_snapshot_is_stopped_by_a_signal_and_says_that_it_is_not_whole() {
    let _listeners = listeners();
    let start = || {
        let daemon =
            Daemon::spawn(sockeye().args(["snapshot", "--own-netns-only", "--marshal", "jsonl"]));
        wait_readable(daemon.child.stdout.as_ref().unwrap());
        thread::sleep(Duration::from_millis(200));
        daemon
    };
    let stopped = start();
    stopped.signal("INT");
    let (code, said) = stopped.wait(SOON);
    assert_eq!(
        (code, said.as_str()),
        (Some(1), "sockeye: stopped by a signal; not everything is there\n")
    );
    // Its terminal has gone: nobody is there to tell.
    let mut left = start();
    left.signal("HUP");
    eventually(SOON, "the end", || left.child.try_wait().unwrap().is_some());
    assert_eq!(left.child.wait().unwrap().signal(), Some(1));
}

/// Runs with a stdout that nobody will ever read; exit code and stderr.
fn without_reader(command: &mut Command) -> (Option<i32>, String) {
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_run_quietly() {
    let _listeners = listeners();
    let mut daemon =
        Daemon::start(&["--own-netns-only", "--frequency", "600ms", "--timeout", "500ms"]);
    // Like head -1.
    daemon.lines().next().unwrap();
    let (code, said) = daemon.wait(SOON);
    assert_eq!(code, Some(0), "{said}");
    assert!(ledger(&said, "stdout").line.contains("(sink_closed "), "{said}");
    // Whether a poll tells that the reader has gone depends on who is faster.
    let (log, last): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| !line.starts_with("sockeye: "));
    assert!(log.iter().all(|line| line.contains(" INFO ")), "{said}");
    assert!(log.iter().any(|line| line.contains(" INFO collecting ")), "{said}");
    assert_eq!(last.len(), 2, "{said}");
    assert!(last[0].contains(" polls, "), "{said}");
}

#[test]
fn a_reader_that_has_seen_enough_of_anything_else_is_not_even_mentioned() {
    let _listeners = listeners();
    for marshal in ["table", "jsonl", "csv", "protobufList"] {
        let mut snapshot = sockeye();
        let ended =
            without_reader(snapshot.args(["snapshot", "--own-netns-only", "--marshal", marshal]));
        assert_eq!(ended, (Some(0), String::new()), "{marshal}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = protobuf_list(&directory);
    for arguments in [
        &["decode", &file][..],
        &["decode", &file, "--to", "table"],
        &["netns", "--own-netns-only"],
        &["doctor"],
        &["--help"],
        &["--version"],
        &["run", "--print-config"],
    ] {
        let ended = without_reader(sockeye().args(arguments));
        assert_eq!(ended, (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn a_file_goes_on_when_the_reader_of_stdout_has_gone() {
    let _listeners = listeners();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows");
    let dest = format!("file:{}", file.display());
    let mut run = sockeye();
    run.args([
        "run",
        "--own-netns-only",
        "--frequency",
        "100ms",
        "--timeout",
        "50ms",
        "--max-loops",
        "5",
    ]);
    let (code, said) = without_reader(run.args(["--dest", "stdout", "--dest", &dest]));
    assert_eq!(code, Some(0), "{said}");
    let content = fs::read(&file).unwrap();
    assert_eq!(polls(&content), 5, "{said}");
    let (file, stdout) = (ledger(&said, &dest), ledger(&said, "stdout"));
    assert_eq!(file.delivered, rows(&content).len() as u64, "{said}");
    assert_eq!((stdout.delivered, stdout.in_flight), (0, 0), "{said}");
}

#[test]
fn sighup_opens_a_file_again_that_was_moved_away() {
    let _listeners = listeners();
    let directory = tempfile::tempdir().unwrap();
    let [file, moved] = ["rows", "rows.1"].map(|name| directory.path().join(name));
    let dest = format!("file:{}", file.display());
    let daemon = Daemon::start(&[
        "--own-netns-only",
        "--frequency",
        "100ms",
        "--timeout",
        "50ms",
        "--dest",
        &dest,
    ]);
    let has_rows = |path: &Path| fs::metadata(path).is_ok_and(|it| it.len() > 0);
    eventually(SOON, "rows", || has_rows(&file));
    fs::rename(&file, &moved).unwrap();
    // Without a signal it follows the file.
    let before = fs::metadata(&moved).unwrap().len();
    eventually(SOON, "more rows", || fs::metadata(&moved).unwrap().len() > before);
    assert!(!file.exists());
    daemon.signal("HUP");
    eventually(SOON, "rows under the old name", || has_rows(&file));
    let kept = fs::metadata(&moved).unwrap().len();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(fs::metadata(&moved).unwrap().len(), kept, "nothing is added to the old file");
    daemon.signal("TERM");
    let (code, said) = daemon.wait(SOON);
    assert_eq!(code, Some(0), "{said}");
    let both = [fs::read(&moved).unwrap(), fs::read(&file).unwrap()].concat();
    assert_eq!(ledger(&said, &dest).delivered, rows(&both).len() as u64);
}

#[test]
fn a_file_with_conversions_has_its_name_when_it_is_complete() {
    let _listeners = listeners();
    let directory = tempfile::tempdir().unwrap();
    let dest = format!("file:{}/rows-%Y.jsonl", directory.path().display());
    let names = || -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap();
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    };
    let daemon = Daemon::start(&[
        "--own-netns-only",
        "--frequency",
        "100ms",
        "--timeout",
        "50ms",
        "--dest",
        &dest,
    ]);
    eventually(SOON, "a file", || !names().is_empty());
    thread::sleep(Duration::from_millis(300));
    let [partial] = names().try_into().unwrap();
    let name = partial.strip_suffix(".partial").unwrap();
    daemon.signal("TERM");
    let (code, said) = daemon.wait(SOON);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(names(), [name]);
    let content = fs::read(directory.path().join(name)).unwrap();
    assert_eq!(rows(&content).len() as u64, ledger(&said, &dest).delivered);
}

#[test]
fn without_a_stdout_nothing_else_gets_its_rows() {
    let _listeners = listeners();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows.csv");
    let dest = format!("file:{}", file.display());
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "exec \"$0\" \"$@\" >&- 2>&- <&-",
        env!("CARGO_BIN_EXE_sockeye"),
        "run",
        "--own-netns-only",
    ]);
    shell.args([
        "--max-loops",
        "1",
        "--columns",
        "record_kind",
        "--marshal",
        "csv",
        "--dest",
        "stdout",
        "--dest",
        &dest,
    ]);
    assert_eq!(shell.status().unwrap().code(), Some(0));
    let content = fs::read_to_string(&file).unwrap();
    let mut lines = content.lines();
    assert_eq!(lines.next(), Some("record_kind"));
    assert!(
        lines.clone().count() >= 80 && lines.all(|line| line == "poll" || line == "1"),
        "{content}"
    );
}

#[test]
fn a_stdout_without_space_is_a_failure_that_is_said() {
    let _listeners = listeners();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let ended = |arguments: &[&str]| {
        let output = sockeye().args(arguments).stdout(full()).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let said = "sockeye: stdout: No space left on device (os error 28)\n";
    for marshal in ["table", "jsonl", "csv", "protobufList", "msgpack"] {
        assert_eq!(
            ended(&["snapshot", "--own-netns-only", "--marshal", marshal]),
            (Some(1), said.to_owned()),
            "{marshal}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let file = protobuf_list(&directory);
    for arguments in [
        &["decode", &file][..],
        &["decode", &file, "--to", "msgpack"],
        &["decode", &file, "--to", "table"],
        &["netns", "--own-netns-only"],
        &["doctor"],
        &["run", "--print-config"],
    ] {
        assert_eq!(ended(arguments), (Some(1), said.to_owned()), "{arguments:?}");
    }
    // It ends by itself, since there is nobody left to send to.
    let (code, said) =
        ended(&["run", "--own-netns-only", "--frequency", "100ms", "--timeout", "50ms"]);
    assert_eq!(code, Some(1), "{said}");
    let ledger = ledger(&said, "stdout");
    assert!(ledger.line.ends_with("; ended by: No space left on device (os error 28)"), "{said}");
    assert!(
        said.contains(" ERROR sink has ended; its rows are being lost sink=\"stdout\""),
        "{said}"
    );
}

#[test]
fn rows_and_the_log_on_one_stderr_do_not_tear_one_another() {
    let _listeners = listeners();
    let arguments = [
        "run",
        "--own-netns-only",
        "--frequency",
        "100ms",
        "--timeout",
        "50ms",
        "--max-loops",
        "3",
        "--dest",
        "stderr",
    ];
    let output = common::output(&arguments);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    let said = text(&output.stderr);
    let (json, log): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with('{'));
    assert_eq!(polls(json.join("\n").as_bytes()), 3);
    assert_eq!(ledger(&said, "stderr").delivered, json.len() as u64);
    let given_up = log.iter().filter(|line| line.contains(" INFO capabilities given up ")).count();
    assert_eq!(log.len() - given_up, 3, "{log:?}");
}

#[test]
fn decode_shows_rows_of_a_pipe_when_they_are_there() {
    let _listeners = listeners();
    let list = common::stdout(&[
        "run",
        "--own-netns-only",
        "--max-loops",
        "1",
        "--marshal",
        "protobufList",
    ]);
    let mut decode =
        sockeye().arg("decode").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = decode.stdin.take().unwrap();
    pipe.write_all(&list).unwrap();
    // The pipe stays open, and there is more to come.
    wait_readable(decode.stdout.as_ref().unwrap());
    drop(pipe);
    let output = decode.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(rows(&output.stdout).len() >= 80);
}

/// Less than what --shutdown-timeout is by default, thus not because of it.
const BEFORE_THE_TIMEOUT: Duration = Duration::from_secs(8);
