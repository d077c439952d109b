//! Conversations with a kernel that says what it is told to.

use std::cell::RefCell;

use nix::libc::ENOENT;
use sockeye_netns::NetnsId;
use sockeye_pipeline::Completeness;
use sockeye_record::{Envelope, Limits};
use sockeye_sys::Received;
use sockeye_sys::netns::NetnsFd;
use sockeye_testkit::scripted::{inet_diag, message};
use sockeye_wire::SocketKey;
use sockeye_wire::inet_diag::{SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK};
use sockeye_wire::netlink::{NLMSG_DONE, NLMSG_ERROR};
use sockeye_wire::tcp_state::{FIN_WAIT2, LISTEN, TIME_WAIT};

use super::*;
use crate::sockdiag::kit::Kit;
use crate::sockdiag::memory::Known;
use crate::sockdiag::sample::Modulus;
use crate::sockdiag::settings::Settings;

#[derive(Default)]
struct Shipped(RefCell<u64>);

impl Ship for Shipped {
    fn ship(&self, _lane: usize, _envelope: Envelope) {
        *self.0.borrow_mut() += 1;
    }
}

/// A namespace with a listener, whose cookie is 1, and connections, whose cookies follow.
pub(crate) struct Conversation {
    pub(crate) shared: Shared,
    pub(crate) kit: Kit,
    pub(crate) reading: Reading,
}

fn listener() -> Vec<u8> {
    let mut listener = inet_diag(2, 1, &[]);
    listener[1] = LISTEN;
    listener
}

fn connection(cookie: u64) -> Vec<u8> {
    inet_diag(2, cookie, &[])
}

/// Which is the dump's own answer, or that to a lookup.
fn reply(seq: u32, payload: &[u8]) -> Vec<u8> {
    message(SOCK_DIAG_BY_FAMILY, 0, seq, 0, payload)
}

fn no_such_socket(seq: u32) -> Vec<u8> {
    let mut error = (-ENOENT).to_ne_bytes().to_vec();
    error.extend([0; 16]);
    message(NLMSG_ERROR, 0, seq, 0, &error)
}

fn done(seq: u32, errno: i32) -> Vec<u8> {
    message(NLMSG_DONE, 0, seq, 0, &(-errno).to_ne_bytes())
}

impl Conversation {
    /// `known` connections and the listener are known; as many sockets are counted as `in_use`.
    fn new(known: u64, in_use: u64) -> Self {
        Self::looking(Look { first: First::Unconnected, ..Self::look(in_use) }, known)
    }

    fn looking(look: Look, known: u64) -> Self {
        Self::remembering(look, known, None, |_| ())
    }

    fn look(in_use: u64) -> Look {
        Look {
            census: None,
            counts: Some(Counts { in_use, time_waiters: 0, used: 0 }),
            opens: None,
            bound: false,
            left_out: StateSet::NONE,
            kernel_sockets: false,
            first: First::Walk,
            socket: None,
            filter: None,
        }
    }

    /// With a count of the connections that had been opened when these were known, and with what else is remembered.
    fn remembering(
        look: Look,
        known: u64,
        opens: Option<u64>,
        remember: impl FnOnce(&mut Memory),
    ) -> Self {
        let home = NetnsFd::open("/proc/thread-self/ns/net").unwrap();
        // Each row is an envelope, so that whoever looks sees what was sent.
        let limits = Limits { rows: 1, bytes: 1 << 20 };
        let settings = Settings { limits, ..Settings::of_tests() };
        let shared = Shared::new(settings, home, 1, None);
        let keys = (2..2 + known).map(|cookie| SocketKey::of(&connection(cookie)).unwrap());
        let mut memory = Memory {
            known: Known::new(opens, keys.collect(), &shared.budget),
            listeners: Some(vec![SocketKey::of(&listener()).unwrap()]),
            walk: std::time::Duration::from_secs(1),
            ..Memory::default()
        };
        remember(&mut memory);
        let rows = Rows::new(NetnsId { device: 4, inode: 1 }, "n".into(), None, Modulus::ALL);
        let kit = shared.kits.lease();
        let (reading, _) = Reading::new(&shared, rows, look, None, memory, Vec::new());
        Self { shared, kit, reading }
    }

