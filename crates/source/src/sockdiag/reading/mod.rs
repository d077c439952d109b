//! One namespace in one poll: which exchanges there are, in which order, and what becomes of the replies.
//!
//! It sends and receives nothing itself: who drives it asks for the next request and feeds it what comes back, by
//! blocking receives or through a ring.

mod ends;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Instant;

use sockeye_netns::Census;
use sockeye_pipeline::{Incomplete, PartReport};
use sockeye_sys::DiagSocket;
use sockeye_wire::request::Part;
use sockeye_wire::{AttrSet, Layouts, Request, StateSet};

use super::dump::{DumpStats, Got};
use super::found::Found;
use super::health::TcpHealth;
use super::kept::{Kept, is_mini};
use super::kit::Lanes;
use super::look::Look;
use super::memory::Memory;
use super::plan::{self, Counts, First, Plan, SMALL};
use super::progress::{EMPTY, Progress, Step};
use super::reader::Shared;
use super::rows::{Rows, Ship};

/// A namespace, or a part of one, that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) rows: Rows,
    stage: Stage,
    plan: Plan,
    /// Compare what a cheap plan brings with a walk.
    check: bool,
    part: Option<Vec<Part>>,
    /// Its files keep the namespace as a socket does.
    pub(crate) census: Option<Census>,
    counts: Option<Counts>,
    opens: Option<u64>,
    bound: bool,
    /// States that a walk leaves out, since no socket is in them.
    left_out: StateSet,
    /// The kernel was given no more of the filter than every kernel knows.
    asked_least: bool,
    memory: Memory,
    kept: Kept,
    /// What was found, where that is counted to prove something and remembered for the next poll: the namespace is small.
    found: Option<Found>,
    /// What a cheap plan brought, and when it was asked for, while a walk checks it.
    planned: Option<(Kept, (i64, i64))>,
    /// Cookies that were in the cheap plan or in the walk and not in both.
    differences: Option<u64>,
    wanted: AttrSet,
    port_id: u32,
    seq: u32,
    request: Vec<u8>,
    progress: Progress,
    total: DumpStats,
    /// The longest `tcp_info`.
    tcp_info_bytes: usize,
    began: Instant,
    walk_began: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// All that is known, the few listeners and then connections, is looked up from this one on, and kept back.
    Known(usize),
    /// What has no connection is asked for, and kept back.
    Unconnected,
    /// Known connections are looked up from this one on, and kept back.
    Lookups(usize),
    /// Connections that have ended are looked up from this one on: what is left of them is kept back.
    Ends {
        from: usize,
        proof: Proof,
    },
    /// The table is walked, and rows are sent.
    Walk,
    /// The table is walked, and kept back to be compared.
    Check,
    /// What was kept is everything, and is sent.
    Send,
    Ended,
}

/// What proves that known sockets were everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The counters before: all of them were there when those were read.
    Before,
    /// The counters before and now: listeners were listed, which may have come in between.
    BeforeAndNow,
}

/// Which sockets are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Known listeners and connections.
    All,
    /// Known connections.
    Connections,
    /// Connections that have ended.
    Ends,
}

/// What is left of a reading.
pub(crate) struct Read {
    pub(crate) report: PartReport,
    pub(crate) stats: DumpStats,
    pub(crate) plan: Plan,
    /// Of a check: how many sockets the cheap plan had and the walk had not, or the other way round.
    pub(crate) differences: Option<u64>,
    pub(crate) memory: Memory,
    pub(crate) kept: Vec<u8>,
    /// The longest `tcp_info`.
    pub(crate) tcp_info_bytes: usize,
    /// What the sockets are like, where that is wanted.
    pub(crate) health: Option<Box<TcpHealth>>,
}

/// Where rows go.
pub(crate) struct To<'a, S> {
    pub(crate) lanes: &'a mut Lanes,
    /// How the attributes of sockets lie, of whichever namespace.
    pub(crate) layouts: &'a mut Layouts,
    pub(crate) ship: &'a S,
}

