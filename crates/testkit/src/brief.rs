//! Connections that live for a moment, by the thousand, with known bytes both ways: starts `sockeye-brief` and reads what it says is true.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::load::find_program;

/// How many connections, where, and how they live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BriefOptions {
    /// The namespace, by path; in it the range of ephemeral ports is widened. Default: the one that it is started in.
    pub netns: Option<PathBuf>,
    /// The number of connections, of which every second one is IPv6 unless only one family is asked for.
    pub connections: usize,
    /// 4, 6, or 0 for both in turn. Default: 0.
    pub family: u8,
    /// How many bytes each end sends. Default: 1 to 4,000.
    pub bytes: RangeInclusive<u64>,
    /// In how many parts at the most they are sent, at random moments of a connection's life. Default: 1.
    pub parts: u32,
    /// How long a connection lives, in microseconds. Default: 1,000.
    pub life_us: RangeInclusive<u64>,
    /// Connections opened in a second; 0 is as many as the processor can. Default: 0.
    pub rate: u64,
    /// How they end. Default: [`End::Fin`].
    pub end: End,
    /// The generator's own beginning of what is random. Default: 1.
    pub seed: u64,
    /// The truth of each connection is told; without it only their number. Default: yes.
    pub tells: bool,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The client closes first and has the `TIME_WAIT`. An end that has seen the FIN of the other counts it as a byte received.
    Fin,
    /// The server closes with the client's last byte unread, which resets it: every number is exact. (An end that is
    /// closed with `SO_LINGER` of 0 would have forgotten its peer and its numbers when the kernel tells of its end.)
    Reset,
}

/// One connection that has ended, as the process says that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// `SO_COOKIE` of the client's end.
    pub client: u64,
    /// `SO_COOKIE` of the server's end.
    pub server: u64,
    /// Bytes that the client has sent, all read by the server.
    pub up: u64,
    /// Bytes that the server has sent, all read by the client.
    pub down: u64,
    /// Whether it was IPv6.
    pub ipv6: bool,
}

/// The last line: what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Connections that have ended.
    pub connections: u64,
    /// Bytes that all clients have sent.
    pub up: u64,
    /// Bytes that all servers have sent.
    pub down: u64,
    /// From the first connection to the end of the last.
    pub took_us: u64,
}

/// A generator that has been started; killed when dropped.
#[derive(Debug)]
pub struct BriefLoad {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Default for BriefOptions {
    fn default() -> Self {
        Self {
            netns: None,
            connections: 1,
            family: 0,
            bytes: 1..=4000,
            parts: 1,
            life_us: 1000..=1000,
            rate: 0,
            end: End::Fin,
            seed: 1,
            tells: true,
        }
    }
}

impl BriefLoad {
    /// Starts the `sockeye-brief` beside the program that runs; it listens, and opens nothing until [`BriefLoad::go`].
    ///
    /// # Errors
    /// As of [`BriefLoad::spawn_program`].
    pub fn spawn(options: &BriefOptions) -> Result<Self> {
        Self::spawn_program(&find_program("sockeye-brief")?, options)
    }

    /// Starts `program`, a `sockeye-brief`.
    ///
    /// # Errors
    /// There is no such program, or it failed; it says on stderr why.
    pub fn spawn_program(program: &Path, options: &BriefOptions) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(serde_json::to_string(options)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let stdin = child.stdin.take().context("stdin was piped")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout was piped")?);
        let mut load = Self { child, stdin, stdout };
        let mut line = String::new();
        load.stdout.read_line(&mut line)?;
        ensure!(line == READY, "sockeye-brief ended before it was ready");
        Ok(load)
    }

    /// The generator's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it begin.
    ///
    /// # Errors
    /// It has ended.
    pub fn go(&mut self) -> Result<()> {
        self.stdin.write_all(GO.as_bytes()).context("sockeye-brief has ended")
    }

    /// Waits until all has ended; what was true of each connection, if it tells, and of all.
    ///
    /// # Errors
    /// It failed; it says on stderr why.
    pub fn finish(mut self) -> Result<(Vec<Brief>, Done)> {
        let (mut all, mut line) = (Vec::new(), String::new());
        loop {
            line.clear();
            if self.stdout.read_line(&mut line)? == 0 {
                bail!("sockeye-brief ended: {}", self.child.wait()?);
            }
            if let Ok(done) = serde_json::from_str::<Done>(&line) {
                return Ok((all, done));
            }
            all.push(serde_json::from_str(&line).with_context(|| format!("line {line}"))?);
        }
    }
}

impl Drop for BriefLoad {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it prints when it listens.
pub const READY: &str = "ready\n";
/// What it waits for before it opens anything.
pub const GO: &str = "go\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_command_line_and_the_last_line_is_no_connection() {
        let options = BriefOptions { end: End::Reset, connections: 7, ..BriefOptions::default() };
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<BriefOptions>(&text).unwrap(), options);
        let brief = Brief { client: 1, server: 2, up: 3, down: 4, ipv6: true };
        let line = serde_json::to_string(&brief).unwrap();
        assert!(serde_json::from_str::<Done>(&line).is_err());
        assert_eq!(serde_json::from_str::<Brief>(&line).unwrap(), brief);
    }
}
