//! A network namespace without a name, as a container has: visible only as `/proc/<pid>/ns/net`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::netns::{Netns, inode_of, own_path};

/// A child process in a network namespace of its own, with `lo` up; both are gone when this is dropped.
#[derive(Debug)]
pub struct AnonymousNetns {
    child: Child,
}

impl AnonymousNetns {
    /// Starts the process.
    ///
    /// # Errors
    /// `unshare -n` failed: this is not root, or util-linux is missing.
    pub fn new() -> Result<Self> {
        let outside = inode_of(&own_path())?;
        // cat ends with its stdin, so it cannot outlive a test that was killed.
        let child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("running unshare")?;
        let mut netns = Self { child };
        netns.wait_for_namespace(outside)?;
        netns.exec("ip", &["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// The process that keeps the namespace alive.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_for_namespace(&mut self, outside: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("unshare --net ended: {status}");
            }
            if self.inode().is_ok_and(|inode| inode != outside) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("unshare --net made no namespace within {PATIENCE:?}");
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Netns for AnonymousNetns {
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    fn ip_argument(&self) -> String {
        self.pid().to_string()
    }
}

impl Drop for AnonymousNetns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
