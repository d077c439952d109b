//! The poll loop: tick by tick asks every source for everything, unless the sinks are too far behind.

use std::time::{Duration, Instant};

use crate::ledger::DropReason;
use crate::outlet::{Outlet, PollGate};
use crate::queue::Queue;
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
    /// Called between polls, a few times a second while nothing is to be done: the loop lives. What it returns holds from the
    /// next poll on.
    pub between: Box<dyn FnMut() -> Option<Change> + 'a>,
}

/// What a loop goes on with. Sources have started nothing yet; those before have sent everything and are finished.
pub struct Change {
    /// Every source.
    pub sources: Vec<Box<dyn Source>>,
    /// Where they send: to the same queues, by other lanes perhaps.
    pub outlet: Outlet,
    /// Time from one tick to the next.
    pub frequency: Duration,
    /// The part of it that a poll is put off by at most.
    pub jitter_percent: u8,
    /// Called when the sources before have sent their last row, and these have not begun: what changes for whoever gets
    /// the rows changes here.
    pub handover: Box<dyn FnOnce()>,
}

/// What the loop tells its owner.
#[derive(Debug)]
pub enum Event<'a> {
    /// A poll begins.
    Begins {
        /// How long after its tick.
        late: Duration,
    },
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
    let Collection { mut sources, outlet, mut schedule, max_polls, mut between } = collection;
    let mut outlet = outlet.clone();
    let mut summary = Summary::default();
    let mut dropped = Dropped::default();
    start(&mut sources, &outlet, stop);
    'polls: while max_polls == 0 || summary.polls < max_polls {
        let mut before = schedule.clone();
        let mut tick = schedule.next(Instant::now(), fastrand::f64);
        loop {
            if let Some(change) = between() {
                finish(&mut sources, &outlet);
                (change.handover)();
                sources = change.sources;
                outlet = change.outlet;
                start(&mut sources, &outlet, stop);
                // Nothing was done yet at the tick that is being waited for.
                before.change(Instant::now(), change.frequency, change.jitter_percent);
                schedule = before.clone();
                let late = tick.late;
                tick = schedule.next(Instant::now(), fastrand::f64);
                tick.late += late;
            }
            match wait(tick.at, &outlet, stop) {
                Waited::Look => {}
                Waited::Tick => break,
                Waited::End => break 'polls,
            }
        }
        if tick.late > 0 {
            summary.late_ticks += tick.late;
            observe(Event::Late { ticks: tick.late });
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
        observe(Event::Begins { late: began.saturating_duration_since(tick.at) });
        let parts: Vec<PartReport> =
            sources.iter_mut().flat_map(|source| source.poll(&outlet, stop)).collect();
        outlet.end_of_poll();
        summary.polls += 1;
        summary.rows += parts.iter().map(|part| part.rows).sum::<u64>();
        let incomplete =
            parts.iter().filter(|part| part.completeness != crate::Completeness::Complete).count();
        summary.incomplete_parts += incomplete as u64;
        observe(Event::Polled { poll: summary.polls, took: began.elapsed(), parts: &parts });
        dropped.tell(&outlet, &mut observe);
    }
    finish(&mut sources, &outlet);
    summary
}

fn start(sources: &mut [Box<dyn Source>], outlet: &Outlet, stop: &Stop) {
    for source in sources {
        source.start(outlet, stop);
    }
}

fn finish(sources: &mut [Box<dyn Source>], outlet: &Outlet) {
    for source in sources {
        source.finish(outlet);
    }
}

/// What every sink had lost when it was last told. Their order may change.
#[derive(Default)]
struct Dropped(Vec<(Queue, [u64; DropReason::ALL.len()])>);

impl Dropped {
    fn tell(&mut self, outlet: &Outlet, observe: &mut impl FnMut(Event<'_>)) {
        for queue in outlet.queues() {
            let place = self.0.iter().position(|(other, _)| other.is(queue)).unwrap_or_else(|| {
                self.0.push((queue.clone(), [0; DropReason::ALL.len()]));
                self.0.len() - 1
            });
            let Some((_, told)) = self.0.get_mut(place) else { continue };
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

/// Why a wait has ended.
enum Waited {
    /// It is time to poll.
    Tick,
    /// It is not, and time to look around.
    Look,
    /// There is no reason to poll any more.
    End,
}

/// Waits for a tick, or for a moment.
fn wait(tick: Instant, outlet: &Outlet, stop: &Stop) -> Waited {
    let look = Instant::now() + LOOK;
    if stop.wait_until(tick.min(look)) || outlet.queues().all(Queue::sink_gone) {
        Waited::End
    } else if tick <= look {
        Waited::Tick
    } else {
        Waited::Look
    }
}

/// How often the end of the last sink, and whatever else there is to do between polls, is looked for.
const LOOK: Duration = Duration::from_millis(250);
