//! One network namespace as a file descriptor: open it without side effects, identify it, enter it and come back.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::task_dir::with_task_dir;

/// Which network namespace: device and inode of its nsfs file.
///
/// The kernel reuses inodes. Two equal identities name the same namespace only while something (a file descriptor, a
/// thread, a socket) holds it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub struct NetnsId {
    /// Device of nsfs; one per host.
    pub device: u64,
    /// Inode on nsfs: the number in `net:[4026531840]`.
    pub inode: u64,
}

impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "netns:[{}]", self.inode)
    }
}

impl From<&FileStat> for NetnsId {
    fn from(stat: &FileStat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// An open network namespace. It keeps the namespace alive, so drop it at once after use.
#[derive(Debug)]
pub struct NetnsFd {
    fd: OwnedFd,
    id: NetnsId,
}

/// Why a path could not be opened as a network namespace.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// A plain file, directory, FIFO, device: ignore it.
    #[error("not a namespace file")]
    NotNsfs,
    /// A namespace, but not a network one: ignore it.
    #[error("another kind of namespace")]
    OtherKind,
    /// It went away meanwhile, which is normal: look for another origin.
    #[error("gone")]
    Gone,
    /// A capability is missing (`CAP_SYS_PTRACE` for another user's process): tell the operator.
    #[error("permission denied")]
    Denied,
    /// Anything else, such as too many open files: try again at the next poll.
    #[error("cannot open: {0}")]
    Other(Errno),
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT
            | Errno::ESRCH
            | Errno::ENOTDIR
            | Errno::ENXIO
            | Errno::ENODEV
            | Errno::ESTALE => Self::Gone,
            Errno::EACCES | Errno::EPERM => Self::Denied,
            other => Self::Other(other),
        }
    }
}

/// Why a visit did not take place, or ended before it began. The thread is where it should be in every case.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VisitError {
    /// `setns` refused; `EPERM` means that `CAP_SYS_ADMIN` is missing.
    #[error("cannot enter the namespace: {0}")]
    Enter(Errno),
    /// The thread came out elsewhere than asked for; nothing was run. Scan again.
    #[error("asked for {wanted}, entered {found}")]
    WrongNetns {
        /// The identity of the target.
        wanted: NetnsId,
        /// Where the thread was after `setns`.
        found: NetnsId,
    },
    /// The thread's own namespace cannot be read (is `/proc` mounted?); nothing was run.
    #[error("cannot tell the thread's namespace: {0}")]
    Unknown(Errno),
}