    /// In the middle of a check. The plan has brought a listener and two connections.
    pub(crate) fn in_a_check() -> Self {
        let mut talk = Self::new(2, 3);
        talk.reading.check();
        talk.all_answer(2);
        talk.ask();
        talk
    }

    fn ask(&mut self) -> Option<Vec<u8>> {
        self.reading.ask(&self.shared).map(<[u8]>::to_vec)
    }

    /// How many sockets are looked up by the next request.
    fn lookups(&mut self) -> usize {
        let request = self.ask().unwrap();
        let kinds = request.chunks(LOOKUP_BYTES).map(|one| u16::from_ne_bytes([one[4], one[5]]));
        kinds.inspect(|kind| assert_eq!(*kind, SOCK_DIAG_BY_FAMILY)).count()
    }

    /// The states that the next request asks for, which is one for a dump.
    fn dumped_states(&mut self) -> u32 {
        let request = self.ask().unwrap();
        assert_eq!(u16::from_ne_bytes([request[4], request[5]]), TCPDIAG_GETSOCK);
        u32::from_ne_bytes(request[68..72].try_into().unwrap())
    }

    fn hear(&mut self, chunk: &[u8]) -> Step {
        let received = Received { len: chunk.len(), truncated: false, from_kernel: true };
        self.get(&Got::Chunk(received, chunk))
    }

    fn get(&mut self, got: &Got<'_>) -> Step {
        let Kit { lanes, layouts, .. } = &mut self.kit;
        let mut to = To { lanes, layouts, ship: &Shipped::default() };
        self.reading.feed(got, &self.shared, &mut to)
    }

    /// Each of the known sockets answers.
    fn all_answer(&mut self, known: u64) {
        assert_eq!(self.lookups() as u64, 1 + known);
        assert_eq!(self.hear(&reply(1, &listener())), Step::GoOn);
        for (seq, cookie) in (2..).zip(2..2 + known) {
            let last = cookie == 1 + known;
            let step = self.hear(&reply(seq, &connection(cookie)));
            assert_eq!(step, if last { Step::Ended } else { Step::GoOn });
        }
    }

    fn finish(mut self) -> Read {
        assert_eq!(self.ask(), None);
        self.reading.finish()
    }
}

const LOOKUP_BYTES: usize = 72;

#[test]
fn known_sockets_that_all_answer_are_the_rows_without_another_request() {
    let mut talk = Conversation::new(2, 3);
    talk.all_answer(2);
    let read = talk.finish();
    assert_eq!((read.plan, read.report.rows), (Plan::Lookups, 3));
    assert_eq!(read.report.completeness, Completeness::Complete);
    let (known, listeners) = (read.memory.known.unwrap(), read.memory.listeners.unwrap());
    assert_eq!((known.keys.len(), known.opens, listeners.len()), (2, None, 1));
}

#[test]
fn where_the_last_known_connection_has_closed_listeners_are_everything() {
    let mut talk = Conversation::new(1, 1);
    assert_eq!(talk.lookups(), 2);
    talk.hear(&reply(1, &listener()));
    assert_eq!(talk.hear(&no_such_socket(2)), Step::Ended);
    let read = talk.finish();
    assert_eq!((read.plan, read.report.rows), (Plan::Listeners, 1));
    assert!(read.memory.unconnected && read.memory.known.is_none());
}

#[test]
fn more_than_thirty_two_are_asked_for_in_several_exchanges() {
    let mut talk = Conversation::new(40, 41);
    assert_eq!(talk.lookups(), 32);
    talk.hear(&reply(1, &listener()));
    for cookie in 2..=32u32 {
        talk.hear(&reply(cookie, &connection(cookie.into())));
    }
    assert_eq!(talk.lookups(), 9);
    for cookie in 33..=41u32 {
        talk.hear(&reply(cookie, &connection(cookie.into())));
    }
    assert_eq!(talk.finish().report.rows, 41);
}

