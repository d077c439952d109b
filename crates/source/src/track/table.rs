//! The sockets of one namespace: what polls show of them, and their end.

use std::sync::Arc;

use sockeye_record::{Deltas, Joined};
use sockeye_wire::InetDiag;

use super::budget::Budget;
use super::dumps::Dumps;
use super::ends::Ends;
use super::entry::{Counts, Entry};
use super::kinds::{Kind, Kinds};
use super::slab::Slab;

/// What is remembered of a namespace.
#[derive(Debug)]
pub(crate) struct Table {
    slab: Slab,
    kinds: Kinds,
    /// Bytes of kinds that the budget knows of.
    kinds_charged: usize,
    budget: Arc<Budget>,
    dumps: Dumps,
    ends: Ends,
    /// A socket was forgotten that may still be there.
    forgot: bool,
    /// A socket found no room since the last dump ended.
    pressed: bool,
    /// Dumps since polls asked for something else, the last one before counted as none.
    dumps_alike: u16,
    pub(super) counts: TableCounts,
}

/// What was counted since it was last asked for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableCounts {
    pub(super) duplicates: u64,
    pub(super) missed: u64,
    pub(super) refused: u64,
    pub(super) forgotten: u64,
    pub(super) vanished: u64,
    pub(super) late: u64,
}

/// What a poll's row is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A row, with what happened since the one before; `None` where the socket is not remembered.
    Row(Option<Deltas>),
    /// None: this dump has shown the socket already.
    Duplicate,
}

/// What was known of a connection that has closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Last {
    entry: Entry,
    kind: Option<Kind>,
}

/// What the end of a dump is to be judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judgement {
    /// The dump was complete.
    pub(super) complete: bool,
    /// The kernel tells of closed sockets of this namespace, and all that it told of up to this boot time has been read.
    pub(super) heard_up_to_ns: Option<i64>,
    /// Boot time.
    pub(super) now_ns: i64,
}

impl Table {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            slab: Slab::new(Arc::clone(&budget)),
            kinds: Kinds::default(),
            kinds_charged: 0,
            ends: Ends::new(Arc::clone(&budget)),
            budget,
            dumps: Dumps::default(),
            forgot: false,
            pressed: false,
            dumps_alike: u16::MAX,
            counts: TableCounts::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// How many sockets are remembered, and of how many of them the end is not known.
    pub(super) fn left(&self) -> (u64, u64) {
        let entries = (0..self.slab.slots()).filter_map(|slot| self.slab.get(slot));
        // Those that vanished are counted already.
        let open = entries.filter(|entry| !entry.is_closed() && !entry.has_vanished()).count();
        (self.slab.len() as u64, open as u64)
    }

    /// Keys of connections that have ended.
    pub(crate) fn ends(&mut self) -> &mut Ends {
        &mut self.ends
    }

    /// A dump is about to be asked for.
    pub(super) fn begin_dump(&mut self, now_ns: i64) {
        self.dumps.begin(now_ns);
        self.dumps_alike = self.dumps_alike.saturating_add(1);
    }

    /// Dumps that begin from now on may not show what those before did.
    pub(super) fn ask_otherwise(&mut self) {
        self.dumps_alike = 0;
    }

    /// Sockets were forgotten that may still be there.
    pub(super) fn set_forgot(&mut self) {
        self.forgot = true;
    }

    /// A dump that was requested at this time shows a socket.
    #[inline]
    pub(crate) fn seen(&mut self, diag: &InetDiag<'_>, requested_ns: i64) -> Seen {
        let Some(now) = Counts::of(diag) else { return Seen::Row(None) };
        let Some(slot) = self.slab.find(diag.cookie()) else {
            return self.first_seen(diag, &now, requested_ns);
        };
        let dump = self.dumps.current();
        let Some(entry) = self.slab.get_mut(slot) else { return Seen::Row(None) };
        let last_seen = entry.last_seen();
        if entry.is_closed() {
            // It has closed while the dump was on its way here, and its last row has told everything.
            if last_seen == dump {
                self.counts.duplicates += 1;
                return Seen::Duplicate;
            }
            entry.set_last_seen(dump);
            return Seen::Row(Some(Deltas::default()));
        }
        if last_seen == dump {
            self.counts.duplicates += 1;
            return Seen::Duplicate;
        }
        self.counts.missed += u64::from(self.dumps.absences(last_seen));
        if entry.has_vanished() {
            // It has not: it was in a state that polls do not ask for, or dumps missed it twice.
            entry.set_vanished(false);
            self.counts.late += 1;
        }
        entry.set_last_seen(dump);
        let deltas = entry.since(&now);
        entry.update(diag, &now);
        let (before, kind) = (entry.kind(), Kind::of(diag));
        let kind = self.kinds.change(before, &kind);
        if kind != before {
            entry.set_kind(kind);
        }
        Seen::Row(Some(deltas))
    }

