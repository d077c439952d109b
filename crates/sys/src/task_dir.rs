//! The calling thread's directory in procfs, opened once: what lies in it is found without a walk from the root.
//!
//! `thread-self` is two symbolic links that procfs makes up at each look, which take longer than what is looked for.

use std::cell::RefCell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

thread_local! {
    /// By where procfs is mounted: one, or two where the host's is mounted beside our own.
    static OPEN: RefCell<Vec<(PathBuf, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with the directory `thread-self` of the procfs at `proc_root`. It holds no namespace: what is below it tells of
/// the one that the thread is in at that moment.
///
/// # Errors
/// It can't be opened.
pub fn with_task_dir<T>(
    proc_root: &Path,
    f: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
) -> Result<T, Errno> {
    OPEN.with_borrow_mut(|open| {
        if !open.iter().any(|(root, _)| root == proc_root) {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let path = proc_root.join("thread-self");
            open.push((proc_root.to_owned(), openat(AT_FDCWD, &path, flags, Mode::empty())?));
        }
        let found = open.iter().find(|(root, _)| root == proc_root);
        let (_, directory) = found.expect("it was there, or was added");
        f(directory.as_fd())
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::thread;

    use super::*;

    fn name_of_the_thread() -> String {
        let open = |task: BorrowedFd<'_>| openat(task, "comm", OFlag::O_RDONLY, Mode::empty());
        let mut name = String::new();
        let file = with_task_dir(Path::new("/proc"), open).unwrap();
        File::from(file).read_to_string(&mut name).unwrap();
        name.trim_end().to_owned()
    }

    #[test]
    fn every_thread_has_its_own_directory_and_finds_it_again() {
        let other = thread::Builder::new().name("another".into());
        let other = other.spawn(|| (name_of_the_thread(), name_of_the_thread())).unwrap();
        assert_eq!(other.join().unwrap(), ("another".into(), "another".into()));
        assert_ne!(name_of_the_thread(), "another");
        assert_eq!(OPEN.with_borrow(Vec::len), 1);
    }

    #[test]
    fn where_there_is_no_procfs_it_says_so_each_time() {
        let root = Path::new("/no/such");
        for _ in 0..2 {
            assert_eq!(with_task_dir(root, |_| Ok(())), Err(Errno::ENOENT));
        }
    }
}