#[test]
fn no_more_is_asked_for_when_those_that_are_left_can_not_make_up_for_who_did_not_answer() {
    let mut talk = Conversation::new(40, 41);
    assert_eq!(talk.lookups(), 32);
    talk.hear(&reply(1, &listener()));
    talk.hear(&no_such_socket(2));
    for cookie in 3..=32u32 {
        talk.hear(&reply(cookie, &connection(cookie.into())));
    }
    assert_ne!(talk.dumped_states() & (1 << 1), 0, "the table is walked");
}

#[test]
fn answers_that_got_lost_say_nothing_of_listeners() {
    let mut talk = Conversation::new(1, 2);
    assert_eq!(talk.lookups(), 2);
    assert_eq!(talk.get(&Got::Lost), Step::Ended);
    assert_eq!(talk.dumped_states(), 1 << LISTEN);
    assert!(talk.reading.memory.unanswering.is_empty() && talk.reading.memory.listeners.is_some());
}

/// A namespace with a listener and `known` connections, in which `ended` others have ended, and whose counters say that there
/// are mini-sockets.
fn hiding(in_use: u64, time_waiters: u32, known: u64, ended: u64) -> Conversation {
    let end = move |memory: &mut Memory| {
        memory.ends = (0..ended).map(|i| SocketKey::of(&mini(100 + i)).unwrap()).collect();
    };
    Conversation::remembering(look_at_minis(in_use, time_waiters), known, None, end)
}

/// Counts that are the same when they are read again.
fn look_at_minis(in_use: u64, time_waiters: u32) -> Look {
    let look = Conversation::look(in_use);
    let counts = look.counts.map(|counts| Counts { time_waiters, ..counts });
    let census = Some(census(in_use, time_waiters));
    Look { first: First::Unconnected, counts, census, ..look }
}

/// The counters of a namespace, as they are to be read again.
fn census(in_use: u64, time_waiters: u32) -> Census {
    let proc = tempfile::tempdir().unwrap();
    let net = proc.path().join("thread-self/net");
    std::fs::create_dir_all(&net).unwrap();
    let line = format!("sockets: used 1\nTCP: inuse {in_use} orphan 0 tw {time_waiters} mem 1\n");
    std::fs::write(net.join("sockstat"), line).unwrap();
    // Its files stay open.
    Census::open(proc.path()).unwrap()
}

/// What is left of a connection with this cookie, which has a port of its own.
fn mini(cookie: u64) -> Vec<u8> {
    let mut mini = inet_diag(2, cookie, &[]);
    (mini[1], mini[2], mini[4]) = (TIME_WAIT, 3, cookie.to_le_bytes()[0]);
    mini
}

#[test]
fn beside_mini_sockets_known_sockets_are_everything_if_as_many_of_either_kind_are_counted() {
    let mut talk = hiding(2, 1, 2, 0);
    assert_eq!(talk.lookups(), 3);
    talk.hear(&reply(1, &listener()));
    talk.hear(&reply(2, &connection(2)));
    assert_eq!(talk.hear(&reply(3, &mini(3))), Step::Ended);
    let read = talk.finish();
    // TIME_WAIT is not wanted.
    assert_eq!((read.plan, read.report.rows), (Plan::Lookups, 2));
    assert_eq!(read.memory.known.unwrap().keys.len(), 2, "it is looked up the next time");
    // One more than there can be.
    assert_eq!(hiding(2, 2, 2, 0).dumped_states(), 1 << LISTEN);
}

#[test]
fn beside_mini_sockets_the_counters_have_to_stand_still() {
    for now in [None, Some((2, 0)), Some((2, 2)), Some((1, 1)), Some((3, 1))] {
        let mut talk = hiding(2, 1, 2, 0);
        talk.reading.census = now.map(|(in_use, minis)| census(in_use, minis));
        talk.lookups();
        talk.hear(&reply(1, &listener()));
        talk.hear(&reply(2, &connection(2)));
        assert_eq!(talk.hear(&reply(3, &mini(3))), Step::Ended);
        assert_ne!(talk.dumped_states() & (1 << 1), 0, "{now:?}: the table is walked");
    }
}

