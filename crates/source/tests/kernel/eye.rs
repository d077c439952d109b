//! A source with an outlet and a queue for each lane, and the rows that come out of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sockeye_filter::Support;
use sockeye_netns::ScanOptions;
use sockeye_pipeline::{
    Completeness, Outlet, PartReport, PollGate, Queue, QueueLimits, Source as _, Stop, Take,
    WhenFull,
};
use sockeye_record::decode::Records;
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_record::{Encoding, Format, Limits};
use sockeye_source::sockdiag::Netlinkers::Fixed;
use sockeye_source::sockdiag::{Host, Modulus, PlanMode, Settings, SockDiag};
use sockeye_testkit::netns::{Netns, TestNetns};
use sockeye_testkit::ss::SsSocket;
use sockeye_testkit::states::{self, Pair};
use sockeye_testkit::{procfs, ss_run};
use sockeye_wire::{AttrSet, StateSet};

/// These tests count threads, descriptors and namespaces: one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    sockeye_testkit::netns::require_root();
    sockeye_sys::limits::raise_open_files().unwrap();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Eye {
    pub(crate) source: SockDiag,
    pub(crate) outlet: Outlet,
    pub(crate) stop: Stop,
    pub(crate) queues: Vec<Queue>,
}

/// What one poll brought.
pub(crate) struct Poll {
    pub(crate) parts: Vec<PartReport>,
    /// Of each lane, its envelopes.
    pub(crate) lanes: Vec<Vec<Vec<u8>>>,
}

pub(crate) fn settings() -> Settings {
    Settings {
        host: Host { hostname: "here".into(), ..Host::default() },
        scan: ScanOptions::default(),
        states: StateSet::DEFAULT,
        attrs: AttrSet::DEFAULT,
        modulus: Modulus::ALL,
        encodings: vec![encoding(Format::ProtobufList, None)],
        avx512: true,
        limits: Limits { rows: 1_000_000, bytes: 64 << 20 },
        timeout: Duration::from_secs(20),
        plan: PlanMode::Auto,
        filter: None,
        support: Support::ALL,
        netlinkers: Fixed(1),
        split_from: 1,
        max_threads: 64,
        io_uring: None,
        tcp_health: false,
        packet_bytes: 32_768,
        track: None,
    }
}

pub(crate) fn encoding(format: Format, columns: Option<&str>) -> Encoding {
    Encoding { format, columns: columns.map(|names| names.parse().unwrap()), humanize: None }
}

impl Eye {
    pub(crate) fn new(settings: Settings) -> Self {
        let limits =
            QueueLimits { bytes: 1 << 30, when_full: WhenFull::Drop { patience: Duration::ZERO } };
        let queues = settings.encodings.iter().map(|_| Queue::new("test", limits)).collect();
        Self::with_queues(settings, queues)
    }

    pub(crate) fn with_queues(settings: Settings, queues: Vec<Queue>) -> Self {
        let stop = Stop::default();
        let lanes = queues.iter().map(|queue| vec![queue.clone()]).collect();
        let outlet = Outlet::new(lanes, stop.clone());
        Self { source: SockDiag::new(settings).unwrap(), outlet, stop, queues }
    }

    pub(crate) fn poll(&mut self) -> Poll {
        assert_eq!(self.outlet.begin_poll(), PollGate::Open);
        let parts = self.source.poll(&self.outlet, &self.stop);
        self.outlet.end_of_poll();
        let lanes: Vec<Vec<Vec<u8>>> = self.queues.iter().map(envelopes).collect();
        let rows: u64 = parts.iter().map(|part| part.rows).sum();
        for queue in &self.queues {
            let ledger = queue.ledger();
            assert_eq!(ledger.dropped_rows(), 0);
            assert!(ledger.balances() && ledger.in_flight == 0, "{ledger}");
        }
        let poll = Poll { parts, lanes };
        if !poll.lanes.is_empty() {
            assert_eq!(poll.rows().len() as u64, rows, "rows reported are rows sent");
        }
        poll
    }

