//! The poll loop: tick by tick asks every source for everything, unless the sinks are too far behind.

use std::time::{Duration, Instant};

use crate::ledger::DropReason;
use crate::outlet::{Outlet, PollGate};
use crate::schedule::Schedule;
use crate::source::{PartReport, Source};
use crate::stop::Stop;

/// What is collected, and how often.
pub struct Collection<'a> {
    /// Every source.
    pub sources: Vec<Box<dyn Source>>,
    /// Where they send.
    pub outlet: &'a Outlet,
    /// When.
    pub schedule: Schedule,
    /// Polls to make; 0 for ever.
    pub max_polls: u64,
}

/// What the loop tells its owner.
#[derive(Debug)]
pub enum Event<'a> {
    /// A poll has ended; poll N+1 never begins before.
    Polled {
        /// Its number, from 1.
        poll: u64,
        /// Its length.
        took: Duration,
        /// What became of every part of every source.
        parts: &'a [PartReport],
    },
    /// Ticks passed while the poll before was running.
    Late {
        /// How many.
        ticks: u64,
    },
    /// A poll was not begun: every sink is above its high-water mark.
    HighWater,
    /// A sink lost rows since this was last looked at, after a poll.
    Dropped {
        /// The sink's name.
        sink: &'a str,
        /// Why.
        reason: DropReason,
        /// How many.
        rows: u64,
    },
}

/// What the loop has done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Polls made.
    pub polls: u64,
    /// Ticks skipped because the poll before was still running.
    pub late_ticks: u64,
    /// Ticks skipped because of full queues.
    pub high_water_ticks: u64,
    /// Rows sent.
    pub rows: u64,
    /// Parts that were incomplete.
    pub incomplete_parts: u64,
}

/// Polls until `max_polls`, a request to stop, or the end of the last sink.
pub fn collect(
    collection: Collection<'_>,
    stop: &Stop,
    mut observe: impl FnMut(Event<'_>),
) -> Summary {
    let Collection { mut sources, outlet, mut schedule, max_polls } = collection;
    let mut summary = Summary::default();
    let mut dropped = Dropped::default();
    for source in &mut sources {
        source.start(outlet, stop);
    }
    while max_polls == 0 || summary.polls < max_polls {
        let tick = schedule.next(Instant::now(), fastrand::f64);
        if tick.late > 0 {
            summary.late_ticks += tick.late;
            observe(Event::Late { ticks: tick.late });
        }
        if wait(tick.at, outlet, stop) {
            break;
        }
        match outlet.begin_poll() {
            PollGate::Open => {}
            PollGate::HighWater => {
                summary.high_water_ticks += 1;
                observe(Event::HighWater);
                continue;
            }
            PollGate::Closed => break,
        }
        let began = Instant::now();
        let parts: Vec<PartReport> =
            sources.iter_mut().flat_map(|source| source.poll(outlet, stop)).collect();
        outlet.end_of_poll();
        summary.polls += 1;
        summary.rows += parts.iter().map(|part| part.rows).sum::<u64>();
        let incomplete =
            parts.iter().filter(|part| part.completeness != crate::Completeness::Complete).count();
        summary.incomplete_parts += incomplete as u64;
        observe(Event::Polled { poll: summary.polls, took: began.elapsed(), parts: &parts });
        dropped.tell(outlet, &mut observe);
    }
    for source in &mut sources {
        source.finish(outlet);
    }
    summary
}

/// What every sink had lost when it was last told.
#[derive(Default)]
struct Dropped(Vec<[u64; DropReason::ALL.len()]>);

impl Dropped {
    fn tell(&mut self, outlet: &Outlet, observe: &mut impl FnMut(Event<'_>)) {
        self.0.resize(outlet.queues().count(), [0; DropReason::ALL.len()]);
        for (queue, told) in outlet.queues().zip(&mut self.0) {
            let now = queue.ledger().dropped;
            for (reason, (now, before)) in DropReason::ALL.into_iter().zip(now.iter().zip(*told)) {
                if *now > before {
                    observe(Event::Dropped { sink: queue.name(), reason, rows: now - before });
                }
            }
            *told = now;
        }
    }
}

/// Waits for a tick; true when there is no reason to poll any more.
fn wait(tick: Instant, outlet: &Outlet, stop: &Stop) -> bool {
    loop {
        let look = Instant::now() + LOOK;
        if stop.wait_until(tick.min(look)) || outlet.queues().all(crate::Queue::sink_gone) {
            return true;
        }
        if tick <= look {
            return false;
        }
    }
}

/// How often the end of the last sink is looked for between polls.
const LOOK: Duration = Duration::from_millis(250);
