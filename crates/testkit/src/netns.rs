//! Network namespaces with a name (`/run/netns`), made for one test and gone after it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

use crate::ss_run::output;

/// A network namespace that a test can work in.
pub trait Netns {
    /// The nsfs file that stands for the namespace.
    fn path(&self) -> PathBuf;

    /// What `ip link set … netns` takes for it: a name or a process id.
    fn ip_argument(&self) -> String;

    /// The inode of the namespace, which with the device of nsfs is its identity.
    ///
    /// # Errors
    /// The namespace is gone.
    fn inode(&self) -> Result<u64> {
        inode_of(&self.path())
    }

    /// Runs a closure on a throw-away thread inside the namespace. Sockets made there stay there; a panic goes through.
    ///
    /// # Errors
    /// The namespace cannot be entered: it is gone, or this is not root.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T>
    where
        Self: Sized,
    {
        enter(&self.path(), work)
    }

    /// Runs a program inside the namespace and returns what it printed.
    ///
    /// # Errors
    /// The program is missing or failed; what it wrote to stderr is part of the error.
    fn exec(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(Some(&self.path()), program, arguments)
    }

    /// Sets a sysctl of the namespace, by its path below `/proc/sys/net`.
    ///
    /// # Errors
    /// There is no such sysctl, or it refuses the value.
    fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let file = Path::new("/proc/sys/net").join(name);
        // /proc/sys/net shows the namespace of whoever opens it.
        enter(&self.path(), || fs::write(&file, value))?
            .with_context(|| format!("{name} = {value}"))
    }
}

/// A namespace of its own with a name like `skt-123-0-label` and `lo` up; deleted when dropped.
#[derive(Debug)]
pub struct TestNetns {
    name: String,
}

impl TestNetns {
    /// Makes the namespace. Names never repeat, so tests can run side by side.
    ///
    /// # Errors
    /// `ip netns add` failed: this is not root, or iproute2 is missing.
    pub fn new(label: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("skt-{}-{}-{label}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        output(None, "ip", &["netns", "add", &name])?;
        let netns = Self { name };
        netns.exec("ip", &["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// The name, for `ip netns exec` and `ss -N`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Netns for TestNetns {
    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    fn ip_argument(&self) -> String {
        self.name.clone()
    }
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        // A namespace that is gone already is what is wanted.
        let _ = output(None, "ip", &["netns", "del", &self.name]);
    }
}

/// Runs a closure on a throw-away thread inside the namespace that `path` stands for.
///
/// On a thread of its own, because `setns` is for the thread that calls it and there is no reliable way back.
///
/// # Errors
/// The namespace cannot be entered: it is gone, or this is not root.
pub fn enter<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    let netns = File::open(path).with_context(|| format!("namespace {}", path.display()))?;
    let inside = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            Ok::<T, nix::Error>(work())
        });
        thread.join()
    });
    match inside {
        Ok(result) => result.with_context(|| format!("entering {}", path.display())),
        Err(panic) => resume_unwind(panic),
    }
}

/// The inode of the namespace that `path` stands for.
///
/// # Errors
/// The namespace is gone.
pub fn inode_of(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).with_context(|| format!("namespace {}", path.display()))?;
    Ok(metadata.ino())
}

/// The path of the namespace of the calling thread.
pub fn own_path() -> PathBuf {
    PathBuf::from("/proc/thread-self/ns/net")
}

/// Whether this process may make namespaces.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Fails a test that needs root and has not got it: a test that did not run is no success.
///
/// # Panics
/// This process is not root.
pub fn require_root() {
    assert!(
        is_root(),
        "this test makes network namespaces and needs root; `cargo xtask ci` runs it as root"
    );
}
