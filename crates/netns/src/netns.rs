//! One network namespace as a scan found it: identity, name, and the places it can be opened through.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sockeye_sys::netns::NetnsId;

use crate::process::ProcessDir;
use crate::{Container, ScanOptions, Scanner};

/// A network namespace. It holds nothing of the kernel's: the namespace may be gone already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Netns {
    /// Its identity.
    pub id: NetnsId,
    /// `default`, a bind mount's file name, a container's id or `netns:[inode]`. Not unique, and it can change.
    pub name: Arc<str>,
    /// Where it was found, best first: mounts, own, processes. All mounts, and at most four processes.
    pub origins: Vec<Origin>,
    /// The container that its processes belong to. Never set for the host's own namespace.
    pub container: Option<Container>,
    /// The lowest process id in it.
    pub pid: Option<u32>,
    /// How many processes are in it; 0 when only its mounts, or only our own, were looked at.
    pub processes: u32,
    /// It is the host's own: that of process 1, or ours where that one cannot be read.
    pub is_default: bool,
    pub(crate) options: Arc<ScanOptions>,
}

/// A place that leads to a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A bind mount, or a symbolic link to one.
    Mount(PathBuf),
    /// The thread that looks (`/proc/thread-self`).
    Own,
    /// A process, or a thread of a process whose leader has ended.
    Process(u32),
}

impl Netns {
    /// Does anything still lead to the namespace? For a reader in the middle of a long dump.
    ///
    /// Costs a `stat` or two while the answer is yes. When all known origins have gone, one full scan looks for
    /// others, as processes come and go while the namespace lives.
    pub fn alive(&self) -> bool {
        self.origins.iter().any(|origin| self.leads_here(origin)) || self.search().is_some()
    }

    /// The same namespace, found again by a full scan.
    pub(crate) fn search(&self) -> Option<Self> {
        let scan = Scanner::shared(Arc::clone(&self.options)).scan();
        scan.namespaces.into_iter().find(|netns| netns.id == self.id)
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.origins.iter().filter_map(|origin| match origin {
            Origin::Process(pid) => Some(*pid),
            Origin::Mount(_) | Origin::Own => None,
        })
    }

    pub(crate) fn is_own(&self) -> bool {
        self.origins.contains(&Origin::Own)
    }

    /// Where procfs is mounted.
    pub fn proc_root(&self) -> &Path {
        &self.options.proc_root
    }

    fn leads_here(&self, origin: &Origin) -> bool {
        let found = match origin {
            Origin::Mount(path) => nix::sys::stat::stat(path).map(|stat| NetnsId::from(&stat)),
            Origin::Own => ProcessDir::own(self.proc_root()).and_then(|own| own.netns()),
            Origin::Process(pid) => {
                ProcessDir::open(self.proc_root(), *pid).and_then(|process| process.netns())
            }
        };
        found == Ok(self.id)
    }
}
