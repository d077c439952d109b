//! Tells within a tenth of a second that a bind mount came or went, so that a scan need not wait for the next poll.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tracing::warn;

/// Watches the mount directories on a thread of its own until it is dropped.
///
/// A directory that does not exist is waited for, through the nearest directory above it. Not seen are mounts and
/// unmounts that create or remove no file, and the renaming of a directory above: the next poll's scan finds those.
#[derive(Debug)]
pub struct Watcher {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

/// Why nothing is watched. Go on without: the scan before each poll finds the same, later.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No inotify instance; `EMFILE`: raise `fs.inotify.max_user_instances`.
    #[error("cannot create an inotify instance: {0}")]
    Inotify(Errno),
    /// No pipe or thread: a limit of the process.
    #[error("cannot start the watcher: {0}")]
    Start(io::Error),
}

impl Watcher {
    /// Starts to watch. What changes after this has returned leads to a call of `on_change`.
    ///
    /// Changes within 50 ms share a call. After files appeared there is a second call half a second later: a mount
    /// point is created before the namespace is mounted on it, and the mounting itself makes no event. `on_change` runs
    /// on the watcher's thread, and dropping the watcher waits for it: it should only wake someone up.
    ///
    /// # Errors
    /// See [`WatchError`]. A directory that cannot be watched is not an error but a warning.
    pub fn spawn(
        dirs: Vec<PathBuf>,
        on_change: impl FnMut() + Send + 'static,
    ) -> Result<Self, WatchError> {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let inotify = Inotify::init(flags).map_err(WatchError::Inotify)?;
        let (stopped, stop) = io::pipe().map_err(WatchError::Start)?;
        let mut watches = Watches::new(inotify, dirs);
        watches.plan();
        let thread = thread::Builder::new().name("netns-watch".to_owned());
        let thread = thread.spawn(move || run(watches, &stopped, on_change));
        Ok(Self { stop: Some(stop), thread: Some(thread.map_err(WatchError::Start)?) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The closure may own the watcher; and a panic of the thread has been reported by the panic hook.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn run(mut watches: Watches, stopped: &PipeReader, mut on_change: impl FnMut()) {
    let mut due: Option<Instant> = None;
    let mut echo: Option<Instant> = None;
    loop {
        let wake_up = [due, echo].into_iter().flatten().min();
        let mut fds = [
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            PollFd::new(watches.inotify.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, wake_up.map_or(PollTimeout::NONE, timeout_until)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return warn!(%errno, "netns watcher ends"),
        }
        // Hung up: the watcher was dropped.
        if fds.first().and_then(PollFd::any) == Some(true) {
            return;
        }
        let news = match watches.read() {
            Ok(news) => news,
            Err(errno) => return warn!(%errno, "netns watcher ends"),
        };
        let now = Instant::now();
        if news.changed {
            due = due.or(Some(now + DEBOUNCE));
        }
        if news.appeared {
            echo = Some(now + ECHO);
        }
        if due.is_some_and(|due| due <= now) {
            due = None;
            on_change();
        } else if echo.is_some_and(|echo| echo <= now) {
            echo = None;
            on_change();
        }
    }
}

/// Rounded up, so that the thread does not spin through the last millisecond.
fn timeout_until(deadline: Instant) -> PollTimeout {
    let wait = deadline.saturating_duration_since(Instant::now()).as_millis();
    PollTimeout::from(u16::try_from(wait).unwrap_or(u16::MAX).saturating_add(1))
}

struct Watches {
    inotify: Inotify,
    dirs: Vec<PathBuf>,
    interests: HashMap<WatchDescriptor, Interest>,
    refused: HashSet<PathBuf>,
}

/// Why a directory is watched.
#[derive(Default)]
struct Interest {
    /// It is a mount directory: every entry counts.
    mounts: bool,
    /// Names on the way to a mount directory that does not exist yet.
    awaited: HashSet<OsString>,
}

/// What events mean.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
struct News {
    /// A scan may find something else than before.
    changed: bool,
    /// A file appeared that something may yet be mounted on.
    appeared: bool,
    /// Directories came or went: watch others.
    replan: bool,
}

impl Watches {
    fn new(inotify: Inotify, dirs: Vec<PathBuf>) -> Self {
        Self { inotify, dirs, interests: HashMap::new(), refused: HashSet::new() }
    }

    /// Reads the events that are there, and watches other directories if they ask for it.
    fn read(&mut self) -> Result<News, Errno> {
        let mut all = News::default();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            };
            for event in events {
                let news = judge(self.interests.get(&event.wd), event.mask, event.name.as_deref());
                all.changed |= news.changed;
                all.appeared |= news.appeared;
                all.replan |= news.replan;
            }
            if all.replan {
                break;
            }
        }
        if all.replan {
            self.plan();
        }
        Ok(all)
    }

    /// Watches each directory, or the nearest one above it, and nothing else.
    fn plan(&mut self) {
        let mut next: HashMap<WatchDescriptor, Interest> = HashMap::new();
        for dir in self.dirs.clone() {
            match self.watch(&dir) {
                Ok((watch, None)) => next.entry(watch).or_default().mounts = true,
                Ok((watch, Some(name))) => {
                    next.entry(watch).or_default().awaited.insert(name);
                }
                Err(errno) => {
                    if self.refused.insert(dir.clone()) {
                        warn!(dir = %dir.display(), %errno, "directory cannot be watched");
                    }
                    continue;
                }
            }
            self.refused.remove(&dir);
        }
        for old in self.interests.keys().filter(|old| !next.contains_key(old)) {
            // Fails if the directory is gone, and the watch with it.
            let _ = self.inotify.rm_watch(*old);
        }
        self.interests = next;
    }

    /// The watch of a directory, or that of the nearest one above it and the name to wait for in it.
    fn watch(&self, dir: &Path) -> Result<(WatchDescriptor, Option<OsString>), Errno> {
        for _ in 0..MAX_RACES {
            let (watch, missing) = self.watch_nearest(dir)?;
            // What is made before its parent is watched makes no event.
            match missing {
                Some(missing) if missing.is_dir() => {}
                Some(missing) => return Ok((watch, missing.file_name().map(OsStr::to_owned))),
                None => return Ok((watch, None)),
            }
        }
        Err(Errno::EAGAIN)
    }

    fn watch_nearest(&self, dir: &Path) -> Result<(WatchDescriptor, Option<PathBuf>), Errno> {
        let mut missing = None;
        for path in dir.ancestors() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            match self.inotify.add_watch(path, EVENTS) {
                Ok(watch) => return Ok((watch, missing)),
                Err(Errno::ENOENT | Errno::ENOTDIR) => missing = Some(path.to_owned()),
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::ENOENT)
    }
}

fn judge(interest: Option<&Interest>, mask: AddWatchFlags, name: Option<&OsStr>) -> News {
    if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
        return News { changed: true, appeared: true, replan: true };
    }
    // Left over from a watch that was removed.
    let Some(interest) = interest else { return News::default() };
    if mask.intersects(THE_DIRECTORY_ITSELF) {
        return News { changed: interest.mounts, appeared: false, replan: true };
    }
    let awaited = name.is_some_and(|name| interest.awaited.contains(name));
    let changed = interest.mounts || awaited;
    let appeared = mask.intersects(AddWatchFlags::IN_CREATE.union(AddWatchFlags::IN_MOVED_TO));
    News { changed, appeared: changed && appeared, replan: awaited }
}

const DEBOUNCE: Duration = Duration::from_millis(50);
const ECHO: Duration = Duration::from_millis(500);

/// How often a directory may appear while its parent is put under watch.
const MAX_RACES: u32 = 8;

const THE_DIRECTORY_ITSELF: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_UNMOUNT)
    .union(AddWatchFlags::IN_IGNORED);

/// The same for all: a directory may be a mount directory and the parent of another one.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd as _;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// A host that has something else to do may let us wait.
    const SOON: Duration = Duration::from_secs(20);
    const QUIET: Duration = Duration::from_millis(150);

