//! What follows when an exchange has ended: another one, or rows, and what is remembered for the next poll.

use std::time::Instant;

use sockeye_pipeline::{Completeness, Incomplete};
use sockeye_wire::{Layouts, StateSet};

use super::{LOOKUPS_AT_ONCE, Reading, Stage};
use crate::sockdiag::found::Found;
use crate::sockdiag::kept::Kept;
use crate::sockdiag::memory::Known;
use crate::sockdiag::plan::{self, Counts, Plan, SMALL, still};
use crate::sockdiag::reader::Shared;
use crate::sockdiag::split::Sample;

impl Reading {
    pub(super) fn exchange_ended(&mut self, shared: &Shared) {
        let completeness = self.progress.stats.completeness;
        let complete = completeness == Completeness::Complete;
        let refused = matches!(completeness, Completeness::Incomplete(Incomplete::Refused(_)));
        if refused && self.stage == Stage::Walk && self.rows.filter.is_some() && !self.asked_least {
            // A kernel that does not know one of the conditions: what it sends is looked at again in any case.
            shared.refuse();
            self.add_up();
            return self.walk(shared);
        }
        if self.stage == Stage::Walk {
            self.total.completeness = completeness;
        }
        self.add_up();
        match self.stage {
            Stage::Known(_) | Stage::Unconnected | Stage::Lookups(_) | Stage::Check
                if self.kept.is_over() =>
            {
                self.walk(shared);
            }
            Stage::Known(from) => self.after_known(from, complete, shared),
            Stage::Unconnected if complete => self.after_unconnected(shared),
            Stage::Lookups(from) if complete => self.after_lookups(from, shared),
            Stage::Unconnected | Stage::Lookups(_) => self.walk(shared),
            Stage::Walk => {
                self.walked(complete, shared);
                self.stage = Stage::Ended;
            }
            Stage::Check if complete => {
                self.compare();
                self.walked(complete, shared);
                self.stage = Stage::Send;
            }
            Stage::Check => {
                if !self.go_by_the_plan() {
                    self.walk(shared);
                }
            }
            Stage::Send | Stage::Ended => {}
        }
    }

    fn after_known(&mut self, from: usize, complete: bool, shared: &Shared) {
        let listeners = self.memory.listeners.as_ref().map_or(0, Vec::len);
        let connections = self.memory.known.as_ref().map(|known| known.keys.len());
        let next = from + LOOKUPS_AT_ONCE;
        let left = (listeners + connections.unwrap_or(0)).saturating_sub(next) as u64;
        let counted = self.counts.map_or(0, |counts| counts.in_use);
        if complete && left > 0 && self.in_use().unwrap_or(0) + left >= counted {
            self.stage = Stage::Known(next);
        } else if complete && left == 0 && self.found_all() {
            // They were there when the counters were read, which left room for no other.
            let connected = self.found.as_ref().is_some_and(|found| !found.connections.is_empty());
            let unconnected = !connected && !self.hidden(shared);
            self.memory.unconnected = unconnected;
            self.remember_listeners();
            self.planned(if unconnected { Plan::Listeners } else { Plan::Lookups }, shared);
        } else if self.found_listeners() == listeners && connections.is_some() {
            // Other connections than those that are known.
            self.walk(shared);
        } else {
            if complete && self.found_listeners() < listeners {
                self.memory.unanswering = self.memory.listeners.take().unwrap_or_default();
            }
            // Other listeners than those that are known, or more.
            self.forget();
            self.stage = Stage::Unconnected;
        }
    }

    fn after_unconnected(&mut self, shared: &Shared) {
        let hidden = self.hidden(shared);
        if !hidden && self.proven() {
            self.memory.unconnected = true;
            self.remember_listeners();
            return self.planned(Plan::Listeners, shared);
        }
        let listeners = self.in_use().unwrap_or(0);
        let worth = |counts| self.memory.worth_looking_up(listeners, counts, hidden, self.opens);
        match self.counts.and_then(worth) {
            Some(known) if known.keys.is_empty() => self.after_lookups(0, shared),
            Some(_) => self.stage = Stage::Lookups(0),
            None => self.walk(shared),
        }
    }

    fn after_lookups(&mut self, from: usize, shared: &Shared) {
        let known = self.memory.known.as_ref().map_or(0, |known| known.keys.len());
        let next = from + LOOKUPS_AT_ONCE;
        if next < known {
            self.stage = Stage::Lookups(next);
        } else if self.proven() {
            self.memory.unconnected = false;
            self.remember_listeners();
            self.planned(Plan::Lookups, shared);
        } else {
            self.walk(shared);
        }
    }

    /// Whether what was found is everything, by the counters now.
    fn proven(&self) -> bool {
        self.found_all() && plan::all(self.in_use(), self.counts_now())
    }

    /// What the counters say now, without our own socket, which is used as well by now.
    fn counts_now(&self) -> Option<Counts> {
        let now = Counts::from(self.census.as_ref()?.sockstat().ok()?);
        Some(Counts { used: now.used.saturating_sub(1), ..now })
    }

    /// Whether what was found is everything, by the counters before.
    fn found_all(&self) -> bool {
        plan::all(self.in_use(), self.counts)
    }

    fn in_use(&self) -> Option<u64> {
        self.found.as_ref().map(|found| found.in_use)
    }

