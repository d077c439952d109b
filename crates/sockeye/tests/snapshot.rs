//! The commands that look once: `snapshot`, `netns` and `doctor`, for root, for nobody and inside a user namespace.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output};

use common::{output, text};
use sockeye_testkit::netns::{Netns, TestNetns, is_root, require_root};
use sockeye_testkit::netns_anonymous::AnonymousNetns;
use sockeye_testkit::states;

fn own_inode() -> u64 {
    fs::metadata("/proc/self/ns/net").unwrap().ino()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

const TITLES: &str = "NETNS STATE RECV-Q SEND-Q LOCAL PEER RTT CWND RETRANS DELIVERY PACING CC";

#[test]
fn a_table_shows_a_listener_under_its_titles() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap().to_string();
    let output = output(&["snapshot", "--own-netns-only"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let table = text(&output.stdout);
    let title = table.lines().next().unwrap();
    assert_eq!(words(title), words(TITLES));
    let line = table
        .lines()
        .find(|line| words(line).get(4) == Some(&local.as_str()))
        .unwrap_or_else(|| panic!("{table}"));
    assert_eq!(words(line)[1..6], ["LISTEN", "0", "128", &local, "0.0.0.0:*"], "{line}");
    // In columns: what stands under LOCAL begins where LOCAL begins.
    assert_eq!(line.find(&local), title.find("LOCAL"), "{table}");
    assert!(line.ends_with(&congestion_control()), "{line}");
}

/// What a new socket gets.
fn congestion_control() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap().trim().to_owned()
}

#[test]
fn a_snapshot_in_another_format_is_rows_and_nothing_else() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let rows = common::snapshot(&["--own-netns-only", "--label", "mine"]);
    let own: Vec<_> = rows
        .iter()
        .filter(|row| common::number(row, "inet_diag_msg_socket_source_port") == u64::from(port))
        .collect();
    assert_eq!(own.len(), 1);
    assert_eq!(common::string(own[0], "inet_diag_msg_socket_source"), "::1");
    assert_eq!(common::number(own[0], "netns_inode"), own_inode());
    assert_eq!(common::string(own[0], "label"), "mine");
    let csv = text(&common::stdout(&[
        "snapshot",
        "--own-netns-only",
        "--marshal",
        "csv",
        "--columns",
        "netns_inode",
    ]));
    assert_eq!(csv.lines().next(), Some("netns_inode"));
    assert!(
        csv.lines().skip(1).count() >= 1
            && csv.lines().skip(1).all(|line| line == own_inode().to_string()),
        "{csv}"
    );
}