impl NetnsFd {
    /// Opens a network namespace by a path: `/proc/<pid>/ns/net`, or a bind mount of it.
    ///
    /// Whatever else the path leads to is not touched: a FIFO does not block and a device driver is not called.
    ///
    /// # Errors
    /// See [`OpenError`]: each variant is a different thing to do next.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let handle = openat(AT_FDCWD, path.as_ref(), flags, Mode::empty())?;
        if fstatfs(&handle)?.filesystem_type() != NSFS_MAGIC {
            return Err(OpenError::NotNsfs);
        }
        let fd = open_again(&handle)?;
        match namespace_type(fd.as_fd()) {
            // Before Linux 4.11 there is no NS_GET_NSTYPE; setns(CLONE_NEWNET) refuses another kind.
            Ok(CloneFlags::CLONE_NEWNET) | Err(Errno::ENOTTY) => {}
            Ok(_) => return Err(OpenError::OtherKind),
            Err(errno) => return Err(errno.into()),
        }
        let id = NetnsId::from(&fstat(&fd)?);
        Ok(Self { fd, id })
    }

    /// Like [`NetnsFd::open`], of a path in procfs, below a process's directory: nothing else can take its place, so it is opened
    /// without a look at what it is first.
    ///
    /// # Errors
    /// As of [`NetnsFd::open`]; [`OpenError::Gone`] when it leads to another namespace than `id`.
    pub fn open_at_process(
        directory: impl AsFd,
        path: impl AsRef<Path>,
        id: NetnsId,
    ) -> Result<Self, OpenError> {
        Self::open_at(directory, path.as_ref(), OFlag::empty(), id)
    }

    /// Like [`NetnsFd::open`], of a path where the namespace `id` was mounted a moment ago: it is opened without a look at what
    /// it is first, unless it is a link. A FIFO that took its place does not block either; the driver of a device, which only root
    /// can put there, would be called.
    ///
    /// # Errors
    /// As of [`NetnsFd::open`]; [`OpenError::Gone`] when it leads elsewhere by now.
    pub fn open_mount(path: impl AsRef<Path>, id: NetnsId) -> Result<Self, OpenError> {
        let path = path.as_ref();
        match Self::open_at(AT_FDCWD, path, OFlag::O_NOFOLLOW, id) {
            // What is left when a mount has gone is a file that nobody may read, which is no reason to ask for more rights.
            Err(OpenError::Other(Errno::ELOOP) | OpenError::Denied) => {}
            opened => return opened,
        }
        let opened = Self::open(path)?;
        if opened.id == id { Ok(opened) } else { Err(OpenError::Gone) }
    }

    fn open_at(
        directory: impl AsFd,
        path: &Path,
        flags: OFlag,
        id: NetnsId,
    ) -> Result<Self, OpenError> {
        let fd = openat(directory, path, READ.union(flags), Mode::empty())?;
        // Should the inode belong to a namespace of another kind by now, `setns` refuses it.
        if NetnsId::from(&fstat(&fd)?) != id {
            return Err(OpenError::Gone);
        }
        Ok(Self { fd, id })
    }

    /// Which namespace this is; certain for as long as `self` lives.
    pub fn id(&self) -> NetnsId {
        self.id
    }
}

/// Of the object that was just looked at: another open of its path could lead elsewhere.
fn open_again(handle: &OwnedFd) -> Result<OwnedFd, Errno> {
    let same = format!("fd/{}", handle.as_raw_fd());
    with_task_dir(Path::new("/proc"), |task| openat(task, same.as_str(), READ, Mode::empty()))
}

impl AsFd for NetnsFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The network namespace of the calling thread.
pub fn current() -> Result<NetnsId, Errno> {
    with_task_dir(Path::new("/proc"), |task| fstatat(task, "ns/net", AtFlags::empty()))
        .map(|stat| NetnsId::from(&stat))
}

/// Moves the calling thread, and only it, into a network namespace.
///
/// Prefer [`visit`], which also comes back. Never call this on a thread that does other work.
pub fn enter(target: &NetnsFd) -> Result<(), Errno> {
    setns(target, CloneFlags::CLONE_NEWNET)
}

/// Runs `f` with the calling thread inside `target`, then takes the thread to `home`.
///
/// That the thread is in `target` is checked before `f` runs: what `f` opens belongs to [`NetnsFd::id`] of `target`.
/// A `target` that is `home` needs no move, and no capability. The caller is at home.
///
/// # Errors
/// See [`VisitError`]; `f` has not run.
///
/// # Panics
/// When the thread cannot go home. It would do its next work in a foreign namespace, so it may not go on; during the
/// unwinding of a panic in `f` this aborts the process.
pub fn visit<T>(target: &NetnsFd, home: &NetnsFd, f: impl FnOnce() -> T) -> Result<T, VisitError> {
    let wanted = target.id();
    if wanted == home.id() {
        return Ok(f());
    }
    enter(target).map_err(VisitError::Enter)?;
    let _way_home = WayHome { home };
    match current() {
        Ok(found) if found == wanted => Ok(f()),
        Ok(found) => Err(VisitError::WrongNetns { wanted, found }),
        Err(errno) => Err(VisitError::Unknown(errno)),
    }
}

struct WayHome<'fd> {
    home: &'fd NetnsFd,
}

impl Drop for WayHome<'_> {
    fn drop(&mut self) {
        // It is where it began: only what comes out elsewhere than a path promised needs another look.
        if let Err(errno) = enter(self.home) {
            let home = self.home.id();
            panic!("thread cannot return to its own network namespace {home}: {errno}");
        }
    }
}

