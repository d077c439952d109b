//! What is remembered of a namespace from one poll to the next. It travels with the job, so no lock guards it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sockeye_wire::SocketKey;

use super::plan::Counts;
use super::split::Sample;

/// Of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Every connection, while there are few.
    pub(crate) known: Option<Known>,
    /// Connections whose end was told of since the last poll.
    pub(crate) ends: Vec<SocketKey>,
    /// Listeners of which some do not answer to their keys, such as those that share a port: not worth another try.
    pub(crate) unanswering: Vec<SocketKey>,
    /// The kernel has sockets of its own in the namespace, which could hide others in the counters.
    pub(crate) kernel_sockets: bool,
    /// How long the last walk took.
    pub(crate) walk: Duration,
    /// At the last poll the tables without connections were everything.
    pub(crate) unconnected: bool,
    /// Every listener, where there are few that may all answer to their keys.
    pub(crate) listeners: Option<Vec<SocketKey>>,
    /// Ports of sockets that the last walk of a large namespace saw.
    pub(crate) sample: Sample,
}

/// Every connection that there was, mini-sockets included where they are wanted, and those in `TIME_WAIT` where it is worth it.
#[derive(Debug)]
pub(crate) struct Known {
    /// Connections opened in the namespace until then, or some time before; `None` if nobody counted them.
    pub(crate) opens: Option<u64>,
    /// Each once.
    pub(crate) keys: Vec<SocketKey>,
    /// Gives the keys' share of the budget back.
    _lease: Lease,
}

/// How many keys all namespaces together may remember.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<AtomicUsize>);

#[derive(Debug)]
struct Lease {
    keys: usize,
    budget: Budget,
}

impl Memory {
    /// Whether what is known, listeners and connections, may be everything still, and asking for each is cheap.
    pub(crate) fn may_be_all(&self, counts: Counts, hidden: bool, opens: Option<u64>) -> bool {
        let Some(listeners) = &self.listeners else { return false };
        let listeners = listeners.len() as u64;
        // There has to be something to ask for.
        let asked = self.asked(hidden).is_some_and(|asked| asked as u64 + listeners > 0);
        asked && self.worth_looking_up(listeners, counts, hidden, opens)
    }

    /// Whether the known connections, those that have ended, and `others` may be everything that is counted, and asking for
    /// each is cheaper than a walk: nothing was opened since they were known, or asking costs little, should they not be.
    pub(crate) fn worth_looking_up(
        &self,
        others: u64,
        counts: Counts,
        hidden: bool,
        opens: Option<u64>,
    ) -> bool {
        let Some(asked) = self.asked(hidden) else { return false };
        let known = self.known.as_ref().map_or(0, |known| known.keys.len());
        if self.unopened(opens) && lookups(known) < self.walk {
            return counts.in_use <= known as u64 + others;
        }
        counted(counts, hidden) <= asked as u64 + others
            && (asked == 0 || self.is_cheap(asked, hidden))
    }

    /// Whether it is certain that no connection was opened since all were known.
    pub(crate) fn unopened(&self, opens: Option<u64>) -> bool {
        opens.is_some() && self.known.as_ref().is_some_and(|known| known.opens == opens)
    }

    /// Whether the count of opened connections is worth its price: it tells whether there are others than those that are
    /// known, where the counts of sockets do not, and goes with what a walk finds.
    pub(crate) fn needs_opens(&self, counts: Counts, hidden: bool) -> bool {
        match (&self.known, self.asked(hidden)) {
            (Some(known), Some(asked)) => {
                let all = |listeners: &Vec<_>| (asked + listeners.len()) as u64;
                let more = |listeners| counted(counts, hidden) > all(listeners);
                self.listeners.as_ref().is_some_and(more)
                    || known.opens.is_none()
                    || !self.is_cheap(asked, hidden)
            }
            _ => !self.unconnected,
        }
    }

    /// Makes of the connections that have ended what there is to ask for: each once, with any cookie. Those that are known are
    /// left out: what is left of them has their cookies.
    pub(crate) fn sort_out_ends(&mut self) {
        let mut ends = std::mem::take(&mut self.ends);
        if let Some(known) = self.known.as_ref().filter(|_| !ends.is_empty()) {
            let mut cookies: Vec<u64> = known.keys.iter().map(SocketKey::cookie).collect();
            cookies.sort_unstable();
            ends.retain(|end| cookies.binary_search(&end.cookie()).is_err());
        }
        self.ends = each_once(ends.into_iter().map(SocketKey::with_any_cookie).collect());
    }

    /// How many connections there are to ask for, those that have ended included where mini-sockets may be `hidden`; `None`: it is
    /// not known which there were.
    fn asked(&self, hidden: bool) -> Option<usize> {
        let known = match &self.known {
            Some(known) => known.keys.len(),
            None if self.unconnected => 0,
            None => return None,
        };
        Some(known + if hidden { self.ends.len() } else { 0 })
    }