#[test]
fn where_no_connection_was_opened_mini_sockets_are_left_of_known_ones_and_not_looked_for() {
    let opened = |then, now| {
        let look = Look { opens: now, ..look_at_minis(2, 9) };
        let end = |memory: &mut Memory| memory.ends = vec![SocketKey::of(&mini(100)).unwrap()];
        Conversation::remembering(look, 1, then, end)
    };
    let mut talk = opened(Some(5), Some(5));
    talk.all_answer(1);
    let read = talk.finish();
    assert_eq!((read.plan, read.report.rows), (Plan::Lookups, 2));
    assert_eq!(read.memory.known.unwrap().opens, Some(5));
    for (then, now) in [(Some(5), Some(6)), (None, None), (Some(5), None)] {
        assert_eq!(opened(then, now).dumped_states(), 1 << LISTEN, "{then:?} {now:?}");
    }
}

#[test]
fn where_nothing_but_listeners_and_old_mini_sockets_are_left_it_is_remembered_that_none_was_opened()
{
    let look = Look { opens: Some(5), ..look_at_minis(1, 900) };
    let mut talk = Conversation::remembering(look, 0, Some(5), |_| ());
    assert_eq!(talk.lookups(), 1);
    assert_eq!(talk.hear(&reply(1, &listener())), Step::Ended);
    let read = talk.finish();
    assert_eq!((read.plan, read.report.rows), (Plan::Lookups, 1));
    let known = read.memory.known.unwrap();
    assert_eq!((known.keys.len(), known.opens, read.memory.unconnected), (0, Some(5), false));
}

#[test]
fn where_listeners_are_many_ends_are_asked_for_behind_them_and_counters_are_read_again() {
    for (now, walks) in [((2, 1), false), ((3, 1), true), ((2, 2), true)] {
        let many = |memory: &mut Memory| {
            (memory.listeners, memory.ends) = (None, vec![SocketKey::of(&mini(100)).unwrap()]);
        };
        let mut talk = Conversation::remembering(look_at_minis(2, 1), 1, None, many);
        talk.reading.census = Some(census(now.0, now.1));
        assert_eq!(talk.dumped_states(), 1 << LISTEN);
        talk.hear(&reply(1, &listener()));
        talk.hear(&done(1, 0));
        assert_eq!(talk.lookups(), 1);
        assert_eq!(talk.hear(&reply(2, &connection(2))), Step::Ended);
        assert_eq!(talk.lookups(), 1);
        assert_eq!(talk.hear(&reply(3, &mini(100))), Step::Ended);
        if walks {
            assert_ne!(talk.dumped_states() & (1 << 1), 0, "{now:?}");
        } else {
            let read = talk.finish();
            assert_eq!((read.plan, read.report.rows), (Plan::Lookups, 2));
        }
    }
}

#[test]
fn a_known_connection_that_ends_behind_its_answer_is_no_mini_socket_that_was_missing() {
    let mut talk = hiding(2, 1, 1, 1);
    talk.all_answer(1);
    assert_eq!(talk.lookups(), 1);
    assert_eq!(talk.hear(&reply(3, &mini(2))), Step::Ended);
    assert_ne!(talk.dumped_states() & (1 << 1), 0, "the table is walked");
}

#[test]
fn mini_sockets_that_are_not_worth_it_are_not_remembered() {
    let remembered = |walk| {
        let mut talk = hiding(2, 2, 1, 0);
        talk.reading.memory.walk = walk;
        talk.reading.walk(&talk.shared);
        talk.ask();
        let mut fin_wait = mini(7);
        fin_wait[1] = FIN_WAIT2;
        for payload in [listener(), connection(2), fin_wait, mini(8)] {
            talk.hear(&reply(1, &payload));
        }
        // How long it took is known only then.
        talk.reading.walk_began = Instant::now().checked_sub(walk).unwrap();
        talk.hear(&done(1, 0));
        talk.finish().memory.known.unwrap().keys.len()
    };
    let ms = std::time::Duration::from_millis;
    assert_eq!((remembered(ms(0)), remembered(ms(100))), (2, 3));
}

