//! From sockets to rows: which of them are wanted, their numbers, and what is the same for all of a namespace.

use std::sync::Arc;
use std::sync::OnceLock;

use sockeye_filter::Resolved;
use sockeye_netns::{Container, NetnsId};
use sockeye_record::{DumpContext, Envelope, POLL, SocketRow};
use sockeye_sys::clock;
use sockeye_wire::inet_diag::is_socket;
use sockeye_wire::{InetDiag, Messages, StateSet, tcp_state};

use super::health::TcpHealth;
use super::kit::Lanes;
use super::numbers::{Numbers, Taken};
use super::sample::Modulus;
use super::settings::{Host, NamedNetns};
use crate::track::{Chunk, Seen, ShipUnlocked, Tracked};

/// What takes envelopes. It may have to wait for the sinks: nothing of a namespace must be held meanwhile.
pub(crate) trait Ship {
    /// Takes an envelope of lane `lane`.
    fn ship(&self, lane: usize, envelope: Envelope);
}

/// What all parts of one namespace and poll have in common.
#[derive(Debug, Default)]
pub(crate) struct Common {
    /// Numbers that its rows have.
    taken: Taken,
    /// Wall clock and boot time when the first part was requested: one moment for all rows, however many read them.
    requested: OnceLock<(i64, i64)>,
}

/// Which dump rows belong to: no two have the namespace and the moment of the request in common.
pub(crate) type Dumped = (NetnsId, (i64, i64));

/// The rows of one namespace, or of one part of it.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) id: NetnsId,
    pub(crate) name: Arc<str>,
    pub(crate) container: Option<Container>,
    /// Which reader of how many.
    pub(crate) part: (u16, u16),
    pub(crate) common: Arc<Common>,
    /// Of the netlink socket, for its column.
    pub(crate) fd: u64,
    pub(crate) modulus: Modulus,
    /// The states to keep, where more were asked for.
    pub(crate) states: Option<StateSet>,
    pub(crate) filter: Option<Arc<Resolved>>,
    /// What is remembered of its sockets.
    pub(crate) table: Option<Arc<Tracked>>,
    /// Rows say what happened since the one before.
    pub(crate) deltas: bool,
    /// Its id as seen from our own namespace, where that is known.
    pub(crate) nsid: Option<u32>,
    requested: (i64, i64),
    /// Of the rows to come, where other readers number rows too.
    numbers: Numbers,
    /// Sockets that are wanted.
    pub(crate) seen: u64,
    /// Those of them that are rows.
    pub(crate) sent: u64,
    /// What they are like, where that is wanted.
    pub(crate) health: Option<Box<TcpHealth>>,
}

impl Rows {
    pub(crate) fn new(
        id: NetnsId,
        name: Arc<str>,
        container: Option<Container>,
        modulus: Modulus,
    ) -> Self {
        Self {
            id,
            name,
            container,
            part: (0, 1),
            common: Arc::default(),
            fd: 0,
            modulus,
            states: None,
            filter: None,
            table: None,
            deltas: false,
            nsid: None,
            requested: (0, 0),
            numbers: Numbers::default(),
            seen: 0,
            sent: 0,
            health: None,
        }
    }

    /// The kernel is about to be asked: this is the moment that the rows tell of.
    pub(crate) fn requested_now(&mut self) {
        let now = || (clock::wall_ns(), clock::boottime_ns());
        self.requested =
            if self.part.1 == 1 { now() } else { *self.common.requested.get_or_init(now) };
    }

    /// The rows tell of this moment, at which they were asked for.
    pub(crate) fn requested_then(&mut self, moment: (i64, i64)) {
        self.requested = moment;
    }

    pub(crate) fn dumped(&self) -> Dumped {
        (self.id, self.requested)
    }

    /// What is the same for every row.
    pub(crate) fn context<'a>(&'a self, host: &'a Host) -> DumpContext<'a> {
        let (name, container) = (&*self.name, self.container.as_ref());
        let netns = NamedNetns { id: self.id, name, container, nsid: self.nsid };
        host.context(netns, self.requested, POLL)
    }

    /// The sockets of a chunk are about to be pushed.
    pub(crate) fn begin_chunk(&mut self, chunk: &[u8]) {
        let picks = self.states.is_some() || self.filter.is_some() || self.modulus != Modulus::ALL;
        if self.part.1 > 1 && !picks {
            let messages = Messages::new(chunk).flatten();
            let sockets = messages.filter(|message| is_socket(message.kind)).count();
            self.numbers.expect(sockets as u64);
        }
    }

    /// They were pushed; those that the dump has shown before are no rows.
    pub(crate) fn end_chunk(&mut self) {
        self.numbers.give_back(&self.common.taken);
    }

    /// Whether the socket is one of those that were asked for.
    #[inline]
    pub(crate) fn wants(&self, diag: &InetDiag<'_>) -> bool {
        self.states.is_none_or(|states| states.contains(diag.state()) || bound(states, diag))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(diag))
    }

    /// Makes a row of a socket that is wanted, unless sampling leaves it out.
    #[inline]
    pub(crate) fn push(&mut self, diag: &InetDiag<'_>, lanes: &mut Lanes, to: &impl Ship) {
        self.seen += 1;
        if let Some(health) = &mut self.health {
            health.see(diag);
        }
        if self.modulus.keeps(diag.cookie()) {
            let row = self.row(diag);
            lanes.push(&row, to);
        }
    }

    /// The table, for the sockets of one chunk.
    pub(crate) fn chunk<'t>(&self, table: &'t Tracked) -> Chunk<'t> {
        table.chunk(self.requested.0, self.deltas)
    }

    /// The same of a namespace whose sockets are remembered: this one, unless the dump has shown it already.
    pub(crate) fn push_tracked(
        &mut self,
        diag: &InetDiag<'_>,
        lanes: &mut Lanes,
        chunk: &Chunk<'_>,
        to: &impl Ship,
    ) {
        if let Some(health) = &mut self.health {
            health.see(diag);
        }
        if !self.modulus.keeps(diag.cookie()) {
            self.seen += 1;
            return;
        }
        if let Seen::Row(deltas) = chunk.seen(diag) {
            self.seen += 1;
            let row = self.row(diag);
            let row = deltas.map_or(row, |deltas| row.deltas(deltas));
            lanes.push(&row, &ShipUnlocked { chunk, to });
        }
    }

    #[inline]
    fn row<'a>(&mut self, diag: &'a InetDiag<'a>) -> SocketRow<'a> {
        self.sent += 1;
        let (index, count) = self.part;
        let number = if count == 1 { self.sent } else { self.numbers.next(&self.common.taken) };
        SocketRow::new(diag, number, self.fd, u64::from(index))
    }
}

/// Sockets that are bound and neither listen nor connect have a bit of their own, and are shown as closed.
fn bound(states: StateSet, diag: &InetDiag<'_>) -> bool {
    diag.state() == tcp_state::CLOSE && states.intersects(StateSet::BOUND_INACTIVE)
}
