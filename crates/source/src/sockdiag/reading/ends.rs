//! What follows when an exchange has ended: another one, or rows, and what is remembered for the next poll.

use std::time::Instant;

use sockeye_pipeline::{Completeness, Incomplete};
use sockeye_wire::tcp_state::TIME_WAIT;
use sockeye_wire::{Layouts, StateSet};

use super::{LOOKUPS_AT_ONCE, Proof, Reading, Stage};
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
            Stage::Known(_)
            | Stage::Unconnected
            | Stage::Lookups(_)
            | Stage::Ends { .. }
            | Stage::Check
                if self.kept.is_over() =>
            {
                self.walk(shared);
            }
            Stage::Known(from) => self.after_known(from, complete, shared),
            Stage::Unconnected if complete => self.after_unconnected(shared),
            Stage::Lookups(from) if complete => self.after_lookups(from, shared),
            Stage::Ends { from, proof } if complete => self.after_ends(from, proof, shared),
            Stage::Unconnected | Stage::Lookups(_) | Stage::Ends { .. } => self.walk(shared),
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
        let next = from + LOOKUPS_AT_ONCE;
        let left = self.known().saturating_sub(next) as u64;
        let counted = self.counts.map_or(0, |counts| counts.in_use);
        if complete && left > 0 && self.in_use().unwrap_or(0) + left >= counted {
            self.stage = Stage::Known(next);
        } else if complete && left == 0 && self.found_in_use() {
            self.ask_for_ends(Proof::Before, shared);
        } else if self.found_listeners() == listeners && self.memory.known.is_some() {
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
        if !hidden && self.found_in_use() && self.is_counted_still(shared) {
            self.memory.unconnected = true;
            self.remember_listeners();
            return self.planned(Plan::Listeners, shared);
        }
        let listeners = self.in_use().unwrap_or(0);
        let worth = |counts| self.memory.worth_looking_up(listeners, counts, hidden, self.opens);
        if !self.counts.is_some_and(worth) {
            self.walk(shared);
        } else if self.memory.known.as_ref().is_some_and(|known| !known.keys.is_empty()) {
            self.stage = Stage::Lookups(0);
        } else {
            self.after_lookups(0, shared);
        }
    }

    fn after_lookups(&mut self, from: usize, shared: &Shared) {
        let known = self.memory.known.as_ref().map_or(0, |known| known.keys.len());
        let next = from + LOOKUPS_AT_ONCE;
        if next < known {
            self.stage = Stage::Lookups(next);
        } else if self.found_in_use() {
            self.ask_for_ends(Proof::BeforeAndNow, shared);
        } else {
            self.walk(shared);
        }
    }

    /// All known sockets were asked for, and as many are in use. Where there are more mini-sockets than were found in their
    /// places, they are what is left of others.
    fn ask_for_ends(&mut self, proof: Proof, shared: &Shared) {
        if !self.found_minis(shared) && !self.memory.ends.is_empty() {
            self.stage = Stage::Ends { from: 0, proof };
        } else {
            self.looked_up(proof, shared);
        }
    }

    fn after_ends(&mut self, from: usize, proof: Proof, shared: &Shared) {
        let next = from + LOOKUPS_AT_ONCE;
        if next < self.memory.ends.len() && !self.found_minis(shared) {
            self.stage = Stage::Ends { from: next, proof };
        } else {
            self.looked_up(proof, shared);
        }
    }

    /// All that is known was asked for.
    fn looked_up(&mut self, proof: Proof, shared: &Shared) {
        // What was known was there when the counters were read, which left room for no other. A connection on its way to
        // become a mini-socket may be in neither count for a moment, so those are read again.
        let again = proof == Proof::BeforeAndNow || self.hidden(shared);
        let found = self.found_in_use() && self.found_minis(shared);
        if !found || again && !self.is_counted_still(shared) {
            return self.walk(shared);
        }
        // Beside mini-sockets that are not looked for it has to be remembered that nothing is known, and since when.
        let connected = self.found.as_ref().is_some_and(Found::is_connected) || self.hidden(shared);
        self.memory.unconnected = !connected;
        self.remember_listeners();
        self.planned(if connected { Plan::Lookups } else { Plan::Listeners }, shared);
    }

    /// Whether the counters now are as before, of whatever is in question.
    fn is_counted_still(&self, shared: &Shared) -> bool {
        let count =
            |counts: Counts| (counts.in_use, self.hidden(shared).then_some(counts.time_waiters));
        self.counts.map(count) == self.counts_now().map(count)
    }

    /// What the counters say now, without our own socket, which is used as well by now.
    fn counts_now(&self) -> Option<Counts> {
        let now = Counts::from(self.census.as_ref()?.sockstat().ok()?);
        Some(Counts { used: now.used.saturating_sub(1), ..now })
    }

    /// Whether as many sockets were found as were in use before.
    fn found_in_use(&self) -> bool {
        plan::all(self.in_use(), self.counts)
    }

    /// Whether no mini-socket is missing: as many were found as there were before, or all are known to be left of known ones.
    fn found_minis(&self, shared: &Shared) -> bool {
        let found = self.found.as_ref().map_or(0, |found| found.minis);
        !self.hidden(shared)
            || self.memory.unopened(self.opens)
            || self.counts.is_some_and(|counts| found == u64::from(counts.time_waiters))
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
        if complete && self.found_in_use() {
            self.remember_listeners();
            self.remember(shared);
        } else {
            self.memory.known = None;
        }
    }

    /// Keeps in mind what was found, where the counters allow to go by it.
    fn remember(&mut self, shared: &Shared) {
        let Self { found, memory, .. } = self;
        let keys = found.as_mut().map(|found| {
            let all = (found.connections.len() + found.waiting.len()) as u64;
            let wanted = shared.settings.states.contains(TIME_WAIT);
            found.take_connections(wanted || memory.may_look_up(all))
        });
        // Where it was not read now, an earlier count will do: it is another one if anything was opened since.
        let before = memory.known.take().and_then(|known| known.opens);
        let opens = self.opens.or(before.filter(|_| self.plan == Plan::Lookups));
        memory.known = Known::new(opens, keys.unwrap_or_default(), &shared.budget);
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
            let planned = planned.map(|(kept, _)| kept).unwrap_or_default();
            let [plan, walk] = [&planned, &self.kept].map(|kept| self.cookies_of(kept));
            // One that is in another state by now may be wanted no more, or only now.
            let differences = only(&plan.wanted, &walk.all) + only(&walk.wanted, &plan.all);
            // Whatever the counters hide, they hide it now.
            self.memory.kernel_sockets |= differences > 0;
            self.differences = Some(differences);
        }
    }

    fn cookies_of(&self, kept: &Kept) -> Cookies {
        let mut cookies = Cookies::default();
        kept.for_each(&mut Layouts::new(self.wanted), |diag| {
            cookies.all.push(diag.cookie());
            if self.rows.wants(diag) {
                cookies.wanted.push(diag.cookie());
            }
        });
        cookies.all.sort_unstable();
        cookies
    }
}

/// Cookies of sockets that were kept.
#[derive(Default)]
struct Cookies {
    /// In order.
    all: Vec<u64>,
    /// Of those that will be rows.
    wanted: Vec<u64>,
}

/// How many are in the first list and not in the other, which is in order.
fn only(these: &[u64], those: &[u64]) -> u64 {
    these.iter().filter(|cookie| those.binary_search(cookie).is_err()).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_one_side_alone_are_counted() {
        assert_eq!((only(&[1, 2, 3], &[1, 2, 3]), only(&[1, 3, 5], &[2, 3])), (0, 2));
        assert_eq!((only(&[], &[7]), only(&[7], &[])), (0, 1));
    }
}
