//! One scan: every network namespace that a process or a bind mount leads to, derived from nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstatat, stat};
use sockeye_sys::netns::{NetnsFd, NetnsId, OpenError};

use crate::process::{NS_NET, ProcessDir, witness};
use crate::{Netns, Origin, label};

/// Where `ip netns` and Docker mount their namespaces. `/var/run` leads to the same directories.
pub const DEFAULT_MOUNT_DIRS: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// Where a scan looks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanOptions {
    /// Where procfs is mounted. Default `/proc`.
    pub proc_root: PathBuf,
    /// Directories of bind mounts, not searched recursively; one that does not exist is normal. Default
    /// [`DEFAULT_MOUNT_DIRS`]. Their order decides which name a namespace with several mounts gets.
    pub mount_dirs: Vec<PathBuf>,
    /// Find only the caller's own namespace: no process is looked at. Default `false`.
    pub own_only: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            proc_root: "/proc".into(),
            mount_dirs: DEFAULT_MOUNT_DIRS.map(PathBuf::from).into(),
            own_only: false,
        }
    }
}

/// Scans again and again. Between scans it holds the directory `/proc` open and remembers what the mounts were.
#[derive(Debug)]
pub struct Scanner {
    options: Arc<ScanOptions>,
    proc: Option<Dir>,
    /// Mounts of network namespaces that the last scan has opened, or one before it: where the same one is still there, a
    /// `stat` tells so.
    mounts: Mounts,
}

type Mounts = HashMap<PathBuf, NetnsId>;

/// What one scan found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    /// In the order of their identity, each once.
    pub namespaces: Vec<Netns>,
    /// How many places were looked at, and why some led nowhere.
    pub stats: ScanStats,
    /// An error that may have hidden a namespace, such as too many open files. Absence then proves nothing.
    pub incomplete: Option<Errno>,
}

/// Counts of one scan.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct ScanStats {
    /// Processes whose namespace was read.
    pub processes: u64,
    /// Bind mounts of network namespaces.
    pub mounts: u64,
    /// Entries of the mount directories that are plain files, directories, FIFOs.
    pub not_nsfs: u64,
    /// Mounts of namespaces of another kind.
    pub other_kind: u64,
    /// Places that a capability is missing for.
    pub denied: u64,
    /// Processes and mounts that went away during the scan, and zombies.
    pub gone: u64,
    /// Places that failed in another way; see [`Scan::incomplete`].
    pub failed: u64,
}

impl Scanner {
    /// A scanner; nothing is opened yet.
    pub fn new(options: ScanOptions) -> Self {
        Self::shared(Arc::new(options))
    }

    pub(crate) fn shared(options: Arc<ScanOptions>) -> Self {
        Self { options, proc: None, mounts: Mounts::new() }
    }

    /// Looks at every process and every mount. The caller must be in its home namespace.
    ///
    /// Never fails as a whole: what could not be read is counted, and [`Scan::incomplete`] says if it mattered.
    pub fn scan(&mut self) -> Scan {
        let options = Arc::clone(&self.options);
        let mut findings = Findings::default();
        let own = findings.own(&options);
        self.mounts = findings.mounts(&options, &self.mounts);
        if options.own_only {
            findings.places.retain(|id, _| Some(*id) == own);
        } else if let Err(errno) = self.processes(&mut findings) {
            findings.fail(errno);
            self.proc = None;
        }
        let default = default_netns(&options.proc_root);
        let namespaces = findings.places.into_iter();
        let namespaces = namespaces.map(|(id, places)| places.into_netns(id, default, &options));
        Scan {
            namespaces: namespaces.collect(),
            stats: findings.stats,
            incomplete: findings.incomplete,
        }
    }

    fn processes(&mut self, findings: &mut Findings) -> Result<(), Errno> {
        let root = &self.options.proc_root;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc = match &mut self.proc {
            Some(proc) => proc,
            closed => closed.insert(Dir::open(root, flags, Mode::empty())?),
        };
        let mut pids = Vec::new();
        for entry in proc.iter() {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            pids.extend(name.and_then(|name| name.parse::<u32>().ok()));
        }
        pids.sort_unstable();
        let mut path = String::new();
        for pid in pids {
            path.clear();
            let _ = write!(path, "{pid}/{NS_NET}");
            match fstatat(&*proc, path.as_str(), AtFlags::empty()).map_err(OpenError::from) {
                Ok(stat) => findings.process(pid, NetnsId::from(&stat)),
                Err(OpenError::Gone) => match living_thread(root, pid) {
                    Some((tid, id)) => findings.process(tid, id),
                    None => findings.stats.gone += 1,
                },
                Err(other) => findings.count(other),
            }
        }
        Ok(())
    }
}