    fn first_seen(&mut self, diag: &InetDiag<'_>, now: &Counts, requested_ns: i64) -> Seen {
        let mut entry = Entry::new(diag.cookie(), requested_ns, self.dumps.current());
        entry.update(diag, now);
        let kind = self.kinds.change(0, &Kind::of(diag));
        entry.set_kind(kind);
        if self.slab.insert(entry).is_none() {
            self.kinds.release(kind);
            self.refuse();
            return Seen::Row(None);
        }
        Seen::Row(Some(now.all(self.first_flags())))
    }

    /// The kernel tells of the end of a connection: what was known of it, and what happened since.
    pub(crate) fn closed(&mut self, diag: &InetDiag<'_>) -> (Option<Last>, Option<Deltas>) {
        let (cookie, now) = (diag.cookie(), Counts::of(diag));
        let slot = self.slab.find(cookie);
        let Some(entry) = slot.and_then(|slot| self.slab.get_mut(slot)) else {
            self.remember_closed(cookie);
            return (None, now.map(|now| now.all(self.first_flags())));
        };
        if entry.has_vanished() {
            entry.set_vanished(false);
            self.counts.late += 1;
        }
        let last = *entry;
        let deltas = now.map(|now| last.since(&now));
        let kind = self.kinds.get(last.kind()).copied();
        if self.dumps.is_under_way() {
            entry.set_closed();
        } else {
            self.slab.remove(cookie);
            self.kinds.release(last.kind());
        }
        (Some(Last { entry: last, kind }), deltas)
    }

    /// The kernel tells of the end of a socket that is to be no row: it was aborted, or let go of its peer.
    pub(crate) fn ended(&mut self, cookie: u64) {
        if !self.forget(cookie) {
            self.remember_closed(cookie);
        }
    }

    /// The same of one that no poll shows; whether it is known from before.
    pub(crate) fn forget(&mut self, cookie: u64) -> bool {
        let slot = self.slab.find(cookie);
        let Some(entry) = slot.and_then(|slot| self.slab.get_mut(slot)) else { return false };
        if entry.has_vanished() {
            entry.set_vanished(false);
            self.counts.late += 1;
        }
        let kind = entry.kind();
        if self.dumps.is_under_way() {
            entry.set_closed();
        } else {
            self.slab.remove(cookie);
            self.kinds.release(kind);
        }
        true
    }

    /// A dump that is under way may yet show it, and it must not be taken for a new one.
    fn remember_closed(&mut self, cookie: u64) {
        if self.dumps.is_under_way() {
            // As if an earlier dump had shown it: this one may do so once.
            let mut entry = Entry::new(cookie, 0, self.dumps.current().wrapping_sub(1));
            entry.set_closed();
            if self.slab.insert(entry).is_none() {
                self.refuse();
                // Its row would be a first one again.
                self.forgot = true;
            }
        }
    }

