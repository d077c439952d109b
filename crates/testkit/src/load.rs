//! Thousands of connections whose every number is known: starts `sockeye-load` and reads what it says is true.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub use crate::load_options::LoadOptions;

/// What a socket is, as the process says that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthSocket {
    /// Which end it is.
    pub role: Role,
    /// The address family of the socket itself: 2 (`AF_INET`) or 10 (`AF_INET6`, of addresses like `::ffff:127.0.0.1` too).
    pub family: u32,
    /// The local address.
    pub local: String,
    /// The local port.
    pub local_port: u16,
    /// The remote address; all zeros for a listener.
    pub peer: String,
    /// The remote port; 0 for a listener.
    pub peer_port: u16,
    /// The inode of the socket (`fstat`).
    pub inode: u64,
    /// The cookie of the socket (`SO_COOKIE`).
    pub cookie: u64,
    /// The owner.
    pub uid: u32,
    /// The state as `ss` names it: `ESTAB` or `LISTEN`.
    pub state: String,
    /// Bytes that the process sent on it, all acknowledged. `tcpi_bytes_acked` of a client is one more: the SYN.
    pub bytes_sent: u64,
    /// Bytes that the process received on it, all read.
    pub bytes_received: u64,
}

/// Which end of a connection a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It accepts connections.
    Listener,
    /// It connected.
    Client,
    /// It was accepted.
    Server,
}

/// The line after the truth: all is open, sent, read and acknowledged.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The number of sockets told of before this line.
    pub ready: usize,
}

/// A running load generator that holds its sockets; killed when dropped.
#[derive(Debug)]
pub struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    sockets: Vec<TruthSocket>,
}

impl Load {
    /// Starts a generator, and waits until all its connections are open and quiet.
    ///
    /// # Errors
    /// There is no `sockeye-load` to start, or it failed; it says on stderr why.
    pub fn spawn(options: &LoadOptions) -> Result<Self> {
        let mut load = Self::start(options)?;
        load.wait_until_ready()?;
        Ok(load)
    }

    /// Starts several generators that work at the same time, and waits for all of them.
    ///
    /// # Errors
    /// As of [`Load::spawn`]; then all of them are stopped.
    pub fn spawn_all<'a>(options: impl IntoIterator<Item = &'a LoadOptions>) -> Result<Vec<Self>> {
        let mut loads = options.into_iter().map(Self::start).collect::<Result<Vec<_>>>()?;
        for load in &mut loads {
            load.wait_until_ready()?;
        }
        Ok(loads)
    }

    /// All sockets that the generator holds, listeners first.
    pub fn sockets(&self) -> &[TruthSocket] {
        &self.sockets
    }

    /// The generator's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the generator, which closes its sockets.
    ///
    /// # Errors
    /// It had failed meanwhile.
    pub fn stop(mut self) -> Result<()> {
        drop(self.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "sockeye-load ended: {status}");
        Ok(())
    }

    fn start(options: &LoadOptions) -> Result<Self> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => find_program("sockeye-load")?,
        };
        let mut child = Command::new(&binary)
            .args(options.to_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("stdout was piped")?);
        Ok(Self { child, stdin, stdout, sockets: Vec::new() })
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.stdout.read_line(&mut line)? == 0 {
                bail!("sockeye-load ended before it was ready: {}", self.child.wait()?);
            }
            if let Ok(Ready { ready }) = serde_json::from_str(&line) {
                ensure!(
                    ready == self.sockets.len(),
                    "{ready} sockets announced, {} told of",
                    self.sockets.len()
                );
                return Ok(());
            }
            self.sockets.push(
                serde_json::from_str(&line)
                    .with_context(|| format!("line of sockeye-load: {line}"))?,
            );
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tests run in `target/<profile>/deps`, programs in `target/<profile>`.
pub(crate) fn find_program(name: &str) -> Result<PathBuf> {
    let running = env::current_exe().context("own path")?;
    for directory in running.ancestors().skip(1).take(2) {
        let binary = directory.join(name);
        if binary.is_file() {
            return Ok(binary);
        }
    }
    bail!(
        "no {name} beside {}: run `cargo build -p sockeye-testkit --bin {name}` first",
        running.display()
    )
}
