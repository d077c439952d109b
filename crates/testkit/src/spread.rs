//! A listener and some connections in each of many namespaces, held by one process: `sockeye-spread`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// What each namespace gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadOptions {
    /// The namespaces, by path.
    pub netns: Vec<PathBuf>,
    /// Connections that stay open, each of two sockets.
    pub connections: usize,
    /// Connections that are opened and closed again, every [`SpreadOptions::every`].
    pub churn: usize,
    /// How often that happens.
    pub every: Duration,
    /// They are closed by both ends in turn, which leaves one of them in `TIME_WAIT`, and not reset.
    pub orderly: bool,
}

impl SpreadOptions {
    /// The command line that says the same.
    pub fn to_arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            self.connections.to_string(),
            self.churn.to_string(),
            self.every.as_millis().to_string(),
            u8::from(self.orderly).to_string(),
        ];
        arguments.extend(self.netns.iter().map(|path| path.display().to_string()));
        arguments
    }

    /// Reads a command line, without the program's name.
    ///
    /// # Errors
    /// What is missing or no number.
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut arguments = arguments.into_iter();
        let mut number = |name: &str| -> Result<u64> {
            let text = arguments.next().with_context(|| format!("no {name}"))?;
            text.parse().with_context(|| format!("{name} {text}"))
        };
        let connections = usize::try_from(number("number of connections")?)?;
        let churn = usize::try_from(number("number of connections that come and go")?)?;
        let every = Duration::from_millis(number("milliseconds")?);
        let orderly = number("way to close")? != 0;
        let netns = arguments.map(PathBuf::from).collect();
        Ok(Self { netns, connections, churn, every, orderly })
    }
}

/// The running process; killed when dropped.
#[derive(Debug)]
pub struct Spread {
    child: Child,
    /// It ends when this is closed.
    _stdin: ChildStdin,
}

impl Spread {
    /// Starts `program`, a `sockeye-spread`, and waits until all that stays open is open.
    ///
    /// # Errors
    /// There is no such program, or it failed; it says on stderr why.
    pub fn spawn(program: &PathBuf, options: &SpreadOptions) -> Result<Self> {
        let mut child = Command::new(program)
            .args(options.to_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let stdin = child.stdin.take().context("stdin was piped")?;
        let stdout = child.stdout.take().context("stdout was piped")?;
        let spread = Self { child, _stdin: stdin };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == READY, "sockeye-spread ended before it was ready");
        Ok(spread)
    }
}

impl Drop for Spread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it prints when all is open.
pub const READY: &str = "ready\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_says_the_same_both_ways() {
        let options = SpreadOptions {
            netns: vec!["/run/netns/a".into(), "/run/netns/b".into()],
            connections: 10,
            churn: 3,
            every: Duration::from_millis(400),
            orderly: true,
        };
        assert_eq!(SpreadOptions::from_arguments(options.to_arguments()).unwrap(), options);
        let error = SpreadOptions::from_arguments(["1".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "no number of connections that come and go");
    }
}
