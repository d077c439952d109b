//! One run of a broker's process, which does not outlive whoever started it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kafka_files;

/// Java with Kafka's classes, and little of what is for long runs: a broker is there in two seconds.
///
/// # Errors
/// Kafka could not be fetched.
pub fn java(class: &str) -> Result<Command> {
    let mut command = Command::new("java");
    command
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-cp"])
        .arg(kafka_files::libraries()?.join("*"))
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
        .arg(class)
        .stdin(Stdio::null());
    Ok(command)
}

/// Runs a tool of Kafka to its end, and returns what it printed.
///
/// # Errors
/// It failed; what it said is part of the error.
pub fn tool(class: &str, arguments: &[&str]) -> Result<String> {
    let output = java(class)?.args(arguments).output().context("running java")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{class} {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(said)
}

/// Waits until `ready`, which is asked again and again.
///
/// # Errors
/// `ended` said why it never will be, or three minutes went by; the end of the log is part of the error.
pub fn wait_until(
    mut ready: impl FnMut() -> bool,
    mut ended: impl FnMut() -> Option<ExitStatus>,
    log: &Path,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        let why = match ended() {
            Some(status) => format!("ended: {status}"),
            None if Instant::now() > deadline => "is not ready after three minutes".to_owned(),
            None => {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
        };
        let log = fs::read_to_string(log).unwrap_or_default();
        let from = log.char_indices().rev().nth(LOG_CHARACTERS).map_or(0, |(at, _)| at);
        bail!("the broker {why}: {}", log.get(from..).unwrap_or_default());
    }
    Ok(())
}

/// A broker's process below a shell, which kills it when our end of a pipe is closed: that happens however we end.
#[derive(Debug)]
pub(crate) struct Process {
    shell: Child,
    pid: Pid,
}

impl Process {
    pub(crate) fn start(properties: &Path, log: &Path) -> Result<Self> {
        let java = java("kafka.Kafka")?;
        let mut shell = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(java.get_program())
            .args(java.get_args())
            .arg(properties)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(log)?)
            .spawn()
            .context("running sh")?;
        let mut line = String::new();
        BufReader::new(shell.stdout.take().context("stdout was piped")?).read_line(&mut line)?;
        let pid = line.trim().parse().with_context(|| format!("a process id: {line:?}"))?;
        Ok(Self { shell, pid: Pid::from_raw(pid) })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.shell.try_wait().ok().flatten()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("{signal} to {}", self.pid))
    }

    /// Waits for its end, and makes one after three minutes.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.shell.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.end();
                bail!("the broker did not stop in three minutes, and was killed");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn end(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Says the process id, then waits for the end of the broker or of the pipe.
const KEEPER: &str = r#"exec 3<&0
"$@" </dev/null >&2 3<&- & pid=$!
echo $pid
exec >&-
{ read -r _ <&3; kill -KILL $pid; } 2>/dev/null & watcher=$!
wait $pid
kill $watcher 2>/dev/null"#;

/// A broker whose processors are mostly taken by others needs more than half a minute to start.
const PATIENCE: Duration = Duration::from_mins(3);
const LOG_CHARACTERS: usize = 4_000;
