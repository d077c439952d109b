//! From events to rows: which of them are connections, which are wanted, and what polls know of them.

use std::sync::Arc;
use std::time::Instant;

use sockeye_filter::Subject;
use sockeye_pipeline::Outlet;
use sockeye_record::{BufferPool, Builder, SocketRow};
use sockeye_sys::{Event, clock};
use sockeye_wire::inet_diag::SOCK_DIAG_BY_FAMILY;
use sockeye_wire::{Address, AttrSet, InetDiag, Messages};

use super::counters::Totals;
use super::ids::Ids;
use super::label::Label;
use crate::sockdiag::Settings;
use crate::track::Last;

/// The builders, and what they were given since the last envelopes were sent.
pub(super) struct Rows {
    builders: Vec<Builder>,
    /// Number of the last row.
    number: u64,
    deltas: bool,
    /// When the oldest row was given that is not sent yet.
    since: Option<Instant>,
}

/// Events of one batch, by namespace.
#[derive(Default)]
pub(super) struct Groups {
    /// Id, and place in the batch.
    places: Vec<(Option<u32>, usize)>,
}

/// A connection that has closed, with what polls know of it.
struct Gone<'a> {
    diag: &'a InetDiag<'a>,
    last: Option<&'a Last>,
}

impl Rows {
    pub(super) fn new(settings: &Settings) -> Self {
        let pool = BufferPool::new(settings.encodings.len() + SPARE_BUFFERS);
        let builders = settings.builders(&pool);
        let deltas = settings.track.is_some_and(|track| track.deltas);
        Self { builders, number: 0, deltas, since: None }
    }

    /// Since when rows wait to be sent.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Makes rows of a batch.
    pub(super) fn take(
        &mut self,
        settings: &Settings,
        events: &[Event<'_>],
        owners: &Owners,
        groups: &mut Groups,
        outlet: &Outlet,
    ) -> Totals {
        let mut seen = Totals { events: events.len() as u64, ..Totals::default() };
        groups.places.clear();
        groups.places.extend(events.iter().enumerate().map(|(at, event)| (event.nsid, at)));
        groups.places.sort_unstable();
        let now = (clock::wall_ns(), clock::boottime_ns());
        for group in groups.places.chunk_by(|(one, _), (other, _)| one == other) {
            let events = group.iter().filter_map(|(_, at)| events.get(*at));
            let label = group.first().and_then(|(nsid, _)| owners.of(*nsid));
            self.take_group(settings, label, now, events, outlet, &mut seen);
        }
        if seen.rows > 0
            && self.since.is_none()
            && self.builders.iter().any(|builder| builder.rows() > 0)
        {
            self.since = Some(Instant::now());
        }
        seen
    }

    /// Sends what there is.
    pub(super) fn send(&mut self, outlet: &Outlet) {
        self.since = None;
        for (lane, builder) in self.builders.iter_mut().enumerate() {
            if let Some(envelope) = builder.finish() {
                outlet.send_closed(lane, envelope);
            }
        }
    }

    fn take_group<'e>(
        &mut self,
        settings: &Settings,
        label: Option<&Arc<Label>>,
        now: (i64, i64),
        events: impl Iterator<Item = &'e Event<'e>>,
        outlet: &Outlet,
        seen: &mut Totals,
    ) {
        let mut table = label.and_then(|label| label.table.as_ref()).map(|table| table.lock());
        if let Some(label) = label {
            let context = label.context(&settings.host, now);
            self.builders.iter_mut().for_each(|builder| builder.begin_dump(&context));
        }
        for event in events {
            let Some(diag) = socket(event, seen) else { continue };
            if diag.destination_port() == 0 {
                seen.unconnected += 1;
                // It may have been one until it was aborted.
                if let Some(table) = &mut table {
                    table.ended(diag.cookie());
                }
                continue;
            }
            let Some(label) = label else {
                seen.unknown_netns += 1;
                continue;
            };
            if let Some(table) = &mut table {
                table.ends().add(diag.key());
            }
            if !settings.modulus.keeps(diag.cookie()) {
                seen.sampled_out += 1;
                if let Some(table) = &mut table {
                    // Another sample may have had it.
                    table.forget(diag.cookie());
                }
                continue;
            }
            let (last, deltas) = match &mut table {
                Some(table) => table.closed(&diag),
                None => (None, None),
            };
            let gone = Gone { diag: &diag, last: last.as_ref() };
            if label.filter.as_ref().is_some_and(|filter| !filter.surely_matches(&gone)) {
                seen.filtered += 1;
                continue;
            }
            self.number += 1;
            let joined = last.as_ref().map(Last::joined);
            let mut row = SocketRow::new(&diag, self.number, 0, 0);
            if let Some(joined) = &joined {
                row = row.joined(joined);
                seen.joined += 1;
            } else {
                seen.not_joined += 1;
            }
            if let Some(deltas) = deltas.filter(|_| self.deltas) {
                row = row.deltas(deltas);
            }
            seen.rows += 1;
            for (lane, builder) in self.builders.iter_mut().enumerate() {
                builder.push(&row, |envelope| outlet.send_closed(lane, envelope));
            }
        }
    }
}

/// Who has which id, as of one batch.
#[derive(Default)]
pub(super) struct Owners(Vec<(Option<u32>, Option<Arc<Label>>)>);

impl Owners {
    /// Looks every id of the batch up.
    pub(super) fn look_up(&mut self, ids: &Ids, events: &[Event<'_>]) {
        self.0.clear();
        for event in events {
            if !self.0.iter().rev().any(|(nsid, _)| *nsid == event.nsid) {
                self.0.push((event.nsid, ids.owner(event.nsid).cloned()));
            }
        }
    }

    /// Whether an id is nobody's that is known.
    pub(super) fn is_any_unknown(&self) -> bool {
        self.0.iter().any(|(_, label)| label.is_none())
    }

    fn of(&self, nsid: Option<u32>) -> Option<&Arc<Label>> {
        self.0.iter().find(|(id, _)| *id == nsid)?.1.as_ref()
    }
}

/// The socket that an event tells of.
fn socket<'e>(event: &Event<'e>, seen: &mut Totals) -> Option<InetDiag<'e>> {
    if !event.from_kernel {
        seen.events -= 1;
        seen.foreign += 1;
        return None;
    }
    let mut messages = Messages::new(event.bytes).flatten();
    let message = messages.next().filter(|message| message.kind == SOCK_DIAG_BY_FAMILY);
    let diag = message.and_then(|message| InetDiag::parse(message.payload, AttrSet::ALL).ok());
    if diag.is_none() || event.truncated {
        seen.malformed += 1;
        return None;
    }
    diag
}

/// An event lacks the mark and the cgroup: they are what the last poll has shown.
impl Subject for Gone<'_> {
    fn source(&self) -> Address<'_> {
        self.diag.source()
    }

    fn destination(&self) -> Address<'_> {
        self.diag.destination()
    }

    fn source_port(&self) -> u16 {
        self.diag.source_port()
    }

    fn destination_port(&self) -> u16 {
        self.diag.destination_port()
    }

    fn interface(&self) -> u32 {
        self.diag.interface()
    }

    fn mark(&self) -> Option<u32> {
        self.last.and_then(Last::mark)
    }

    fn cgroup(&self) -> Option<u64> {
        self.last.and_then(Last::cgroup_id)
    }

    fn is_known(&self) -> bool {
        self.last.is_some()
    }
}

/// Buffers kept for envelopes that are with the sinks.
const SPARE_BUFFERS: usize = 4;