#[test]
fn what_is_left_of_connections_that_nobody_has_seen_is_looked_up_by_what_was_told_of_their_end() {
    let mut talk = hiding(2, 2, 1, 4);
    talk.all_answer(1);
    assert_eq!(talk.lookups(), 4);
    let mut fin_wait = mini(100);
    fin_wait[1] = FIN_WAIT2;
    talk.hear(&reply(3, &fin_wait));
    // A listener answers in place of who left nothing, and a connection that came after one; neither is counted for it.
    talk.hear(&reply(4, &listener()));
    talk.hear(&reply(5, &connection(9)));
    assert_eq!(talk.hear(&reply(6, &mini(103))), Step::Ended);
    let read = talk.finish();
    assert_eq!((read.plan, read.report.rows), (Plan::Lookups, 3), "FIN_WAIT2 is wanted");
    assert_eq!(read.memory.known.unwrap().keys.len(), 3);
    assert!(read.memory.ends.is_empty());
}

#[test]
fn a_mini_socket_that_is_found_twice_counts_once_and_what_is_missing_is_walked_for() {
    let mut talk = hiding(1, 2, 1, 1);
    talk.reading.memory.walk = std::time::Duration::from_secs(1);
    assert_eq!(talk.lookups(), 2);
    talk.hear(&reply(1, &listener()));
    assert_eq!(talk.hear(&reply(2, &mini(2))), Step::Ended);
    assert_eq!(talk.lookups(), 1);
    assert_eq!(talk.hear(&reply(3, &mini(2))), Step::Ended);
    let states = talk.dumped_states();
    assert_ne!(states & (1 << 1), 0, "the table is walked: {states:#x}");
    assert_ne!(states & (1 << TIME_WAIT), 0, "so that they are known the next time");
    for payload in [listener(), mini(2), mini(7)] {
        talk.hear(&reply(4, &payload));
    }
    assert_eq!(talk.hear(&done(4, 0)), Step::Ended);
    let read = talk.finish();
    assert_eq!((read.plan, read.report.rows), (Plan::Walk, 1));
    assert_eq!(read.memory.known.unwrap().keys.len(), 2);
}

#[test]
fn no_more_ends_are_asked_for_than_it_takes_to_find_every_mini_socket() {
    let mut talk = hiding(2, 1, 1, 40);
    talk.all_answer(1);
    assert_eq!(talk.lookups(), 32);
    for seq in 3..34 {
        talk.hear(&no_such_socket(seq));
    }
    assert_eq!(talk.hear(&reply(34, &mini(100))), Step::Ended);
    assert_eq!(talk.finish().report.rows, 2);
    let mut talk = hiding(2, 1, 1, 40);
    talk.all_answer(1);
    talk.lookups();
    for seq in 3..35 {
        talk.hear(&no_such_socket(seq));
    }
    assert_eq!(talk.lookups(), 8);
    assert_eq!(talk.get(&Got::Lost), Step::Ended);
    assert_ne!(talk.dumped_states() & (1 << 1), 0, "the table is walked");
}

#[test]
fn where_nothing_is_known_but_ends_they_are_asked_for_at_once() {
    let nothing = |memory: &mut Memory| {
        (memory.listeners, memory.known, memory.unconnected) = (Some(Vec::new()), None, true);
        memory.ends = vec![SocketKey::of(&mini(100)).unwrap()];
    };
    let mut talk = Conversation::remembering(look_at_minis(0, 1), 0, None, nothing);
    assert_eq!(talk.lookups(), 1);
    let (_, (wall_ns, _)) = talk.reading.rows.dumped();
    assert!(wall_ns > 0, "rows say when it was");
    assert_eq!(talk.hear(&reply(1, &mini(100))), Step::Ended);
    let read = talk.finish();
    assert_eq!((read.plan, read.report.rows), (Plan::Lookups, 0));
    assert!(!read.memory.unconnected && read.memory.known.unwrap().keys.len() == 1);
}