impl Reading {
    /// A reading that begins with what `look` advises, and the socket to drive it by; with a `part`, it reads that alone.
    pub(crate) fn new(
        shared: &Shared,
        mut rows: Rows,
        look: Look,
        part: Option<Vec<Part>>,
        mut memory: Memory,
        kept: Vec<u8>,
    ) -> (Self, Option<DiagSocket>) {
        let port_id = look.socket.as_ref().map_or(0, DiagSocket::port_id);
        let (now, in_part) = (Instant::now(), part.is_some());
        memory.kernel_sockets |= look.kernel_sockets;
        rows.filter = look.filter;
        let mut reading = Self {
            rows,
            stage: Stage::Ended,
            plan: Plan::Nothing,
            check: false,
            part,
            census: look.census,
            counts: look.counts,
            opens: look.opens.filter(|_| !in_part),
            bound: look.bound,
            left_out: look.left_out,
            asked_least: false,
            memory,
            kept: Kept::with_bytes(kept),
            found: None,
            planned: None,
            differences: None,
            wanted: shared.wanted,
            port_id,
            seq: 0,
            request: Vec::new(),
            progress: Progress::dump(port_id, 0),
            total: EMPTY,
            tcp_info_bytes: 0,
            began: now,
            walk_began: now,
        };
        // Counters are of the whole namespace, and prove nothing about a part.
        let first = if in_part { First::Walk } else { look.first };
        match first {
            First::Nothing => reading.memory.known = None,
            First::Unconnected => {
                if reading.hidden(shared) {
                    reading.memory.sort_out_ends();
                }
                reading.found = Some(Found::default());
                reading.plan = Plan::Listeners;
                reading.stage = if !reading.may_be_all(shared) {
                    Stage::Unconnected
                } else if reading.known() > 0 {
                    Stage::Known(0)
                } else {
                    Stage::Ends { from: 0, proof: Proof::Before }
                };
            }
            First::Walk => reading.walk(shared),
        }
        (reading, look.socket)
    }

    /// Whether what is known may be everything still.
    fn may_be_all(&self, shared: &Shared) -> bool {
        let Some(counts) = self.counts.filter(|_| !self.bound) else { return false };
        self.memory.may_be_all(counts, self.hidden(shared), self.opens)
    }

    /// How many sockets are known.
    fn known(&self) -> usize {
        let Memory { listeners, known, .. } = &self.memory;
        listeners.as_ref().map_or(0, Vec::len) + known.as_ref().map_or(0, |known| known.keys.len())
    }

    fn hidden(&self, shared: &Shared) -> bool {
        self.counts.is_none_or(|counts| plan::hidden(shared.settings.states, counts))
    }

    /// Compares the result of a cheap plan with a walk.
    pub(crate) fn check(&mut self) {
        self.check = true;
    }

    /// The next request; `None` when everything is read.
    pub(crate) fn ask(&mut self, shared: &Shared) -> Option<&[u8]> {
        self.request.clear();
        match self.stage {
            Stage::Send | Stage::Ended => return None,
            Stage::Known(from) => {
                if from == 0 {
                    self.rows.requested_now();
                }
                self.ask_for_each(Keys::All, from);
            }
            Stage::Lookups(from) => self.ask_for_each(Keys::Connections, from),
            Stage::Ends { from, proof } => {
                // Nothing was asked for before.
                if from == 0 && proof == Proof::Before && self.known() == 0 {
                    self.rows.requested_now();
                }
                self.ask_for_each(Keys::Ends, from);
            }
            Stage::Unconnected => {
                let bound = if self.bound { StateSet::BOUND_INACTIVE } else { StateSet::LISTENING };
                let bound = bound.intersection(shared.settings.states);
                self.rows.requested_now();
                self.ask_for_states(StateSet::LISTENING.union(bound), &[]);
            }
            Stage::Walk | Stage::Check => {
                // In a small namespace the counters can prove something about all sockets only.
                let filter = self.rows.filter.as_deref().filter(|_| self.found.is_none());
                self.asked_least = shared.is_refused();
                let bytecode = shared.bytecode(filter, self.part.as_deref().unwrap_or_default());
                self.rows.requested_now();
                self.ask_for_states(self.walked_states(shared), &bytecode);
            }
        }
        Some(&self.request)
    }

