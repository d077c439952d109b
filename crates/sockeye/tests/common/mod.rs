//! Running the binary, and its rows as JSON.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use sockeye_testkit::Row;
use sockeye_testkit::ss::SsSocket;
use sockeye_testkit::ss_compare::{Tolerance, compare, join};

/// The binary, without the environment's `SOCKEYE_*`; and with polls alone unless an argument asks for closed sockets, since
/// other tests have sockets that close.
pub fn sockeye() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockeye"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SOCKEYE_")) {
        command.env_remove(name);
    }
    command.env("SOCKEYE_CLOSED", "off");
    // Tests run at the same time, and there is one default port.
    command.env("SOCKEYE_LISTEN", "off");
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn output(arguments: &[&str]) -> Output {
    sockeye().args(arguments).output().unwrap()
}

/// Runs it to its end, which must be a good one, and returns stdout.
pub fn stdout(arguments: &[&str]) -> Vec<u8> {
    let output = output(arguments);
    assert!(output.status.success(), "{arguments:?}: {}: {}", output.status, text(&output.stderr));
    output.stdout
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Rows of `jsonl`.
pub fn rows(jsonl: &[u8]) -> Vec<Row> {
    jsonl
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Rows of a snapshot of every namespace, by default of all that the kernel knows.
pub fn snapshot(arguments: &[&str]) -> Vec<Row> {
    rows(&stdout(&[&["snapshot", "--marshal", "jsonl"], arguments].concat()))
}

pub fn number(row: &Row, column: &str) -> u64 {
    row.get(column)
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_else(|| panic!("no {column} in {row:?}"))
}

pub fn string<'r>(row: &'r Row, column: &str) -> &'r str {
    row.get(column)
        .and_then(serde_json::Value::as_str)
        .unwrap_or_else(|| panic!("no {column} in {row:?}"))
}

pub fn cookie(row: &Row) -> u64 {
    number(row, "inet_diag_msg_socket_cookie")
}

/// The rows of one namespace.
pub fn of_netns(rows: &[Row], inode: u64) -> Vec<Row> {
    rows.iter().filter(|row| number(row, "netns_inode") == inode).cloned().collect()
}

/// How many different cookies.
pub fn distinct(rows: &[Row]) -> usize {
    rows.iter().map(cookie).collect::<BTreeSet<_>>().len()
}

/// Every socket of `ss` is a row and the other way round, and every token that `ss` printed is what the row says.
pub fn assert_equals_ss(ss: &[SsSocket], rows: &[Row]) {
    let joined = join(ss, rows);
    assert!(
        joined.is_one_to_one(),
        "{} only in ss, {} only in rows, {} and {} twice; ss {} rows {}",
        joined.only_in_ss.len(),
        joined.only_in_rows.len(),
        joined.duplicates_in_ss.len(),
        joined.duplicates_in_rows.len(),
        ss.len(),
        rows.len()
    );
    let mismatches: Vec<String> = joined
        .pairs
        .iter()
        .flat_map(|(ss, row)| compare(ss, row, Tolerance::Live))
        .take(20)
        .collect();
    assert!(mismatches.is_empty(), "{mismatches:#?}");
}

/// Sockets whose rows fill any pipe.
pub fn listeners() -> Vec<TcpListener> {
    (0..80).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect()
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    pub child: Child,
}

impl Daemon {
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(sockeye().arg("run").args(arguments))
    }

    pub fn spawn(command: &mut Command) -> Self {
        Self { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lines of stdout as they come.
    pub fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.child.stdout.take().unwrap()).lines().map_while(Result::ok)
    }

    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end, at most `within`; exit code and what is left on stderr.
    pub fn wait(mut self, within: Duration) -> (Option<i32>, String) {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                if let Some(mut stderr) = self.child.stderr.take() {
                    stderr.read_to_string(&mut said).unwrap();
                }
                return (status.code(), said);
            }
            assert!(Instant::now() < deadline, "still running after {within:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines as they come, so that they can be waited for.
pub fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    let heard = BufReader::new(stream).lines().map_while(Result::ok);
    std::thread::spawn(move || heard.map_while(|line| sender.send(line).ok()).for_each(drop));
    lines
}

/// Tries until `done`, at most for `within`.
pub fn eventually(within: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// For what comes at once where nothing else needs the processors.
pub const SOON: Duration = Duration::from_secs(20);