#[test]
fn many_mini_sockets_are_not_walked_for() {
    let asks = |minis, walk| {
        let mut talk = hiding(4, minis, 1, 0);
        talk.reading.memory.walk = std::time::Duration::from_micros(walk);
        talk.dumped_states();
        talk.hear(&done(1, 0));
        talk.dumped_states() & (1 << TIME_WAIT) != 0
    };
    assert!(asks(2048, 1_000_000) && !asks(2049, 1_000_000));
    // Nor those that it would take as long to look up.
    assert!(asks(96, 601) && !asks(96, 600) && asks(96, 0));
}

#[test]
fn where_a_known_connection_does_not_answer_and_another_is_counted_the_table_is_walked() {
    let mut talk = Conversation::new(2, 3);
    assert_eq!(talk.lookups(), 3);
    talk.hear(&reply(1, &listener()));
    talk.hear(&reply(2, &connection(2)));
    assert_eq!(talk.hear(&no_such_socket(3)), Step::Ended);
    let states = talk.dumped_states();
    assert_ne!(states & (1 << 1), 0, "established connections are asked for: {states:#x}");
    for payload in [listener(), connection(2), connection(9)] {
        talk.hear(&reply(4, &payload));
    }
    assert_eq!(talk.hear(&done(4, 0)), Step::Ended);
    let read = talk.finish();
    assert_eq!((read.plan, read.report.rows), (Plan::Walk, 3));
    assert_eq!(read.memory.known.unwrap().keys.len(), 2);
    assert!(read.memory.unanswering.is_empty());
}

#[test]
fn where_a_known_listener_does_not_answer_all_are_asked_for_and_it_is_not_tried_again() {
    let mut talk = Conversation::new(1, 2);
    assert_eq!(talk.lookups(), 2);
    talk.hear(&no_such_socket(1));
    assert_eq!(talk.hear(&reply(2, &connection(2))), Step::Ended);
    assert_eq!(talk.dumped_states(), 1 << LISTEN);
    assert_eq!(talk.reading.memory.unanswering.len(), 1);
    assert_eq!(talk.reading.memory.listeners, None);
    talk.hear(&reply(3, &listener()));
    assert_eq!(talk.hear(&done(3, 0)), Step::Ended);
    assert_eq!(talk.lookups(), 1, "and the connection once more");
}

#[test]
fn a_check_that_does_not_come_to_its_end_sends_what_the_plan_has_brought() {
    for ending in [None, Some(5)] {
        let mut talk = Conversation::new(2, 3);
        talk.reading.check();
        talk.all_answer(2);
        let states = talk.dumped_states();
        assert_ne!(states & (1 << 1), 0, "the table is walked: {states:#x}");
        talk.hear(&reply(4, &connection(2)));
        let step = match ending {
            None => talk.get(&Got::Nothing(Incomplete::Timeout)),
            Some(errno) => talk.hear(&done(4, errno)),
        };
        assert_eq!(step, Step::Ended);
        let read = talk.finish();
        assert_eq!((read.plan, read.report.rows, read.differences), (Plan::Check, 3, None));
        assert_eq!(read.report.completeness, Completeness::Complete);
        assert!(read.memory.known.is_none(), "nobody knows what has changed meanwhile");
    }
}

#[test]
fn what_a_plan_has_brought_is_sent_though_a_check_fails_between_two_receives() {
    let mut talk = Conversation::in_a_check();
    talk.reading.fail(Incomplete::Stopped);
    assert!(talk.reading.is_over());
    // As when a ring that can't be used any more gives up on everything.
    talk.reading.fail(Incomplete::Stopped);
    let Kit { lanes, layouts, .. } = &mut talk.kit;
    talk.reading.send_rest(&talk.shared, &mut To { lanes, layouts, ship: &Shipped::default() });
    let read = talk.finish();
    assert_eq!((read.report.rows, read.report.completeness), (3, Completeness::Complete));
}

/// A check in a namespace with a listener and a connection, whose walk brings `walked`.
fn check(prepare: impl Fn(&mut Reading), walked: &[Vec<u8>]) -> Read {
    let mut talk = Conversation::new(1, 2);
    talk.reading.check();
    talk.all_answer(1);
    prepare(&mut talk.reading);
    talk.ask();
    for payload in walked {
        talk.hear(&reply(3, payload));
    }
    assert_eq!(talk.hear(&done(3, 0)), Step::Ended);
    talk.finish()
}

