//! `sockeye closed`: a line for each connection that ends, and why where the kernel tells.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, SOON, lines_of, sockeye, text};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect as nix_connect, getsockopt, socket,
};
use sockeye_testkit::netns::{Netns, TestNetns, require_root};

/// Addresses of this test alone: other tests have closing connections too.
const OF_LINES: &str = "src 127.77.0.9 or dst 127.77.0.9 or dst 192.0.2.9";
const OF_COUNTS: &str = "src 127.77.0.10 or dst 127.77.0.10";

/// Lines of `sockeye closed`, as they come.
fn watch(arguments: &[&str], filter: &str) -> (Daemon, Receiver<String>) {
    let mut daemon = Daemon::spawn(sockeye().arg("closed").args(arguments).arg(filter));
    let lines = lines_of(daemon.child.stdout.take().unwrap());
    (daemon, lines)
}

/// A connection over which so much goes both ways, and that has ended; the client's port.
fn connect(server: &TcpListener, up: usize, down: usize, life: Duration) -> u16 {
    let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    client.write_all(&vec![1; up]).unwrap();
    accepted.read_exact(&mut vec![0; up]).unwrap();
    accepted.write_all(&vec![2; down]).unwrap();
    client.read_exact(&mut vec![0; down]).unwrap();
    thread::sleep(life);
    let port = client.local_addr().unwrap().port();
    drop(client);
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
    port
}

