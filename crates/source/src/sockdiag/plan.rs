//! What to ask a namespace for, so that as little of the shared hash table is walked as possible.
//!
//! Every namespace shares one table of connections, and a dump walks all of it: milliseconds for a namespace with a
//! single listener. So counters are read first, and a walk is left out when what was read instead is proven by them to
//! be everything.
//!
//! - Nothing is in use: there is nothing to ask for.
//! - Listeners have a table of their own. As many listeners as sockets in use: those were all. It is the host's as well, and
//!   where few listeners were everything, each of them is looked up by its key at the next poll.
//! - All listeners and connections were known at the last poll: each of them is looked up by its key. As many found as are in
//!   use: none was missed, and those that were not found have closed.
//!
//! Mini-sockets (`TIME_WAIT`, and `FIN_WAIT2` of sockets that were closed) are counted in one figure for both states,
//! and are shown where those states are wanted: while there are any, lookups have to find as many of them as well, those that
//! were known or what is left of connections of whose end the kernel told.
//! Requests (`SYN_RECV`) are in no counter. Sockets that are bound and neither listen nor connect are in no protocol's
//! counter, but among all that are used.

use std::cmp::Ordering;

use sockeye_netns::SockStat;
use sockeye_wire::StateSet;

/// How a namespace was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// The counters say that there is nothing to ask for.
    Nothing,
    /// The tables of sockets without a connection.
    Listeners,
    /// One question for each known connection, and for each listener unless they are many.
    Lookups,
    /// The whole table.
    Walk,
    /// The whole table by several readers, a range of ports each.
    Parts,
    /// The whole table, to compare it with what a cheaper plan has brought.
    Check,
}

impl Plan {
    /// Every plan, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Nothing, Self::Listeners, Self::Lookups, Self::Walk, Self::Parts, Self::Check];

    /// Whether nothing was walked.
    pub(crate) fn is_cheap(self) -> bool {
        matches!(self, Self::Nothing | Self::Listeners | Self::Lookups)
    }

    /// Its name in logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Listeners => "listeners",
            Self::Lookups => "lookups",
            Self::Walk => "walk",
            Self::Parts => "parts",
            Self::Check => "check",
        }
    }
}

/// `--plan`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlanMode {
    /// The cheapest plan that is sure to bring everything.
    #[default]
    Auto,
    /// Always the whole table.
    Full,
}

impl std::str::FromStr for PlanMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "full" => Ok(Self::Full),
            _ => Err("allowed: auto, full"),
        }
    }
}

impl std::fmt::Display for PlanMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Auto { "auto" } else { "full" })
    }
}

/// What the counters of a namespace say, as far as a plan goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Listeners, connections and orphans of both families.
    pub(crate) in_use: u64,
    /// Mini-sockets.
    pub(crate) time_waiters: u32,
    /// Sockets of every kind.
    pub(crate) used: u32,
}

impl From<SockStat> for Counts {
    fn from(stat: SockStat) -> Self {
        let in_use = u64::from(stat.tcp_inuse) + u64::from(stat.tcp6_inuse);
        Self { in_use, time_waiters: stat.time_wait, used: stat.used }
    }
}

/// What to do first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// Nothing at all.
    Nothing,
    /// Ask for what has no connection, then see.
    Unconnected,
    /// Walk.
    Walk,
}

/// What to do first in a namespace with these counts (`None`: they can't be read). `bound`: there may be sockets that
/// are bound and neither listen nor connect.
pub(crate) fn first(wanted: StateSet, counts: Option<Counts>, bound: bool) -> First {
    let Some(counts) = counts.filter(|_| !wanted.intersects(StateSet::REQUESTS)) else {
        return First::Walk;
    };
    let bound = bound && wanted.intersects(StateSet::BOUND_INACTIVE);
    if counts.in_use > SMALL {
        First::Walk
    } else if counts.in_use == 0 && !bound && !hidden(wanted, counts) {
        First::Nothing
    } else {
        First::Unconnected
    }
}

/// Whether there are mini-sockets of which some may be wanted: no counter tells their states apart.
pub(crate) fn hidden(wanted: StateSet, counts: Counts) -> bool {
    counts.time_waiters > 0 && wanted.intersects(StateSet::TIME_WAITERS)
}

/// What the counters of all protocols say of sockets that are bound and neither listen nor connect. Those are used, and in no
/// protocol's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// There is none.
    None,
    /// There may be some.
    Maybe,
    /// The kernel has sockets of its own, which are in a count and not used: one could hide a bound one.
    Hidden,
}

