//! What polls have done: in all, by namespace for the last one, and one by one for the last hundred.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use sockeye_pipeline::{Completeness, Event, Incomplete, PartReport};
use sockeye_source::closed;
use sockeye_source::track::Totals;
use sockeye_telemetry::metrics::Histogram;

use super::snapshot::NetnsNow;

/// Figures of all polls.
#[derive(Clone)]
pub(super) struct Polls {
    pub(super) made: u64,
    pub(super) late_ticks: u64,
    pub(super) high_water_ticks: u64,
    pub(super) rows: u64,
    pub(super) seen: u64,
    pub(super) bytes: u64,
    pub(super) parts: u64,
    /// By [`Incomplete::NAMES`].
    pub(super) incomplete: [u64; Incomplete::NAMES.len()],
    pub(super) took: Histogram,
    pub(super) late: Histogram,
    pub(super) part_took: Histogram,
    recent: VecDeque<Arc<Poll>>,
    /// What was counted of remembered sockets when the last poll ended.
    track: Totals,
    /// When the loop last said anything.
    beat: Instant,
    begun_late: Duration,
}

/// One poll.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) number: u64,
    pub(super) ended: SystemTime,
    pub(super) late: Duration,
    pub(super) took: Duration,
    /// Those that are incomplete first, then those with most rows; no more than [`MOST_PARTS`].
    pub(super) parts: Vec<PartReport>,
    /// How many more there were.
    pub(super) others: usize,
    /// All of them together.
    pub(super) left_out: NetnsNow,
    /// Everything, the others included.
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) incomplete: usize,
    /// Sockets that a dump showed twice, and those that one before had missed; 0 where nothing is remembered.
    duplicates: u64,
    missed: u64,
}

impl Polls {
    pub(super) fn new() -> Self {
        Self {
            made: 0,
            late_ticks: 0,
            high_water_ticks: 0,
            rows: 0,
            seen: 0,
            bytes: 0,
            parts: 0,
            incomplete: [0; Incomplete::NAMES.len()],
            took: Histogram::new(&POLL_SECONDS),
            late: Histogram::new(&LATE_SECONDS),
            part_took: Histogram::new(&PART_SECONDS),
            recent: VecDeque::new(),
            track: Totals::default(),
            beat: Instant::now(),
            begun_late: Duration::ZERO,
        }
    }

    /// `track` is what has been counted of remembered sockets by now.
    pub(super) fn event(&mut self, event: &Event<'_>, track: &Totals) {
        self.beat = Instant::now();
        match event {
            Event::Begins { late } => {
                self.late.observe(late.as_secs_f64());
                self.begun_late = *late;
            }
            Event::Polled { poll, took, parts } => {
                // Ends of connections are of no namespace, and have figures of their own.
                let parts: Vec<&PartReport> =
                    parts.iter().filter(|part| part.plan != closed::PLAN).collect();
                self.polled(*poll, *took, &parts, track);
            }
            Event::Late { ticks } => self.late_ticks += ticks,
            Event::HighWater => self.high_water_ticks += 1,
            // Ledgers have them.
            Event::Dropped { .. } => {}
        }
    }

    pub(super) fn beats(&mut self) {
        self.beat = Instant::now();
    }

    /// How long the loop has not said anything.
    pub(super) fn silent(&self) -> Duration {
        self.beat.elapsed()
    }

    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// The last polls, the latest one last.
    pub(super) fn recent(&self) -> Vec<Arc<Poll>> {
        self.recent.iter().cloned().collect()
    }

    pub(super) fn last(&self) -> Option<&Arc<Poll>> {
        self.recent.back()
    }

    fn polled(&mut self, number: u64, took: Duration, parts: &[&PartReport], track: &Totals) {
        self.made += 1;
        self.took.observe(took.as_secs_f64());
        for part in parts {
            self.parts += 1;
            self.rows += part.rows;
            self.seen += part.seen;
            self.bytes += part.bytes;
            self.part_took.observe(part.took.as_secs_f64());
            if let Completeness::Incomplete(why) = part.completeness
                && let Some(kind) = Incomplete::NAMES.iter().position(|name| *name == why.name())
                && let Some(count) = self.incomplete.get_mut(kind)
            {
                *count += 1;
            }
        }
        let before = std::mem::replace(&mut self.track, *track);
        let mut poll = Poll::new(number, self.begun_late, took, parts);
        poll.duplicates = track.duplicates - before.duplicates;
        poll.missed = track.missed - before.missed;
        self.recent.push_back(Arc::new(poll));
        if self.recent.len() > MOST_POLLS {
            self.recent.pop_front();
        }
    }
}

impl Poll {
    fn new(number: u64, late: Duration, took: Duration, parts: &[&PartReport]) -> Self {
        let complete = |part: &&PartReport| part.completeness == Completeness::Complete;
        let mut kept: Vec<&PartReport> = parts.to_vec();
        kept.sort_by_key(|part| (complete(part), std::cmp::Reverse(part.rows)));
        let mut left_out = NetnsNow::default();
        kept.iter().skip(MOST_PARTS).for_each(|part| left_out.add(part));
        kept.truncate(MOST_PARTS);
        Self {
            number,
            ended: SystemTime::now(),
            late,
            took,
            others: parts.len() - kept.len(),
            left_out,
            parts: kept.into_iter().cloned().collect(),
            rows: parts.iter().map(|part| part.rows).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
            incomplete: parts.iter().filter(|part| !complete(part)).count(),
            duplicates: 0,
            missed: 0,
        }
    }