    /// Whether so many connections and mini-sockets are worth being known.
    pub(crate) fn may_look_up(&self, sockets: u64) -> bool {
        usize::try_from(sockets).is_ok_and(|sockets| self.is_cheap(sockets, true))
    }

    /// Whether asking for so many is worth it on the chance that they are everything.
    fn is_cheap(&self, asked: usize, hidden: bool) -> bool {
        lookups(asked).saturating_mul(if hidden { HIDDEN_IN_VAIN } else { IN_VAIN }) < self.walk
    }
}

/// How many sockets there are to be found, mini-sockets included where they may be `hidden`.
fn counted(counts: Counts, hidden: bool) -> u64 {
    counts.in_use + if hidden { counts.time_waiters.into() } else { 0 }
}

/// How long it takes to ask for so many.
fn lookups(asked: usize) -> Duration {
    LOOKUP.saturating_mul(u32::try_from(asked).unwrap_or(u32::MAX))
}

/// Sorts keys: what moves while it is walked is seen twice, and a connection that follows another has its addresses.
pub(crate) fn each_once(mut keys: Vec<SocketKey>) -> Vec<SocketKey> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

impl Known {
    /// Remembers `keys`, unless the budget is used up.
    pub(crate) fn new(
        opens: Option<u64>,
        mut keys: Vec<SocketKey>,
        budget: &Budget,
    ) -> Option<Self> {
        keys.shrink_to_fit();
        let lease = budget.take(keys.len())?;
        Some(Self { opens, keys, _lease: lease })
    }
}

impl Budget {
    pub(crate) fn new(keys: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(keys)))
    }

    fn take(&self, keys: usize) -> Option<Lease> {
        let left = |left: usize| left.checked_sub(keys);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).ok()?;
        Some(Lease { keys, budget: self.clone() })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.keys, Ordering::Relaxed);
    }
}