/// The host's own namespace: that of process 1, or the caller's where that one cannot be read.
fn default_netns(proc_root: &Path) -> Option<DefaultNetns> {
    let init = ProcessDir::open(proc_root, 1).and_then(|init| init.netns());
    let own = || ProcessDir::own(proc_root)?.netns();
    init.map(DefaultNetns::Init).or_else(|_| own().map(DefaultNetns::Guess)).ok()
}

/// Which namespace is the host's own.
#[derive(Clone, Copy)]
enum DefaultNetns {
    /// That of process 1.
    Init(NetnsId),
    /// Ours, since process 1 can't be looked at; unless somebody has given it a name.
    Guess(NetnsId),
}

impl DefaultNetns {
    /// Whether `id`, mounted somewhere or not, is the host's own.
    pub(crate) fn is(self, id: NetnsId, mounted: bool) -> bool {
        match self {
            Self::Init(default) => id == default,
            Self::Guess(own) => id == own && !mounted,
        }
    }
}

/// A process whose first thread has ended shows no namespace, though its other threads live on.
fn living_thread(proc_root: &Path, pid: u32) -> Option<(u32, NetnsId)> {
    let tasks = fs::read_dir(proc_root.join(pid.to_string()).join("task")).ok()?;
    tasks.flatten().find_map(|task| {
        let tid = task.file_name().to_str()?.parse().ok()?;
        let stat = nix::sys::stat::stat(&task.path().join(NS_NET)).ok()?;
        Some((tid, NetnsId::from(&stat)))
    })
}

#[derive(Default)]
struct Findings {
    places: BTreeMap<NetnsId, Places>,
    stats: ScanStats,
    incomplete: Option<Errno>,
}

#[derive(Default)]
struct Places {
    mounts: Vec<PathBuf>,
    own: bool,
    pids: Vec<u32>,
    processes: u32,
}

impl Findings {
    fn own(&mut self, options: &ScanOptions) -> Option<NetnsId> {
        match ProcessDir::own(&options.proc_root).and_then(|own| own.netns()) {
            Ok(id) => {
                self.places.entry(id).or_default().own = true;
                Some(id)
            }
            Err(errno) => {
                self.count(errno.into());
                None
            }
        }
    }

    /// Looks at every mount; returns those of network namespaces.
    fn mounts(&mut self, options: &ScanOptions, before: &Mounts) -> Mounts {
        let mut found = Mounts::new();
        let mut seen = HashSet::new();
        for dir in &options.mount_dirs {
            match fs::metadata(dir) {
                // `/var/run/netns` is `/run/netns`.
                Ok(metadata) if !seen.insert((metadata.dev(), metadata.ino())) => continue,
                Ok(_) => {}
                Err(error) => {
                    self.fail_unless_missing(&error);
                    continue;
                }
            }
            if let Err(error) = self.mounts_in(dir, before, &mut found) {
                self.fail_unless_missing(&error);
            }
        }
        found
    }

    fn mounts_in(&mut self, dir: &Path, before: &Mounts, found: &mut Mounts) -> io::Result<()> {
        let names = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        for name in names {
            let path = dir.join(name);
            let before = before.get(&path).copied();
            let still =
                before.filter(|id| stat(&path).is_ok_and(|stat| NetnsId::from(&stat) == *id));
            let id = still.map_or_else(|| NetnsFd::open(&path).map(|fd| fd.id()), Ok);
            match id {
                Ok(id) => {
                    self.stats.mounts += 1;
                    self.places.entry(id).or_default().mounts.push(path.clone());
                    found.insert(path, id);
                }
                // An odd entry, such as a loop of links or a dead file system, hides nothing but itself.
                Err(OpenError::Other(errno)) if !hides_others(errno) => self.stats.failed += 1,
                Err(error) => self.count(error),
            }
        }
        Ok(())
    }