/// The errno of a connection that does not come about. Of one that is waited for inside `connect` the kernel forgets the
/// peer at once, and tells of a socket that was never connected.
fn fail_to_connect(to: SockaddrIn) -> i32 {
    let client =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
    assert_eq!(nix_connect(client.as_raw_fd(), &to), Err(Errno::EINPROGRESS));
    let ready = poll(&mut [PollFd::new(client.as_fd(), PollFlags::POLLOUT)], 20_000_u16);
    assert_eq!(ready, Ok(1));
    getsockopt(&client, SocketError).unwrap()
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn every_end_is_a_line_with_how_long_how_much_and_why() {
    require_root();
    let netns = TestNetns::new("lines").unwrap();
    netns.set_sysctl("ipv4/tcp_syn_retries", "1").unwrap();
    for line in [
        "link add silent type veth peer name nobody",
        "link set nobody up",
        "addr add 192.0.2.1/24 dev silent",
        "link set silent up",
        "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev silent",
    ] {
        netns.exec("ip", &line.split(' ').collect::<Vec<_>>()).unwrap();
    }
    let (daemon, lines) = watch(&["--duration", "60s"], OF_LINES);
    let server = netns.enter(|| TcpListener::bind("127.77.0.9:0").unwrap()).unwrap();
    let connect = |up, down, life| netns.enter(|| connect(&server, up, down, life)).unwrap();
    // Until it listens, and has polled.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        connect(1, 1, Duration::ZERO);
        if let Ok(line) = lines.recv_timeout(Duration::from_millis(300))
            && line.contains(" <2s, ")
        {
            break;
        }
        assert!(Instant::now() < deadline, "no line");
    }
    let short = connect(100, 2000, Duration::ZERO);
    let long = connect(7, 9, Duration::from_millis(4500));
    let refused = SockaddrIn::new(127, 77, 0, 9, 1);
    assert_eq!(netns.enter(|| fail_to_connect(refused)).unwrap(), libc::ECONNREFUSED);
    let silent = SockaddrIn::new(192, 0, 2, 9, 80);
    assert_eq!(netns.enter(|| fail_to_connect(silent)).unwrap(), libc::ETIMEDOUT);
    thread::sleep(Duration::from_secs(1));
    daemon.signal("INT");
    let (code, said) = daemon.wait(SOON);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" sockets closed, ") && said.contains(" shown, 0 lost"), "{said}");

    let all: Vec<String> = lines.iter().collect();
    let port = server.local_addr().unwrap().port();
    let of = |ends: &str| {
        let mut found = all.iter().filter(|line| line.contains(ends));
        let line = found.next().unwrap_or_else(|| panic!("no {ends}: {all:#?}")).clone();
        assert_eq!(found.next(), None, "{ends}");
        line
    };
    let named = format!(" {} ", netns.name());
    let client = of(&format!(" 127.0.0.1:{short} > 127.77.0.9:{port} "));
    assert!(client.contains(&named) && client.contains(" <2s, sent 100, received 200"), "{client}");
    assert!(!client.ends_with("ms: ") && client.ends_with(" ms"), "it says nothing: {client}");
    let accepted = of(&format!(" 127.77.0.9:{port} > 127.0.0.1:{short} "));
    assert!(accepted.contains(" sent 2000, received 10"), "{accepted}");
    let long = of(&format!(" 127.0.0.1:{long} > 127.77.0.9:{port} "));
    let (_, lived) = long.split_once(" >").unwrap().1.split_once(" >").unwrap();
    let (seconds, _) = lived.split_once("s, ").unwrap();
    let seconds: f64 = seconds.parse().unwrap();
    assert!((2.0..4.7).contains(&seconds), "{long}");
    assert!(of(" > 127.77.0.9:1 ").ends_with(": refused"), "{all:#?}");
    assert!(of(" > 192.0.2.9:80 ").ends_with(": SYN not answered"), "{all:#?}");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn it_ends_after_so_many_and_writes_any_format() {
    require_root();
    let netns = TestNetns::new("count").unwrap();
    let server = netns.enter(|| TcpListener::bind("127.77.0.10:0").unwrap()).unwrap();
    let columns = "record_kind,netns,tcp_info_bytes_sent,timestamp_ns";
    for format in ["jsonl", "csv", "table", "protoText"] {
        let arguments = ["--count", "5", "--marshal", format, "--columns", columns];
        let (mut daemon, lines) = watch(&arguments, OF_COUNTS);
        let deadline = Instant::now() + Duration::from_secs(20);
        while daemon.child.try_wait().unwrap().is_none() {
            netns.enter(|| connect(&server, 10, 20, Duration::ZERO)).unwrap();
            thread::sleep(Duration::from_millis(50));
            assert!(Instant::now() < deadline, "{format}: it does not end");
        }
        let (code, said) = daemon.wait(SOON);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(" 5 shown, 0 lost"), "{format}: {said}");
        let lines: Vec<String> = lines.iter().collect();
        match format {
            "jsonl" => {
                let rows = common::rows(lines.join("\n").as_bytes());
                assert_eq!(rows.len(), 5);
                let mut sent: BTreeMap<u64, usize> = BTreeMap::new();
                for row in &rows {
                    assert_eq!(common::number(row, "record_kind"), 2);
                    *sent.entry(common::number(row, "tcp_info_bytes_sent")).or_default() += 1;
                }
                assert!(sent.keys().all(|bytes| [10, 20].contains(bytes)), "{sent:?}");
            }
            "csv" => assert_eq!((lines.len(), &lines[0][..]), (6, columns)),
            "table" => assert_eq!(lines.len(), 6, "{lines:?}"),
            _ => assert_eq!(lines.len(), 5, "{lines:?}"),
        }
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn nobody_is_told_of_the_own_namespace_and_that_it_is_that_alone() {
    require_root();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = directory.path().join("sockeye");
    fs::copy(sockeye().get_program(), &binary).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary);
    command.args(["closed", "--count", "2", "src 127.77.0.11 or dst 127.77.0.11"]);
    let mut daemon = Daemon::spawn(&mut command);
    let server = TcpListener::bind("127.77.0.11:0").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while daemon.child.try_wait().unwrap().is_none() {
        connect(&server, 10, 20, Duration::ZERO);
        thread::sleep(Duration::from_millis(50));
        assert!(Instant::now() < deadline, "it does not end");
    }
    let lines: Vec<String> = daemon.lines().collect();
    let (code, said) = daemon.wait(SOON);
    assert_eq!((code, lines.len()), (Some(0), 2), "{lines:?} {said}");
    assert!(lines.iter().all(|line| line.contains("127.77.0.11:")), "{lines:?}");
    assert!(said.contains("only this network namespace is read"), "{said}");
    assert!(said.contains(" 2 shown, 0 lost"), "{said}");
}

#[test]
fn a_wrong_filter_is_shown_with_its_place() {
    let output = common::output(&["closed", "dport", "=", ":http!"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("sockeye: "), "{}", text(&output.stderr));
}
