//! A daemon that answers, and what it says.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::common::{Daemon, sockeye};

/// A daemon that answers at a port of its own.
pub struct Answering {
    pub daemon: Daemon,
    pub place: String,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answering {
    /// Starts `run` with these arguments, and waits until it answers.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = sockeye();
        command.args(["run", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, place) = channel();
        // Read on: nobody is to wait for us.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, place)) = line.split_once("answering place=\"") {
                    let _ = sender.send(place.trim_end_matches('"').to_owned());
                }
            }
        });
        let daemon = Daemon { child };
        let place = place.recv_timeout(Duration::from_secs(30)).expect("it says where it answers");
        Self { daemon, place }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.place).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(path, "")
    }

    pub fn ask(&self, path: &str, headers: &str) -> Answer {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").unwrap();
        let mut bytes = Vec::new();
        // A reset ends it as well.
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
        let (head, body) = bytes.split_at(end);
        let head = String::from_utf8_lossy(head).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head, body: body.get(4..).unwrap_or_default().to_vec() }
    }

    pub fn metrics(&self) -> Metrics {
        Metrics(self.get("/metrics").text())
    }

    /// Waits for the end of the first poll.
    pub fn polled(self) -> Self {
        crate::common::eventually(Duration::from_mins(1), "a poll", || {
            self.metrics().value("sockeye_polls_total") >= 1.0
        });
        self
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The text of a scrape.
pub struct Metrics(pub String);

impl Metrics {
    /// The value of a series, which begins so: a name, or a name with its labels.
    pub fn find(&self, series: &str) -> Option<f64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    pub fn value(&self, series: &str) -> f64 {
        self.find(series).unwrap_or_else(|| panic!("no {series} in {}", self.0))
    }

    /// Sum over all series of a name.
    pub fn sum(&self, name: &str) -> f64 {
        let of = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let is = rest.starts_with('{') || rest.starts_with(' ');
            is.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        };
        self.0.lines().filter_map(of).sum()
    }

    /// Names of families.
    pub fn families(&self) -> BTreeSet<String> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect()
    }
}

/// A file of the project.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Runs a program with this on its stdin, which must be content with it.
pub fn pipe(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let (said, errors) = (crate::common::text(&output.stdout), crate::common::text(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}{errors}");
    // Promtool says what it would do better on stderr, and is content.
    assert!(program != "promtool" || errors.is_empty() || !said.is_empty(), "{errors}");
    said
}
