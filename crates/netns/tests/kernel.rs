//! Scanning, opening and watching against the real kernel, as root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sockeye_netns::{
    Netns, NetnsFd, NetnsId, OpenFailure, Origin, ScanOptions, ScanStats, Scanner, Watcher,
    sockstat_of,
};
use sockeye_sys::netns::{current, visit};

const OWN: &str = "/proc/thread-self/ns/net";
const SECOND: Duration = Duration::from_secs(1);

/// A namespace made by `ip netns add`; deleted by name at the end.
struct IpNetns(String);

impl IpNetns {
    fn add(purpose: &str) -> Self {
        let name = format!("skn-{}-{purpose}", std::process::id());
        ip(&["netns", "add", &name]);
        Self(name)
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }

    fn id(&self) -> NetnsId {
        NetnsFd::open(self.path()).unwrap().id()
    }

    /// Runs a command inside, without a process of its own in between.
    fn run(&self, command: &[&str]) -> Kid {
        let net = format!("--net={}", self.path().display());
        let kid = Kid::spawn(&[&["nsenter", &net], command].concat());
        kid.wait_until_in(self.id());
        kid
    }
}

impl Drop for IpNetns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).stderr(Stdio::null()).status();
    }
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

/// A child process; killed at the end.
struct Kid(Child);

