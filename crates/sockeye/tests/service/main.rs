//! Running for years: reloads, privileges given up, systemd, logs, the default file.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod confined;
mod files;
mod logs;
mod md5;
mod memory;
mod privileges;
mod reload;
mod systemd;

use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Daemon, SOON};

/// What a daemon says on stderr, as it comes.
#[derive(Clone)]
struct Said(Arc<Mutex<String>>);

impl Said {
    fn by(daemon: &mut Daemon) -> Self {
        let said = Self(Arc::default());
        let (lines, heard) = (BufReader::new(daemon.child.stderr.take().unwrap()), said.clone());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut heard = heard.0.lock().unwrap();
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        said
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn wait(&self, words: &str) {
        self.wait_times(words, 1);
    }

    fn wait_times(&self, words: &str, times: usize) {
        let began = std::time::Instant::now();
        while self.text().matches(words).count() < times {
            assert!(began.elapsed() < SOON, "no {words:?} in: {}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Often enough for a test, and no endpoint, since tests run side by side.
const OFTEN: [&str; 7] =
    ["--frequency", "200ms", "--timeout", "100ms", "--jitter", "0", "--listen=off"];