    fn process(&mut self, pid: u32, id: NetnsId) {
        self.stats.processes += 1;
        let places = self.places.entry(id).or_default();
        places.processes = places.processes.saturating_add(1);
        if places.pids.len() < MAX_PIDS {
            places.pids.push(pid);
        }
    }

    fn count(&mut self, error: OpenError) {
        match error {
            OpenError::NotNsfs => self.stats.not_nsfs += 1,
            OpenError::OtherKind => self.stats.other_kind += 1,
            OpenError::Denied => self.stats.denied += 1,
            OpenError::Gone => self.stats.gone += 1,
            OpenError::Other(errno) => self.fail(errno),
        }
    }

    fn fail(&mut self, errno: Errno) {
        self.stats.failed += 1;
        self.incomplete = Some(errno);
    }

    fn fail_unless_missing(&mut self, error: &io::Error) {
        match OpenError::from(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)) {
            OpenError::Gone => {}
            other => self.count(other),
        }
    }
}

impl Places {
    fn into_netns(
        self,
        id: NetnsId,
        default: Option<DefaultNetns>,
        options: &Arc<ScanOptions>,
    ) -> Netns {
        let mounted = !self.mounts.is_empty();
        let is_default = default.is_some_and(|default| default.is(id, mounted));
        let container = if is_default {
            None
        } else {
            witness(&options.proc_root, id, self.pids.iter().copied(), self.own).container
        };
        let mount = self.mounts.first().map(PathBuf::as_path);
        let name = label::name(id, is_default, mount, container.as_ref());
        let pid = self.pids.first().copied();
        let mut origins: Vec<_> = self.mounts.into_iter().map(Origin::Mount).collect();
        origins.extend(self.own.then_some(Origin::Own));
        origins.extend(self.pids.into_iter().map(Origin::Process));
        let options = Arc::clone(options);
        Netns { id, name, origins, container, pid, processes: self.processes, is_default, options }
    }
}

/// How many processes a namespace remembers as ways to open it.
const MAX_PIDS: usize = 4;