/// Of a namespace where all protocols together count `counted` sockets, between two looks at its counters.
pub(crate) fn bound(before: Counts, counted: Option<u64>, after: Option<Counts>) -> Bound {
    let still = still(Some(before), after);
    match counted.map(|counted| counted.cmp(&before.used.into())) {
        Some(Ordering::Equal) if still => Bound::None,
        Some(Ordering::Greater) if still => Bound::Hidden,
        _ => Bound::Maybe,
    }
}

/// Whether the counts of sockets are the same.
pub(crate) fn still(before: Option<Counts>, after: Option<Counts>) -> bool {
    let sockets = |counts: Option<Counts>| counts.map(|counts| (counts.used, counts.in_use));
    before.is_some() && sockets(before) == sockets(after)
}

/// Whether `found` sockets in use are as many as were counted.
pub(crate) fn all(found: Option<u64>, counts: Option<Counts>) -> bool {
    found.is_some() && found == counts.map(|counts| counts.in_use)
}

/// Above so many sockets in use a namespace is walked without thinking, and nothing is remembered of it.
pub(crate) const SMALL: u64 = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: StateSet = StateSet::DEFAULT;

    fn counts(in_use: u64, time_waiters: u32) -> Counts {
        Counts { in_use, time_waiters, used: 0 }
    }

    #[test]
    fn where_nothing_is_in_use_there_is_nothing_to_ask_for() {
        assert_eq!(first(BIG, Some(counts(0, 0)), false), First::Nothing);
        assert_eq!(first(BIG, Some(counts(1, 0)), false), First::Unconnected);
        assert_eq!(first(BIG, Some(counts(SMALL, 0)), false), First::Unconnected);
        assert_eq!(first(BIG, Some(counts(SMALL + 1, 0)), false), First::Walk);
    }

    #[test]
    fn without_counts_and_where_they_do_not_count_only_a_walk_tells() {
        assert_eq!(first(BIG, None, false), First::Walk);
        assert_eq!(first(StateSet::ALL, Some(counts(0, 0)), false), First::Walk);
    }

    #[test]
    fn sockets_that_may_be_bound_are_asked_for_where_they_are_wanted() {
        let established: StateSet = "established".parse().unwrap();
        assert_eq!(first(BIG, Some(counts(0, 0)), true), First::Unconnected);
        assert_eq!(first(established, Some(counts(0, 0)), true), First::Nothing);
    }

    #[test]
    fn mini_sockets_hide_where_one_of_their_states_is_wanted() {
        let states = |names: &str| names.parse::<StateSet>().unwrap();
        assert_eq!(first(BIG, Some(counts(0, 1)), false), First::Unconnected);
        assert!(hidden(BIG, counts(0, 1)) && hidden(states("time-wait"), counts(0, 1)));
        assert!(
            !hidden(states("established,listening"), counts(0, 1)) && !hidden(BIG, counts(7, 0))
        );
    }

    #[test]
    fn no_socket_is_bound_where_every_used_one_is_in_a_count_and_nothing_moved() {
        let counts = |used| Counts { used, ..counts(5, 0) };
        let of = |counted, after| bound(counts(9), counted, after);
        assert_eq!(of(Some(9), Some(counts(9))), Bound::None);
        assert_eq!(of(Some(8), Some(counts(9))), Bound::Maybe);
        assert_eq!(of(Some(10), Some(counts(9))), Bound::Hidden);
        for after in [None, Some(counts(10)), Some(Counts { in_use: 6, ..counts(9) })] {
            assert_eq!(of(Some(9), after), Bound::Maybe);
            assert_eq!(of(Some(10), after), Bound::Maybe);
        }
        assert_eq!(of(None, Some(counts(9))), Bound::Maybe);
        // Mini-sockets are not used.
        assert_eq!(of(Some(9), Some(Counts { time_waiters: 7, ..counts(9) })), Bound::None);
    }

    #[test]
    fn counts_stand_still_if_as_many_are_used_and_in_use() {
        let three = Some(Counts { used: 4, ..counts(3, 0) });
        assert!(still(three, three) && still(three, Some(Counts { used: 4, ..counts(3, 9) })));
        assert!(!still(three, Some(Counts { used: 5, ..counts(3, 0) })));
        assert!(!still(three, Some(Counts { used: 4, ..counts(2, 0) })));
        assert!(!still(three, None) && !still(None, three) && !still(None, None));
    }

    #[test]
    fn what_was_found_is_everything_only_if_as_many_were_counted() {
        let three = Some(counts(3, 0));
        assert!(all(Some(3), three) && all(Some(0), Some(counts(0, 2))));
        assert!(!all(Some(2), three) && !all(Some(4), three));
        assert!(!all(None, None) && !all(None, three) && !all(Some(0), None));
    }
}
