//! A cheap plan brings exactly what the whole table would, and is what it is said to be.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use socket2::Socket;
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_source::sockdiag::{Netlinkers, PlanMode, Settings};
use sockeye_testkit::netns::{Netns as _, TestNetns};
use sockeye_testkit::states::{self, Pair};
use sockeye_wire::StateSet;

use crate::ear::{Ear, closed_settings, tracking};
use crate::eye::{Eye, Poll, alone, connections, cookies, loopback, settings, within};

/// Sockets in all the ways in which they come and go.
#[derive(Default)]
struct Sockets {
    listeners: Vec<Socket>,
    bound: Vec<Socket>,
    pairs: Vec<Pair>,
    /// One end of a connection whose other end was closed.
    ends: Vec<Socket>,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Listen,
    Bind,
    Connect,
    ConnectMapped,
    HalfClose,
    /// The end that connected: what is left of it is a mini-socket in `FIN_WAIT2`.
    CloseClient,
    /// Both ends, the client first: `TIME_WAIT`.
    CloseBoth,
    CloseEnd,
    /// Both ends of a connection, without a trace.
    Reset,
    CloseListener,
    CloseBound,
}

const ACTS: [Act; 11] = [
    Act::Listen,
    Act::Bind,
    Act::Connect,
    Act::ConnectMapped,
    Act::HalfClose,
    Act::CloseClient,
    Act::CloseBoth,
    Act::CloseEnd,
    Act::Reset,
    Act::CloseListener,
    Act::CloseBound,
];

impl Sockets {
    fn act(&mut self, act: Act) {
        match act {
            Act::Listen => self.listeners.push(states::listener(loopback(), 4, None).unwrap()),
            Act::Bind => self.bound.push(states::bound(loopback()).unwrap()),
            Act::Connect => self.pairs.push(states::established(loopback(), None).unwrap()),
            Act::ConnectMapped => self.pairs.push(states::mapped().unwrap()),
            Act::HalfClose => self.pairs.push(states::half_closed(loopback()).unwrap()),
            Act::CloseClient => {
                if let Some(Pair { listener, server, .. }) = self.pairs.pop() {
                    self.listeners.push(listener);
                    self.ends.push(server);
                }
            }
            Act::CloseBoth => {
                if let Some(Pair { listener, client, server }) = self.pairs.pop() {
                    self.listeners.push(listener);
                    drop(client);
                    drop(server);
                }
            }
            Act::CloseEnd => drop(self.ends.pop()),
            Act::Reset => self.listeners.extend(self.pairs.pop().map(reset)),
            Act::CloseListener => drop(self.listeners.pop()),
            Act::CloseBound => drop(self.bound.pop()),
        }
    }
}

pub(crate) fn eye(plan: PlanMode, states: StateSet) -> Eye {
    Eye::new(Settings { plan, states, ..settings() })
}

/// What tells a row: socket, state and ports. Counters move with every segment.
fn identities(rows: &[XtcpFlatRecord]) -> BTreeSet<(u64, u32, u32, u32)> {
    assert_eq!(cookies(rows).len(), rows.len());
    let identity = |row: &XtcpFlatRecord| {
        (
            row.inet_diag_msg_socket_cookie,
            row.inet_diag_msg_state,
            row.inet_diag_msg_socket_source_port,
            row.inet_diag_msg_socket_destination_port,
        )
    };
    rows.iter().map(identity).collect()
}