#[test]
fn a_check_that_comes_to_its_end_sends_what_was_walked() {
    let read = check(|_| (), &[listener(), connection(2), connection(3)]);
    assert_eq!((read.plan, read.report.rows, read.differences), (Plan::Check, 3, None));
    assert!(
        !read.memory.kernel_sockets,
        "without counters nobody knows whether it changed meanwhile"
    );
}

#[test]
fn what_a_check_finds_besides_the_plan_is_counted_and_counters_are_not_believed_again() {
    let counting = |reading: &mut Reading| {
        let Look { census, counts, .. } = look_without_bound();
        reading.opens = census.as_ref().and_then(|census| census.opens().ok());
        (reading.census, reading.counts) = (census, counts);
    };
    // Other tests may open sockets meanwhile, but not every time.
    let compared = |walked: &[Vec<u8>]| {
        let reads = (0..1000).map(|_| check(counting, walked));
        reads.into_iter().find(|read| read.differences.is_some()).unwrap()
    };
    let same = compared(&[listener(), connection(2)]);
    assert_eq!((same.differences, same.memory.kernel_sockets), (Some(0), false));
    // In a state that is not wanted by now.
    let mut moved = connection(2);
    moved[1] = TIME_WAIT;
    let moved = compared(&[listener(), moved]);
    assert_eq!((moved.differences, moved.memory.kernel_sockets), (Some(0), false));
    let other = compared(&[listener(), connection(3)]);
    assert_eq!((other.differences, other.memory.kernel_sockets), (Some(2), true));
}

#[test]
fn what_is_cut_short_without_a_plan_is_incomplete() {
    let mut talk = Conversation::new(2, 9);
    assert_eq!(talk.dumped_states(), 1 << LISTEN);
    assert_eq!(talk.get(&Got::Nothing(Incomplete::Timeout)), Step::Ended);
    let read = talk.finish();
    let incomplete = Completeness::Incomplete(Incomplete::Timeout);
    assert_eq!((read.report.rows, read.report.completeness), (0, incomplete));
}

/// `TCP_BOUND_INACTIVE`.
const BOUND: u32 = 1 << 13;

/// Of our own namespace, as if no socket were bound in it.
fn look_without_bound() -> Look {
    let census = Census::open(std::path::Path::new("/proc")).unwrap();
    let counts = Counts::from(census.sockstat().unwrap());
    // As if a socket for the conversation had been opened since.
    let counts = Some(Counts { used: counts.used.saturating_sub(1), ..counts });
    let (census, left_out) = (Some(census), StateSet::BOUND_INACTIVE);
    Look { census, counts, left_out, ..Conversation::look(0) }
}

#[test]
fn a_walk_leaves_out_bound_sockets_while_the_counters_stand_still() {
    // Other tests may open sockets meanwhile, but not every time.
    let walk = || Conversation::looking(look_without_bound(), 0).dumped_states() & BOUND;
    assert!((0..1000).any(|_| walk() == 0));
}

#[test]
fn a_walk_asks_for_bound_sockets_where_the_counters_moved_or_can_not_be_read_or_leave_room() {
    let moved = |counts: Counts| Counts { used: counts.used + 1000, ..counts };
    let look = look_without_bound();
    let moved = Look { counts: look.counts.map(moved), ..look };
    let unread = Look { census: None, ..look_without_bound() };
    let room = Look { left_out: StateSet::NONE, ..look_without_bound() };
    for look in [moved, unread, room] {
        assert_eq!(Conversation::looking(look, 0).dumped_states() & BOUND, BOUND);
    }
}

#[test]
fn a_check_looks_for_bound_sockets_whatever_the_counters_say() {
    let look = Look {
        first: First::Unconnected,
        left_out: StateSet::BOUND_INACTIVE,
        ..Conversation::look(2)
    };
    let mut talk = Conversation::looking(look, 1);
    talk.reading.check();
    talk.all_answer(1);
    assert_eq!(talk.dumped_states() & BOUND, BOUND);
}
