//! What systemd is told, and the unit.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::common::{Daemon, output, sockeye, text};
use crate::{OFTEN, SOON};

/// Stands where systemd stands.
struct Notified {
    socket: UnixDatagram,
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Notified {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { socket, _directory: directory, path }
    }

    fn start(&self, arguments: &[&str], watchdog: Option<Duration>) -> Daemon {
        let mut command = sockeye();
        command.args(["run", "--own-netns-only", "--dest", "null"]).args(OFTEN).args(arguments);
        command.env("NOTIFY_SOCKET", &self.path);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        Daemon::spawn(&mut command)
    }

    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        self.socket.recv(&mut buffer).ok().map(|length| text(&buffer[..length]))
    }

    /// The next one that has these words; others are passed over.
    fn wait(&self, words: &str) -> String {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            if let Some(said) = self.next().filter(|said| said.contains(words)) {
                return said;
            }
        }
        panic!("no {words}");
    }

    fn count(&self, words: &str, within: Duration) -> usize {
        let deadline = Instant::now() + within;
        let mut count = 0;
        while Instant::now() < deadline {
            count += usize::from(self.next().is_some_and(|said| said.contains(words)));
        }
        count
    }
}

#[test]
fn it_says_ready_status_reloading_ready_and_stopping() {
    let systemd = Notified::new();
    let daemon = systemd.start(&["--shutdown-timeout", "7s"], None);
    systemd.wait("READY=1");
    let status = systemd.wait("STATUS=poll ");
    assert!(status.contains(" rows of 1 namespaces, 0 incomplete, in "), "{status}");
    daemon.signal("HUP");
    let reloading = systemd.wait("RELOADING=1");
    let (_, at) = reloading.split_once("MONOTONIC_USEC=").unwrap();
    assert!(at.trim().parse::<u64>().unwrap() > 0);
    systemd.wait("READY=1");
    daemon.signal("TERM");
    let stopping = systemd.wait("STOPPING=1");
    // What the shutdown may take, and what it leaves the last words.
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=10000000"), "{stopping}");
    assert_eq!(daemon.wait(SOON).0, Some(0));
}

/// The other threads run on: signals, sinks and readers are well, and yet nobody feeds the watchdog.
#[test]
fn the_watchdog_is_fed_by_the_poll_loop_and_by_nobody_else() {
    let systemd = Notified::new();
    let watchdog = Duration::from_secs(2);
    let daemon = systemd.start(&[], Some(watchdog));
    systemd.wait("READY=1");
    systemd.wait("WATCHDOG=1");
    assert!(systemd.count("WATCHDOG=1", watchdog) >= 2, "it is fed in time");
    // The main thread alone is stopped: the poll loop.
    let main = Pid::from_raw(daemon.pid().cast_signed());
    ptrace::seize(main, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(main).unwrap();
    waitpid(main, None).unwrap();
    systemd.count("", Duration::from_millis(200));
    let state = |thread: &Path| {
        let stat = fs::read_to_string(thread.join("stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.trim_start().chars().next().unwrap()
    };
    let threads = fs::read_dir(format!("/proc/{main}/task")).unwrap();
    let states: String = threads.map(|thread| state(&thread.unwrap().path())).collect();
    assert_eq!(states.matches('t').count(), 1, "{states}");
    assert!(states.len() > 2, "{states}");
    assert_eq!(systemd.count("WATCHDOG=1", 2 * watchdog), 0, "systemd would have ended it");
    ptrace::detach(main, None).unwrap();
    systemd.wait("WATCHDOG=1");
    daemon.signal("TERM");
    assert_eq!(daemon.wait(SOON).0, Some(0));
}

#[test]
fn a_slow_frequency_feeds_the_watchdog_all_the_same() {
    let systemd = Notified::new();
    let watchdog = Duration::from_secs(1);
    let mut command = sockeye();
    command.args([
        "run",
        "--own-netns-only",
        "--dest",
        "null",
        "--frequency",
        "1h",
        "--listen=off",
    ]);
    command.env("NOTIFY_SOCKET", &systemd.path).env("WATCHDOG_USEC", "1000000");
    let daemon = Daemon::spawn(&mut command);
    systemd.wait("READY=1");
    assert!(systemd.count("WATCHDOG=1", 3 * watchdog) >= 5);
    drop(daemon);
}

#[test]
fn the_unit_is_exposed_less_than_three() {
    let unit = unit();
    let scored = Command::new("systemd-analyze")
        .args(["security", "--no-pager", "--offline=true", "--threshold=29"])
        .arg(&unit)
        .output();
    // A machine without systemd has nothing to say about it.
    let Ok(scored) = scored else { return };
    let said = text(&scored.stdout);
    assert!(scored.status.success(), "{}{said}", text(&scored.stderr));
    assert!(said.contains("Overall exposure level for sockeye.service: "), "{said}");
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().join("sockeye.service");
    let text_of = fs::read_to_string(&unit).unwrap();
    fs::write(&here, text_of.replace("/usr/bin/sockeye", env!("CARGO_BIN_EXE_sockeye"))).unwrap();
    let verified =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&here).output().unwrap();
    assert_eq!((text(&verified.stderr), verified.status.code()), (String::new(), Some(0)));
}

#[test]
fn the_unit_leaves_the_shutdown_its_time_and_the_settings_their_memory() {
    let unit = fs::read_to_string(unit()).unwrap();
    let value = |key: &str| {
        let found = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        found.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let printed = text(&output(&["run", "--print-config"]).stdout);
    let shutdown = printed.lines().find_map(|line| line.strip_prefix("shutdown-timeout = \""));
    let shutdown: u64 = shutdown.unwrap().split_once("s\"").unwrap().0.parse().unwrap();
    let stop: u64 = value("TimeoutStopSec").trim_end_matches('s').parse().unwrap();
    assert!(stop > shutdown + 3, "{stop} {shutdown}");
    let limit = value("MemoryMax") + "iB";
    let run = ["run", "--dest", "null", "--max-loops", "1", "--own-netns-only", "--listen=off"];
    let fits = output(&[&run[..], &["--memory-limit", &limit]].concat());
    assert_eq!(fits.status.code(), Some(0), "{}", text(&fits.stderr));
    let capabilities = value("AmbientCapabilities");
    assert_eq!(capabilities, value("CapabilityBoundingSet"));
    assert_eq!(capabilities, "CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_NET_BROADCAST");
}

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd/sockeye.service")
}
