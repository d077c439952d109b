//! One namespace that is being read through a ring: its reading, its socket and its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sockeye_pipeline::Incomplete;
use sockeye_sys::DiagSocket;

use super::deadline::Watch;
use super::parked::Place;
use super::reader::Errand;
use super::reading::Reading;

/// A conversation with the kernel. It holds its socket; so does the ring while something is in flight.
pub(crate) struct Conversation {
    pub(crate) reading: Reading,
    pub(crate) errand: Errand,
    /// None while it is parked.
    pub(crate) socket: Option<Arc<DiagSocket>>,
    /// The next request is to be asked for.
    pub(crate) due: bool,
    /// Receives in flight.
    pub(crate) receives: usize,
    /// Receives that are worth having in flight at once.
    depth: usize,
    watch: Watch,
    began: Instant,
    /// When the namespace was last seen alive.
    seen: Instant,
    /// Its own time: that of rounds in which it had something in flight.
    spent: Duration,
    waited: bool,
}

impl Conversation {
    pub(crate) fn new(
        reading: Reading,
        socket: DiagSocket,
        errand: Errand,
        timeout: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            reading,
            errand,
            socket: Some(Arc::new(socket)),
            due: true,
            receives: 0,
            depth: FIRST_DEPTH,
            watch: Watch::new(timeout),
            began: now,
            seen: now,
            spent: Duration::ZERO,
            waited: false,
        }
    }

    /// Ends it when its time is up, someone asks to stop, or its namespace is dead.
    pub(crate) fn look(&mut self) {
        let Self { watch, errand, seen, .. } = self;
        let alive = || {
            *seen = Instant::now();
            errand.netns.alive()
        };
        if let Some(why) = watch.exceeded(self.spent, self.began.elapsed(), &errand.stop, alive) {
            self.reading.fail(why);
        }
    }

    pub(crate) fn receives_wanted(&self) -> usize {
        self.depth.max(self.reading.receives())
    }

    /// A call begins that may wait for its replies.
    pub(crate) fn waits(&mut self) {
        self.waited |= self.receives > 0;
    }

    /// A round has ended. Where others had their turn, the time was not its own.
    pub(crate) fn took(&mut self, round: Duration) {
        if std::mem::take(&mut self.waited) {
            self.spent += round;
        }
    }

    pub(crate) fn exchange_ended(&mut self) {
        self.due = true;
        self.depth = FIRST_DEPTH;
    }

    /// More is to come than was waited for: it is a long dump.
    pub(crate) fn goes_on(&mut self) {
        if self.receives == 0 {
            self.depth = (2 * self.depth).min(MOST_DEPTH);
        }
    }

    /// Gives away what keeps the namespace.
    pub(crate) fn leave(&mut self) -> Option<Place> {
        let socket = self.socket.take()?;
        let (netns, census) = (self.errand.netns.clone(), self.reading.census.take());
        Some(Place { netns, socket, census, since: self.seen })
    }

    /// Takes it back, if the namespace lives.
    pub(crate) fn come_back(&mut self, place: Option<Place>) {
        match place {
            Some(place) => {
                self.socket = Some(place.socket);
                self.reading.census = place.census;
            }
            None => self.reading.fail(Incomplete::Vanished),
        }
    }
}

/// The end of a dump comes by itself behind its sockets.
const FIRST_DEPTH: usize = 2;
const MOST_DEPTH: usize = 16;