pub(crate) fn sockets_of(poll: &Poll, netns: &TestNetns) -> BTreeSet<(u64, u32, u32, u32)> {
    poll.assert_complete(netns.name());
    identities(&poll.rows_of(netns))
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_planned_poll_brings_what_a_walk_brings_whatever_sockets_come_and_go() {
    let _alone = alone();
    let states =
        ["big", "established", "listening", "established,fin-wait-2", "big,time-wait", "all"];
    let strategy = (
        proptest::sample::select(states.to_vec()),
        any::<bool>(),
        proptest::collection::vec(
            proptest::collection::vec(proptest::sample::select(ACTS.to_vec()), 1..4),
            1..10,
        ),
    );
    let plans = RefCell::new(BTreeMap::<&str, u32>::new());
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&strategy, |(states, is_told, acts)| {
        let netns = TestNetns::new("plans").unwrap();
        let states: StateSet = states.parse().unwrap();
        let (mut deaf, mut full) = (eye(PlanMode::Auto, states), eye(PlanMode::Full, states));
        // The kernel tells of connections that ended, or not.
        let mut ear =
            is_told.then(|| Ear::new(Settings { states, ..tracking() }, closed_settings()));
        let planned = ear.as_mut().map_or(&mut deaf, |ear| &mut ear.eye);
        let mut sockets = Sockets::default();
        thread::sleep(CONFIGURED_WITHIN);
        // At first there is nothing.
        for acts in std::iter::once(Vec::new()).chain(acts) {
            netns.enter(|| acts.iter().for_each(|act| sockets.act(*act))).unwrap();
            if is_told {
                thread::sleep(TOLD_WITHIN);
            }
            // At the second poll nothing is new.
            for _ in 0..2 {
                let before = sockets_of(&full.poll(), &netns);
                let poll = planned.poll();
                let after = sockets_of(&full.poll(), &netns);
                // The kernel may be on its way from one state to the next.
                if before == after {
                    let found = sockets_of(&poll, &netns);
                    let plan = poll.part(netns.name()).plan;
                    prop_assert_eq!(found, before, "{} after {:?}", plan, acts);
                    *plans.borrow_mut().entry(plan).or_default() += 1;
                }
            }
        }
        Ok::<(), TestCaseError>(())
    });
    outcome.unwrap();
    for plan in ["nothing", "listeners", "lookups", "walk"] {
        assert!(plans.borrow().get(plan).is_some_and(|polls| *polls >= 5), "{plan}: {plans:?}");
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn sockets_that_stay_are_in_every_planned_poll_while_others_come_and_go() {
    let _alone = alone();
    come_and_go(&mut eye(PlanMode::Auto, StateSet::DEFAULT));
    let mut told = Ear::new(tracking(), closed_settings());
    come_and_go(&mut told.eye);
}

fn come_and_go(eye: &mut Eye) {
    let netns = TestNetns::new("churn").unwrap();
    let stays = with_listeners(connections(&netns, 20), 3);
    let expected = cookies(&eye.poll().rows_of(&netns));
    assert_eq!(expected.len(), 43);
    let end = AtomicBool::new(false);
    let mut plans = BTreeSet::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            netns
                .enter(|| {
                    while !end.load(Ordering::Relaxed) {
                        match fastrand::u8(0..4) {
                            0 => drop(states::established(loopback(), None).unwrap()),
                            // Now and then nothing happens between two polls.
                            1 => thread::sleep(Duration::from_millis(fastrand::u64(0..60))),
                            _ => drop(states::listener(loopback(), 1, None).unwrap()),
                        }
                        thread::sleep(Duration::from_micros(fastrand::u64(0..3_000)));
                    }
                })
                .unwrap();
        });
        for _ in 0..300 {
            let poll = eye.poll();
            poll.assert_complete(netns.name());
            let found = cookies(&poll.rows_of(&netns));
            let missed: Vec<_> = expected.difference(&found).collect();
            let plan = poll.part(netns.name()).plan;
            assert!(missed.is_empty(), "{plan} misses {missed:?}");
            plans.insert(plan);
            thread::sleep(Duration::from_micros(fastrand::u64(0..3_000)));
        }
        end.store(true, Ordering::Relaxed);
    });
    drop(stays);
    assert!(plans.contains("walk") && plans.contains("lookups"), "{plans:?}");
    assert_eq!(eye.source.counters().totals().check_differences, 0);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_quiet_namespace_is_walked_once_and_looked_up_from_then_on() {
    let _alone = alone();
    let netns = TestNetns::new("quiet").unwrap();
    let mut eye = eye(PlanMode::Auto, StateSet::DEFAULT);
    let plan = |eye: &mut Eye| eye.poll().part(netns.name()).plan;
    // The kernel frees netlink sockets a moment after they were closed, those that configured the namespace and our own.
    within(Duration::from_secs(5), "there is nothing", || {
        thread::sleep(Duration::from_millis(100));
        plan(&mut eye) == "nothing"
    });
    let listener = netns.enter(|| states::listener(loopback(), 4, None).unwrap()).unwrap();
    assert_eq!(plan(&mut eye), "listeners");
    let mut pairs = connections(&netns, 3);
    assert_eq!(plan(&mut eye), "walk");
    assert_eq!([plan(&mut eye), plan(&mut eye)], ["lookups"; 2]);
    // One that closed is not missed; one that opened is looked for.
    drop(pairs.pop());
    assert_eq!(plan(&mut eye), "lookups");
    let more = connections(&netns, 1);
    assert_eq!([plan(&mut eye), plan(&mut eye)], ["walk", "lookups"]);
    drop((listener, pairs, more));
}