    fn found_listeners(&self) -> usize {
        self.found.as_ref().map_or(0, |found| found.listeners.len())
    }

    /// Another plan begins.
    fn forget(&mut self) {
        self.kept.clear();
        if let Some(found) = &mut self.found {
            found.clear();
        }
    }

    /// A cheap plan has brought everything; which may be checked.
    fn planned(&mut self, plan: Plan, shared: &Shared) {
        self.rows.states = Some(shared.settings.states);
        if self.check {
            let (_, moment) = self.rows.dumped();
            self.planned = Some((std::mem::take(&mut self.kept), moment));
            self.forget();
            self.plan = Plan::Check;
            self.stage = Stage::Check;
            self.walk_began = Instant::now();
        } else {
            self.plan = plan;
            match plan {
                Plan::Lookups => self.remember(shared),
                // A connection may have come and gone between one look at the counters and the next.
                _ => self.memory.known = None,
            }
            self.stage = Stage::Send;
        }
    }

    /// Walks the table: nothing less is sure to bring everything.
    pub(super) fn walk(&mut self, shared: &Shared) {
        self.forget();
        self.planned = None;
        let small = self.counts.is_some_and(|counts| counts.in_use <= SMALL);
        if small && self.left_out != StateSet::NONE && !still(self.counts, self.counts_now()) {
            // Counters are files, read one after the other: what moved meanwhile could have hidden a socket.
            self.left_out = StateSet::NONE;
        }
        // Its files would keep the namespace for as long as the walk takes.
        self.census = None;
        self.memory.sample = Sample::default();
        let wanted = shared.settings.states;
        self.plan = match self.part {
            Some(_) => Plan::Parts,
            // The kernel keeps them apart from connections.
            None if wanted.is_within(StateSet::UNCONNECTED) => Plan::Listeners,
            None => Plan::Walk,
        };
        self.stage = Stage::Walk;
        self.rows.states = (!self.walked_states(shared).is_within(wanted)).then_some(wanted);
        self.walk_began = Instant::now();
    }

    fn walked(&mut self, complete: bool, shared: &Shared) {
        self.memory.walk = self.walk_began.elapsed();
        self.memory.unconnected = false;
        // A walk can miss what moves meanwhile, and see it twice: it is gone by only where it saw as many as there are.
        if complete && self.found_all() {
            self.remember_listeners();
            self.remember(shared);
        } else {
            self.memory.known = None;
        }
    }

    /// Keeps in mind what was found, where the counters allow to go by it.
    fn remember(&mut self, shared: &Shared) {
        let keys = self.found.as_mut().map(Found::take_connections).unwrap_or_default();
        // Where they were not counted now, all that was opened since is among what was found.
        let before = self.memory.known.take().and_then(|known| known.opens);
        let opens = self.opens.or(before.filter(|_| self.plan == Plan::Lookups));
        self.memory.known = Known::new(opens, keys, &shared.budget);
    }

    /// Keeps in mind the listeners that were found, if they are few and may answer to their keys.
    fn remember_listeners(&mut self) {
        let Self { found, memory, .. } = self;
        memory.listeners =
            found.as_mut().and_then(|found| found.take_listeners(&memory.unanswering));
    }

    /// A walk that was to check a cheap plan has not come to its end: what the plan has brought is sent after all.
    pub(super) fn go_by_the_plan(&mut self) -> bool {
        let Some((planned, moment)) = self.planned.take() else { return false };
        self.kept = planned;
        self.rows.requested_then(moment);
        self.memory.known = None;
        self.memory.unconnected = false;
        self.stage = Stage::Send;
        true
    }

    /// Counts what the cheap plan and the walk have not in common, if nothing changed meanwhile.
    fn compare(&mut self) {
        let counts = self.counts_now();
        let opens = self.census.take().and_then(|census| census.opens().ok());
        let planned = self.planned.take();
        if counts.is_some() && counts == self.counts && opens == self.opens {
            let cookies = |kept: &Kept| self.cookies_of(kept);
            let planned = planned.map(|(kept, _)| cookies(&kept)).unwrap_or_default();
            let differences = differences(&planned, &cookies(&self.kept));
            // Whatever the counters hide, they hide it now.
            self.memory.kernel_sockets |= differences > 0;
            self.differences = Some(differences);
        }
    }

    /// The cookies of the rows that what was kept will make, in order.
    fn cookies_of(&self, kept: &Kept) -> Vec<u64> {
        let mut cookies = Vec::new();
        kept.for_each(&mut Layouts::new(self.wanted), |diag| {
            if self.rows.wants(diag) {
                cookies.push(diag.cookie());
            }
        });
        cookies.sort_unstable();
        cookies
    }
}

/// How many are in one of two ordered lists and not in the other.
fn differences(one: &[u64], other: &[u64]) -> u64 {
    let only = |these: &[u64], those: &[u64]| {
        these.iter().filter(|cookie| those.binary_search(cookie).is_err()).count() as u64
    };
    only(one, other) + only(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_those_of_either_side() {
        assert_eq!(differences(&[1, 2, 3], &[1, 2, 3]), 0);
        assert_eq!(differences(&[1, 3, 5], &[2, 3]), 3);
        assert_eq!(differences(&[], &[7]), 1);
    }
}
