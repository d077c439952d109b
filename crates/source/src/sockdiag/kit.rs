//! Kits: what a reader needs while it dumps. There are as many as dumps may run at once.
//!
//! An envelope that a small namespace has begun stays in its kit, and the next namespace goes on with it; what is left
//! at the end of a poll is cut then.

use crossbeam_channel::{Receiver, Sender, bounded};
use sockeye_pipeline::Outlet;
use sockeye_record::{BufferPool, Builder, DumpContext, Encoder, SocketRow};

use super::parked::Held;
use super::settings::Settings;

/// A receive buffer, and a builder for each encoding in use.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) buffer: Vec<u8>,
    pub(crate) builders: Vec<Builder>,
}

/// The kits that nobody uses now. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Kits {
    returned: Sender<Kit>,
    free: Receiver<Kit>,
}

impl Kit {
    pub(crate) fn begin_dump(&mut self, dump: &DumpContext<'_>) {
        self.builders.iter_mut().for_each(|builder| builder.begin_dump(dump));
    }
}

/// Appends a row to every builder; sends what is cut, during a pause of the dump.
#[inline]
pub(crate) fn push(
    builders: &mut [Builder],
    row: &SocketRow<'_>,
    outlet: &Outlet,
    held: &Held<'_>,
) {
    for (lane, builder) in builders.iter_mut().enumerate() {
        builder.push(row, |envelope| held.pause(|| outlet.send(lane, envelope)));
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
            let _ = returned.send(Kit { buffer: vec![0; settings.packet_bytes], builders });
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
            for (lane, builder) in kit.builders.iter_mut().enumerate() {
                if let Some(envelope) = builder.finish() {
                    outlet.send(lane, envelope);
                }
            }
        }
        for kit in kits {
            self.give_back(kit);
        }
    }
}

/// Buffers kept for envelopes that are with the sinks.
const SPARE_BUFFERS: usize = 4;
