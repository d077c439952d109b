//! The sockets that are listened with. They outlive a source: who goes on after a change of settings takes them over, and what
//! the kernel tells meanwhile waits in them.

use std::sync::{Arc, Mutex, PoisonError};

use sockeye_sys::EventSocket;

use super::counters::{Counters, Totals};
use super::hearing::{Asking, Hearing};

/// Sockets, and what belongs to them.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) socket: EventSocket,
    pub(super) asking: Asking,
    pub(super) hearing: Arc<Mutex<Hearing>>,
    pub(super) counters: Arc<Counters>,
    /// What the kernel had lost when it was last asked.
    pub(super) lost: u32,
    /// What was counted when it was last reported.
    pub(super) reported: Totals,
}

/// Where a source that has finished leaves its sockets. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ears(Arc<Mutex<Option<Open>>>);

impl Ears {
    pub(super) fn leave(&self, open: Open) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
    }

    /// `None`: who has them listens still, or could not give them back.
    pub(super) fn take(&self) -> Option<Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