    fn json(&self) -> Value {
        let parts: Vec<Value> = self.parts.iter().map(part).collect();
        json!({
            "poll": self.number,
            "ended_unix_s": self.ended.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            "late_s": self.late.as_secs_f64(),
            "took_s": self.took.as_secs_f64(),
            "rows": self.rows,
            "bytes": self.bytes,
            "namespaces": self.parts.len() + self.others,
            "incomplete": self.incomplete,
            "duplicates_removed": self.duplicates,
            "missed_before": self.missed,
            "netns": parts,
            "netns_left_out": self.others,
        })
    }
}

/// Polls as a JSON array, the latest one last.
pub(super) fn json(polls: &[Arc<Poll>]) -> String {
    Value::Array(polls.iter().map(|poll| poll.json()).collect()).to_string()
}

fn part(part: &PartReport) -> Value {
    let why = match part.completeness {
        Completeness::Complete => None,
        Completeness::Incomplete(why) => Some(why),
    };
    json!({
        "name": &*part.part,
        "plan": part.plan,
        "rows": part.rows,
        "seen": part.seen,
        "bytes": part.bytes,
        "took_s": part.took.as_secs_f64(),
        "complete": why.is_none(),
        "reason": why.map(Incomplete::name),
        "detail": why.map(|why| why.to_string()),
    })
}

const MOST_POLLS: usize = 100;
/// Of one poll: with the number of polls it bounds the memory, to about 3 MiB.
const MOST_PARTS: usize = 256;
const POLL_SECONDS: [f64; 13] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const LATE_SECONDS: [f64; 8] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0, 10.0];
const PART_SECONDS: [f64; 11] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0];

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, rows: u64, completeness: Completeness) -> PartReport {
        let took = Duration::from_millis(2);
        PartReport {
            part: name.into(),
            plan: "walk",
            rows,
            seen: rows,
            bytes: 10 * rows,
            took,
            completeness,
        }
    }

    #[test]
    fn of_many_namespaces_those_that_are_incomplete_and_the_largest_are_kept_and_all_are_counted() {
        let mut parts: Vec<PartReport> =
            (0..300).map(|i| part(&format!("n{i}"), i, Completeness::Complete)).collect();
        parts.push(part("bad", 0, Completeness::Incomplete(Incomplete::Refused(1))));
        let mut polls = Polls::new();
        let polled = Event::Polled { poll: 1, took: Duration::from_millis(5), parts: &parts };
        polls.event(&polled, &Totals::default());
        let poll = polls.last().unwrap();
        assert_eq!((poll.parts.len(), poll.others, poll.incomplete), (256, 45, 1));
        assert_eq!((&*poll.parts[0].part, &*poll.parts[1].part), ("bad", "n299"));
        assert_eq!((polls.parts, polls.rows, poll.rows), (301, 44_850, 44_850));
        let left_out = poll.left_out;
        assert_eq!((left_out.sockets, left_out.bytes, left_out.incomplete), (44 * 45 / 2, 9900, 0));
        assert_eq!(polls.incomplete[4], 1);
    }

    #[test]
    fn a_hundred_polls_are_kept_and_say_why_something_is_missing() {
        let mut polls = Polls::new();
        let lost = part("a\"b\\c\nd", 7, Completeness::Incomplete(Incomplete::Lost));
        for poll in 1..=103 {
            polls.event(&Event::Begins { late: Duration::from_millis(4) }, &Totals::default());
            // One poll in two removes three duplicates, and two sockets had been missed before.
            let track =
                Totals { duplicates: poll / 2 * 3, missed: poll / 2 * 2, ..Totals::default() };
            let ends =
                PartReport { plan: closed::PLAN, ..part("closed", 9, Completeness::Complete) };
            let parts = [lost.clone(), ends];
            polls.event(&Event::Polled { poll, took: Duration::ZERO, parts: &parts }, &track);
        }
        let parsed: Value = serde_json::from_str(&json(&polls.recent())).unwrap();
        let all = parsed.as_array().unwrap();
        assert_eq!((all.len(), &all[0]["poll"], &all[99]["poll"]), (100, &json!(4), &json!(103)));
        assert_eq!(all[99]["netns"][0]["name"], "a\"b\\c\nd");
        assert_eq!(all[99]["netns"][0]["reason"], "lost");
        assert_eq!(all[99]["late_s"], 0.004);
        assert_eq!((&all[99]["rows"], &all[99]["namespaces"]), (&json!(7), &json!(1)));
        let quality =
            |poll: &Value| (poll["duplicates_removed"].clone(), poll["missed_before"].clone());
        assert_eq!(quality(&all[98]), (json!(3), json!(2)));
        assert_eq!(quality(&all[99]), (json!(0), json!(0)));
    }
}
