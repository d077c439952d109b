//! Namespaces that are odd, that vanish, and that come and go by the hundred.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Daemon, eventually, number, of_netns, snapshot, string};
use sockeye_testkit::netns::{Netns, TestNetns, require_root};
use sockeye_testkit::netns_anonymous::AnonymousNetns;
use sockeye_testkit::veth::{VethEnd, veth_pair};
use sockeye_testkit::{procfs, states};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", common::text(&output.stderr));
}

/// A listener inside the namespace, for as long as it is held.
fn listen_in(netns: &impl Netns) -> OwnedFd {
    netns.enter(|| states::listener(ANY_PORT, 4, None).unwrap()).unwrap().into()
}

/// Removed when dropped, whatever is mounted on it.
struct Mountpoint(String);

impl Drop for Mountpoint {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn odd_entries_beside_namespaces_disturb_nothing() {
    require_root();
    let (good, process) = (TestNetns::new("good").unwrap(), AnonymousNetns::new().unwrap());
    let _sockets = (listen_in(&good), listen_in(&process));
    let me = std::process::id();
    let plain = Mountpoint(format!("/run/netns/skt-{me}-plain"));
    fs::write(&plain.0, "no namespace").unwrap();
    // The file that is left when its mount has gone.
    let dangling = Mountpoint(format!("/run/netns/skt-{me}-dangling"));
    ip(&["netns", "add", &format!("skt-{me}-dangling")]);
    assert!(Command::new("umount").arg(&dangling.0).status().unwrap().success());
    // A namespace of another kind.
    let uts = Mountpoint(format!("/run/netns/skt-{me}-uts"));
    fs::write(&uts.0, "").unwrap();
    assert!(
        Command::new("mount")
            .args(["--bind", "/proc/self/ns/uts", &uts.0])
            .status()
            .unwrap()
            .success()
    );

