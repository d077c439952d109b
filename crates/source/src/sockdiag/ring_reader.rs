//! A reader that reads many namespaces at once through one ring: which it begins, and when it tells of them.

use std::io;

use crossbeam_channel::Receiver;
use sockeye_sys::Ring;
use tracing::warn;

use super::dump::failed;
use super::kit::Kit;
use super::reader::{Begun, Errand, Finished, Job, Shared};
use super::reading::Reading;
use super::ring_pump::Pump;
use super::settings::{IoUring, Settings, processors};

/// How many threads with a ring serve all namespaces.
pub(crate) fn ring_threads(settings: &Settings) -> usize {
    processors().min(settings.max_threads).clamp(1, MOST_RING_THREADS)
}

/// Reads what comes through `jobs` until nobody sends any more. Without a ring it reads as other readers do.
pub(crate) fn serve(shared: &Shared, io_uring: IoUring, jobs: &Receiver<Job>) {
    let IoUring { recv_batch, cqe_batch } = io_uring;
    loop {
        match Ring::new(recv_batch, cqe_batch, shared.settings.packet_bytes) {
            Ok(ring) => match batches(shared, ring, recv_batch, jobs) {
                Ok(()) => return,
                Err(error) => warn!(%error, "a ring has failed; another is made"),
            },
            Err(error) => {
                warn!(%error, "no ring: blocking reads are used instead");
                return jobs.iter().for_each(|job| shared.run(job, jobs));
            }
        }
    }
}

fn batches(
    shared: &Shared,
    mut ring: Ring,
    recv_batch: u16,
    jobs: &Receiver<Job>,
) -> io::Result<()> {
    jobs.iter().try_for_each(|job| Batch::new(shared, jobs).run(&mut ring, job, recv_batch))
}

/// What is read from the first job on until there are none.
struct Batch<'a> {
    shared: &'a Shared,
    jobs: &'a Receiver<Job>,
    /// Nobody is told before the kit is back: the end of a poll looks for every kit when every job is done.
    ended: Vec<Finished>,
    /// Bytes for replies that are kept back.
    spare: Vec<Vec<u8>>,
}

impl<'a> Batch<'a> {
    fn new(shared: &'a Shared, jobs: &'a Receiver<Job>) -> Self {
        Self { shared, jobs, ended: Vec::new(), spare: Vec::new() }
    }

    /// # Errors
    /// The ring's. Everything that was begun has ended nevertheless.
    fn run(mut self, ring: &mut Ring, first: Job, recv_batch: u16) -> io::Result<()> {
        let mut kit = self.shared.kits.lease();
        let Kit { lanes, layouts, kept, .. } = &mut kit;
        self.spare.push(std::mem::take(kept));
        let mut pump = Pump::new(self.shared, ring, lanes, layouts, recv_batch.into());
        let mut first = Some(first);
        let mut result = Ok(());
        while result.is_ok() && (self.begin(&mut pump, first.take()) || !pump.is_idle()) {
            let mut over = Vec::new();
            result = pump.round(&mut over);
            for (reading, errand) in over {
                self.end(reading, errand);
            }
        }
        let result = result.and_then(|()| pump.quiet());
        if let Err(error) = &result {
            let open = pump.give_up(failed(error));
            for (reading, errand) in open {
                self.end(reading, errand);
            }
        }
        kit.kept = self.spare.pop().unwrap_or_default();
        self.shared.kits.give_back(kit);
        // Between polls no memory is needed.
        ring.shrink();
        self.ended.into_iter().for_each(Finished::tell);
        result
    }

    /// Begins namespaces while there is room and they are there; whether there were any.
    fn begin(&mut self, pump: &mut Pump<'_>, first: Option<Job>) -> bool {
        let mut next = first;
        for begun in 0..BEGUN_AT_ONCE {
            let job = if pump.has_room() {
                next.take().or_else(|| self.jobs.try_recv().ok())
            } else {
                None
            };
            let Some(job) = job else { return begun > 0 };
            match self.shared.begin(job, self.spare.pop().unwrap_or_default()) {
                Ok(Begun { reading, socket: Some(socket), errand }) => {
                    // Others may take what comes behind a large one, such as its parts.
                    let large = reading.is_large();
                    pump.open(reading, socket, errand);
                    if large {
                        return true;
                    }
                }
                Ok(Begun { reading, socket: None, errand }) => self.end(reading, errand),
                Err((finished, kept)) => self.ended(finished, kept),
            }
        }
        true
    }

    fn end(&mut self, reading: Reading, errand: Errand) {
        let (finished, kept) = self.shared.finish(reading, errand);
        self.ended(finished, kept);
    }

    fn ended(&mut self, finished: Finished, kept: Vec<u8>) {
        self.ended.push(finished);
        if self.spare.len() < MOST_SPARE {
            self.spare.push(kept);
        }
    }
}

const MOST_RING_THREADS: usize = 4;
/// What is open already waits meanwhile: about ten milliseconds.
const BEGUN_AT_ONCE: usize = 64;
const MOST_SPARE: usize = 4;
