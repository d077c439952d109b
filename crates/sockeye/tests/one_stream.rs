//! Rows and the log on one stream: a line is whole, however slowly it is read.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{PipeWriter, pipe};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{Daemon, SOON, eventually, lines_of, listeners, rows, sockeye, text};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn run(dest: &str) -> Command {
    let mut command = sockeye();
    command.args(["run", "--own-netns-only", "--dest", dest]);
    command
}

#[test]
fn what_is_on_stderr_is_rows_the_log_and_the_last_words() {
    let _listeners = listeners();
    let mut command = run("stderr");
    let output = command
        .args(["--frequency", "600ms", "--timeout", "500ms", "--max-loops", "2"])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert_rows_and_log(&text(&output.stderr), "stderr");
}

#[test]
fn a_line_of_the_log_waits_for_the_end_of_rows_that_are_half_written_to_stderr() {
    let (_nobody, stdout) = pipe().unwrap();
    assert_whole_behind_a_full_pipe("stderr", |command, stderr| {
        command.stdout(stdout).stderr(stderr);
    });
}

#[test]
fn a_line_of_the_log_waits_for_the_end_of_rows_where_stderr_is_stdout() {
    assert_whole_behind_a_full_pipe("stdout", |command, both| {
        command.stdout(both.try_clone().unwrap()).stderr(both);
    });
}

#[test]
fn a_full_stderr_whose_writes_do_not_block_keeps_it_no_longer_than_the_shutdown_timeout() {
    let _listeners = listeners();
    let (reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut command = run("stderr");
    command.args(["--frequency", "1h", "--jitter", "0", "--shutdown-timeout", "1s"]);
    let full = writer.try_clone().unwrap();
    let daemon = Daemon { child: command.stderr(writer).spawn().unwrap() };
    wait_until_full(&full);
    daemon.signal("TERM");
    // Its last words are lost, but nobody waits for a place for them until the last resort ends it with 1.
    assert_eq!(daemon.wait(SOON).0, Some(0));
    drop(reader);
}

/// Has the daemon log something while a pipe has taken half of its rows, and reads everything then.
fn assert_whole_behind_a_full_pipe(dest: &str, streams: impl FnOnce(&mut Command, PipeWriter)) {
    let _listeners = listeners();
    let (reader, writer) = pipe().unwrap();
    let full = writer.try_clone().unwrap();
    let mut command = run(dest);
    command.args(["--frequency", "1h", "--jitter", "0", "--shutdown-timeout", "1m"]);
    streams(&mut command, writer);
    let daemon = Daemon { child: command.spawn().unwrap() };
    // It has the other ends, which would keep the pipe open.
    drop(command);
    wait_until_full(&full);
    drop(full);
    daemon.signal("HUP");
    // Until the line about it has taken its place behind the rows.
    thread::sleep(Duration::from_millis(300));
    let lines = lines_of(reader);
    let mut said = String::new();
    while !said.contains(" INFO SIGHUP: files are opened again") {
        said.extend([&lines.recv_timeout(SOON).unwrap(), "\n"]);
    }
    daemon.signal("TERM");
    assert_eq!(daemon.wait(SOON).0, Some(0), "{said}");
    // With it the other end of the pipe has gone.
    said.extend(lines.iter().flat_map(|line| [line, "\n".to_owned()]));
    assert_rows_and_log(&said, dest);
}

fn wait_until_full(pipe: &PipeWriter) {
    eventually(SOON, "a full pipe", || {
        poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO).unwrap() == 0
    });
}

/// Every line is a row of the ledger, or one of the log or of the last words: what is torn is neither.
fn assert_rows_and_log(said: &str, sink: &str) {
    let (json, log): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with('{'));
    let count = rows(json.join("\n").as_bytes()).len();
    assert!(count >= 80, "{count}");
    let ledger =
        format!("sockeye: {sink}: read {count} = delivered {count} + dropped 0 + in flight 0");
    assert_eq!(log.last(), Some(&ledger.as_str()));
    for line in log {
        let (time, behind) = line.split_at_checked("2025-01-01T00:00:00.000000Z ".len()).unwrap();
        let logged = time.ends_with("Z ")
            && [" INFO ", " WARN "].iter().any(|level| behind.starts_with(level));
        assert!(logged || line.starts_with("sockeye: "), "{line}");
    }
}
