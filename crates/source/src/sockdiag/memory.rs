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

/// Every connection that there was, mini-sockets included where they are wanted.
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
        let connections = self.known.as_ref().map_or(0, |known| known.keys.len());
        let all = (listeners.len() + connections) as u64;
        // There has to be something to ask for.
        if all == 0 || counts.in_use > all {
            return false;
        }
        let listeners = listeners.len() as u64;
        match self.known {
            None => self.unconnected && !hidden,
            Some(_) => self.worth_looking_up(listeners, counts, hidden, opens).is_some(),
        }
    }

    /// The known connections, if they and `others` may be everything, and if asking for each of them is cheaper than a
    /// walk: no more is in use, and nothing was opened since they were known; or no mini-socket is hidden, and should they be
    /// others, asking was cheap.
    pub(crate) fn worth_looking_up(
        &self,
        others: u64,
        counts: Counts,
        hidden: bool,
        opens: Option<u64>,
    ) -> Option<&Known> {
        let known = self.known.as_ref().filter(|known| known.lookups() < self.walk)?;
        let unopened = opens.is_some() && opens == known.opens;
        let as_many = counts.in_use <= known.keys.len() as u64 + others;
        let likely = unopened || !hidden && known.is_cheap_in_vain(self.walk);
        (as_many && likely).then_some(known)
    }

    /// Whether the count of opened connections is worth its price: it tells whether there are others than those that are
    /// known, where the counts of sockets do not, and goes with what a walk finds.
    pub(crate) fn needs_opens(&self, counts: Counts, hidden: bool) -> bool {
        hidden
            || match &self.known {
                None => !self.unconnected,
                Some(known) => {
                    let all = |listeners: &Vec<_>| (known.keys.len() + listeners.len()) as u64;
                    let more =
                        self.listeners.as_ref().is_some_and(|them| counts.in_use > all(them));
                    more || known.opens.is_none() || !known.is_cheap_in_vain(self.walk)
                }
            }
    }
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

    /// Whether asking for each is worth it on the chance that they are everything.
    fn is_cheap_in_vain(&self, walk: Duration) -> bool {
        self.lookups().saturating_mul(IN_VAIN) < walk
    }

    /// How long it takes to ask for each.
    fn lookups(&self) -> Duration {
        LOOKUP.saturating_mul(u32::try_from(self.keys.len()).unwrap_or(u32::MAX))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u8) -> Vec<SocketKey> {
        (0..count).map(|i| SocketKey::of(&[i; 72]).unwrap()).collect()
    }

    fn counts(in_use: u64) -> Counts {
        Counts { in_use, time_waiters: 0, used: 0 }
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
    fn where_mini_sockets_hide_connections_are_looked_up_only_while_no_other_was_opened() {
        let may_be = |opens| memory(LONG).may_be_all(counts(3), true, opens);
        assert!(may_be(Some(5)) && !may_be(Some(6)) && !may_be(None));
        let mut uncounted = memory(LONG);
        uncounted.known = Known::new(None, keys(2), &Budget::new(10));
        assert!(!uncounted.may_be_all(counts(3), true, None));
        assert!(!uncounted.may_be_all(counts(3), true, Some(5)));
    }

    #[test]
    fn where_no_mini_socket_hides_what_is_known_is_looked_up_while_no_more_is_in_use() {
        let may_be = |in_use, opens| memory(LONG).may_be_all(counts(in_use), false, opens);
        assert!(may_be(3, None) && may_be(2, None) && may_be(3, Some(6)));
        assert!(!may_be(4, None) && !may_be(4, Some(6)));
        // A listener more, and no connection: listeners are asked for, and then the connections.
        assert!(!may_be(4, Some(5)));
        assert!(memory(LONG).worth_looking_up(2, counts(4), false, Some(5)).is_some());
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
        assert!(memory(true, 2).may_be_all(counts(2), false, None));
        assert!(!memory(true, 2).may_be_all(counts(3), false, None));
        assert!(!memory(true, 2).may_be_all(counts(2), true, None));
        assert!(!memory(false, 2).may_be_all(counts(2), false, None));
        assert!(!memory(true, 0).may_be_all(counts(0), false, None));
    }

    #[test]
    fn where_listeners_are_not_known_not_everything_is() {
        let memory = Memory { listeners: None, ..memory(LONG) };
        assert!(!memory.may_be_all(counts(2), false, Some(5)));
        assert!(memory.worth_looking_up(1, counts(3), false, None).is_some());
        assert!(memory.worth_looking_up(1, counts(4), false, None).is_none());
    }

    #[test]
    fn connections_are_looked_up_only_where_that_is_cheaper_than_the_last_walk() {
        let may_be = |walk, opens| {
            memory(Duration::from_micros(walk)).may_be_all(counts(3), false, Some(opens))
        };
        assert!(may_be(7, 5) && !may_be(6, 5));
        // And much cheaper where connections were opened, so that they may be others.
        assert!(may_be(49, 6) && !may_be(48, 6));
    }

    #[test]
    fn opened_connections_are_counted_where_a_walk_is_likely_or_lookups_in_vain_would_be_dear() {
        let needs = |walk, in_use, hidden| {
            memory(Duration::from_micros(walk)).needs_opens(counts(in_use), hidden)
        };
        assert!(!needs(49, 3, false));
        assert!(needs(48, 3, false) && needs(49, 4, false) && needs(49, 3, true));
        let known = Known::new(None, keys(2), &Budget::new(10));
        assert!(Memory { known, ..memory(LONG) }.needs_opens(counts(3), false));
        assert!(Memory::default().needs_opens(counts(1), false));
        let many = Memory { listeners: None, ..memory(LONG) };
        assert!(!many.needs_opens(counts(40), false), "listeners are asked for in any case");
        let listeners = Memory { unconnected: true, ..Memory::default() };
        assert!(!listeners.needs_opens(counts(1), false) && listeners.needs_opens(counts(1), true));
    }
}
