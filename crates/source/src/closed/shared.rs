//! What the threads of the source share.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counters::Counters;
use super::hearing::Hearing;
use crate::sockdiag;
use crate::track::Track;

/// Shared by the thread that listens and the one that finds namespaces.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sockdiag: Arc<sockdiag::Shared>,
    pub(super) counters: Arc<Counters>,
    hearing: Arc<Mutex<Hearing>>,
    /// The source is to end.
    pub(super) ending: AtomicBool,
    /// How often the rows were asked for.
    pub(super) asked: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        sockdiag: Arc<sockdiag::Shared>,
        counters: Arc<Counters>,
        hearing: Arc<Mutex<Hearing>>,
    ) -> Self {
        Self {
            sockdiag,
            counters,
            hearing,
            ending: AtomicBool::new(false),
            asked: AtomicU64::new(0),
        }
    }

    pub(super) fn hearing(&self) -> MutexGuard<'_, Hearing> {
        self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever listens next.
    pub(super) fn hearing_of_all(&self) -> Arc<Mutex<Hearing>> {
        Arc::clone(&self.hearing)
    }

    pub(super) fn track(&self) -> Option<&Arc<Track>> {
        self.sockdiag.track.as_ref()
    }
}