    /// A dump has ended: what it has not shown is judged.
    pub(super) fn end_dump(&mut self, judgement: &Judgement) {
        if !self.dumps.end(judgement.complete, judgement.now_ns) {
            return;
        }
        let heard = judgement
            .heard_up_to_ns
            .map(|heard| heard - GRACE_NS >= self.dumps.last_but_one_ended());
        let pressed = std::mem::take(&mut self.pressed);
        for slot in 0..self.slab.slots() {
            let Some(entry) = self.slab.get_mut(slot) else { continue };
            let (cookie, kind) = (entry.cookie(), entry.kind());
            if !entry.is_closed() {
                if entry.last_seen() == self.dumps.current() {
                    continue;
                }
                let absences = self.dumps.absences(entry.last_seen());
                let now_ns = judgement.now_ns;
                let expired = self.dumps.is_expired(entry.last_seen(), absences, now_ns);
                if absences < ABSENCES && !expired {
                    continue;
                }
                let is_asked_for = self.dumps.age(entry.last_seen()) < self.dumps_alike;
                let has_vanished = heard == Some(true) && absences >= ABSENCES && is_asked_for;
                if has_vanished && !entry.has_vanished() {
                    entry.set_vanished(true);
                    self.counts.vanished += 1;
                }
                // Without events, a connection that several dumps have not shown has closed.
                let known_closed = heard.is_none() && absences > ABSENCES;
                let makes_room = pressed && heard != Some(false);
                if !known_closed && !makes_room && !expired {
                    continue;
                }
                if !known_closed {
                    self.forgot = true;
                    self.counts.forgotten += 1;
                }
            }
            self.slab.remove(cookie);
            self.kinds.release(kind);
        }
        if self.slab.is_wasteful() {
            self.slab.shrink();
        }
        let bytes = self.kinds.bytes();
        self.budget.settle(self.kinds_charged, bytes);
        self.kinds_charged = bytes;
    }

    #[cfg(test)]
    pub(crate) fn has_forgotten(&self) -> bool {
        self.forgot
    }

    fn first_flags(&self) -> u32 {
        Deltas::FIRST | if self.forgot { Deltas::FORGOT } else { 0 }
    }

    fn refuse(&mut self) {
        self.counts.refused += 1;
        self.pressed = true;
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.budget.settle(self.kinds_charged, 0);
    }
}

impl Last {
    /// For the columns that the event lacks.
    pub(crate) fn joined(&self) -> Joined<'_> {
        let kind = self.kind.as_ref();
        Joined {
            cong: kind.and_then(Kind::cong),
            cgroup_id: kind.and_then(|kind| kind.cgroup_id),
            uid: kind.map(|kind| kind.uid),
            inode: Some(self.entry.inode()),
            skmeminfo: self.entry.skmeminfo(),
            first_seen_ns: self.entry.first_seen_ns(),
        }
    }

    pub(crate) fn cgroup_id(&self) -> Option<u64> {
        self.kind.as_ref()?.cgroup_id
    }

    pub(crate) fn mark(&self) -> Option<u32> {
        self.kind.as_ref()?.mark
    }
}

