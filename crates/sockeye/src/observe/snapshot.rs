//! Everything that is shown, at one moment.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use sockeye_pipeline::{Completeness, Link, PartReport, QueueLimits, Sent, Snapshot};
use sockeye_source::sockdiag::Totals;
use sockeye_source::{closed, track};
use sockeye_telemetry::process::Process;
use sockeye_telemetry::threads::Usage;

use super::health::{Health, OTHER};
use super::polls::Polls;
use super::{ClientFigures, Shared, lock};

/// What is shown.
pub(super) struct Observed {
    pub(super) up: Duration,
    pub(super) started_at: Duration,
    pub(super) stopping: bool,
    pub(super) polls: Polls,
    pub(super) source: Totals,
    pub(super) closed: Option<closed::Totals>,
    pub(super) track: Option<track::Totals>,
    pub(super) sent: Sent,
    pub(super) sinks: Vec<SinkNow>,
    pub(super) netns: BTreeMap<String, NetnsNow>,
    pub(super) health: Health,
    pub(super) process: Process,
    pub(super) threads: Vec<(&'static str, Usage)>,
    pub(super) requests: u64,
    pub(super) refused: u64,
    pub(super) timed_out: u64,
}

/// A destination.
pub(super) struct SinkNow {
    pub(super) label: String,
    pub(super) name: String,
    pub(super) limits: QueueLimits,
    pub(super) now: Snapshot,
    pub(super) client: Option<ClientFigures>,
}

impl SinkNow {
    /// Whether its other side is there, as far as one knows.
    pub(super) fn is_up(&self) -> bool {
        self.now.gone.is_none() && self.now.link != Link::Down
    }
}

/// A namespace in the last poll, or all that have no line of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NetnsNow {
    pub(super) sockets: u64,
    pub(super) bytes: u64,
    /// Of several, the longest.
    pub(super) took: Duration,
    pub(super) incomplete: u64,
}

impl NetnsNow {
    pub(super) fn add(&mut self, part: &PartReport) {
        self.sockets += part.seen;
        self.bytes += part.bytes;
        self.took = self.took.max(part.took);
        self.incomplete += u64::from(part.completeness != Completeness::Complete);
    }
}

impl Observed {
    pub(super) fn now(shared: &Shared) -> Self {
        let polls = lock(&shared.polls).clone();
        let threads = {
            let mut threads = lock(&shared.threads);
            threads.read();
            threads.totals().collect()
        };
        let (source, sent) = {
            let collection = lock(&shared.collection);
            (collection.counted(), collection.sent())
        };
        let sinks = shared.sinks.iter().map(|sink| SinkNow {
            label: sink.label.clone(),
            name: sink.queue.name().to_owned(),
            limits: sink.queue.limits(),
            now: sink.queue.snapshot(),
            client: sink.client.as_ref().map(|client| client()),
        });
        Self {
            up: shared.started.elapsed(),
            started_at: shared
                .started_at
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
            stopping: shared.stop.requested(),
            netns: top(&polls, shared.top_netns),
            polls,
            source,
            closed: shared.closed.as_ref().map(|counters| counters.totals()),
            track: shared.track.as_ref().map(|track| track.totals()),
            sent,
            sinks: sinks.collect(),
            health: lock(&shared.health).clone(),
            process: Process::read(),
            threads,
            requests: shared.traffic.requests(),
            refused: shared.traffic.refused(),
            timed_out: shared.traffic.timed_out(),
        }
    }

    /// Processor time of a stage.
    pub(super) fn stages(&self) -> [(&'static str, Duration); 6] {
        let of = |kind| {
            let found = self.threads.iter().find(|(name, _)| *name == kind);
            found.map(|(_, usage)| *usage).unwrap_or_default()
        };
        let all = |usage: Usage| usage.user + usage.system;
        [
            ("kernel", of(READER).system),
            ("decode_encode", of(READER).user),
            ("sinks", all(of(SINK))),
            ("client", all(of(CLIENT))),
            ("telemetry", all(of(TELEMETRY))),
            ("other", all(of(OTHER))),
        ]
    }
}

/// The namespaces with most sockets, and the rest as one.
fn top(polls: &Polls, most: usize) -> BTreeMap<String, NetnsNow> {
    let mut top: BTreeMap<String, NetnsNow> = BTreeMap::new();
    let Some(last) = polls.last() else { return top };
    let mut parts: Vec<_> = last.parts.iter().collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.seen));
    for (i, part) in parts.into_iter().enumerate() {
        let name = if i < most { &*part.part } else { OTHER };
        top.entry(name.to_owned()).or_default().add(part);
    }
    if last.others > 0 {
        let other = top.entry(OTHER.to_owned()).or_default();
        other.sockets += last.left_out.sockets;
        other.bytes += last.left_out.bytes;
        other.took = other.took.max(last.left_out.took);
        other.incomplete += last.left_out.incomplete;
    }
    top
}

/// What a thread does, by its name.
pub(super) fn kind_of(name: &str) -> &'static str {
    let kinds = [
        ("nl-", READER),
        ("closed", READER),
        ("sink-", SINK),
        ("rdk:", CLIENT),
        ("telemetry", TELEMETRY),
    ];
    kinds.into_iter().find(|(begin, _)| name.starts_with(begin)).map_or(OTHER, |(_, kind)| kind)
}

const READER: &str = "reader";
const SINK: &str = "sink";
const CLIENT: &str = "client";
const TELEMETRY: &str = "telemetry";
pub(super) const KINDS: [&str; 5] = [READER, SINK, CLIENT, TELEMETRY, OTHER];

#[cfg(test)]
mod tests {
    use sockeye_pipeline::Event;

    use super::*;

    #[test]
    fn the_largest_namespaces_have_lines_and_the_rest_is_one() {
        let part = |name: &str, rows: u64| PartReport {
            part: name.into(),
            plan: "walk",
            rows,
            seen: rows,
            bytes: 10 * rows,
            took: Duration::from_millis(rows),
            completeness: Completeness::Complete,
        };
        let mut polls = Polls::new();
        let parts = [part("a", 3), part("b", 9), part("c", 1), part("d", 2), part("b", 1)];
        let polled = Event::Polled { poll: 1, took: Duration::ZERO, parts: &parts };
        polls.event(&polled, &track::Totals::default());
        let shown: Vec<(String, u64, u128)> = top(&polls, 2)
            .into_iter()
            .map(|(name, now)| (name, now.sockets, now.took.as_millis()))
            .collect();
        let expected = [("a", 3, 3), ("b", 9, 9), ("other", 4, 2)];
        assert_eq!(shown, expected.map(|(name, rows, took)| (name.to_owned(), rows, took)));
    }

    #[test]
    fn a_thread_is_known_by_its_name() {
        for (name, kind) in [
            ("nl-4026531840", "reader"),
            ("nl-ring-0", "reader"),
            ("closed-netns", "reader"),
            ("sink-kafka:b:90", "sink"),
            ("rdk:broker1", "client"),
            ("telemetry-work", "telemetry"),
            ("sockeye", "other"),
        ] {
            assert_eq!(kind_of(name), kind);
        }
    }
}
