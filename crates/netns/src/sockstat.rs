//! How many TCP sockets a namespace has, without asking for them: `/proc/net/sockstat` and `sockstat6`.

use std::path::Path;
use std::thread;
use std::{io, panic};

use nix::errno::Errno;
use sockeye_sys::netns::{NetnsFd, VisitError, visit};

use crate::process::ProcessDir;
use crate::{Netns, OpenFailure};

/// The TCP counters of one namespace.
///
/// Listeners, connections and orphans are in use; `TIME_WAIT` has a figure of its own, request sockets
/// (`SYN_RECV`) none.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct SockStat {
    /// `AF_INET` sockets.
    pub tcp_inuse: u32,
    /// `AF_INET6` sockets, dual-stack and v4-mapped ones included.
    pub tcp6_inuse: u32,
    /// `TIME_WAIT` sockets of both families.
    pub time_wait: u32,
    /// Orphans of both families, **of the whole host**: the kernel keeps one count for all namespaces.
    pub orphans: u32,
    /// Sockets of every kind, those of other protocols and those that no protocol counts included; sockets that the
    /// kernel itself opened may be left out.
    pub used: u32,
}

/// Why the counters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SockStatError {
    /// The namespace could not be opened: treat it as a failed open.
    #[error(transparent)]
    Open(#[from] OpenFailure),
    /// The namespace could not be entered: dump it without knowing.
    #[error(transparent)]
    Visit(#[from] VisitError),
    /// The thread for the visit could not be started: dump it without knowing.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The file could not be read: dump it without knowing.
    #[error("cannot read sockstat: {0}")]
    Read(Errno),
    /// The file has another form than the kernel's: dump it without knowing.
    #[error("sockstat has no TCP counters")]
    Malformed,
}

impl SockStat {
    /// Reads the contents of `sockstat` and `sockstat6`; a kernel without IPv6 has no second one.
    pub fn parse(sockstat: &[u8], sockstat6: Option<&[u8]>) -> Option<Self> {
        let tcp6_inuse = match sockstat6 {
            Some(content) => field(content, "TCP6:", "inuse")?,
            None => 0,
        };
        Some(Self {
            tcp_inuse: field(sockstat, "TCP:", "inuse")?,
            tcp6_inuse,
            time_wait: field(sockstat, "TCP:", "tw")?,
            orphans: field(sockstat, "TCP:", "orphan")?,
            used: field(sockstat, "sockets:", "used")?,
        })
    }
}

/// Reads the counters through a process of the namespace, else by a visit on a thread made for it.
///
/// # Errors
/// See [`SockStatError`]: without the counters, the namespace has to be dumped to know.
pub fn sockstat_of(netns: &Netns, home: &NetnsFd) -> Result<SockStat, SockStatError> {
    let own = netns.is_own().then(|| ProcessDir::own(netns.proc_root()));
    let processes = netns.pids().map(|pid| ProcessDir::open(netns.proc_root(), pid));
    for process in own.into_iter().chain(processes).flatten() {
        // The process was in the namespace before and after, so the counters are those of the namespace.
        if process.netns() == Ok(netns.id) {
            let read = read(&process);
            if process.netns() == Ok(netns.id) {
                return read;
            }
        }
    }
    let fd = netns.open_fd()?;
    visit_and_read(&fd, home, netns.proc_root())
}

fn visit_and_read(
    fd: &NetnsFd,
    home: &NetnsFd,
    proc_root: &Path,
) -> Result<SockStat, SockStatError> {
    let inside = || read(&ProcessDir::own(proc_root).map_err(SockStatError::Read)?);
    thread::scope(|scope| {
        let name = "netns-sockstat".to_owned();
        let visitor = thread::Builder::new().name(name);
        let visitor = visitor.spawn_scoped(scope, || visit(fd, home, inside));
        let visited = visitor.map_err(SockStatError::Thread)?.join();
        visited.unwrap_or_else(|lost| panic::resume_unwind(lost))?
    })
}

fn read(process: &ProcessDir) -> Result<SockStat, SockStatError> {
    let sockstat = process.read("net/sockstat").map_err(SockStatError::Read)?;
    let sockstat6 = match process.read("net/sockstat6") {
        Ok(content) => Some(content),
        Err(Errno::ENOENT) => None,
        Err(errno) => return Err(SockStatError::Read(errno)),
    };
    SockStat::parse(&sockstat, sockstat6.as_deref()).ok_or(SockStatError::Malformed)
}

/// The number after `key` in the line that begins with `line`.
fn field(content: &[u8], line: &str, key: &str) -> Option<u32> {
    let content = str::from_utf8(content).ok()?;
    let words = content.lines().find_map(|text| text.strip_prefix(line))?;
    let mut words = words.split_ascii_whitespace();
    words.find(|word| *word == key)?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    use super::*;
    use crate::fake::FakeProc;
    use crate::{ScanOptions, Scanner};

    const SOCKSTAT: &[u8] =
        b"sockets: used 290\nTCP: inuse 5 orphan 1 tw 32 alloc 6 mem 3\nUDP: inuse 4 mem 2\n\
        UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n";
    const SOCKSTAT6: &[u8] = b"TCP6: inuse 2\nUDP6: inuse 3\nUDPLITE6: inuse 0\nRAW6: inuse 1\nFRAG6: inuse 0 memory 0\n";

    #[test]
    fn the_counters_are_read_from_both_files() {
        let expected =
            SockStat { tcp_inuse: 5, tcp6_inuse: 2, time_wait: 32, orphans: 1, used: 290 };
        assert_eq!(SockStat::parse(SOCKSTAT, Some(SOCKSTAT6)), Some(expected));
    }

    #[test]
    fn without_ipv6_there_are_no_ipv6_sockets() {
        let expected =
            SockStat { tcp_inuse: 5, tcp6_inuse: 0, time_wait: 32, orphans: 1, used: 290 };
        assert_eq!(SockStat::parse(SOCKSTAT, None), Some(expected));
    }

    #[test]
    fn a_counter_that_is_missing_is_not_zero() {
        for (sockstat, sockstat6) in [
            ("", "TCP6: inuse 2\n"),
            ("UDP: inuse 4 mem 2\n", "TCP6: inuse 2\n"),
            ("sockets: used 9\nTCP: inuse 5 orphan 1 alloc 6 mem 3\n", "TCP6: inuse 2\n"),
            ("sockets: used 9\nTCP: inuse 5 tw 0 alloc 6 mem 3\n", "TCP6: inuse 2\n"),
            ("sockets: used 9\nTCP: inuse\n", "TCP6: inuse 2\n"),
            ("sockets: used 9\nTCP: inuse -1 orphan 1 tw 32\n", "TCP6: inuse 2\n"),
            ("TCP: inuse 5 orphan 1 tw 32\n", "TCP6: inuse 2\n"),
            ("sockets: used 9\nTCP: inuse 5 orphan 1 tw 32\n", "UDP6: inuse 2\n"),
            ("sockets: used 9\nTCP: inuse 5 orphan 1 tw 32\n", ""),
        ] {
            assert_eq!(
                SockStat::parse(sockstat.as_bytes(), Some(sockstat6.as_bytes())),
                None,
                "{sockstat}"
            );
        }
        assert_eq!(
            SockStat::parse(b"sockets: used 9\nTCP: inuse \xff orphan 1 tw 32\n", None),
            None
        );
    }

    #[test]
    fn the_counters_of_the_own_namespace_include_a_new_listener() {
        let options = ScanOptions { own_only: true, ..ScanOptions::default() };
        let own = Scanner::new(options).scan().namespaces.remove(0);
        let home = NetnsFd::open("/proc/thread-self/ns/net").unwrap();
        let listeners: Vec<_> =
            (0..50).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let stat = sockstat_of(&own, &home).unwrap();
        assert!(stat.tcp_inuse as usize >= listeners.len(), "{stat:?}");
    }

    #[test]
    fn the_counters_come_from_a_process_that_is_still_in_the_namespace() {
        let fake = FakeProc::new();
        fake.namespace("host");
        fake.namespace("pod");
        fake.own("host").process(7, "pod").process(8, "pod");
        let scan = Scanner::new(fake.options()).scan();
        let pod = scan.namespaces.iter().find(|netns| !netns.is_default).unwrap();
        for (pid, inuse) in [(7, 1), (8, 2)] {
            let net = fake.root().join(pid.to_string()).join("net");
            fs::create_dir(&net).unwrap();
            fs::write(
                net.join("sockstat"),
                format!("sockets: used 9\nTCP: inuse {inuse} orphan 0 tw 0\n"),
            )
            .unwrap();
        }
        let home = NetnsFd::open("/proc/thread-self/ns/net").unwrap();
        assert_eq!(sockstat_of(pod, &home).unwrap().tcp_inuse, 1);
        fs::remove_file(fake.root().join("7/ns/net")).unwrap();
        fake.link("7", &fake.namespace_path("host"));
        assert_eq!(sockstat_of(pod, &home).unwrap().tcp_inuse, 2);
    }

    #[test]
    fn a_namespace_without_an_origin_is_gone() {
        let fake = FakeProc::new();
        fake.namespace("host");
        fake.namespace("pod");
        fake.own("host").process(7, "pod");
        let scan = Scanner::new(fake.options()).scan();
        let pod = scan.namespaces.iter().find(|netns| !netns.is_default).unwrap();
        fake.end(7);
        let home = NetnsFd::open("/proc/thread-self/ns/net").unwrap();
        let error = sockstat_of(pod, &home).unwrap_err();
        assert!(matches!(error, SockStatError::Open(OpenFailure::Gone)), "{error}");
    }
}
