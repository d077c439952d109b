//! What polls have to say, as log lines: each thing that is lost or odd at most once a minute, the rest for those who debug.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sockeye_pipeline::{Completeness, DropReason, Event, Incomplete, PartReport};
use sockeye_sys::clock;
use tracing::{debug, info, trace, warn};

/// Turns events into lines.
#[derive(Default)]
pub(crate) struct PollLog {
    /// When a namespace was last named for a reason.
    incomplete: BTreeMap<(String, &'static str), Instant>,
    /// Incomplete namespaces that were not named for want of room in the map, and when that was last said.
    unnamed: Paced,
    /// Rows that a sink has lost for a reason.
    dropped: BTreeMap<(String, &'static str), Paced>,
    late: Paced,
    high_water: Paced,
    cpu: Cpu,
}

/// Processor time of the process.
#[derive(Default)]
struct Cpu {
    told_ns: i64,
}

/// A count that is said at most once a minute.
#[derive(Default)]
struct Paced {
    said: Option<Instant>,
    unsaid: u64,
}

impl PollLog {
    /// Says what is due.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Polled { poll, took, parts } => {
                let rows: u64 = parts.iter().map(|part| part.rows).sum();
                let (namespaces, took_ms) = (parts.len(), took.as_millis());
                let cpu_us = self.cpu.since_the_last() / 1000;
                debug!(poll, rows, namespaces, took_ms, cpu_us, "polled");
                self.polled(parts);
            }
            Event::Dropped { sink, reason, rows } => self.dropped(sink, *reason, *rows),
            Event::Begins { .. } => {}
            Event::Late { ticks } => {
                if let Some(ticks) = self.late.add(*ticks) {
                    warn!(ticks, "polls take longer than the frequency; late ones are skipped");
                }
            }
            Event::HighWater => {
                if let Some(polls) = self.high_water.add(1) {
                    warn!(polls, "every sink is behind; polls are skipped until they catch up");
                }
            }
        }
    }

    fn polled(&mut self, parts: &[PartReport]) {
        self.incomplete.retain(|_, said| said.elapsed() < PACE);
        for part in parts {
            let (plan, took) = (part.plan, part.took.as_micros());
            trace!(netns = %part.part, plan, rows = part.rows, took_us = took, "read");
            match part.completeness {
                Completeness::Complete => {}
                // Normal where containers come and go, and where the daemon ends.
                Completeness::Incomplete(why @ (Incomplete::Vanished | Incomplete::Stopped)) => {
                    debug!(netns = %part.part, %why, "incomplete");
                }
                Completeness::Incomplete(why) => self.incomplete(part, why),
            }
        }
    }

    fn incomplete(&mut self, part: &PartReport, why: Incomplete) {
        let key = (part.part.to_string(), why.name());
        if self.incomplete.contains_key(&key) {
            return;
        }
        if self.incomplete.len() < MOST_NAMED {
            self.incomplete.insert(key, Instant::now());
            warn!(netns = %part.part, %why, rows = part.rows, "incomplete dump");
        } else if let Some(others) = self.unnamed.add(1) {
            warn!(others, "incomplete dumps of further namespaces are not named");
        }
    }

    fn dropped(&mut self, sink: &str, reason: DropReason, rows: u64) {
        let paced = self.dropped.entry((sink.to_owned(), reason.name())).or_default();
        let Some(rows) = paced.add(rows) else { return };
        let reason = reason.name();
        if reason == DropReason::SinkClosed.name() {
            // A reader that has seen enough is no fault; an error has been logged by the sink.
            info!(sink, rows, reason, "nobody takes this sink's rows any more");
        } else {
            warn!(sink, rows, reason, "rows dropped");
        }
    }
}

impl Cpu {
    /// Nanoseconds since it was told last: of a poll, with all that was done since the poll before it.
    fn since_the_last(&mut self) -> i64 {
        let now = clock::process_cpu_ns();
        now - std::mem::replace(&mut self.told_ns, now)
    }
}

impl Paced {
    /// Adds to the count; returns all that was not said yet, when it is time.
    fn add(&mut self, count: u64) -> Option<u64> {
        self.unsaid += count;
        if self.said.is_some_and(|said| said.elapsed() < PACE) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

const PACE: Duration = Duration::from_mins(1);
/// Namespaces that are named within a minute.
const MOST_NAMED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, why: Incomplete) -> PartReport {
        PartReport {
            part: name.into(),
            plan: "walk",
            rows: 0,
            seen: 0,
            bytes: 0,
            took: Duration::ZERO,
            completeness: Completeness::Incomplete(why),
        }
    }

    #[test]
    fn every_namespace_is_named_once_a_minute_for_each_reason_and_not_without_bound() {
        let mut log = PollLog::default();
        let parts = [part("red", Incomplete::Timeout), part("blue", Incomplete::Timeout)];
        log.polled(&parts);
        log.polled(&parts);
        log.polled(&[part("red", Incomplete::Denied), part("gone", Incomplete::Vanished)]);
        let named: Vec<(&str, &str)> =
            log.incomplete.keys().map(|(name, why)| (name.as_str(), *why)).collect();
        assert_eq!(named, [("blue", "timeout"), ("red", "denied"), ("red", "timeout")]);
        let many: Vec<PartReport> =
            (0..30).map(|i| part(&format!("n{i}"), Incomplete::Lost)).collect();
        log.polled(&many);
        assert_eq!(log.incomplete.len(), MOST_NAMED);
        assert_eq!(log.unnamed.unsaid, 12, "thirteen were not named, of which the first was said");
    }

    #[test]
    fn processor_time_is_told_once_and_grows_with_work() {
        let mut cpu = Cpu::default();
        let all = cpu.since_the_last();
        let mut sum = 0u64;
        for i in 0..20_000_000u64 {
            sum = std::hint::black_box(sum ^ i);
        }
        let work = cpu.since_the_last();
        assert!(all > 0 && work > 1_000_000 && work < 20_000_000_000, "{all} {work} {sum}");
    }

    #[test]
    fn what_is_not_said_is_part_of_what_is_said_next() {
        let mut paced = Paced::default();
        assert_eq!((paced.add(3), paced.add(4), paced.add(5)), (Some(3), None, None));
        paced.said = Instant::now().checked_sub(PACE);
        assert_eq!(paced.add(1), Some(10));
    }
}