    fn watch(dirs: &[PathBuf]) -> (Watcher, Receiver<Instant>) {
        let (sender, receiver) = channel();
        let on_change = move || {
            let _ = sender.send(Instant::now());
        };
        (Watcher::spawn(dirs.to_vec(), on_change).unwrap(), receiver)
    }

    /// Waits until the echo of earlier changes has passed.
    fn settle(calls: &Receiver<Instant>) {
        while calls.recv_timeout(ECHO + QUIET).is_ok() {}
    }

    #[test]
    fn a_new_and_a_removed_file_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let (_watcher, calls) = watch(&[dir.path().to_owned()]);
        fs::write(dir.path().join("blue"), "").unwrap();
        calls.recv_timeout(SOON).unwrap();
        settle(&calls);
        fs::remove_file(dir.path().join("blue")).unwrap();
        calls.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn a_file_that_is_moved_in_or_out_is_told() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (_watcher, calls) = watch(&[dir.path().to_owned()]);
        let (inside, outside) = (dir.path().join("blue"), other.path().join("blue"));
        fs::write(&outside, "").unwrap();
        calls.recv_timeout(QUIET).unwrap_err();
        fs::rename(&outside, &inside).unwrap();
        calls.recv_timeout(SOON).unwrap();
        settle(&calls);
        fs::rename(&inside, &outside).unwrap();
        calls.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn a_burst_is_told_once_and_once_more_when_it_may_have_been_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let (_watcher, calls) = watch(&[dir.path().to_owned()]);
        let begin = Instant::now();
        for number in 0..100 {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let first = calls.recv_timeout(SOON).unwrap();
        assert!(first - begin >= DEBOUNCE);
        let second = calls.recv_timeout(SOON).unwrap();
        assert!(second - begin >= ECHO);
        calls.recv_timeout(ECHO + QUIET).unwrap_err();
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = dir.path().join("run/docker/netns");
        let (_watcher, calls) = watch(std::slice::from_ref(&mounts));
        fs::create_dir_all(&mounts).unwrap();
        calls.recv_timeout(SOON).unwrap();
        settle(&calls);
        fs::write(mounts.join("blue"), "").unwrap();
        calls.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn neighbours_of_a_missing_directory_are_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let (_watcher, calls) = watch(&[dir.path().join("netns")]);
        fs::write(dir.path().join("other"), "").unwrap();
        calls.recv_timeout(DEBOUNCE + QUIET).unwrap_err();
    }

