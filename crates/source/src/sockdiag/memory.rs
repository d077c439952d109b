//! What is remembered of a namespace from one poll to the next. It travels with the job, so no lock guards it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sockeye_wire::SocketKey;

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
    /// The listeners that were everything then, where few.
    pub(crate) listeners: Vec<SocketKey>,
    /// Ports of sockets that the last walk of a large namespace saw.
    pub(crate) sample: Sample,
}

/// Every connection that there was, mini-sockets included where they are wanted.
#[derive(Debug)]
pub(crate) struct Known {
    /// Connections opened in the namespace until then.
    pub(crate) opens: u64,
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
    /// The known connections, if nothing was opened since they were known, and if asking for each of them is cheaper
    /// than a walk.
    pub(crate) fn worth_looking_up(&self, opens: Option<u64>) -> Option<&Known> {
        let known = self.known.as_ref().filter(|known| opens == Some(known.opens))?;
        let keys = u32::try_from(known.keys.len()).unwrap_or(u32::MAX);
        (LOOKUP.saturating_mul(keys) < self.walk).then_some(known)
    }
}

impl Known {
    /// Remembers `keys`, unless the budget is used up.
    pub(crate) fn new(opens: u64, mut keys: Vec<SocketKey>, budget: &Budget) -> Option<Self> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u8) -> Vec<SocketKey> {
        (0..count).map(|i| SocketKey::of(&[i; 72]).unwrap()).collect()
    }

    #[test]
    fn the_budget_is_for_all_and_comes_back() {
        let budget = Budget::new(10);
        let first = Known::new(0, keys(7), &budget).unwrap();
        assert!(Known::new(0, keys(4), &budget).is_none());
        let second = Known::new(0, keys(3), &budget).unwrap();
        assert!(Known::new(0, keys(1), &budget).is_none());
        drop((first, second));
        assert!(Known::new(0, keys(10), &budget).is_some());
    }

    #[test]
    fn known_connections_are_looked_up_only_while_no_other_was_opened() {
        let known = Known::new(5, keys(2), &Budget::new(10));
        let memory = Memory { known, walk: Duration::from_millis(1), ..Memory::default() };
        assert!(memory.worth_looking_up(Some(5)).is_some());
        assert!(memory.worth_looking_up(Some(6)).is_none());
        assert!(memory.worth_looking_up(None).is_none());
        assert!(Memory::default().worth_looking_up(Some(5)).is_none());
    }

    #[test]
    fn connections_are_looked_up_only_where_that_is_cheaper_than_the_last_walk() {
        let memory = |walk| Memory {
            known: Known::new(5, keys(10), &Budget::new(10)),
            walk: Duration::from_micros(walk),
            ..Memory::default()
        };
        assert!(memory(31).worth_looking_up(Some(5)).is_some());
        assert!(memory(30).worth_looking_up(Some(5)).is_none());
    }
}
