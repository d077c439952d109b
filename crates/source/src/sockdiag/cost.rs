//! What a poll is expected to cost, from counters and the time of one walk (`docs/performance.md` has the figures).

use std::time::Duration;

use super::plan::SMALL;

/// Processor time of a poll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// While few connections are opened between polls.
    pub quiet: Duration,
    /// Where every namespace with connections opens some between polls.
    pub busy: Duration,
    /// With `--plan full`.
    pub full: Duration,
}

/// The cost of namespaces with so many sockets in use each, on a host where the walk of the whole table for one that
/// has none takes `walk`.
pub fn expected(in_use: impl IntoIterator<Item = u64>, walk: Duration) -> Cost {
    let mut cost = Cost::default();
    for sockets in in_use {
        let times =
            |each: Duration| each.saturating_mul(u32::try_from(sockets).unwrap_or(u32::MAX));
        let rows = NAMESPACE + times(ROW);
        cost.full += rows + walk;
        // Each is looked up, listeners as well while they are few.
        let small = rows + times(LOOKUP.saturating_sub(ROW)).min(LISTENERS + walk);
        let walked = rows + walk;
        let (quiet, busy) = match sockets {
            0 => (NAMESPACE, NAMESPACE),
            // A single socket is a listener nearly always, and looked up.
            1 => (rows + LOOKUP, rows + LOOKUP),
            2..=SMALL => (small, walked + LISTENERS),
            _ => (walked, walked),
        };
        cost.quiet += quiet;
        cost.busy += busy;
    }
    cost
}

/// To find, open, enter and leave a namespace and to read its counters.
const NAMESPACE: Duration = Duration::from_micros(57);
/// To ask for listeners.
const LISTENERS: Duration = Duration::from_micros(25);
/// To ask for one connection.
const LOOKUP: Duration = Duration::from_nanos(2_800);
/// What a walk takes for each socket, the row included.
const ROW: Duration = Duration::from_nanos(1_250);

#[cfg(test)]
mod tests {
    use super::*;

    const WALK: Duration = Duration::from_millis(8);

    #[test]
    fn idle_namespaces_cost_next_to_nothing_where_each_would_be_a_walk() {
        let cost = expected([1; 200], WALK);
        assert_eq!(cost.quiet, 200 * (NAMESPACE + ROW + LOOKUP));
        assert_eq!(cost.busy, cost.quiet);
        assert_eq!(cost.full, 200 * (NAMESPACE + ROW + WALK));
        assert_eq!(expected([0], WALK).quiet, NAMESPACE);
    }

    #[test]
    fn a_few_connections_are_looked_up_unless_a_walk_is_cheaper() {
        let cost = expected([21], WALK);
        assert_eq!(cost.quiet, NAMESPACE + 21 * LOOKUP);
        assert_eq!(cost.busy, NAMESPACE + LISTENERS + 21 * ROW + WALK);
        let short = Duration::from_micros(10);
        assert_eq!(expected([1000], short).quiet, NAMESPACE + LISTENERS + 1000 * ROW + short);
    }

    #[test]
    fn a_large_namespace_is_walked_whatever_happens_in_it() {
        let cost = expected([100_000], WALK);
        assert_eq!((cost.quiet, cost.busy), (cost.full, cost.full));
        assert_eq!(cost.full, NAMESPACE + WALK + 100_000 * ROW);
    }
}
