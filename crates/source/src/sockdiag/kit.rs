//! Kits: what a reader needs while it dumps. There are as many as dumps may run at once.
//!
//! An envelope that a small namespace has begun stays in its kit, and the next namespace goes on with it; what is left
//! at the end of a poll is cut then.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use sockeye_pipeline::Outlet;
use sockeye_record::{BufferPool, Builder, SocketRow};
use sockeye_wire::Layouts;

use super::rows::{Dumped, Rows, Ship};
use super::settings::{Host, Settings};

/// A receive buffer, and a builder for each encoding in use.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) buffer: Vec<u8>,
    pub(crate) lanes: Lanes,
    pub(crate) layouts: Layouts,
    /// Replies that are kept back until it is certain what they are worth.
    pub(crate) kept: Vec<u8>,
}

/// A builder for each encoding in use, and whose rows they take now.
#[derive(Debug)]
pub(crate) struct Lanes {
    builders: Vec<Builder>,
    serving: Option<Dumped>,
}

/// The kits that nobody uses now.
///
/// More readers than kits may wait for one, and sleep meanwhile: a channel's receiver would try again and again before.
#[derive(Debug)]
pub(crate) struct Kits {
    free: Mutex<Vec<Kit>>,
    returned: Condvar,
    count: usize,
}

impl Lanes {
    /// Takes what is the same for the rows that follow, unless the last ones were of the same dump.
    pub(crate) fn serve(&mut self, rows: &Rows, host: &Host) {
        if self.serving != Some(rows.dumped()) {
            self.serving = Some(rows.dumped());
            let context = rows.context(host);
            self.builders.iter_mut().for_each(|builder| builder.begin_dump(&context));
        }
    }

    /// Appends a row to every builder, and ships what is cut.
    #[inline]
    pub(crate) fn push(&mut self, row: &SocketRow<'_>, to: &impl Ship) {
        for (lane, builder) in self.builders.iter_mut().enumerate() {
            builder.push(row, |envelope| to.ship(lane, envelope));
        }
    }

    /// Cuts and sends what there is.
    fn finish(&mut self, outlet: &Outlet) {
        for (lane, builder) in self.builders.iter_mut().enumerate() {
            if let Some(envelope) = builder.finish() {
                outlet.send(lane, envelope);
            }
        }
    }
}

impl Kits {
    /// Makes `count` kits.
    pub(crate) fn new(settings: &Settings, count: usize) -> Self {
        let pool = BufferPool::new(count * settings.encodings.len() + SPARE_BUFFERS);
        let kit = || {
            let builders = settings.builders(&pool);
            Kit {
                buffer: vec![0; settings.packet_bytes],
                lanes: Lanes { builders, serving: None },
                layouts: Layouts::new(settings.useful_attrs()),
                kept: Vec::new(),
            }
        };
        let free = Mutex::new(std::iter::repeat_with(kit).take(count).collect());
        Self { free, returned: Condvar::new(), count }
    }

    /// How many there are, leased ones included: so many readers can read at once.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Waits for a free kit.
    pub(crate) fn lease(&self) -> Kit {
        let mut free = self.free();
        loop {
            match free.pop() {
                Some(kit) => return kit,
                None => {
                    free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    pub(crate) fn give_back(&self, kit: Kit) {
        self.free().push(kit);
        self.returned.notify_one();
    }

    /// Cuts and sends what the builders of all kits hold. To be called when no dump runs.
    pub(crate) fn finish_poll(&self, outlet: &Outlet) {
        let mut kits = std::mem::take(&mut *self.free());
        // It may have to wait for a sink.
        for kit in &mut kits {
            kit.lanes.finish(outlet);
        }
        for kit in kits {
            self.give_back(kit);
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Kit>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Buffers kept for envelopes that are with the sinks.
const SPARE_BUFFERS: usize = 4;