/// The kernel tells of a socket a little after its end.
const TOLD_WITHIN: Duration = Duration::from_millis(20);

/// The kernel frees the netlink sockets that configured a namespace a little after they were closed.
const CONFIGURED_WITHIN: Duration = Duration::from_millis(100);

/// Closes all listeners but the first `count`: more than eight are not looked up one by one.
fn with_listeners(mut pairs: Vec<Pair>, count: usize) -> (Vec<Pair>, Vec<(Socket, Socket)>) {
    let rest = pairs.split_off(count);
    (pairs, rest.into_iter().map(|Pair { client, server, .. }| (client, server)).collect())
}

/// Ends a connection by a reset, which leaves nothing behind.
fn reset(pair: Pair) -> Socket {
    let Pair { listener, client, server } = pair;
    client.set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    drop(server);
    listener
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn connections_that_came_and_went_without_a_trace_cost_no_walk_and_one_that_took_a_place_is_a_row()
{
    let _alone = alone();
    let netns = TestNetns::new("traceless").unwrap();
    let connect = || netns.enter(|| states::established(loopback(), None).unwrap()).unwrap();
    // So few that to ask for each in vain takes next to nothing of a walk, also where tables are small.
    let mut pairs = connections(&netns, 1);
    let listener = reset(connect());
    let full = eye(PlanMode::Full, StateSet::DEFAULT).poll();
    let dumped = full.part(netns.name()).bytes;
    let mut eye = eye(PlanMode::Auto, StateSet::DEFAULT);
    let mut poll = || {
        // The kernel frees the socket of the poll before some time after it was closed; until then it could be a bound one.
        thread::sleep(Duration::from_millis(200));
        let poll = eye.unchecked_poll(&netns);
        let part = poll.part(netns.name());
        (part.plan, part.bytes, cookies(&poll.rows_of(&netns)))
    };
    within(Duration::from_secs(20), "each is looked up", || poll().1 == dumped - 20);
    let (_, _, stays) = poll();
    assert_eq!(stays.len(), 4);
    for _ in 0..3 {
        let more = reset(connect());
        drop(more);
        // Each socket's answer, and no end of a dump.
        assert_eq!(poll(), ("lookups", dumped - 20, stays.clone()));
    }
    // As many as before, and not the same.
    let gone = reset(pairs.pop().unwrap());
    let came = connect();
    drop(came.listener);
    let (plan, _, others) = poll();
    assert_eq!((plan, others.len(), others.difference(&stays).count()), ("walk", 4, 2));
    assert_eq!(poll(), ("lookups", dumped - 20, others));
    drop((gone, listener, pairs, came.client, came.server));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn now_and_then_a_cheap_plan_is_checked_and_nothing_differs() {
    let _alone = alone();
    let netns = TestNetns::new("check").unwrap();
    let _held = with_listeners(connections(&netns, 10), 3);
    let mut eye = eye(PlanMode::Auto, StateSet::DEFAULT);
    let expected = cookies(&eye.poll().rows_of(&netns));
    for _ in 0..20_000 {
        let poll = eye.poll();
        if poll.part(netns.name()).plan == "check" {
            assert_eq!(cookies(&poll.rows_of(&netns)), expected);
        }
        // One that something changed under, such as the kernel freeing a socket of ours, says nothing.
        if eye.source.counters().totals().checks > 0 {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let totals = eye.source.counters().totals();
    assert!(totals.checks > 0, "{totals:?}");
    assert_eq!(totals.check_differences, 0);
}

/// Rows of the listeners as they are, and the bytes that the kernel sent for them.
fn listeners_and_bytes(eye: &mut Eye, netns: &TestNetns) -> (Vec<XtcpFlatRecord>, u64) {
    let poll = eye.unchecked_poll(netns);
    assert_eq!(poll.part(netns.name()).plan, "listeners");
    (poll.rows_of(netns), poll.part(netns.name()).bytes)
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_few_listeners_are_asked_for_one_by_one_until_there_are_others_and_the_rows_are_the_same() {
    let _alone = alone();
    let netns = TestNetns::new("few").unwrap();
    let listen = |address: &str| {
        netns.enter(|| states::listener(address.parse().unwrap(), 4, None).unwrap()).unwrap()
    };
    let mut listeners = vec![listen("127.0.0.1:0"), listen("0.0.0.0:0"), listen("[::]:0")];
    let walked = eye(PlanMode::Full, StateSet::DEFAULT).poll();
    let (all, dumped) = (walked.rows_of(&netns), walked.part(netns.name()).bytes);
    let mut eye = eye(PlanMode::Auto, StateSet::DEFAULT);
    let mut again = Vec::new();
    // A dump ends with NLMSG_DONE, and an answer is an answer. The kernel frees the socket of the poll before some time after it
    // was closed, and as long as it is used and in no protocol's count, it could be a bound one.
    within(Duration::from_secs(20), "each is looked up", || {
        thread::sleep(Duration::from_millis(200));
        let (rows, bytes) = listeners_and_bytes(&mut eye, &netns);
        again = rows;
        bytes == dumped - 20
    });
    assert_eq!(again.len(), 3);
    let same = |row: &XtcpFlatRecord| XtcpFlatRecord {
        timestamp_ns: 0,
        boottime_ns: 0,
        record_counter: 0,
        socket_fd: 0,
        // Ages of what a listener counts.
        tcp_info_last_data_sent: 0,
        tcp_info_last_data_recv: 0,
        tcp_info_last_ack_recv: 0,
        ..row.clone()
    };
    let by_cookie = |rows: &[XtcpFlatRecord]| -> BTreeMap<u64, XtcpFlatRecord> {
        rows.iter().map(|row| (row.inet_diag_msg_socket_cookie, same(row))).collect()
    };
    assert_eq!(by_cookie(&again), by_cookie(&all));

    // One goes and another comes: the count is the same, and one of those that are known is not there.
    drop(listeners.pop());
    listeners.push(listen("127.0.0.1:0"));
    let (other, _) = listeners_and_bytes(&mut eye, &netns);
    assert!(other.len() == 3 && cookies(&other) != cookies(&all));
    let (more, _) = listeners_and_bytes(&mut eye, &netns);
    assert_eq!(cookies(&more), cookies(&other));
    listeners.push(listen("127.0.0.1:0"));
    assert_eq!(listeners_and_bytes(&mut eye, &netns).0.len(), 4);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn listeners_that_share_an_address_are_all_in_every_poll() {
    let _alone = alone();
    let netns = TestNetns::new("shared").unwrap();
    let make = || states::reuseport_listeners(loopback(), 3).unwrap();
    let _listeners = netns.enter(make).unwrap();
    let mut eye = eye(PlanMode::Auto, StateSet::DEFAULT);
    let first = cookies(&listeners_and_bytes(&mut eye, &netns).0);
    assert_eq!(first.len(), 3);
    for _ in 0..3 {
        assert_eq!(cookies(&listeners_and_bytes(&mut eye, &netns).0), first);
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_bound_socket_of_a_large_namespace_is_a_row_of_the_next_poll() {
    let _alone = alone();
    let netns = TestNetns::new("large").unwrap();
    // More than are planned: three sockets each.
    let _held = connections(&netns, 700);
    let mut eye = eye(PlanMode::Auto, StateSet::DEFAULT);
    let poll = eye.poll();
    poll.assert_complete(netns.name());
    assert_eq!((poll.rows_of(&netns).len(), poll.part(netns.name()).plan), (2100, "walk"));

    let bound = netns.enter(|| states::bound(loopback()).unwrap()).unwrap();
    let poll = eye.poll();
    poll.assert_complete(netns.name());
    let closed: Vec<u32> = poll
        .rows_of(&netns)
        .iter()
        .filter(|row| row.inet_diag_msg_state == 7)
        .map(|row| row.inet_diag_msg_socket_source_port)
        .collect();
    let port = states::local(&bound).unwrap().port();
    assert_eq!((poll.rows_of(&netns).len(), closed), (2101, vec![u32::from(port)]));

    drop(bound);
    assert_eq!(eye.poll().rows_of(&netns).len(), 2100);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn several_readers_ask_for_bound_sockets_where_there_are_some() {
    let _alone = alone();
    let netns = TestNetns::new("parts-bound").unwrap();
    let _held = connections(&netns, 700);
    let settings = Settings { netlinkers: Netlinkers::Fixed(3), split_from: 1_000, ..settings() };
    let mut eye = Eye::new(settings);
    let bound: Vec<_> =
        (0..5).map(|_| netns.enter(|| states::bound(loopback()).unwrap()).unwrap()).collect();
    for expected in [2105, 2105] {
        let poll = eye.poll();
        poll.assert_complete(netns.name());
        assert_eq!(poll.part(netns.name()).plan, "parts");
        assert_eq!(cookies(&poll.rows_of(&netns)).len(), expected);
    }
    drop(bound);
    assert_eq!(cookies(&eye.poll().rows_of(&netns)).len(), 2100);
}