    /// A poll in which it is not this namespace's turn to be checked.
    pub(crate) fn unchecked_poll(&mut self, netns: &TestNetns) -> Poll {
        let mut poll = self.poll();
        while poll.part(netns.name()).plan == "check" {
            poll = self.poll();
        }
        poll.assert_complete(netns.name());
        poll
    }
}

impl Poll {
    /// The rows of the first lane.
    pub(crate) fn rows(&self) -> Vec<XtcpFlatRecord> {
        self.lanes.first().unwrap().iter().flat_map(|envelope| decode(envelope)).collect()
    }

    /// The rows of the first lane that carry this namespace's inode.
    pub(crate) fn rows_of(&self, netns: &impl Netns) -> Vec<XtcpFlatRecord> {
        let inode = netns.inode().unwrap();
        self.rows().into_iter().filter(|row| row.netns_inode == inode).collect()
    }

    /// The report of the part with this name.
    pub(crate) fn part(&self, name: &str) -> &PartReport {
        let mut parts = self.parts.iter().filter(|part| *part.part == *name);
        let part = parts.next().unwrap_or_else(|| panic!("no report of {name}"));
        assert!(parts.next().is_none(), "two reports of {name}");
        part
    }

    pub(crate) fn assert_complete(&self, name: &str) {
        assert_eq!(self.part(name).completeness, Completeness::Complete, "{name}");
    }
}

pub(crate) fn decode(envelope: &[u8]) -> Vec<XtcpFlatRecord> {
    Records::new(envelope).map(Result::unwrap).collect()
}

pub(crate) fn envelopes(queue: &Queue) -> Vec<Vec<u8>> {
    let mut envelopes = Vec::new();
    loop {
        match queue.take(Duration::ZERO) {
            Take::Delivery(delivery) => {
                envelopes.push(delivery.bytes().to_vec());
                delivery.delivered();
            }
            Take::EndOfPoll | Take::Encoding(_) => {}
            _ => return envelopes,
        }
    }
}

pub(crate) fn cookies(rows: &[XtcpFlatRecord]) -> BTreeSet<u64> {
    let cookies: BTreeSet<u64> = rows.iter().map(|row| row.inet_diag_msg_socket_cookie).collect();
    assert_eq!(cookies.len(), rows.len(), "a socket came twice");
    cookies
}

/// What `ss` sees inside of the states that are asked for.
pub(crate) fn ss_cookies(netns: &impl Netns) -> BTreeSet<u64> {
    default_states(&ss_run::inside(&netns.path()).unwrap())
}

/// As [`ss_cookies`], of the calling thread's namespace, which takes no privilege.
pub(crate) fn ss_cookies_here() -> BTreeSet<u64> {
    default_states(&ss_run::here().unwrap())
}

fn default_states(sockets: &[SsSocket]) -> BTreeSet<u64> {
    let default = sockets.iter().filter(|socket| {
        let state = u8::try_from(socket.state_number().unwrap()).unwrap();
        StateSet::DEFAULT.contains(state)
    });
    default.map(|socket| socket.cookie().unwrap()).collect()
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Connections inside, three sockets each, all with ports of their own.
pub(crate) fn connections(netns: &impl Netns, count: usize) -> Vec<Pair> {
    let make = || (0..count).map(|_| states::established(loopback(), None).unwrap()).collect();
    netns.enter(make).unwrap()
}

/// Namespaces with one listener each.
pub(crate) fn with_listeners(label: &str, count: usize) -> Vec<(TestNetns, socket2::Socket)> {
    let make = |_| {
        let netns = TestNetns::new(label).unwrap();
        let listener = netns.enter(|| states::listener(loopback(), 1, None).unwrap()).unwrap();
        (netns, listener)
    };
    (0..count).map(make).collect()
}

/// The names of the readers' threads.
pub(crate) fn readers() -> Vec<String> {
    let names = procfs::thread_names(std::process::id()).unwrap();
    names.into_iter().filter(|name| name.starts_with("nl-")).collect()
}

/// Waits until it is so; for at most `patience`.
pub(crate) fn within(patience: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// For what comes at once where nothing else needs the processors.
pub(crate) const SOON: Duration = Duration::from_secs(20);