    let all = snapshot(&[]);
    assert_eq!(string(&of_netns(&all, good.inode().unwrap())[0], "netns"), good.name());
    let inode = process.inode().unwrap();
    assert_eq!(string(&of_netns(&all, inode)[0], "netns"), format!("netns:[{inode}]"));
    assert!(all.iter().all(|row| !string(row, "netns").contains(&format!("skt-{me}-plain"))));
    assert!(all.iter().all(|row| !string(row, "netns").contains(&format!("skt-{me}-dangling"))));
    assert!(all.iter().all(|row| !string(row, "netns").contains(&format!("skt-{me}-uts"))));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_further_directory_of_mounts_names_its_namespaces() {
    require_root();
    let process = AnonymousNetns::new().unwrap();
    let _socket = listen_in(&process);
    let directory = tempfile::tempdir().unwrap();
    let mount = Mountpoint(directory.path().join("pod \"one\"\n").display().to_string());
    fs::write(&mount.0, "").unwrap();
    assert!(
        Command::new("mount")
            .arg("--bind")
            .arg(process.path())
            .arg(&mount.0)
            .status()
            .unwrap()
            .success()
    );
    let directory = directory.path().display().to_string();
    let own = of_netns(&snapshot(&["--netns-dir", &directory]), process.inode().unwrap());
    assert_eq!(string(&own[0], "netns"), "pod \"one\"\n");
    let listed = common::text(&common::stdout(&["netns", "--netns-dir", &directory]));
    assert!(listed.contains("pod \"one\"?"), "{listed}");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn only_the_own_namespace_is_read_when_asked_for() {
    require_root();
    let netns = TestNetns::new("own").unwrap();
    let _socket = listen_in(&netns);
    let output = netns
        .exec(
            env!("CARGO_BIN_EXE_sockeye"),
            &["snapshot", "--marshal", "jsonl", "--own-netns-only"],
        )
        .unwrap();
    let all = common::rows(output.as_bytes());
    assert_eq!(all.len(), 1);
    assert_eq!(number(&all[0], "netns_inode"), netns.inode().unwrap());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_namespace_that_ends_while_the_daemon_idles_is_gone_within_a_second() {
    require_root();
    let witness = TestNetns::new("witness").unwrap();
    let (by_process, by_name) = (AnonymousNetns::new().unwrap(), TestNetns::new("ends").unwrap());
    let _keep = listen_in(&witness);
    let inodes = [by_process.inode().unwrap(), by_name.inode().unwrap()];
    veth_pair(
        &witness,
        VethEnd { interface: "veth-a", addresses: &["10.90.0.1/24"] },
        &by_process,
        VethEnd { interface: "veth-b", addresses: &["10.90.0.2/24"] },
    )
    .unwrap();
    veth_pair(
        &witness,
        VethEnd { interface: "veth-c", addresses: &["10.91.0.1/24"] },
        &by_name,
        VethEnd { interface: "veth-d", addresses: &["10.91.0.2/24"] },
    )
    .unwrap();
    let sockets = (listen_in(&by_process), listen_in(&by_name));
    let mut daemon = Daemon::start(&[
        "--frequency",
        "60s",
        "--columns",
        "netns_inode",
        "--closed",
        "on",
        "--deltas",
    ]);
    let mut seen = BTreeSet::new();
    let mut lines = daemon.lines();
    while !inodes.iter().all(|inode| seen.contains(inode)) {
        let row: serde_json::Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        seen.insert(row["netns_inode"].as_u64().unwrap());
    }
    let interfaces = || witness.exec("ip", &["-o", "link"]).unwrap();
    assert!(interfaces().contains("veth-a") && interfaces().contains("veth-c"));
    drop(sockets);
    drop(by_process);
    drop(by_name);
    eventually(Duration::from_secs(1), "both veth pairs go with their namespaces", || {
        !interfaces().contains("veth-a") && !interfaces().contains("veth-c")
    });
    daemon.signal("TERM");
    let (code, said) = daemon.wait(Duration::from_secs(6));
    assert_eq!(code, Some(0), "{said}");
}

fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// A namespace of the churn: while it surely had a socket, in ns since the epoch.
struct Life {
    inode: u64,
    from: u64,
    to: u64,
}

/// Makes 20 namespaces a second, each with one listener and alive for up to two seconds.
fn churn(until: Instant) -> Vec<Life> {
    let mut alive: Vec<(u64, u64, TestNetns, OwnedFd)> = Vec::new();
    let mut lives = Vec::new();
    let mut tick = Instant::now();
    let mut turn = 0usize;
    while Instant::now() < until {
        let netns = TestNetns::new("churn").unwrap();
        let socket = listen_in(&netns);
        alive.push((netns.inode().unwrap(), now_ns(), netns, socket));
        turn += 1;
        // Mostly short lives, some of many polls.
        while alive.len() > 3 + turn % 37 {
            let (inode, from, netns, socket) = alive.remove(0);
            lives.push(Life { inode, from, to: now_ns() });
            drop((socket, netns));
        }
        tick += Duration::from_millis(50);
        thread::sleep(tick.saturating_duration_since(Instant::now()));
    }
    for (inode, from, netns, socket) in alive {
        lives.push(Life { inode, from, to: now_ns() });
        drop((socket, netns));
    }
    lives
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_minute_of_churn_leaves_nothing_behind_and_loses_no_namespace_that_lived_through_a_poll() {
    require_root();
    let steady = TestNetns::new("steady").unwrap();
    let _socket = listen_in(&steady);
    let mut daemon = Daemon::start(&[
        "--frequency",
        "1s",
        "--timeout",
        "900ms",
        "--jitter",
        "0",
        "--columns",
        "timestamp_ns,netns_inode,netns",
    ]);
    let pid = daemon.pid();
    let lines = daemon.lines();
    let reader = thread::spawn(move || {
        lines
            .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap())
            .collect::<Vec<_>>()
    });
    thread::sleep(Duration::from_millis(1500));
    let figures = || {
        let resident = procfs::resident_bytes(pid).unwrap();
        (procfs::threads(pid).unwrap(), procfs::file_descriptors(pid).unwrap(), resident)
    };
    let before = figures();
    let lives = churn(Instant::now() + Duration::from_mins(1));
    assert!(lives.len() > 1000, "{}", lives.len());
    eventually(Duration::from_secs(5), "threads and fds return", || {
        let after = figures();
        after.0 <= before.0 && after.1 <= before.1
    });
    let after = figures();
    assert!(after.2 <= before.2 + (8 << 20), "resident {} before, {} after", before.2, after.2);
    daemon.signal("TERM");
    let (code, said) = daemon.wait(Duration::from_secs(6));
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("DOES NOT BALANCE") && !said.contains("incomplete dump"), "{said}");

    let rows = reader.join().unwrap();
    let mut polls: Vec<(u64, u64, BTreeSet<u64>)> = Vec::new();
    let mut times: Vec<(u64, u64)> = rows
        .iter()
        .map(|row| (row["timestamp_ns"].as_u64().unwrap(), row["netns_inode"].as_u64().unwrap()))
        .collect();
    times.sort_unstable();
    for (time, inode) in times {
        match polls.last_mut() {
            Some((_, last, inodes)) if time - *last < 300_000_000 => {
                *last = time;
                inodes.insert(inode);
            }
            _ => polls.push((time, time, BTreeSet::from([inode]))),
        }
    }
    assert!(polls.len() >= 50, "{} polls", polls.len());
    let steady_inode = steady.inode().unwrap();
    assert!(polls.iter().all(|(_, _, inodes)| inodes.contains(&steady_inode)));
    // The scan comes before the first dump, the last dump may outlast the last row: a margin on both sides.
    let margin = 250_000_000;
    let mut through = 0;
    for (first, last, inodes) in &polls {
        for life in
            lives.iter().filter(|life| life.from + margin < *first && *last + margin < life.to)
        {
            assert!(
                inodes.contains(&life.inode),
                "{} lived through the poll at {first} and has no row",
                life.inode
            );
            through += 1;
        }
    }
    assert!(through > 100, "{through}");
    // No label twice for different namespaces, none that is not theirs: names end with what makes them unique.
    let mut labels: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for row in &rows {
        labels
            .entry(row["netns"].as_str().unwrap())
            .or_default()
            .insert(row["netns_inode"].as_u64().unwrap());
    }
    assert!(labels.values().all(|inodes| inodes.len() == 1), "{labels:?}");
}
