//! What the source is told at start.

use std::time::Duration;

use sockeye_netns::ScanOptions;
use sockeye_record::{Encoding, Limits};
use sockeye_wire::{AttrSet, StateSet};

use super::sample::Modulus;

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
    /// When envelopes are cut.
    pub limits: Limits,
    /// How long the dump of one namespace may take before it is abandoned and counted, not counting what it waits for
    /// the sinks.
    pub timeout: Duration,
    /// Reader threads of a namespace: each dumps its share of the ports. 0 counts as 1. A namespace for which there
    /// are not as many left of `max_threads` is dumped whole by one of those that are shared.
    pub netlinkers: u16,
    /// Reader threads in all, of which the last four are shared by the namespaces that have none of their own.
    pub max_threads: usize,
    /// Bytes of a receive buffer. The kernel fills at most 32 KiB a message.
    pub packet_bytes: usize,
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

impl Settings {
    /// The attributes that are worth asking for: those wanted that some column shows.
    pub(crate) fn useful_attrs(&self) -> AttrSet {
        let shown = self.encodings.iter().map(|encoding| match &encoding.columns {
            Some(columns) => columns.attrs(),
            None => AttrSet::ALL,
        });
        self.attrs.intersection(shown.fold(AttrSet::NONE, AttrSet::union))
    }
}
