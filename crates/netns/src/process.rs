//! One process's directory in /proc, held open so that a reused process id cannot slip in between two reads.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::read;
use sockeye_sys::netns::{NetnsFd, NetnsId, OpenError};

use crate::Container;

/// Reads of a process that has ended fail, even when its id belongs to another one by then.
#[derive(Debug)]
pub(crate) struct ProcessDir(OwnedFd);

impl ProcessDir {
    pub(crate) fn open(proc_root: &Path, pid: u32) -> Result<Self, Errno> {
        Self::open_path(&proc_root.join(pid.to_string()))
    }

    /// Of the calling thread.
    pub(crate) fn own(proc_root: &Path) -> Result<Self, Errno> {
        Self::open_path(&proc_root.join("thread-self"))
    }

    fn open_path(path: &Path) -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat(AT_FDCWD, path, flags, Mode::empty()).map(Self)
    }

    pub(crate) fn netns(&self) -> Result<NetnsId, Errno> {
        fstatat(&self.0, NS_NET, AtFlags::empty()).map(|stat| NetnsId::from(&stat))
    }

    /// Opens the namespace that the process is in, if that is `id`.
    pub(crate) fn open_netns(&self, id: NetnsId) -> Result<NetnsFd, OpenError> {
        NetnsFd::open_at_process(&self.0, NS_NET, id)
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        read_file(self.0.as_fd(), path)
    }

    fn is_in(&self, id: NetnsId) -> Result<(), Elsewhere> {
        if self.netns() == Ok(id) { Ok(()) } else { Err(Elsewhere) }
    }

    /// Its container, if the process is in namespace `id` after the container was read.
    pub(crate) fn container_in(&self, id: NetnsId) -> Result<Option<Container>, Elsewhere> {
        let container =
            self.read("cgroup").ok().and_then(|content| Container::from_cgroup(&content));
        self.is_in(id).map(|()| container)
    }
}

/// Reads a small file below a directory of procfs.
pub(crate) fn read_file(directory: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = openat(directory, path, flags, Mode::empty())?;
    let mut content = Vec::new();
    // Two reads for most: the standard library's way to the end of a file whose size is 0 takes five, and asks for it.
    let mut buffer = [0; PAGE];
    loop {
        match read(&file, &mut buffer) {
            Ok(0) => return Ok(content),
            Ok(len) => content.extend(buffer.iter().take(len)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The process has ended, or is in another namespace.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Elsewhere;

/// What the processes in a namespace say about it.
#[derive(Default)]
pub(crate) struct Witness {
    /// The first of the processes that is still in the namespace.
    pub(crate) pid: Option<u32>,
    /// The first container that one of them belongs to.
    pub(crate) container: Option<Container>,
}

/// Asks processes, and the calling thread if `own`, about namespace `id`. Those that have left it are not heard.
///
/// The answer is certain while the namespace is held; otherwise its inode could belong to another one by now.
pub(crate) fn witness(
    proc_root: &Path,
    id: NetnsId,
    pids: impl Iterator<Item = u32>,
    own: bool,
) -> Witness {
    let mut found = Witness::default();
    for pid in pids {
        let Ok(process) = ProcessDir::open(proc_root, pid) else { continue };
        let Ok(container) = process.container_in(id) else { continue };
        found.pid = found.pid.or(Some(pid));
        found.container = container;
        if found.container.is_some() {
            return found;
        }
    }
    if own && let Ok(thread) = ProcessDir::own(proc_root) {
        found.container = thread.container_in(id).unwrap_or_default();
    }
    found
}

/// The first of the processes that is in namespace `id`, as [`witness`] would tell, without a look at containers.
pub(crate) fn first_in(
    proc_root: &Path,
    id: NetnsId,
    mut pids: impl Iterator<Item = u32>,
) -> Option<u32> {
    let is_in = |process: ProcessDir| process.is_in(id).is_ok();
    pids.find(|pid| ProcessDir::open(proc_root, *pid).is_ok_and(is_in))
}

const PAGE: usize = 4096;

/// Relative to a process's directory.
pub(crate) const NS_NET: &str = "ns/net";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeProc;

    #[test]
    fn a_process_in_another_namespace_is_not_heard() {
        let fake = FakeProc::new();
        let (here, there) = (fake.namespace("here"), fake.namespace("there"));
        fake.process(7, "there").docker(7, 'a');
        let process = ProcessDir::open(fake.root(), 7).unwrap();
        assert_eq!(process.container_in(here), Err(Elsewhere));
        assert_eq!(&*process.container_in(there).unwrap().unwrap().id, "a".repeat(64));
    }

    #[test]
    fn a_directory_that_is_held_does_not_follow_a_reused_process_id() {
        let fake = FakeProc::new();
        let (old, new) = (fake.namespace("old"), fake.namespace("new"));
        fake.process(7, "old");
        let process = ProcessDir::open(fake.root(), 7).unwrap();
        fake.rename(7, 8).process(7, "new");
        assert_eq!(process.netns(), Ok(old));
        assert_eq!(ProcessDir::open(fake.root(), 7).unwrap().netns(), Ok(new));
    }

    #[test]
    fn the_lowest_process_gives_the_pid_and_the_first_container_the_container() {
        let fake = FakeProc::new();
        let here = fake.namespace("here");
        fake.namespace("there");
        fake.process(5, "there").docker(5, 'a');
        fake.process(6, "here");
        fake.process(7, "here").docker(7, 'b');
        let found = witness(fake.root(), here, [4, 5, 6, 7].into_iter(), false);
        assert_eq!(found.pid, Some(6));
        assert_eq!(&*found.container.unwrap().id, "b".repeat(64));
        assert_eq!(first_in(fake.root(), here, [4, 5, 6, 7].into_iter()), Some(6));
        assert_eq!(first_in(fake.root(), here, [4, 5].into_iter()), None);
    }
}