/// What a lookup costs (`docs/performance.md`), rounded up.
const LOOKUP: Duration = Duration::from_micros(3);
/// Connections are asked for on the chance that they are everything where a walk would take so many times as long.
const IN_VAIN: u32 = 8;
/// Where mini-sockets are counted as well, as many known ones as there are mostly are those.
const HIDDEN_IN_VAIN: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u8) -> Vec<SocketKey> {
        (0..count).map(|i| SocketKey::of(&[i; 72]).unwrap()).collect()
    }

    fn counts(in_use: u64) -> Counts {
        Counts { in_use, time_waiters: 0, used: 0 }
    }

    /// With mini-sockets.
    fn hiding(in_use: u64, time_waiters: u32) -> Counts {
        Counts { time_waiters, ..counts(in_use) }
    }

    /// None of those above.
    fn others(count: u8) -> Vec<SocketKey> {
        (100..100 + count).map(|i| SocketKey::of(&[i; 72]).unwrap()).collect()
    }

    /// Two connections that were known when five had been opened, and a listener.
    fn memory(walk: Duration) -> Memory {
        let known = Known::new(Some(5), keys(2), &Budget::new(10));
        Memory { known, walk, listeners: Some(keys(1)), ..Memory::default() }
    }

    const LONG: Duration = Duration::from_millis(1);

    #[test]
    fn the_budget_is_for_all_and_comes_back() {
        let budget = Budget::new(10);
        let first = Known::new(None, keys(7), &budget).unwrap();
        assert!(Known::new(None, keys(4), &budget).is_none());
        let second = Known::new(None, keys(3), &budget).unwrap();
        assert!(Known::new(None, keys(1), &budget).is_none());
        drop((first, second));
        assert!(Known::new(None, keys(10), &budget).is_some());
    }

    #[test]
    fn where_mini_sockets_hide_what_is_known_and_what_has_ended_is_looked_up_while_no_more_is_counted()
     {
        let mut memory = memory(LONG);
        let may_be = |memory: &Memory, in_use, minis| {
            memory.may_be_all(hiding(in_use, minis), true, Some(6))
        };
        // One of the two connections may have become a mini-socket.
        assert!(may_be(&memory, 2, 1) && !may_be(&memory, 3, 1) && !may_be(&memory, 2, 2));
        memory.ends = others(3);
        assert!(may_be(&memory, 3, 3) && !may_be(&memory, 3, 4));
        assert!(!memory.may_be_all(counts(4), false, Some(6)), "what has ended is not in use");
        // Where nothing but listeners was there before.
        memory.known = None;
        assert!(!may_be(&memory, 1, 1), "nobody knows what was there");
        memory.unconnected = true;
        assert!(may_be(&memory, 1, 3) && !may_be(&memory, 1, 4));
        // Or nothing at all.
        memory.listeners = Some(Vec::new());
        assert!(may_be(&memory, 0, 3) && !may_be(&memory, 1, 3));
        memory.ends.clear();
        assert!(!may_be(&memory, 0, 0), "there is nothing to ask for");
    }

    #[test]
    fn where_none_was_opened_mini_sockets_are_what_is_left_of_known_ones_however_many_there_are() {
        let may_be = |in_use, opens| memory(LONG).may_be_all(hiding(in_use, 900), true, opens);
        assert!(may_be(3, Some(5)) && !may_be(4, Some(5)));
        assert!(!may_be(3, Some(6)) && !may_be(3, None));
    }

    #[test]
    fn of_connections_that_have_ended_each_that_is_not_known_is_asked_for_once_with_any_cookie() {
        let mut memory = memory(LONG);
        memory.ends = [keys(3), others(2), others(2)].concat();
        memory.sort_out_ends();
        let expected = [keys(3).split_off(2), others(2)].concat();
        assert_eq!(
            memory.ends,
            expected.iter().map(|key| key.with_any_cookie()).collect::<Vec<_>>()
        );
        (memory.known, memory.ends) = (None, keys(3));
        memory.sort_out_ends();
        assert_eq!(memory.ends.len(), 3);
    }

    #[test]
    fn where_no_mini_socket_hides_what_is_known_is_looked_up_while_no_more_is_in_use() {
        let may_be = |in_use, opens| memory(LONG).may_be_all(counts(in_use), false, opens);
        assert!(may_be(3, None) && may_be(2, None) && may_be(3, Some(6)));
        assert!(!may_be(4, None) && !may_be(4, Some(6)));
        // A listener more, and no connection: listeners are asked for, and then the connections.
        assert!(!may_be(4, Some(5)));
        assert!(memory(LONG).worth_looking_up(2, counts(4), false, Some(5)));
        let known = Known::new(Some(5), Vec::new(), &Budget::new(10));
        let nothing = Memory { known, listeners: Some(Vec::new()), ..memory(LONG) };
        assert!(!nothing.may_be_all(counts(0), true, Some(5)), "there is nothing to ask for");
        assert!(!Memory::default().may_be_all(counts(0), false, Some(5)));
    }

    #[test]
    fn listeners_that_were_everything_are_looked_up_while_no_more_is_in_use() {
        let memory = |unconnected, listeners| Memory {
            unconnected,
            listeners: Some(keys(listeners)),
            ..Memory::default()
        };
        assert!(memory(true, 2).may_be_all(counts(2), false, None), "it was never walked");
        assert!(!memory(true, 2).may_be_all(counts(3), false, None));
        assert!(!memory(true, 2).may_be_all(hiding(2, 1), true, None));
        assert!(!memory(false, 2).may_be_all(counts(2), false, None));
        assert!(!memory(true, 0).may_be_all(counts(0), false, None));
    }

    #[test]
    fn where_listeners_are_not_known_not_everything_is() {
        let memory = Memory { listeners: None, ..memory(LONG) };
        assert!(!memory.may_be_all(counts(2), false, Some(5)));
        assert!(memory.worth_looking_up(1, counts(3), false, None));
        assert!(!memory.worth_looking_up(1, counts(4), false, None));
    }

    #[test]
    fn connections_are_looked_up_only_where_that_is_cheaper_than_the_last_walk() {
        let may_be = |walk, opens| {
            memory(Duration::from_micros(walk)).may_be_all(counts(3), false, Some(opens))
        };
        assert!(may_be(7, 5) && !may_be(6, 5));
        // And much cheaper where connections were opened, so that they may be others.
        assert!(may_be(49, 6) && !may_be(48, 6));
        // Less so where mini-sockets are counted as well.
        let hidden = |walk| {
            let mut memory = memory(Duration::from_micros(walk));
            memory.ends = others(2);
            memory.may_be_all(hiding(3, 2), true, Some(6))
        };
        assert!(hidden(25) && !hidden(24));
        assert!(memory(LONG).may_look_up(166) && !memory(LONG).may_look_up(167));
    }

    #[test]
    fn opened_connections_are_counted_where_a_walk_is_likely_or_lookups_in_vain_would_be_dear() {
        let needs = |walk, in_use, hidden| {
            memory(Duration::from_micros(walk)).needs_opens(counts(in_use), hidden)
        };
        assert!(!needs(49, 3, false));
        assert!(needs(48, 3, false) && needs(49, 4, false));
        assert!(!needs(13, 3, true) && needs(12, 3, true));
        let minis = |minis| memory(LONG).needs_opens(hiding(2, minis), true);
        assert!(!minis(1) && minis(2));
        let known = Known::new(None, keys(2), &Budget::new(10));
        assert!(Memory { known, ..memory(LONG) }.needs_opens(counts(3), false));
        assert!(Memory::default().needs_opens(counts(1), false));
        let many = Memory { listeners: None, ..memory(LONG) };
        assert!(!many.needs_opens(counts(40), false), "listeners are asked for in any case");
        let listeners = Memory { unconnected: true, ..Memory::default() };
        assert!(
            !listeners.needs_opens(counts(1), false) && !listeners.needs_opens(counts(1), true)
        );
    }
}
