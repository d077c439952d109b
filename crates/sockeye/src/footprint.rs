//! How much memory the settings may take: what `--memory-limit` is held against.

use std::fmt::Write;
use std::thread;

use bytesize::ByteSize;

use crate::cli::RunArgs;
use crate::config::settings::SinkSpec;
use crate::config::values::{Dest, When};
use crate::exit::Failure;

/// Bytes at the most, by what takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Footprint {
    program: u64,
    queues: u64,
    readers: u64,
    envelopes: u64,
    remembered: u64,
}

/// Refuses settings that do not fit into `--memory-limit`.
pub(crate) fn check(run: &RunArgs, specs: &[SinkSpec]) -> Result<(), Failure> {
    let Some(limit) = run.service.memory_limit else { return Ok(()) };
    let lanes = crate::wire_up::encodings(specs).len();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let footprint = Footprint::of(run, specs, lanes as u64, processors as u64);
    if footprint.all() <= limit {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--memory-limit {limit} is less than these settings may take: {footprint}; allowed: {} and more, or smaller \
         --queue-bytes, --envelope-flush-bytes, --track-bytes, --closed-buffer, fewer destinations",
        footprint.all()
    )))
}

impl Footprint {
    fn of(run: &RunArgs, specs: &[SinkSpec], lanes: u64, processors: u64) -> Self {
        let collect = &run.collect;
        let threads = u64::from(collect.max_threads);
        let kits = processors.min(threads).max(1);
        let ring_buffers = if collect.io_uring {
            processors.min(RINGS).min(threads) * u64::from(collect.io_uring_recv_batch)
        } else {
            0
        };
        // An envelope grows by doubling, and one that is being compressed is there twice.
        let envelope = collect.envelope_flush_bytes.saturating_mul(2);
        let compressors = specs.iter().filter(|spec| spec.zstd).count() as u64;
        let listens = run.closed != When::Off;
        let remembered = if listens || run.deltas { run.track.track_bytes } else { 0 };
        let unread = if listens { run.track.closed_buffer } else { 0 };
        // Closed sockets have envelopes of their own, two threads, and a watcher.
        let (closed_envelopes, closed_threads) = if listens { (2 * lanes + 4, 3) } else { (0, 0) };
        Self {
            remembered: remembered.saturating_add(unread),
            program: PROGRAM + (threads + closed_threads + specs.len() as u64) * THREAD,
            queues: specs.iter().map(of_sink).fold(0, u64::saturating_add),
            readers: kits * (collect.packet_size + KEPT_BACK)
                + ring_buffers * collect.packet_size
                + KNOWN,
            envelopes: envelope
                .saturating_mul(
                    lanes.saturating_mul(kits + SPARE_ENVELOPES) + closed_envelopes + compressors,
                )
                .saturating_add(compressors * COMPRESSOR),
        }
    }

    fn all(self) -> u64 {
        [self.program, self.queues, self.readers, self.envelopes, self.remembered]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// A queue, with what a client library has beside it.
fn of_sink(spec: &SinkSpec) -> u64 {
    let queue = spec.queue_bytes as u64;
    match (&spec.dest, &spec.kafka) {
        (Dest::Kafka(_), Some(kafka)) if kafka.spool.is_some() => queue + queue / 4 + CLIENT,
        (Dest::Kafka(_), _) => queue + CLIENT,
        _ => queue,
    }
}

impl std::fmt::Display for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for (bytes, what) in [
            (self.queues, "queues"),
            (self.envelopes, "envelopes"),
            (self.remembered, "what is remembered of sockets, and events of closed ones"),
            (self.readers, "readers"),
            (self.program, "the program itself"),
        ] {
            let comma = if text.is_empty() { "" } else { ", " };
            // A String takes every write.
            let _ = write!(text, "{comma}{} for {what}", ByteSize(bytes));
        }
        f.write_str(&text)
    }
}

/// What it takes without a socket or a destination, and what its endpoint may take while it is asked.
const PROGRAM: u64 = 32 << 20;
/// What a thread's stack has in memory.
const THREAD: u64 = 32 << 10;
/// Replies that a reader keeps back (`docs/ARCHITECTURE.md`).
const KEPT_BACK: u64 = 4 << 20;
/// Known connections, all namespaces together.
const KNOWN: u64 = 4 << 20;
const RINGS: u64 = 4;
/// Buffers that are kept for the envelopes that come next.
const SPARE_ENVELOPES: u64 = 4;
const COMPRESSOR: u64 = 2 << 20;
/// librdkafka: requests under way, metadata, its threads.
const CLIENT: u64 = 16 << 20;