    #[test]
    fn a_directory_that_is_removed_and_made_again_is_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = dir.path().join("netns");
        fs::create_dir(&mounts).unwrap();
        let (_watcher, calls) = watch(std::slice::from_ref(&mounts));
        for _ in 0..2 {
            fs::remove_dir(&mounts).unwrap();
            calls.recv_timeout(SOON).unwrap();
            fs::create_dir(&mounts).unwrap();
            calls.recv_timeout(SOON).unwrap();
            settle(&calls);
            fs::write(mounts.join("blue"), "").unwrap();
            calls.recv_timeout(SOON).unwrap();
            settle(&calls);
            fs::remove_file(mounts.join("blue")).unwrap();
            calls.recv_timeout(SOON).unwrap();
        }
    }

    #[test]
    fn a_directory_that_is_replaced_is_left_for_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mounts, old) = (dir.path().join("netns"), dir.path().join("old"));
        fs::create_dir(&mounts).unwrap();
        let (_watcher, calls) = watch(std::slice::from_ref(&mounts));
        fs::rename(&mounts, &old).unwrap();
        fs::create_dir(&mounts).unwrap();
        calls.recv_timeout(SOON).unwrap();
        settle(&calls);
        fs::write(old.join("red"), "").unwrap();
        calls.recv_timeout(DEBOUNCE + QUIET).unwrap_err();
        fs::write(mounts.join("blue"), "").unwrap();
        calls.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn one_directory_may_be_watched_and_be_the_parent_of_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("docker");
        let (_watcher, calls) = watch(&[dir.path().to_owned(), below.clone()]);
        fs::create_dir(&below).unwrap();
        calls.recv_timeout(SOON).unwrap();
        settle(&calls);
        for path in [dir.path().join("red"), below.join("blue")] {
            fs::write(path, "").unwrap();
            calls.recv_timeout(SOON).unwrap();
            settle(&calls);
        }
    }

    #[test]
    fn dropping_the_watcher_ends_its_thread() {
        let dir = tempfile::tempdir().unwrap();
        let (watcher, calls) = watch(&[dir.path().to_owned()]);
        fs::write(dir.path().join("blue"), "").unwrap();
        drop(watcher);
        // The closure, and with it the sender, is gone.
        while calls.try_recv().is_ok() {}
        assert_eq!(calls.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn a_directory_that_was_moved_away_is_no_longer_watched() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = dir.path().join("netns");
        fs::create_dir(&mounts).unwrap();
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        let fdinfo = format!("/proc/self/fdinfo/{}", inotify.as_fd().as_raw_fd());
        let watched = || fs::read_to_string(&fdinfo).unwrap().matches("inotify wd:").count();
        let mut watches = Watches::new(inotify, vec![mounts.clone()]);
        watches.plan();
        assert_eq!(watched(), 1);
        fs::rename(&mounts, dir.path().join("old")).unwrap();
        fs::create_dir(&mounts).unwrap();
        assert!(watches.read().unwrap().replan);
        assert_eq!(watched(), 1);
    }

    #[test]
    fn an_overflow_is_a_change() {
        let expected = News { changed: true, appeared: true, replan: true };
        assert_eq!(judge(None, AddWatchFlags::IN_Q_OVERFLOW, None), expected);
    }

    #[test]
    fn an_event_of_a_removed_watch_means_nothing() {
        assert_eq!(judge(None, AddWatchFlags::IN_IGNORED, None), News::default());
    }

    #[test]
    fn a_timeout_is_rounded_up() {
        assert_eq!(timeout_until(Instant::now()), PollTimeout::from(1_u16));
    }
}