#[expect(unsafe_code, reason = "nix has no wrapper for NS_GET_NSTYPE")]
fn namespace_type(fd: BorrowedFd<'_>) -> Result<CloneFlags, Errno> {
    // SAFETY: NS_GET_NSTYPE takes no argument and touches no memory of ours, and `fd` is open while it is borrowed.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) };
    Errno::result(kind).map(CloneFlags::from_bits_retain)
}

const READ: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::sched::unshare;
    use nix::unistd::{Uid, mkfifo, setfsuid};

    use super::*;

    const OWN: &str = "/proc/thread-self/ns/net";

    /// A namespace without a process or mount: it lives as long as the descriptor.
    fn new_netns() -> NetnsFd {
        thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            NetnsFd::open(OWN).unwrap()
        })
        .join()
        .unwrap()
    }

    fn temp_path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("skn-sys-{}-{name}", std::process::id()))
    }

    #[test]
    fn an_identity_is_displayed_by_its_inode() {
        assert_eq!(NetnsId { device: 4, inode: 4_026_531_840 }.to_string(), "netns:[4026531840]");
    }

    #[test]
    fn the_own_namespace_opens_as_the_current_one() {
        let fd = NetnsFd::open(OWN).unwrap();
        let link = std::fs::read_link(OWN).unwrap();
        assert_eq!(format!("net:[{}]", fd.id().inode), link.to_str().unwrap());
        assert_eq!(current(), Ok(fd.id()));
    }

    #[test]
    fn a_namespace_opens_relative_to_a_process_directory() {
        let process = File::open("/proc/self").unwrap();
        let own = current().unwrap();
        assert_eq!(NetnsFd::open_at_process(&process, "ns/net", own).unwrap().id(), own);
        let other = NetnsId { inode: own.inode + 1, ..own };
        let opened = NetnsFd::open_at_process(&process, "ns/net", other);
        assert_eq!(opened.unwrap_err(), OpenError::Gone);
    }

    #[test]
    fn a_mount_that_became_something_else_is_gone_and_a_link_to_it_is_followed() {
        let own = current().unwrap();
        let (file, fifo, link) =
            (temp_path("mounted"), temp_path("mounted-fifo"), temp_path("link"));
        File::create(&file).unwrap();
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink(OWN, &link).unwrap();
        assert_eq!(NetnsFd::open_mount(&link, own).unwrap().id(), own);
        let other = NetnsId { inode: own.inode + 1, ..own };
        for (path, id) in [(&file, own), (&fifo, own), (&link, other)] {
            assert_eq!(NetnsFd::open_mount(path, id).unwrap_err(), OpenError::Gone, "{path:?}");
        }
        let missing = NetnsFd::open_mount("/proc/self/ns/no-such", own);
        assert_eq!(missing.unwrap_err(), OpenError::Gone);
        for path in [file, fifo, link] {
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_plain_file_a_directory_and_a_device_are_not_nsfs() {
        let file = temp_path("file");
        File::create(&file).unwrap();
        assert_eq!(NetnsFd::open(&file).unwrap_err(), OpenError::NotNsfs);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(NetnsFd::open(std::env::temp_dir()).unwrap_err(), OpenError::NotNsfs);
        assert_eq!(NetnsFd::open("/dev/null").unwrap_err(), OpenError::NotNsfs);
    }

    #[test]
    fn a_fifo_without_a_writer_does_not_block() {
        let fifo = temp_path("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let begin = Instant::now();
        assert_eq!(NetnsFd::open(&fifo).unwrap_err(), OpenError::NotNsfs);
        assert!(begin.elapsed() < Duration::from_secs(1));
        std::fs::remove_file(&fifo).unwrap();
    }

    #[test]
    fn a_namespace_of_another_kind_is_told_apart() {
        assert_eq!(NetnsFd::open("/proc/self/ns/uts").unwrap_err(), OpenError::OtherKind);
    }

    #[test]
    fn a_missing_path_is_gone() {
        assert_eq!(NetnsFd::open("/proc/self/ns/no-such").unwrap_err(), OpenError::Gone);
        assert_eq!(NetnsFd::open("/dev/null/net").unwrap_err(), OpenError::Gone);
    }

    #[test]
    fn errors_of_permission_and_of_limits_are_told_apart() {
        assert_eq!(OpenError::from(Errno::EACCES), OpenError::Denied);
        assert_eq!(OpenError::from(Errno::EPERM), OpenError::Denied);
        assert_eq!(OpenError::from(Errno::ESRCH), OpenError::Gone);
        assert_eq!(OpenError::from(Errno::EMFILE), OpenError::Other(Errno::EMFILE));
    }

    #[test]
    fn a_visit_of_the_own_namespace_needs_no_setns() {
        let own = NetnsFd::open(OWN).unwrap();
        // To enter this would fail: the file is not a namespace.
        let no_home = NetnsFd { fd: File::open("/dev/null").unwrap().into(), id: own.id() };
        assert_eq!(visit(&own, &no_home, || 7), Ok(7));
    }

    #[test]
    fn a_descriptor_that_is_no_namespace_cannot_be_entered() {
        let home = NetnsFd::open(OWN).unwrap();
        let target = NetnsFd {
            fd: File::open("/dev/null").unwrap().into(),
            id: NetnsId { device: 0, inode: 0 },
        };
        assert_eq!(
            visit(&target, &home, || unreachable!()),
            Err::<(), _>(VisitError::Enter(Errno::EINVAL))
        );
        assert_eq!(current(), Ok(home.id()));
    }

    #[test]
    #[ignore = "needs root; `cargo xtask ci` runs it"]
    fn what_is_left_of_a_mount_is_not_nsfs_also_to_those_who_may_not_read_it() {
        let file = temp_path("left");
        File::create(&file).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
        let own = current().unwrap();
        let path = file.clone();
        let opened = thread::spawn(move || {
            // Of this thread alone; it takes CAP_DAC_OVERRIDE with it.
            setfsuid(Uid::from_raw(65534));
            assert_eq!(File::open(&path).unwrap_err().raw_os_error(), Some(libc::EACCES));
            NetnsFd::open_mount(&path, own)
        });
        assert_eq!(opened.join().unwrap().unwrap_err(), OpenError::NotNsfs);
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    #[ignore = "needs root; `cargo xtask ci` runs it"]
    fn a_visit_runs_inside_the_target_and_ends_at_home() {
        let (home, target) = (NetnsFd::open(OWN).unwrap(), new_netns());
        assert_ne!(home.id(), target.id());
        let inside = visit(&target, &home, current).unwrap();
        assert_eq!(inside, Ok(target.id()));
        assert_eq!(current(), Ok(home.id()));
    }

    #[test]
    #[ignore = "needs root; `cargo xtask ci` runs it"]
    fn a_visit_that_comes_out_elsewhere_runs_nothing_and_ends_at_home() {
        let (home, mut target) = (NetnsFd::open(OWN).unwrap(), new_netns());
        let found = target.id;
        target.id.inode += 1;
        let wanted = target.id;
        assert_eq!(
            visit(&target, &home, || unreachable!()),
            Err::<(), _>(VisitError::WrongNetns { wanted, found })
        );
        assert_eq!(current(), Ok(home.id()));
    }

    #[test]
    #[ignore = "needs root; `cargo xtask ci` runs it"]
    fn a_panic_inside_the_target_still_ends_at_home() {
        let (home, target) = (NetnsFd::open(OWN).unwrap(), new_netns());
        let inside = std::panic::AssertUnwindSafe(|| visit(&target, &home, || panic!("inside")));
        assert!(std::panic::catch_unwind(inside).is_err());
        assert_eq!(current(), Ok(home.id()));
    }

    #[test]
    #[ignore = "needs root; `cargo xtask ci` runs it"]
    fn a_thread_that_cannot_go_home_panics() {
        let target = new_netns();
        let lost = thread::spawn(move || {
            let no_home =
                NetnsFd { fd: File::open("/dev/null").unwrap().into(), id: current().unwrap() };
            let _ = visit(&target, &no_home, || ());
        });
        let panic = lost.join().unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(
            message.starts_with("thread cannot return to its own network namespace"),
            "{message}"
        );
    }
}