/// Complete dumps in a row that must not show a socket until it counts as vanished: one may miss it.
const ABSENCES: u32 = 2;
/// The kernel tells of the end of a socket a little after it.
const GRACE_NS: i64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::super::test_message::{message, parse};
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    struct Poller {
        table: Table,
        now_ns: i64,
        /// Events are listened to, and read up to so long before the end of a dump.
        lag_ns: Option<i64>,
    }

    impl Poller {
        fn new() -> Self {
            let table = Table::new(Arc::new(Budget::new(1 << 20)));
            Self { table, now_ns: SECOND, lag_ns: Some(0) }
        }

        fn begin(&mut self) {
            self.now_ns += SECOND;
            self.table.begin_dump(self.now_ns);
        }

        fn end(&mut self, complete: bool) {
            let heard_up_to_ns = self.lag_ns.map(|lag| self.now_ns - lag);
            self.table.end_dump(&Judgement { complete, heard_up_to_ns, now_ns: self.now_ns });
        }

        fn poll(&mut self, cookies: &[u64]) -> Vec<Seen> {
            self.begin();
            let seen = cookies.iter().map(|cookie| self.see(*cookie, 0)).collect();
            self.end(true);
            seen
        }

        fn see(&mut self, cookie: u64, sent: u64) -> Seen {
            let requested_ns = 1_700_000_000 * SECOND + self.now_ns;
            self.table.seen(&parse(&message(cookie, sent, 0)), requested_ns)
        }

        fn close(&mut self, cookie: u64, sent: u64) -> (Option<Last>, Deltas) {
            let (last, deltas) = self.table.closed(&parse(&message(cookie, sent, 0)));
            (last, deltas.unwrap())
        }
    }

    fn deltas(seen: Seen) -> (u32, u64) {
        match seen {
            Seen::Row(Some(deltas)) => (deltas.flags, deltas.bytes_sent),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn differences_add_up_to_the_final_counters() {
        let mut poller = Poller::new();
        poller.begin();
        assert_eq!(deltas(poller.see(5, 100)), (Deltas::FIRST, 100));
        poller.end(true);
        poller.begin();
        assert_eq!(deltas(poller.see(5, 130)), (0, 30));
        poller.end(true);
        let (last, delta) = poller.close(5, 145);
        assert_eq!((delta.flags, delta.bytes_sent), (0, 15));
        let last = last.unwrap();
        let joined = last.joined();
        assert_eq!((joined.uid, joined.inode), (Some(1000), Some(77)));
        assert_eq!((joined.cong, joined.skmeminfo), (Some(&b"cubic"[..]), Some([9; 36])));
        assert_eq!(joined.first_seen_ns, Some(1_700_000_002 * SECOND));
        assert_eq!(poller.table.len(), 0);
        let (last, delta) = poller.close(6, 9);
        assert_eq!((last.is_none(), delta.flags, delta.bytes_sent), (true, Deltas::FIRST, 9));
        assert_eq!(poller.table.len(), 0, "nothing is under way that could show it");
    }

    #[test]
    fn a_socket_that_one_dump_shows_twice_is_one_row() {
        let mut poller = Poller::new();
        let seen = poller.poll(&[5, 6, 5]);
        assert_eq!(seen[2], Seen::Duplicate);
        assert_eq!(poller.table.counts, TableCounts { duplicates: 1, ..TableCounts::default() });
    }

    #[test]
    fn a_socket_that_a_dump_has_not_shown_and_the_next_one_has_was_missed() {
        let mut poller = Poller::new();
        for cookies in [&[5, 6][..], &[6], &[5, 6]] {
            poller.poll(cookies);
        }
        assert_eq!(poller.table.counts, TableCounts { missed: 1, ..TableCounts::default() });
    }

    #[test]
    fn an_incomplete_dump_misses_nothing() {
        let mut poller = Poller::new();
        poller.poll(&[5]);
        (0..5).for_each(|_| {
            poller.begin();
            poller.end(false);
        });
        assert_eq!(deltas(poller.poll(&[5])[0]), (0, 0));
        assert_eq!(poller.table.counts, TableCounts::default());
    }

    #[test]
    fn what_two_complete_dumps_have_not_shown_and_nobody_has_told_of_has_vanished() {
        let mut poller = Poller::new();
        poller.poll(&[5, 6]);
        poller.poll(&[]);
        assert_eq!(poller.table.counts.vanished, 0);
        poller.poll(&[]);
        assert_eq!(poller.table.counts.vanished, 2);
        poller.poll(&[]);
        assert_eq!(poller.table.counts.vanished, 2, "once");
        assert!(poller.close(5, 7).0.is_some(), "told of later, and joined");
        assert_eq!(deltas(poller.poll(&[6])[0]), (0, 0));
        assert_eq!((poller.table.counts.vanished, poller.table.counts.late), (2, 2));
    }

    #[test]
    fn nothing_has_vanished_while_events_wait_to_be_read() {
        let mut poller = Poller::new();
        poller.lag_ns = Some(2 * SECOND);
        poller.poll(&[5]);
        (0..8).for_each(|_| drop(poller.poll(&[])));
        assert_eq!(poller.table.counts, TableCounts::default());
        poller.lag_ns = Some(SECOND / 2);
        poller.poll(&[]);
        assert_eq!(poller.table.counts.vanished, 1);
    }

    #[test]
    fn a_connection_that_closes_while_a_dump_is_under_way_is_no_new_one_when_that_shows_it() {
        let mut poller = Poller::new();
        poller.poll(&[5]);
        poller.begin();
        assert_eq!(poller.close(5, 10).1.bytes_sent, 10);
        assert_eq!(poller.close(6, 20).1.bytes_sent, 20);
        assert_eq!(deltas(poller.see(5, 8)), (0, 0));
        assert_eq!(deltas(poller.see(6, 8)), (0, 0));
        assert_eq!(poller.see(6, 8), Seen::Duplicate);
        poller.end(true);
        assert_eq!((poller.table.len(), poller.table.counts.vanished), (0, 0));
    }

    #[test]
    fn what_is_forgotten_is_counted_and_a_first_row_says_so() {
        let mut poller = Poller::new();
        poller.poll(&[5]);
        (0..140).for_each(|_| drop(poller.poll(&[])));
        assert_eq!((poller.table.len(), poller.table.counts.forgotten), (0, 1));
        assert_eq!(deltas(poller.poll(&[7])[0]).0, Deltas::FIRST | Deltas::FORGOT);
    }

    #[test]
    fn without_events_a_connection_that_dumps_do_not_show_has_closed() {
        let mut poller = Poller::new();
        poller.lag_ns = None;
        poller.poll(&[5]);
        (0..3).for_each(|_| drop(poller.poll(&[])));
        assert_eq!((poller.table.len(), poller.table.counts), (0, TableCounts::default()));
        assert_eq!(deltas(poller.poll(&[7])[0]).0, Deltas::FIRST);
    }

    #[test]
    fn where_there_is_no_room_rows_have_no_differences_and_what_vanished_makes_room() {
        let mut poller = Poller::new();
        poller.table = Table::new(Arc::new(Budget::new(20_000)));
        let first: Vec<u64> = (1..=100).collect();
        let seen = poller.poll(&first);
        assert!(seen.iter().all(|seen| matches!(seen, Seen::Row(Some(_)))));
        let second: Vec<u64> = (101..=250).collect();
        assert_eq!(poller.poll(&second).last(), Some(&Seen::Row(None)));
        assert!(poller.table.counts.refused > 40);
        poller.poll(&second);
        poller.poll(&second);
        let seen = poller.poll(&second);
        assert!(matches!(seen.last(), Some(Seen::Row(Some(_)))), "{:?}", poller.table.counts);
        assert_eq!(poller.table.counts.forgotten, 100);
    }

    #[test]
    fn a_listener_and_a_socket_without_tcp_info_are_rows_and_not_remembered() {
        let mut poller = Poller::new();
        let (mut listener, mut waiter) = (message(5, 0, 0), message(6, 0, 0));
        listener[1] = 10;
        waiter.truncate(72);
        poller.begin();
        assert_eq!(poller.table.seen(&parse(&listener), 0), Seen::Row(None));
        assert_eq!(poller.table.seen(&parse(&waiter), 0), Seen::Row(None));
        assert_eq!(poller.table.len(), 0);
    }

    #[test]
    fn what_ends_without_a_row_has_not_vanished() {
        let mut poller = Poller::new();
        poller.poll(&[5, 6]);
        poller.table.ended(5);
        assert_eq!(poller.table.len(), 1);
        poller.begin();
        poller.table.ended(6);
        poller.table.ended(7);
        assert_eq!(deltas(poller.see(6, 0)), (0, 0), "the dump was on its way");
        assert_eq!(deltas(poller.see(7, 0)), (0, 0));
        poller.end(true);
        assert_eq!((poller.table.len(), poller.table.left()), (0, (0, 0)));
        (0..3).for_each(|_| drop(poller.poll(&[])));
        assert_eq!(poller.table.counts, TableCounts::default());
    }

    #[test]
    fn what_ends_without_a_row_after_it_has_vanished_is_late() {
        let mut poller = Poller::new();
        for cookies in [&[5][..], &[], &[]] {
            poller.poll(cookies);
        }
        assert!(poller.table.forget(5) && !poller.table.forget(5));
        assert_eq!((poller.table.counts.vanished, poller.table.counts.late), (1, 1));
        assert_eq!(poller.table.len(), 0);
    }

    #[test]
    fn what_polls_were_not_asked_for_any_more_is_forgotten_and_what_they_show_again_can_vanish() {
        let mut poller = Poller::new();
        poller.poll(&[5, 6]);
        poller.table.ask_otherwise();
        poller.poll(&[6]);
        (0..3).for_each(|_| drop(poller.poll(&[])));
        assert_eq!(poller.table.counts.vanished, 1, "the one that was shown since");
        (0..140).for_each(|_| drop(poller.poll(&[])));
        assert_eq!((poller.table.counts.vanished, poller.table.counts.forgotten), (1, 2));
    }

    #[test]
    fn an_end_that_finds_no_room_while_a_dump_is_under_way_is_told_of_by_first_rows() {
        let mut poller = Poller::new();
        poller.table = Table::new(Arc::new(Budget::new(0)));
        poller.close(5, 10);
        assert!(!poller.table.has_forgotten(), "no dump can show it");
        poller.begin();
        poller.close(5, 10);
        assert_eq!((poller.table.has_forgotten(), poller.table.counts.refused), (true, 1));
    }
}
