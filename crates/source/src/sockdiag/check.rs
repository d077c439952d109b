//! Which namespace is checked next: its cheap plan is compared with a walk, and that may cost one percent of all reading.

use std::time::Duration;

use sockeye_sys::netns::NetnsId;

use super::plan::Plan;

/// One namespace after the other, as long as there is credit.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Time that may be spent.
    credit: Duration,
    /// How long the last one took.
    cost: Duration,
    last: Option<NetnsId>,
}

impl Checks {
    /// The namespace to check in the poll that begins, if it is time for one: the one behind the last.
    pub(crate) fn due(
        &mut self,
        mut all: impl Iterator<Item = NetnsId> + Clone,
    ) -> Option<NetnsId> {
        if self.credit <= self.cost.max(LEAST_COST) {
            return None;
        }
        let next = all.clone().find(|id| Some(*id) > self.last).or_else(|| all.next());
        self.last = next;
        next
    }

    /// A namespace was read.
    pub(crate) fn took(&mut self, plan: Plan, took: Duration) {
        self.credit = (self.credit + took / SHARE).min(MOST_CREDIT);
        if plan == Plan::Check {
            self.credit = self.credit.saturating_sub(took);
            // One that had to wait for a sink is no reason to give up checking.
            self.cost = took.min(MOST_CREDIT / 2);
        }
    }
}

/// One part in so many of the time that reading takes.
const SHARE: u32 = 100;
/// So that a host with next to nothing to read does not check at every poll.
const LEAST_COST: Duration = Duration::from_micros(500);
const MOST_CREDIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> impl Iterator<Item = NetnsId> + Clone {
        [3, 5, 9].into_iter().map(|inode| NetnsId { device: 4, inode })
    }

    fn inode(id: Option<NetnsId>) -> Option<u64> {
        id.map(|id| id.inode)
    }

    #[test]
    fn namespaces_are_checked_in_turn_when_a_hundred_times_their_cost_was_read() {
        let mut checks = Checks::default();
        assert_eq!(checks.due(ids()), None);
        checks.took(Plan::Walk, Duration::from_millis(100));
        assert_eq!(inode(checks.due(ids())), Some(3));
        checks.took(Plan::Check, Duration::from_millis(2));
        checks.took(Plan::Walk, Duration::from_millis(200));
        assert_eq!(checks.due(ids()), None, "two milliseconds are needed, and two were gained");
        checks.took(Plan::Listeners, Duration::from_millis(10));
        assert_eq!(inode(checks.due(ids())), Some(5));
        checks.took(Plan::Walk, Duration::from_secs(1000));
        assert_eq!(inode(checks.due(ids())), Some(9));
        assert_eq!(inode(checks.due(ids())), Some(3), "and again from the first");
    }

    #[test]
    fn credit_does_not_grow_for_ever() {
        let mut checks = Checks::default();
        checks.took(Plan::Walk, Duration::from_secs(1_000_000));
        assert_eq!(checks.credit, MOST_CREDIT);
        checks.took(Plan::Check, Duration::from_mins(1));
        assert_eq!(checks.due(ids()), None);
        checks.took(Plan::Walk, Duration::from_secs(1_000));
        assert!(checks.due(ids()).is_some(), "a check that took long is not the last");
    }
}
