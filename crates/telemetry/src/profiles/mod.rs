//! Profiles that `go tool pprof` and flame-graph viewers read: processor time, memory, threads.

#[cfg(feature = "jemalloc")]
mod heap_dump;
#[cfg(feature = "jemalloc")]
mod memory;
#[cfg(any(feature = "pprof", feature = "jemalloc"))]
mod names;
#[cfg(feature = "pprof")]
mod processor;
mod profile;
mod thread_list;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::StatusCode;

use crate::endpoint::Answer;

/// Takes profiles, one of a kind at a time.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    processor: Busy,
    memory: Busy,
}

/// A profile that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Where processor time goes, for so long, looked at so often in a second of processor time.
    Processor { seconds: u32, hz: u32 },
    /// Memory that is allocated within so long: what is left of it at the end, or all of it.
    Memory { seconds: u32, all: bool },
    /// Every thread with its processor time, as text or as a profile.
    Threads { text: bool },
}

/// Whether a profile is being taken.
#[derive(Debug, Default)]
struct Busy(Arc<AtomicBool>);

/// The right to take a profile; given back when dropped.
struct Turn(Arc<AtomicBool>);

impl Busy {
    #[cfg_attr(
        not(any(feature = "pprof", feature = "jemalloc")),
        allow(dead_code, reason = "nothing to take")
    )]
    fn turn(&self) -> Option<Turn> {
        (!self.0.swap(true, Ordering::AcqRel)).then(|| Turn(Arc::clone(&self.0)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Wanted {
    /// How long it takes to collect.
    pub(crate) fn time(self) -> Duration {
        match self {
            Self::Processor { seconds, .. } | Self::Memory { seconds, .. } => {
                Duration::from_secs(seconds.into())
            }
            Self::Threads { .. } => Duration::ZERO,
        }
    }
}

impl Profiles {
    pub(crate) async fn take(&self, wanted: Wanted) -> Answer {
        match wanted {
            Wanted::Processor { seconds, hz } => self.processor(seconds, hz).await,
            Wanted::Memory { seconds, all } => self.memory(seconds, all).await,
            Wanted::Threads { text: true } => Answer::text(StatusCode::OK, &thread_list::text()),
            Wanted::Threads { text: false } => {
                Answer::profile(thread_list::profile(), "threads.pb.gz")
            }
        }
    }

    #[cfg(feature = "pprof")]
    async fn processor(&self, seconds: u32, hz: u32) -> Answer {
        match self.processor.turn() {
            Some(turn) => {
                let taken = processor::take(seconds, hz, turn).await;
                taken.map_or_else(
                    |text| failed(&text),
                    |bytes| Answer::profile(bytes, "profile.pb.gz"),
                )
            }
            None => busy(),
        }
    }

    #[cfg(not(feature = "pprof"))]
    #[expect(clippy::unused_async, reason = "only the feature has to wait")]
    async fn processor(&self, _seconds: u32, _hz: u32) -> Answer {
        let _ = &self.processor;
        Answer::text(StatusCode::NOT_IMPLEMENTED, "built without the feature pprof")
    }

    #[cfg(feature = "jemalloc")]
    async fn memory(&self, seconds: u32, all: bool) -> Answer {
        let file = if all { "allocs.pb.gz" } else { "heap.pb.gz" };
        match self.memory.turn() {
            Some(turn) => {
                let taken = memory::take(seconds, all, turn).await;
                taken.map_or_else(|text| failed(&text), |bytes| Answer::profile(bytes, file))
            }
            None => busy(),
        }
    }

    #[cfg(not(feature = "jemalloc"))]
    #[expect(clippy::unused_async, reason = "only the feature has to wait")]
    async fn memory(&self, _seconds: u32, _all: bool) -> Answer {
        let _ = &self.memory;
        Answer::text(
            StatusCode::NOT_IMPLEMENTED,
            "built without the feature jemalloc, which records allocations",
        )
    }
}

/// Where profiles put what they gather, which is to be writable: shared memory, not the folder of temporary files, since others
/// need not share this one with a daemon that is restricted.
pub(crate) fn scratch() -> Option<PathBuf> {
    let folder = PathBuf::from("/dev/shm");
    #[cfg(any(feature = "pprof", feature = "jemalloc"))]
    if folder.is_dir() {
        // Said before in this process, by a test.
        let _ = tempfile::env::override_temp_dir(&folder);
        return Some(folder);
    }
    drop(folder);
    None
}

#[cfg(any(feature = "pprof", feature = "jemalloc"))]
fn busy() -> Answer {
    Answer::text(
        StatusCode::TOO_MANY_REQUESTS,
        "a profile of this kind is being taken; one at a time",
    )
}

#[cfg(any(feature = "pprof", feature = "jemalloc"))]
fn failed(text: &str) -> Answer {
    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// Seconds of a profile at the most.
pub(crate) const LONGEST: u32 = 300;
/// Time to find the names of what was seen.
pub(crate) const EVALUATION: Duration = Duration::from_mins(1);

/// What `/debug/pprof/` says.
pub(crate) const INDEX: &str = "\
Profiles for `go tool pprof` and flame-graph viewers.

/debug/pprof/profile?seconds=30&hz=99  where processor time goes; one at a time
/debug/pprof/heap?seconds=30           memory allocated meanwhile that is still in use (feature jemalloc)
/debug/pprof/allocs?seconds=30         all memory allocated meanwhile (feature jemalloc)
/debug/pprof/threads                   every thread with its processor time; ?debug=1 as text
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_turn_at_a_time() {
        let busy = Busy::default();
        let turn = busy.turn().unwrap();
        assert!(busy.turn().is_none());
        drop(turn);
        assert!(busy.turn().is_some());
    }
}
