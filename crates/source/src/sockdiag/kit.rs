//! Kits: what a reader needs while it dumps. There are as many as dumps may run at once.
//!
//! An envelope that a small namespace has begun stays in its kit, and the next namespace goes on with it; what is left
//! at the end of a poll is cut then.

use crossbeam_channel::{Receiver, Sender, bounded};
use sockeye_pipeline::Outlet;
use sockeye_record::{BufferPool, Builder, Encoder, SocketRow};

use super::rows::{Dumped, Rows, Ship};
use super::settings::{Host, Settings};

/// A receive buffer, and a builder for each encoding in use.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) buffer: Vec<u8>,
    pub(crate) lanes: Lanes,
    /// Replies that are kept back until it is certain what they are worth.
    pub(crate) kept: Vec<u8>,
}

/// A builder for each encoding in use, and whose rows they take now.
#[derive(Debug)]
pub(crate) struct Lanes {
    builders: Vec<Builder>,
    serving: Option<Dumped>,
}

/// The kits that nobody uses now. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Kits {
    returned: Sender<Kit>,
    free: Receiver<Kit>,
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
        let (returned, free) = bounded(count);
        let pool = BufferPool::new(count * settings.encodings.len() + SPARE_BUFFERS);
        for _ in 0..count {
            let builders = settings.encodings.iter().map(Encoder::new);
            let builders = builders
                .map(|encoder| Builder::new(encoder, settings.limits, pool.clone()))
                .collect();
            // There is room for all of them, and both ends live in this very struct.
            let buffer = vec![0; settings.packet_bytes];
            let _ = returned.send(Kit {
                buffer,
                lanes: Lanes { builders, serving: None },
                kept: Vec::new(),
            });
        }
        Self { returned, free }
    }

    /// Waits for a free kit.
    pub(crate) fn lease(&self) -> Kit {
        self.free.recv().expect("the sender lives beside the receiver")
    }

    pub(crate) fn give_back(&self, kit: Kit) {
        self.returned.send(kit).expect("the receiver lives beside the sender");
    }

    /// Cuts and sends what the builders of all kits hold. To be called when no dump runs.
    pub(crate) fn finish_poll(&self, outlet: &Outlet) {
        let mut kits: Vec<Kit> = self.free.try_iter().collect();
        for kit in &mut kits {
            kit.lanes.finish(outlet);
        }
        for kit in kits {
            self.give_back(kit);
        }
    }
}

/// Buffers kept for envelopes that are with the sinks.
const SPARE_BUFFERS: usize = 4;
