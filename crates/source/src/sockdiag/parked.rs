//! Sockets of readers that wait for a sink. A namespace that dies meanwhile is let go of: nobody else would look.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sockeye_netns::{Census, Netns};
use sockeye_pipeline::Outlet;
use sockeye_record::Envelope;
use sockeye_sys::{DiagSocket, Received};

use super::channel::Channel;
use super::deadline::LIVENESS_AFTER;
use super::rows::Ship;

/// The sockets that wait, of all readers.
#[derive(Debug, Default)]
pub(crate) struct Parked(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: BTreeMap<u64, Place>,
}

/// What keeps a namespace while somebody waits.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) netns: Arc<Netns>,
    pub(crate) socket: Arc<DiagSocket>,
    pub(crate) census: Option<Census>,
    /// When the namespace was last seen alive: many short pauses are as long as one.
    pub(crate) since: Instant,
}

/// The socket of one dump, which may be parked.
pub(crate) struct Held<'a> {
    parked: &'a Parked,
    netns: &'a Arc<Netns>,
    port_id: u32,
    outlet: &'a Outlet,
    socket: RefCell<Option<Arc<DiagSocket>>>,
    paused: Cell<Duration>,
    /// When the namespace was last seen alive.
    seen: Cell<Instant>,
}

impl Parked {
    /// Closes the sockets of dead namespaces. To be called every [`LOOK`] while dumps run, by a thread at home.
    pub(crate) fn let_go_of_the_dead(&self) {
        let recent = |place: &Place| place.since.elapsed() < LIVENESS_AFTER;
        self.places().taken.retain(|_, place| recent(place) || place.netns.alive());
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks what is the only thing of ours that keeps its namespace. It is let go of if that dies.
    pub(crate) fn park(&self, place: Place) -> u64 {
        let mut places = self.places();
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, place);
        number
    }

    /// `None` if the namespace has died.
    pub(crate) fn take_back(&self, number: u64) -> Option<Place> {
        self.places().taken.remove(&number)
    }
}

impl<'a> Held<'a> {
    pub(crate) fn new(
        parked: &'a Parked,
        netns: &'a Arc<Netns>,
        outlet: &'a Outlet,
        socket: DiagSocket,
    ) -> Self {
        let port_id = socket.port_id();
        let seen = Cell::new(Instant::now());
        let socket = Some(Arc::new(socket)).into();
        Self { parked, netns, outlet, port_id, socket, paused: Cell::default(), seen }
    }

    /// Whether the namespace lives, as far as it is known; it is asked for unless the socket is closed already.
    pub(crate) fn alive(&self) -> bool {
        let alive = self.socket.borrow().is_some() && self.netns.alive();
        self.seen.set(Instant::now());
        alive
    }

    /// The time of all pauses.
    pub(crate) fn paused(&self) -> &Cell<Duration> {
        &self.paused
    }
}

impl Ship for Held<'_> {
    /// Counts the time as paused. The socket is parked for its length.
    fn ship(&self, lane: usize, envelope: Envelope) {
        let began = Instant::now();
        if let Some(socket) = self.socket.take() {
            let (netns, since) = (Arc::clone(self.netns), self.seen.get());
            let number = self.parked.park(Place { netns, socket, census: None, since });
            self.outlet.send(lane, envelope);
            self.socket.replace(self.parked.take_back(number).map(|place| place.socket));
        } else {
            self.outlet.send(lane, envelope);
        }
        self.paused.set(self.paused.get() + began.elapsed());
    }
}

impl Channel for &Held<'_> {
    fn port_id(&self) -> u32 {
        self.port_id
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.socket.borrow().as_ref().ok_or(Errno::ESTALE)?.send(request)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        self.socket.borrow().as_ref().ok_or(Errno::ESTALE)?.recv(buffer)
    }
}

/// How often to look. With the time that a reader waits before anyone looks, less than a second.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