#[test]
fn doctor_says_a_line_about_everything() {
    let output = output(&["doctor"]);
    let report = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{report}");
    let about = |subject: &str| -> Vec<&str> {
        report
            .lines()
            .filter(|line| {
                line.get(6..).is_some_and(|line| line.starts_with(&format!("{subject} ")))
            })
            .collect()
    };
    for subject in [
        "kernel",
        "sock_diag",
        "modules",
        "namespaces",
        "mark",
        "hash table",
        "open files",
        "found",
        "sockets",
    ] {
        assert!(!about(subject).is_empty(), "nothing about {subject}: {report}");
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(
        about("kernel"),
        [format!("ok    kernel        Linux {}, {}", release.trim(), std::env::consts::ARCH)]
    );
    assert!(
        about("sock_diag")[0]
            .starts_with("ok    sock_diag     answers: listeners in this namespace: "),
        "{report}"
    );
    // It has just answered, so that each is there in one way or the other.
    let module = |name: &str| {
        let loaded = PathBuf::from("/sys/module").join(name).exists();
        format!("{name} {}", if loaded { "loaded" } else { "built in" })
    };
    assert_eq!(
        about("modules"),
        [format!("ok    modules       {}, {}", module("inet_diag"), module("tcp_diag"))]
    );
    assert!(
        report
            .lines()
            .all(|line| ["ok    ", "less  "].iter().any(|verdict| line.starts_with(verdict))),
        "{report}"
    );
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn netns_lists_namespaces_with_how_they_were_found_and_their_sockets() {
    require_root();
    let (named, nameless) = (TestNetns::new("listed").unwrap(), AnonymousNetns::new().unwrap());
    let open = |addresses: &[&str]| -> Vec<_> {
        addresses.iter().map(|it| states::listener(it.parse().unwrap(), 1, None).unwrap()).collect()
    };
    let _held = named.enter(|| open(&["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"])).unwrap();
    let _also = nameless
        .enter(|| {
            (open(&["127.0.0.1:0"]), states::time_wait("127.0.0.1:0".parse().unwrap()).unwrap())
        })
        .unwrap();
    let output = output(&["netns"]);
    assert_eq!(output.status.code(), Some(0));
    let list = text(&output.stdout);
    assert_eq!(
        words(list.lines().next().unwrap()),
        words("NAME INODE TCP TCP6 TIME-WAIT PID CONTAINER FOUND")
    );
    let line = |inode: u64| {
        let inode = inode.to_string();
        words(
            list.lines()
                .find(|line| words(line).get(1) == Some(&inode.as_str()))
                .unwrap_or_else(|| panic!("{list}")),
        )
    };
    let inode = named.inode().unwrap();
    let path = named.path().display().to_string();
    assert_eq!(line(inode), [named.name(), &inode.to_string(), "2", "1", "0", "mount", &path]);
    let (inode, pid) = (nameless.inode().unwrap(), nameless.pid().to_string());
    let name = format!("netns:[{inode}]");
    assert_eq!(line(inode), [&name, &inode.to_string(), "2", "0", "1", &pid, "pid", &pid]);
    // Ours, by whatever else it was found as well.
    assert!(line(own_inode()).contains(&"own"), "{list}");
    let only = text(&common::stdout(&["netns", "--own-netns-only"]));
    assert_eq!(only.lines().count(), 2, "{only}");
    assert_eq!(words(only.lines().nth(1).unwrap())[1], own_inode().to_string());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_directory_of_namespaces_is_looked_at_and_what_is_none_is_reported() {
    require_root();
    let netns = TestNetns::new("elsewhere").unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("plain"), "").unwrap();
    let mount = directory.path().join("pod-1");
    fs::write(&mount, "").unwrap();
    assert!(
        Command::new("mount")
            .arg("--bind")
            .arg(netns.path())
            .arg(&mount)
            .status()
            .unwrap()
            .success()
    );
    let there = directory.path().display().to_string();
    let listed = text(&common::stdout(&["netns", "--netns-dir", &there]));
    let report = text(&common::stdout(&["doctor", "--netns-dir", &there]));
    assert!(Command::new("umount").arg(&mount).status().unwrap().success());
    assert!(listed.contains(&format!("mount {}", mount.display())), "{listed}");
    let ignored = "less  found         entries of the mount directories that are no network namespaces, ignored: ";
    assert!(report.lines().any(|line| line.starts_with(ignored)), "{report}");
}

/// The binary where nobody can run it.
struct ForNobody(tempfile::TempDir);

impl ForNobody {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_sockeye"), directory.path().join("sockeye")).unwrap();
        Self(directory)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("setpriv");
        if has_nobody() {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        } else {
            // A root without any capability may do as little.
            command.args(["--bounding-set", "-all"]);
        }
        command.arg(self.0.path().join("sockeye")).args(arguments);
        sockeye_environment(&mut command).output().unwrap()
    }
}

/// Without the environment's `SOCKEYE_*`.
fn sockeye_environment(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SOCKEYE_")) {
        command.env_remove(name);
    }
    command
}

const MISSING: &str = "only this network namespace is read: others need CAP_SYS_ADMIN (to enter them) and CAP_SYS_PTRACE \
    (to find them in /proc); run as root to see all";

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn nobody_sees_the_own_namespace_and_one_line_about_the_others() {
    require_root();
    let netns = TestNetns::new("unseen").unwrap();
    let _unseen = netns
        .enter(|| states::listener("127.0.0.1:7200".parse().unwrap(), 1, None).unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = u64::from(listener.local_addr().unwrap().port());
    let nobody = ForNobody::new();
    let one_line = format!("sockeye: {MISSING}\n");

    let snapshot = nobody.run(&["snapshot", "--marshal", "jsonl"]);
    assert_eq!((snapshot.status.code(), text(&snapshot.stderr)), (Some(0), one_line.clone()));
    let rows = common::rows(&snapshot.stdout);
    assert!(rows.iter().all(|row| common::number(row, "netns_inode") == own_inode()));
    assert!(rows.iter().any(|row| common::number(row, "inet_diag_msg_socket_source_port") == port));
    let own_only = nobody.run(&["snapshot", "--own-netns-only"]);
    assert_eq!((own_only.status.code(), text(&own_only.stderr)), (Some(0), String::new()));

    let list = nobody.run(&["netns"]);
    assert_eq!((list.status.code(), text(&list.stderr)), (Some(0), one_line));
    assert_eq!(text(&list.stdout).lines().count(), 2);
    assert_eq!(words(text(&list.stdout).lines().nth(1).unwrap())[1], own_inode().to_string());

    let run = nobody.run(&["run", "--max-loops", "1"]);
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{said}");
    let about: Vec<&str> = said
        .lines()
        .filter(|line| !line.starts_with("sockeye: ") && !line.contains(" INFO "))
        .collect();
    assert!(matches!(about[..], [line] if line.ends_with(&format!(" WARN {MISSING}"))), "{said}");
    assert!(
        common::rows(&run.stdout)
            .iter()
            .all(|row| common::number(row, "netns_inode") == own_inode())
    );

    let doctor = nobody.run(&["doctor"]);
    let report = text(&doctor.stdout);
    assert_eq!((doctor.status.code(), text(&doctor.stderr)), (Some(0), String::new()), "{report}");
    assert!(report.contains(&format!("less  namespaces    {MISSING}\n")), "{report}");
    assert!(
        report.contains(
            "less  mark          without CAP_NET_ADMIN the kernel leaves the column mark out\n"
        ),
        "{report}"
    );
}

/// Whether user 65534 is one that this user namespace knows.
fn has_nobody() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    map.lines().any(|line| {
        let numbers: Vec<u64> = words(line).iter().map(|word| word.parse().unwrap()).collect();
        (numbers[0]..numbers[0] + numbers[2]).contains(&65_534)
    })
}