impl Kid {
    fn spawn(command: &[&str]) -> Self {
        let [program, arguments @ ..] = command else { unreachable!() };
        Self(Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn netns(&self) -> Option<NetnsId> {
        NetnsFd::open(format!("/proc/{}/ns/net", self.pid())).ok().map(|fd| fd.id())
    }

    fn wait_until_in(&self, id: NetnsId) {
        wait_for("the child to enter its namespace", || self.netns() == Some(id));
    }
}

impl Drop for Kid {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A child in a namespace of its own, which nothing else leads to.
fn unshared() -> (Kid, NetnsId) {
    let kid = Kid::spawn(&["unshare", "-n", "sleep", "300"]);
    let own = current().unwrap();
    wait_for("unshare", || kid.netns().is_some_and(|id| id != own));
    let id = kid.netns().unwrap();
    (kid, id)
}

/// A bind mount; unmounted at the end.
struct Bind(PathBuf);

impl Bind {
    fn new(source: &str, target: PathBuf) -> Self {
        fs::write(&target, "").unwrap();
        mount(Some(source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        Self(target)
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !ready() {
        assert!(begin.elapsed() < 5 * SECOND, "waited for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn find(options: ScanOptions, id: NetnsId) -> Option<Netns> {
    Scanner::new(options).scan().namespaces.into_iter().find(|netns| netns.id == id)
}

fn processes_only() -> ScanOptions {
    ScanOptions { mount_dirs: Vec::new(), ..ScanOptions::default() }
}

fn is_held_by_us(id: NetnsId) -> bool {
    let link = PathBuf::from(format!("net:[{}]", id.inode));
    let fds = fs::read_dir("/proc/self/fd").unwrap().flatten();
    fds.map(|fd| fs::read_link(fd.path())).any(|target| target.is_ok_and(|target| target == link))
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_mounted_namespace_without_processes_is_found_and_opened_by_its_name() {
    let blue = IpNetns::add("blue");
    let netns = find(ScanOptions::default(), blue.id()).unwrap();
    assert_eq!(*netns.name, blue.0);
    assert_eq!(netns.origins, [Origin::Mount(blue.path())]);
    assert_eq!((netns.pid, netns.processes, netns.is_default), (None, 0, false));
    let opened = netns.open().unwrap();
    assert_eq!((opened.fd.id(), &*opened.name, opened.pid), (blue.id(), blue.0.as_str(), None));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn an_anonymous_namespace_is_found_through_its_process() {
    let (kid, id) = unshared();
    let netns = find(ScanOptions::default(), id).unwrap();
    assert_eq!(*netns.name, *id.to_string());
    assert_eq!(netns.origins, [Origin::Process(kid.pid())]);
    assert_eq!((netns.pid, netns.processes), (Some(kid.pid()), 1));
    let opened = netns.open().unwrap();
    assert_eq!((opened.fd.id(), opened.pid), (id, Some(kid.pid())));
    assert!(netns.alive());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn only_network_namespaces_of_a_mount_directory_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (kid, id) = unshared();
    let source = format!("/proc/{}/ns/net", kid.pid());
    let _net = Bind::new(&source, dir.path().join("net"));
    let _uts = Bind::new("/proc/self/ns/uts", dir.path().join("uts"));
    fs::write(dir.path().join("plain"), "").unwrap();
    mkfifo(&dir.path().join("fifo"), Mode::S_IRWXU).unwrap();
    drop(Bind::new(&source, dir.path().join("unmounted")));
    let mount_dirs = vec![dir.path().to_owned()];
    // An empty procfs: what other tests do does not count.
    let proc_root = dir.path().join("proc");
    fs::create_dir(&proc_root).unwrap();
    let scan = Scanner::new(ScanOptions { proc_root, mount_dirs, own_only: false }).scan();
    let [netns] = &scan.namespaces[..] else { panic!("{scan:?}") };
    assert_eq!((netns.id, &*netns.name), (id, "net"));
    // Not on nsfs: a plain file, a FIFO, a file that nothing is mounted on any more, and the directory `proc`.
    let expected =
        ScanStats { mounts: 1, not_nsfs: 4, other_kind: 1, gone: 1, ..ScanStats::default() };
    assert_eq!(scan.stats, expected);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_mount_deleted_under_a_living_process_takes_its_name_with_it() {
    let red = IpNetns::add("red");
    let id = red.id();
    let kid = red.run(&["sleep", "300"]);
    let netns = find(ScanOptions::default(), id).unwrap();
    assert_eq!(*netns.name, red.0);
    assert_eq!(netns.origins, [Origin::Mount(red.path()), Origin::Process(kid.pid())]);
    ip(&["netns", "del", &red.0]);
    assert!(netns.alive());
    let opened = netns.open().unwrap();
    assert_eq!((opened.fd.id(), &*opened.name), (id, id.to_string().as_str()));
    assert_eq!(opened.pid, Some(kid.pid()));
    assert_eq!(*find(ScanOptions::default(), id).unwrap().name, *id.to_string());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_name_that_was_given_to_another_namespace_is_not_kept() {
    let first = IpNetns::add("reused");
    let id = first.id();
    let kid = first.run(&["sleep", "300"]);
    let netns = find(ScanOptions::default(), id).unwrap();
    assert_eq!(*netns.name, first.0);
    ip(&["netns", "del", &first.0]);
    let second = IpNetns::add("reused");
    assert_eq!(second.path(), first.path());
    assert_ne!(second.id(), id);
    let opened = netns.open().unwrap();
    assert_eq!((opened.fd.id(), &*opened.name), (id, id.to_string().as_str()));
    assert_eq!(opened.pid, Some(kid.pid()));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_process_that_exits_between_scan_and_open_leaves_its_namespace_gone() {
    let (kid, id) = unshared();
    let netns = find(ScanOptions::default(), id).unwrap();
    drop(kid);
    assert_eq!(netns.open().unwrap_err(), OpenFailure::Gone);
    assert!(!netns.alive());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_process_that_moves_between_scan_and_open_does_not_mix_up_labels() {
    let (from, to) = (IpNetns::add("from"), IpNetns::add("to"));
    let id = from.id();
    let script = format!("read go; exec nsenter --net={} sleep 300", to.path().display());
    let mut mover = from.run(&["sh", "-c", &script]);
    let alone = find(processes_only(), id).unwrap();
    assert_eq!(alone.origins, [Origin::Process(mover.pid())]);
    let stayer = from.run(&["sleep", "300"]);
    let both = find(processes_only(), id).unwrap();
    assert_eq!(both.processes, 2);
    drop(mover.0.stdin.take());
    mover.wait_until_in(to.id());

    let opened = both.open().unwrap();
    assert_eq!((opened.fd.id(), opened.pid), (id, Some(stayer.pid())));
    assert_eq!(*opened.name, *id.to_string());
    // Its one process is elsewhere, so another scan finds the one that has stayed.
    assert_eq!(alone.open().unwrap().pid, Some(stayer.pid()));
    drop((opened, stayer));
    assert_eq!(alone.open().unwrap_err(), OpenFailure::Gone);
    assert!(!both.alive());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn the_watcher_tells_of_ip_netns_add_and_delete_within_a_second() {
    let (sender, calls) = channel();
    let dirs = ScanOptions::default().mount_dirs;
    let on_change = move || {
        let _ = sender.send(());
    };
    let _watcher = Watcher::spawn(dirs, on_change).unwrap();
    let told = |wanted: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !wanted() {
            let left = SECOND.checked_sub(begin.elapsed()).expect("told within a second");
            calls.recv_timeout(left).expect("told within a second");
        }
    };
    let green = IpNetns::add("watched");
    let id = green.id();
    // Scans only when told, and must find it by one of these scans.
    calls.recv_timeout(SECOND).unwrap();
    told(&|| find(ScanOptions::default(), id).is_some());
    drop(green);
    calls.recv_timeout(SECOND).unwrap();
    told(&|| find(ScanOptions::default(), id).is_none());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_deleted_namespace_is_gone_from_the_kernel_after_scan_open_and_drop() {
    let veth = IpNetns::add("veth");
    let id = veth.id();
    let here = format!("skv{}a", std::process::id());
    ip(&["link", "add", &here, "type", "veth", "peer", "name", "skvb", "netns", &veth.0]);
    let home = NetnsFd::open(OWN).unwrap();
    let mut scanner = Scanner::new(ScanOptions::default());
    let scan = scanner.scan();
    let netns = scan.namespaces.iter().find(|netns| netns.id == id).unwrap();
    drop(netns.open().unwrap());
    sockstat_of(netns, &home).unwrap();
    assert!(netns.alive());
    assert!(!is_held_by_us(id));
    let peer = Path::new("/sys/class/net").join(here);
    assert!(peer.exists());
    ip(&["netns", "del", &veth.0]);
    let begin = Instant::now();
    while peer.exists() {
        assert!(begin.elapsed() < SECOND, "the namespace is kept alive");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(!netns.alive());
    assert_eq!(netns.open().unwrap_err(), OpenFailure::Gone);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn the_counters_of_a_namespace_without_processes_are_read_by_a_visit() {
    let quiet = IpNetns::add("sockstat");
    let (home, target) = (NetnsFd::open(OWN).unwrap(), NetnsFd::open(quiet.path()).unwrap());
    let netns = find(ScanOptions::default(), quiet.id()).unwrap();
    assert_eq!(netns.origins, [Origin::Mount(quiet.path())]);
    let before = sockstat_of(&netns, &home).unwrap();
    assert_eq!((before.tcp_inuse, before.tcp6_inuse, before.time_wait), (0, 0, 0));
    let bind = |address: &str| TcpListener::bind(address).unwrap();
    let listeners =
        visit(&target, &home, || [bind("0.0.0.0:1"), bind("0.0.0.0:2"), bind("[::]:3")]);
    let listeners = listeners.unwrap();
    let after = sockstat_of(&netns, &home).unwrap();
    assert_eq!((after.tcp_inuse, after.tcp6_inuse), (2, 1));
    assert_eq!(current(), Ok(home.id()));

    let kid = quiet.run(&["sleep", "300"]);
    let netns = find(ScanOptions::default(), quiet.id()).unwrap();
    assert_eq!(netns.pid, Some(kid.pid()));
    let through_process = sockstat_of(&netns, &home).unwrap();
    assert_eq!((through_process.tcp_inuse, through_process.tcp6_inuse), (2, 1));
    drop(listeners);
}

/// Runs itself again as `nobody`, from a place that `nobody` can read.
#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn an_ordinary_user_finds_its_own_namespace_as_the_default_one() {
    const AS_NOBODY: &str = "SOCKEYE_TEST_AS_NOBODY";
    if std::env::var_os(AS_NOBODY).is_none() {
        let dir = tempfile::tempdir().unwrap();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), everyone).unwrap();
        let test = dir.path().join("kernel");
        fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
        let name = "an_ordinary_user_finds_its_own_namespace_as_the_default_one";
        let status = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&test)
            .args(["--exact", name, "--ignored"])
            .env(AS_NOBODY, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let scan = Scanner::new(processes_only()).scan();
    assert!(scan.stats.denied > 0);
    assert_eq!(scan.incomplete, None);
    let id = current().unwrap();
    let own = scan.namespaces.iter().find(|netns| netns.id == id).unwrap();
    assert_eq!((&*own.name, own.is_default), ("default", true));
    assert_eq!(own.origins.first(), Some(&Origin::Own));
    let opened = own.open().unwrap();
    assert_eq!((opened.fd.id(), &*opened.name), (id, "default"));
    sockstat_of(own, &opened.fd).unwrap();
    let alone = Scanner::new(ScanOptions { own_only: true, ..processes_only() }).scan();
    assert_eq!((alone.namespaces.len(), alone.stats), (1, ScanStats::default()));
}