    /// Whether there is nothing more to ask for.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Send | Stage::Ended)
    }

    /// Whether what is asked for takes a walk of the table.
    pub(crate) fn walks(&self) -> bool {
        matches!(self.stage, Stage::Walk | Stage::Check)
    }

    /// How many sockets it may have to keep back.
    pub(crate) fn may_keep(&self) -> u64 {
        match self.stage {
            Stage::Walk | Stage::Send | Stage::Ended => 0,
            Stage::Unconnected => self.counts.map_or(0, |counts| counts.in_use),
            _ => self.counts.map_or(0, |counts| {
                let minis = (self.known() + self.memory.ends.len()) as u64;
                counts.in_use + minis.min(counts.time_waiters.into())
            }),
        }
    }

    /// Whether the walk of it may take long: it is large, or nobody knows.
    pub(crate) fn is_large(&self) -> bool {
        self.stage == Stage::Walk && self.counts.is_none_or(|counts| counts.in_use > SMALL)
    }

    /// How many receives it takes at the least until there is something else to ask for.
    pub(crate) fn receives(&self) -> usize {
        self.progress.receives()
    }

    /// Takes what a receive came to; [`Step::Ended`] when there is another request to ask for, or none.
    pub(crate) fn feed<S: Ship>(
        &mut self,
        got: &Got<'_>,
        shared: &Shared,
        to: &mut To<'_, S>,
    ) -> Step {
        let step = match *got {
            Got::Chunk(received, chunk) if self.stage == Stage::Walk => {
                let samples = self.samples(shared);
                let To { lanes, layouts, ship } = to;
                lanes.serve(&self.rows, &shared.settings.host);
                self.rows.begin_chunk(chunk);
                let table = self.rows.table.clone();
                let tracked = table.as_ref().map(|table| self.rows.chunk(table));
                let Self { progress, rows, found, memory, .. } = self;
                let step = progress.feed(received, chunk, layouts, &mut |diag, _| {
                    if let Some(found) = found {
                        found.see(diag);
                    }
                    if samples {
                        memory.sample.see(|| (diag.source_port(), diag.destination_port()));
                    }
                    if rows.wants(diag) {
                        match &tracked {
                            None => rows.push(diag, lanes, *ship),
                            Some(chunk) => rows.push_tracked(diag, lanes, chunk, *ship),
                        }
                    }
                });
                rows.end_chunk();
                step
            }
            Got::Chunk(received, chunk) => {
                let Self { progress, kept, found, stage, .. } = self;
                let of_ends = matches!(stage, Stage::Ends { .. });
                progress.feed(received, chunk, to.layouts, &mut |diag, payload| {
                    // The answer may be a listener, or a connection that has the place of the one that ended. One that is
                    // known may have ended since it was found.
                    let is_other = |found: &Found| !is_mini(diag) || found.has(diag);
                    if of_ends && found.as_ref().is_none_or(is_other) {
                        return;
                    }
                    if let Some(found) = found {
                        found.see(diag);
                    }
                    kept.keep(payload);
                })
            }
            Got::Lost => self.progress.lost(),
            Got::Nothing(why) => {
                self.fail(why);
                Step::Ended
            }
        };
        if step == Step::Ended {
            self.exchange_ended(shared);
        }
        self.send_rest(shared, to);
        step
    }

    /// Sends what was kept back, if that is everything. To be called when it is over, whatever it was ended by.
    pub(crate) fn send_rest<S: Ship>(&mut self, shared: &Shared, to: &mut To<'_, S>) {
        if self.stage == Stage::Send {
            self.send_kept(shared, to);
        }
    }

    /// Nothing more can be asked, for this reason unless there was another before. What a cheap plan has brought is everything,
    /// also if there is no comparing it.
    pub(crate) fn fail(&mut self, why: Incomplete) {
        if self.is_over() {
            return;
        }
        if self.go_by_the_plan() {
            return self.add_up();
        }
        self.progress.wrong(why);
        self.total.completeness = self.progress.stats.completeness;
        self.add_up();
        self.memory.known = None;
        self.census = None;
        self.stage = Stage::Ended;
    }

    /// What has become of it.
    pub(crate) fn finish(self) -> Read {
        let stats = DumpStats { took: self.began.elapsed(), ..self.total };
        let Self { rows, plan, differences, mut memory, kept, tcp_info_bytes, .. } = self;
        // They are of no use to the next poll.
        memory.ends = Vec::new();
        let health = rows.health;
        let report = PartReport {
            part: rows.name,
            plan: plan.name(),
            rows: rows.sent,
            seen: rows.seen,
            bytes: stats.bytes,
            took: stats.took,
            completeness: stats.completeness,
        };
        let kept = kept.into_bytes();
        Read { report, stats, plan, differences, memory, kept, tcp_info_bytes, health }
    }

    /// Asks for some of these, from this one on.
    fn ask_for_each(&mut self, keys: Keys, from: usize) {
        let Self { memory, request, seq, .. } = self;
        let listeners = memory.listeners.iter().flatten().filter(|_| keys == Keys::All);
        let known = memory.known.iter().flat_map(|known| &known.keys);
        let known = known.filter(|_| keys != Keys::Ends);
        let ends = memory.ends.iter().filter(|_| keys == Keys::Ends);
        let first_seq = seq.wrapping_add(1);
        let mut asked = 0;
        for key in listeners.chain(known).chain(ends).skip(from).take(LOOKUPS_AT_ONCE) {
            *seq = seq.wrapping_add(1);
            request.extend(key.request(*seq, self.wanted.extension_bits()));
            asked += 1;
        }
        self.progress = Progress::lookups(self.port_id, first_seq, asked);
    }

    fn ask_for_states(&mut self, states: StateSet, bytecode: &[u8]) {
        self.seq = self.seq.wrapping_add(1);
        let request = Request { states, attrs: self.wanted, bytecode };
        request.encode_into(self.seq, &mut self.request);
        self.progress = Progress::dump(self.port_id, self.seq);
    }

    fn send_kept<S: Ship>(&mut self, shared: &Shared, to: &mut To<'_, S>) {
        // Rows may have to wait for a sink, and the files would keep the namespace.
        self.census = None;
        self.stage = Stage::Ended;
        let To { lanes, layouts, ship } = to;
        lanes.serve(&self.rows, &shared.settings.host);
        let table = self.rows.table.clone();
        let tracked = table.as_ref().map(|table| self.rows.chunk(table));
        let Self { kept, rows, .. } = self;
        kept.for_each(layouts, |diag| {
            if rows.wants(diag) {
                match &tracked {
                    None => rows.push(diag, lanes, *ship),
                    Some(chunk) => rows.push_tracked(diag, lanes, chunk, *ship),
                }
            }
        });
    }

    /// In a small namespace every socket that is in use is asked for, so that the counters can prove something; those
    /// that are not wanted are left out here.
    fn walked_states(&self, shared: &Shared) -> StateSet {
        let wanted = shared.settings.states;
        // A check is to find what the counters can't tell.
        let left_out = if self.stage == Stage::Check { StateSet::NONE } else { self.left_out };
        let walked = wanted.without(left_out);
        if self.found.is_none() {
            return walked;
        }
        // So that the mini-sockets that there are now can be looked up next time, wanted or not, should that be worth it.
        let worth = |counts: Counts| {
            let minis = u64::from(counts.time_waiters);
            let never_walked = self.memory.walk.is_zero();
            minis <= SMALL && (never_walked || self.memory.may_look_up(counts.in_use + minis))
        };
        let minis = self.hidden(shared) && self.counts.is_some_and(worth);
        let minis = if minis { StateSet::TIME_WAITERS } else { StateSet::NONE };
        walked.union(StateSet::IN_USE).union(minis)
    }

    fn samples(&self, shared: &Shared) -> bool {
        self.part.is_some() || self.counts.is_some_and(|counts| shared.may_split(counts.in_use))
    }

    fn add_up(&mut self) {
        let seen = std::mem::replace(&mut self.progress.stats, EMPTY);
        self.tcp_info_bytes = self.tcp_info_bytes.max(self.progress.tcp_info_bytes);
        self.total.chunks += seen.chunks;
        self.total.bytes += seen.bytes;
        self.total.sockets += seen.sockets;
        self.total.foreign += seen.foreign;
        self.total.malformed += seen.malformed;
        self.total.unknown_attributes += seen.unknown_attributes;
        self.total.long_tcp_info += seen.long_tcp_info;
    }
}

/// Requests that are sent at once.
const LOOKUPS_AT_ONCE: usize = 32;