/// A limit of ours or of the host's, which any entry would have met.
fn hides_others(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EINTR | Errno::EAGAIN)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::unistd::mkfifo;

    use super::*;
    use crate::Container;
    use crate::fake::FakeProc;

    fn scan(options: ScanOptions) -> Scan {
        Scanner::new(options).scan()
    }

    fn find(scan: &Scan, id: NetnsId) -> &Netns {
        scan.namespaces.iter().find(|netns| netns.id == id).unwrap()
    }

    fn own_id() -> NetnsId {
        sockeye_sys::netns::current().unwrap()
    }

    #[test]
    fn an_entry_that_can_not_be_followed_hides_nothing_but_itself() {
        let fake = FakeProc::new();
        fake.real_mount("blue");
        symlink("loop", fake.mounts().join("loop")).unwrap();
        let scan = Scanner::new(fake.options()).scan();
        assert_eq!((scan.incomplete, scan.stats.failed, scan.stats.mounts), (None, 1, 1));
    }

    #[test]
    fn a_guessed_default_is_not_the_default_when_it_has_a_name() {
        let (own, other) = (NetnsId { device: 4, inode: 1 }, NetnsId { device: 4, inode: 2 });
        assert!(DefaultNetns::Guess(own).is(own, false) && !DefaultNetns::Guess(own).is(own, true));
        assert!(DefaultNetns::Init(own).is(own, true) && !DefaultNetns::Init(own).is(other, false));
    }

    #[test]
    fn processes_are_grouped_by_namespace_and_four_are_kept() {
        let fake = FakeProc::new();
        let (host, pod) = (fake.namespace("host"), fake.namespace("pod"));
        fake.process(1, "host").own("host");
        for pid in [99, 100, 7, 23, 1000, 8] {
            fake.process(pid, "pod");
        }
        let scan = scan(fake.options());
        assert_eq!(scan.namespaces.len(), 2);
        assert_eq!(scan.stats, ScanStats { processes: 7, ..ScanStats::default() });
        assert_eq!(scan.incomplete, None);
        let pod = find(&scan, pod);
        assert_eq!(pod.origins, [7, 8, 23, 99].map(Origin::Process));
        assert_eq!((pod.pid, pod.processes, pod.is_default), (Some(7), 6, false));
        assert_eq!(pod.name, pod.id.to_string().into());
        let host = find(&scan, host);
        assert_eq!(host.origins, [Origin::Own, Origin::Process(1)]);
        assert_eq!((&*host.name, host.is_default), ("default", true));
    }

    #[test]
    fn namespaces_come_in_the_order_of_their_identity() {
        let fake = FakeProc::new();
        fake.own("a");
        for (pid, name) in [(3, "a"), (2, "b"), (1, "c")] {
            fake.namespace(name);
            fake.process(pid, name);
        }
        let ids: Vec<_> = scan(fake.options()).namespaces.iter().map(|netns| netns.id).collect();
        assert_eq!(ids.len(), 3);
        assert!(ids.is_sorted());
    }

    #[test]
    fn a_second_scan_starts_from_nothing() {
        let fake = FakeProc::new();
        fake.own("host").process(1, "host").process(5, "pod");
        let (host, pod) = (fake.namespace("host"), fake.namespace("pod"));
        let mut scanner = Scanner::new(fake.options());
        assert_eq!(scanner.scan().namespaces.len(), 2);
        fake.end(5).process(6, "host");
        let second = scanner.scan();
        assert_eq!(second.namespaces.len(), 1);
        assert_eq!(find(&second, host).processes, 2);
        assert!(second.namespaces.iter().all(|netns| netns.id != pod));
    }

    #[test]
    fn a_namespace_without_a_mount_is_named_by_its_container() {
        let fake = FakeProc::new();
        let pod = fake.namespace("pod");
        fake.own("host").process(7, "pod").docker(7, 'c');
        fake.namespace("host");
        let scan = scan(fake.options());
        assert_eq!(*find(&scan, pod).name, "c".repeat(64));
        assert_eq!(
            find(&scan, pod).container,
            Container::from_cgroup(format!("0::/docker/{}", "c".repeat(64)).as_bytes())
        );
    }

    #[test]
    fn where_process_one_cannot_be_read_our_own_namespace_is_the_default() {
        let fake = FakeProc::new();
        let (own, other) = (fake.namespace("own"), fake.namespace("other"));
        fake.own("own").process(7, "other");
        let scan = scan(fake.options());
        assert_eq!((&*find(&scan, own).name, find(&scan, own).is_default), ("default", true));
        assert_eq!(find(&scan, own).origins, [Origin::Own]);
        assert!(!find(&scan, other).is_default);
    }

    #[test]
    fn where_process_one_is_elsewhere_our_own_namespace_is_not_the_default() {
        let fake = FakeProc::new();
        let (own, host) = (fake.namespace("own"), fake.namespace("host"));
        let id = "d".repeat(64);
        fake.own("own").cgroup("thread-self", &format!("0::/docker/{id}\n")).process(1, "host");
        let scan = scan(fake.options());
        assert_eq!((&*find(&scan, own).name, find(&scan, own).is_default), (id.as_str(), false));
        assert!(find(&scan, host).is_default);
    }

    #[test]
    fn a_mount_that_was_replaced_since_the_last_scan_is_looked_at_again() {
        let fake = FakeProc::new();
        fake.namespace("host");
        fake.own("host").process(1, "host").real_mount("blue").real_mount("red");
        let mut scanner = Scanner::new(fake.options());
        let (first, second) = (scanner.scan(), scanner.scan());
        assert_eq!((first.stats.mounts, &first), (2, &second));
        fake.unmount("blue").plain_mount("blue").unmount("red");
        let third = scanner.scan();
        assert_eq!((third.stats.mounts, third.stats.not_nsfs), (0, 1));
        fake.unmount("blue").real_mount("blue");
        assert_eq!(scanner.scan().stats.mounts, 1);
    }

    #[test]
    fn own_only_looks_at_no_process_and_drops_foreign_mounts() {
        let fake = FakeProc::new();
        let own = fake.namespace("own");
        fake.own("own").process(1, "own").process(7, "other").real_mount("blue");
        let scan = scan(ScanOptions { own_only: true, ..fake.options() });
        assert_eq!(scan.namespaces.len(), 1);
        let netns = find(&scan, own);
        assert_eq!(
            (netns.origins.as_slice(), netns.pid, netns.processes),
            (&[Origin::Own][..], None, 0)
        );
        assert_eq!(scan.stats.processes, 0);
    }

    #[test]
    fn a_mount_names_its_namespace_by_the_order_of_directories_then_the_alphabet() {
        let fake = FakeProc::new();
        let first = tempfile::tempdir().unwrap();
        fake.namespace("host");
        fake.own("host").process(1, "host").real_mount("a");
        for name in ["red", "blue"] {
            symlink("/proc/self/ns/net", first.path().join(name)).unwrap();
        }
        let mount_dirs = vec![first.path().to_owned(), fake.mounts()];
        let scan = scan(ScanOptions { mount_dirs, ..fake.options() });
        let netns = find(&scan, own_id());
        assert_eq!(&*netns.name, "blue");
        let paths = [first.path().join("blue"), first.path().join("red"), fake.mounts().join("a")];
        assert_eq!(netns.origins, paths.map(Origin::Mount));
        assert_eq!((netns.pid, netns.processes, scan.stats.mounts), (None, 0, 3));
    }

    #[test]
    fn a_directory_that_is_configured_twice_counts_once() {
        let fake = FakeProc::new();
        let alias = fake.root().join("alias");
        symlink(fake.mounts(), &alias).unwrap();
        fake.namespace("host");
        fake.own("host").real_mount("blue");
        let mount_dirs = vec![fake.mounts(), alias];
        let scan = scan(ScanOptions { mount_dirs, ..fake.options() });
        assert_eq!(find(&scan, own_id()).origins, [Origin::Mount(fake.mounts().join("blue"))]);
        assert_eq!(scan.stats.mounts, 1);
    }

    #[test]
    fn what_is_not_a_network_namespace_is_counted_by_reason() {
        let fake = FakeProc::new();
        fake.namespace("host");
        fake.own("host").process(1, "host").plain_mount("file");
        fs::create_dir(fake.mounts().join("directory")).unwrap();
        mkfifo(&fake.mounts().join("fifo"), Mode::S_IRWXU).unwrap();
        symlink("/dev/null", fake.mounts().join("device")).unwrap();
        symlink("/proc/self/ns/uts", fake.mounts().join("uts")).unwrap();
        symlink("/no/such/file", fake.mounts().join("dangling")).unwrap();
        fs::create_dir(fake.root().join("77")).unwrap();
        let scan = scan(fake.options());
        let expected =
            ScanStats { processes: 1, not_nsfs: 4, other_kind: 1, gone: 2, ..ScanStats::default() };
        assert_eq!(scan.stats, expected);
        assert_eq!((scan.namespaces.len(), scan.incomplete), (1, None));
    }

    #[test]
    fn a_process_whose_leader_ended_is_found_through_a_thread() {
        let fake = FakeProc::new();
        let pod = fake.namespace("pod");
        fake.namespace("host");
        fake.own("host").link("40/task/41", &fake.namespace_path("pod"));
        fs::create_dir_all(fake.root().join("40/task/40/ns")).unwrap();
        let scan = scan(fake.options());
        assert_eq!(find(&scan, pod).origins, [Origin::Process(41)]);
        assert_eq!((scan.stats.processes, scan.stats.gone), (1, 0));
    }

    #[test]
    fn missing_directories_are_normal() {
        let fake = FakeProc::new();
        fake.namespace("host");
        fake.own("host").process(1, "host").plain_mount("file");
        let mount_dirs = vec![fake.mounts().join("missing"), fake.mounts().join("file/below")];
        let scan = scan(ScanOptions { mount_dirs, ..fake.options() });
        assert_eq!(scan.stats, ScanStats { processes: 1, ..ScanStats::default() });
        assert_eq!(scan.incomplete, None);
    }

    #[test]
    fn a_scan_without_procfs_says_that_it_is_incomplete() {
        let fake = FakeProc::new();
        let proc_root = fake.mounts().join("missing");
        let scan = scan(ScanOptions { proc_root, ..fake.options() });
        assert_eq!(scan.incomplete, Some(Errno::ENOENT));
        assert_eq!((scan.namespaces.len(), scan.stats.failed), (0, 1));
    }

    #[test]
    fn a_real_scan_finds_the_own_namespace_with_this_process() {
        let scan = scan(ScanOptions::default());
        let own = find(&scan, own_id());
        assert!(own.origins.contains(&Origin::Own));
        assert!(own.processes >= 1);
        assert_eq!(scan.namespaces.iter().filter(|netns| netns.is_default).count(), 1);
    }
}