const CONFINED: &str = "only network namespaces of this user namespace are read: nothing inside of it may enter those of \
    the host; run as root of the host to see all";

/// Inside a user and a network namespace; `None` where the host allows no such thing.
fn inside_user_namespace(script: &str) -> Option<Output> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net"]);
        command
    };
    let allowed = unshare().arg("true").output().is_ok_and(|it| it.status.success());
    if !allowed {
        assert!(!is_root(), "root may make user namespaces");
        eprintln!("not run: this host allows an ordinary user no user namespace");
        return None;
    }
    let mut command = unshare();
    command.args(["sh", "-c", script, env!("CARGO_BIN_EXE_sockeye")]);
    Some(sockeye_environment(&mut command).output().unwrap())
}

#[test]
fn inside_a_user_namespace_it_reads_what_is_inside_and_says_so() {
    let Some(output) = inside_user_namespace("\"$0\" snapshot") else { return };
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), format!("sockeye: {CONFINED}\n"))
    );
    let table = text(&output.stdout);
    assert_eq!(
        (words(&table), table.lines().count()),
        (words(TITLES), 1),
        "no socket is there yet"
    );
    let output = inside_user_namespace("\"$0\" doctor").unwrap();
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(report.contains(&format!("less  namespaces    {CONFINED}\n")), "{report}");
    assert!(
        report.contains("ok    sockets       0 IPv4 and 0 IPv6 in use, 0 in TIME-WAIT\n"),
        "{report}"
    );
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn without_proc_it_says_what_is_missing() {
    require_root();
    let run = |command: &str| {
        let script = format!("mount -t tmpfs tmpfs /proc && exec \"$0\" {command}");
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_sockeye")]);
        let output = sockeye_environment(&mut shell).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, report, said) = run("doctor");
    assert_eq!((code, said.as_str()), (Some(1), ""), "{report}");
    assert!(
        report.contains(
            "FAIL  sockets       our own network namespace can't be read; is /proc mounted?\n"
        ),
        "{report}"
    );
    assert!(report.contains("ok    sock_diag     answers: "), "{report}");
    for command in ["snapshot", "run --max-loops 1", "netns"] {
        let (code, rows, said) = run(command);
        assert_eq!((code, rows.as_str()), (Some(1), ""), "{command}");
        let expected = "sockeye: our own network namespace can't be read; is /proc mounted?";
        assert!(said.starts_with(expected) && said.lines().count() == 1, "{command}: {said}");
    }
}

#[test]
fn an_address_with_a_scope_or_mapped_is_shown_as_ss_shows_it() {
    let dual: SocketAddr = "[::]:0".parse().unwrap();
    let listener = TcpListener::bind(dual).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _server = listener.accept().unwrap();
    let table = text(&common::stdout(&["snapshot", "--own-netns-only"]));
    let mapped = format!("[::ffff:127.0.0.1]:{port}");
    let line = table
        .lines()
        .find(|line| words(line).get(4) == Some(&mapped.as_str()))
        .unwrap_or_else(|| panic!("{table}"));
    assert_eq!(words(line)[1], "ESTAB");
    assert!(
        table.lines().any(|line| words(line).get(4) == Some(&format!("[::]:{port}").as_str())),
        "{table}"
    );
}
