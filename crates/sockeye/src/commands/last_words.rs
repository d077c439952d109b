//! What `run` says at its end: the summary, what was odd, and the ledger of every destination.

use std::sync::Arc;

use sockeye_pipeline::{Event, Summary};
use sockeye_source::closed;
use sockeye_source::sockdiag::{Counters, Totals};
use sockeye_source::track::Track;
use tracing::info;

use crate::exit::complain;
use crate::wire_up::Ended;

/// Lines of their own, or of the log where that is for programs.
pub(crate) struct LastWords {
    plain: bool,
    closed: Option<Arc<closed::Counters>>,
    track: Option<Arc<Track>>,
    /// Rows of closed sockets that are in the summary.
    reported: u64,
}

impl LastWords {
    pub(crate) fn new(
        plain: bool,
        closed: Option<Arc<closed::Counters>>,
        track: Option<Arc<Track>>,
    ) -> Self {
        Self { plain, closed, track, reported: 0 }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        if let Event::Polled { parts, .. } = event {
            let closed = parts.iter().filter(|part| part.plan == closed::PLAN);
            self.reported += closed.map(|part| part.rows).sum::<u64>();
        }
    }

    /// Says everything. `counters` are those of every source that polled.
    pub(crate) fn say_all(&self, summary: &Summary, counters: &[Arc<Counters>], ended: &[Ended]) {
        let closed = self.closed.as_ref().map(|counters| counters.totals());
        let track = self.track.as_ref().map(|track| track.totals());
        // Closed sockets of the time after the last poll are in no report.
        let rows = summary.rows - self.reported + closed.map_or(0, |totals| totals.rows);
        self.say(&format!(
            "{} polls, {rows} rows, {} incomplete namespaces; skipped {} late, {} at high water",
            summary.polls, summary.incomplete_parts, summary.late_ticks, summary.high_water_ticks
        ));
        let odd = [
            odd(counters),
            closed.and_then(|totals| totals.odd()),
            track.and_then(|totals| totals.odd()),
        ];
        odd.iter().flatten().for_each(|odd| self.say(odd));
        if let Some(closed::Totals { rows, joined, lost, .. }) = closed {
            let (sockets, bytes) = track.map_or((0, 0), |totals| (totals.entries, totals.bytes));
            self.say(&format!(
                "closed sockets: {rows} rows, {joined} of them seen by a poll, {lost} lost; \
                 {sockets} sockets remembered in {bytes} bytes"
            ));
        }
        for sink in ended {
            let fault =
                sink.fault.as_ref().map_or(String::new(), |fault| format!("; ended by: {fault}"));
            self.say(&format!("{}: {}{fault}", sink.name, sink.ledger));
            if let Some(notes) = &sink.notes {
                self.say(&format!("{}: {notes}", sink.name));
            }
        }
    }

    fn say(&self, words: &str) {
        if self.plain {
            complain(words);
        } else {
            info!("{words}");
        }
    }
}

/// What the kernel sent and no row could say; `None` when there was nothing of the kind.
fn odd(counters: &[Arc<Counters>]) -> Option<String> {
    let all: Vec<Totals> = counters.iter().map(|counters| counters.totals()).collect();
    let sum = |count: fn(&Totals) -> u64| all.iter().map(count).sum::<u64>();
    let counts = [
        (sum(|totals| totals.malformed), "malformed messages"),
        (sum(|totals| totals.foreign), "foreign messages"),
        (sum(|totals| totals.unknown_attributes), "unknown attributes"),
        (sum(|totals| totals.long_tcp_info), "sockets with a tcp_info longer than known"),
    ];
    let odd: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!odd.is_empty()).then(|| odd.join(", "))
}
