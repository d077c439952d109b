//! `--memory-limit` is a promise about the process.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sockeye_testkit::netns::require_root;

use crate::Said;
use crate::common::{Daemon, eventually};

/// A group of processes with a limit of memory; `None` where this machine has no place for it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("skt-memory-{}", std::process::id());
        let kinds =
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (root, file) in kinds {
            let group = Self(Path::new(root).join(&name));
            let made = fs::create_dir(&group.0);
            if made.is_ok() && fs::write(group.0.join(file), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Nobody reads its stdout, so the queue fills up to its mark while three hundred sockets are read often.
#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn with_its_queues_full_it_stays_below_its_limit() {
    require_root();
    let _listeners: Vec<TcpListener> =
        (0..300).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let limit = 128_u64 << 20;
    let cgroup = Cgroup::new(limit + limit / 4);
    let script = "[ -z \"$1\" ] || echo $$ > \"$1/cgroup.procs\"; shift; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]);
    command.arg(cgroup.as_ref().map_or(Path::new(""), |cgroup| &cgroup.0));
    command.arg(env!("CARGO_BIN_EXE_sockeye"));
    command.args([
        "run",
        "--own-netns-only",
        "--listen=off",
        "--frequency",
        "50ms",
        "--timeout",
        "40ms",
    ]);
    command.args(["--dest", "stdout", "--track-bytes", "16MiB", "--closed-buffer", "4MiB"]);
    command.args(["--queue-bytes", "24MiB", "--max-threads", "2", "--log-level", "debug"]);
    command.args(["--memory-limit", &limit.to_string()]);
    let mut daemon = Daemon::spawn(&mut command);
    let said = Said::by(&mut daemon);
    said.wait("collecting");
    eventually(Duration::from_mins(1), "full queues", || {
        said.text().contains("polls are skipped until they catch up")
    });
    std::thread::sleep(Duration::from_millis(500));
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let kilobytes = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    };
    // What the program maps of its own file belongs to all who run it, and a build for tests has much of it.
    let most = (kilobytes("VmHWM") - kilobytes("RssFile")) << 10;
    println!("at most {most} of {limit}");
    assert!(most > 12 << 20, "the queue was full up to its mark: {most}");
    assert!(most < limit, "{most}");
    daemon.signal("KILL");
    drop(daemon);
    std::thread::sleep(Duration::from_millis(200));
}
