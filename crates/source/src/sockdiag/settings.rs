//! What the source is told at start.

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use sockeye_filter::{Filter, Support};
use sockeye_netns::{Container, NetnsId, ScanOptions};
use sockeye_record::{
    BufferPool, Builder, DAEMON_VERSION, DumpContext, Encoder, Encoding, Limits, SCHEMA_VERSION,
};
use sockeye_wire::attrs::nr;
use sockeye_wire::{AttrSet, StateSet};

use super::plan::PlanMode;
use super::sample::Modulus;
use crate::track::TrackSettings;

/// Settings of [`SockDiag`](super::SockDiag).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Text columns that are the same in every row.
    pub host: Host,
    /// Where to look for namespaces.
    pub scan: ScanOptions,
    /// States asked for.
    pub states: StateSet,
    /// Attributes asked for and read, before the columns narrow them down.
    pub attrs: AttrSet,
    /// Which sockets become rows.
    pub modulus: Modulus,
    /// One encoding a lane of the outlet.
    pub encodings: Vec<Encoding>,
    /// Whether encoders may use what only some processors have.
    pub avx512: bool,
    /// When envelopes are cut.
    pub limits: Limits,
    /// How long the dump of one namespace may take before it is abandoned and counted, not counting what it waits for
    /// the sinks.
    pub timeout: Duration,
    /// How a namespace is read.
    pub plan: PlanMode,
    /// Which sockets become rows; the kernel sends no others, where it can tell.
    pub filter: Option<Filter>,
    /// What the kernel can be given of it.
    pub support: Support,
    /// Readers of a large namespace: each dumps its share of the ports.
    pub netlinkers: Netlinkers,
    /// From how many sockets in use on a namespace is large enough for several readers.
    pub split_from: u64,
    /// Reader threads in all: one for each namespace, and some that are shared by those that have none and by the parts of
    /// large ones.
    pub max_threads: usize,
    /// Read through rings, a few threads for all namespaces; `None`: by blocking receives.
    pub io_uring: Option<IoUring>,
    /// Count what connections are like, by namespace.
    pub tcp_health: bool,
    /// Bytes of a receive buffer. The kernel fills at most 32 KiB a message.
    pub packet_bytes: usize,
    /// What is remembered of sockets from one poll to the next; `None`: nothing.
    pub track: Option<TrackSettings>,
}

/// How much a ring does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoUring {
    /// Namespaces that are open, and receives in flight, of each ring: 1 to 4096. Each receive has a buffer.
    pub recv_batch: u16,
    /// Completions that are taken at once: 1 to 4096.
    pub cqe_batch: u16,
}

/// How many readers share a large namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Netlinkers {
    /// One, and for a very large namespace as many as there are processors, up to four.
    #[default]
    Auto,
    /// So many; 0 counts as 1.
    Fixed(u16),
}

/// Text columns that are the same in every row of a host. An empty one is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the column of its name")]
pub struct Host {
    pub hostname: String,
    pub location: String,
    pub label: String,
    pub tag: String,
}

/// A namespace as its rows name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedNetns<'a> {
    pub(crate) id: NetnsId,
    pub(crate) name: &'a str,
    pub(crate) container: Option<&'a Container>,
    pub(crate) nsid: Option<u32>,
}

impl Host {
    /// What is the same for rows of one kind, namespace and moment: wall clock and boot time, ns.
    pub(crate) fn context<'a>(
        &'a self,
        netns: NamedNetns<'a>,
        (timestamp_ns, boottime_ns): (i64, i64),
        record_kind: u32,
    ) -> DumpContext<'a> {
        let container = netns.container;
        DumpContext {
            schema_version: SCHEMA_VERSION,
            daemon_version: DAEMON_VERSION,
            timestamp_ns,
            boottime_ns,
            hostname: &self.hostname,
            location: &self.location,
            netns: netns.name,
            netns_inode: netns.id.inode,
            nsid: netns.nsid,
            container_id: container.map_or("", |container| &container.id),
            container_runtime: container.map_or("", |container| container.runtime.as_str()),
            label: &self.label,
            tag: &self.tag,
            record_kind,
        }
    }
}

impl Settings {
    /// The attributes that are worth asking for: those wanted that some column shows, those that the filter looks at, and
    /// the counters where sockets are remembered or counted.
    pub fn useful_attrs(&self) -> AttrSet {
        let shown = self.encodings.iter().map(|encoding| match &encoding.columns {
            Some(columns) => columns.attrs(),
            None => AttrSet::ALL,
        });
        let shown = self.attrs.intersection(shown.fold(AttrSet::NONE, AttrSet::union));
        // Without counters there is nothing to tell by what a socket was before.
        let counted = self.track.is_some() || self.tcp_health;
        let shown = if counted { shown.union(AttrSet::of(nr::INFO)) } else { shown };
        self.filter.as_ref().map_or(shown, |filter| shown.union(filter.attrs()))
    }

    /// A builder for each encoding, whose envelopes have their buffers from `pool`.
    pub(crate) fn builders(&self, pool: &BufferPool) -> Vec<Builder> {
        let builder = |encoding| {
            let encoder = Encoder::new(encoding);
            let encoder = if self.avx512 { encoder } else { encoder.without_avx512() };
            Builder::new(encoder, self.limits, pool.clone())
        };
        self.encodings.iter().map(builder).collect()
    }
}

#[cfg(test)]
impl Settings {
    /// What a user would get who asks for nothing.
    pub(crate) fn of_tests() -> Self {
        use sockeye_record::{Format, Limits};
        Self {
            host: Host::default(),
            scan: ScanOptions::default(),
            states: StateSet::DEFAULT,
            attrs: AttrSet::DEFAULT,
            modulus: Modulus::ALL,
            encodings: vec![Encoding {
                format: Format::ProtobufList,
                columns: None,
                humanize: None,
            }],
            avx512: true,
            limits: Limits { rows: 100, bytes: 1 << 20 },
            timeout: std::time::Duration::from_secs(20),
            plan: PlanMode::Auto,
            filter: None,
            support: Support::ALL,
            netlinkers: Netlinkers::Auto,
            split_from: SPLIT_FROM,
            max_threads: 4096,
            io_uring: None,
            tcp_health: false,
            packet_bytes: 32_768,
            track: None,
        }
    }
}

/// Each part walks the table once more: a namespace with fewer sockets is better read by one.
pub const SPLIT_FROM: u64 = 10_000;

/// How many processors this process may use. Looked up once: the standard library reads files of the cgroup for it, which
/// takes longer than a receive.
pub(crate) fn processors() -> usize {
    static PROCESSORS: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *PROCESSORS
}
