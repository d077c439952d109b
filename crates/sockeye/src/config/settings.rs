//! Options that fit together: what wiring needs, with every contradiction refused.

use std::path::PathBuf;
use std::time::Duration;

use sockeye_netns::{DEFAULT_MOUNT_DIRS, ScanOptions};
use sockeye_record::{Encoding, Format, Limits, Selection};
use sockeye_source::sockdiag::{Host, Modulus, Settings};

use super::values::{Dest, bytes, positive_duration};
use super::{Invocation, SinkTable};
use crate::cli::{CollectArgs, NetnsArgs, RunArgs};
use crate::exit::Failure;
use crate::privileges::Privileges;

/// One destination with everything that it was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SinkSpec {
    pub(crate) dest: Dest,
    pub(crate) encoding: Encoding,
    pub(crate) queue_bytes: usize,
    pub(crate) rotate_bytes: Option<u64>,
    pub(crate) rotate_age: Option<Duration>,
    pub(crate) zstd: bool,
}

/// The destinations of `run`: of `--dest`, or the file's `[[sink]]` tables.
pub(crate) fn sinks(run: &RunArgs, tables: &[SinkTable]) -> Result<Vec<SinkSpec>, Failure> {
    let envelope_bytes = run.collect.envelope_flush_bytes;
    if run.collect.timeout >= run.frequency {
        return Err(Failure::usage(format!(
            "--timeout {} is not below --frequency {}; allowed: a dump that ends before the next poll begins",
            humantime::format_duration(run.collect.timeout),
            humantime::format_duration(run.frequency)
        )));
    }
    let specs: Vec<SinkSpec> = if tables.is_empty() {
        run.dest.iter().map(|dest| spec_of(run, dest.clone())).collect()
    } else {
        tables.iter().map(|table| spec_of_table(run, table)).collect::<Result<_, _>>()?
    };
    for (i, spec) in specs.iter().enumerate() {
        if spec.dest != Dest::Null && specs.iter().take(i).any(|other| other.dest == spec.dest) {
            return Err(Failure::usage(format!("destination {} is named twice", spec.dest)));
        }
        if (spec.queue_bytes as u64) < envelope_bytes.saturating_mul(2) {
            return Err(Failure::usage(format!(
                "--queue-bytes {} of {} holds less than two envelopes of --envelope-flush-bytes {envelope_bytes}",
                spec.queue_bytes, spec.dest
            )));
        }
    }
    Ok(specs)
}

/// What the sockets' source needs, for these encodings.
pub(crate) fn source(collect: &CollectArgs, privileges: Privileges, encodings: Vec<Encoding>) -> Result<Settings, Failure> {
    if !(MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&collect.packet_size) {
        return Err(Failure::usage(format!(
            "invalid value '{}' for '--packet-size <BYTES>': allowed: {MIN_PACKET_BYTES} to {MAX_PACKET_BYTES}",
            collect.packet_size
        )));
    }
    Ok(Settings {
        host: Host {
            hostname: collect.hostname.clone().unwrap_or_default(),
            location: collect.location.clone(),
            label: collect.label.clone(),
            tag: collect.tag.clone(),
        },
        scan: scan(&collect.netns, privileges)?,
        states: collect.states,
        attrs: collect.deserializers,
        modulus: Modulus::one_in(collect.modulus),
        encodings,
        limits: Limits { rows: collect.envelope_flush_rows, bytes: in_memory(collect.envelope_flush_bytes) },
        timeout: collect.timeout,
        netlinkers: collect.netlinkers,
        max_threads: usize::from(collect.max_threads),
        packet_bytes: in_memory(collect.packet_size),
    })
}

/// Where to look for namespaces. Without the privilege to enter others there is no point in finding them.
pub(crate) fn scan(netns: &NetnsArgs, privileges: Privileges) -> Result<ScanOptions, Failure> {
    if let Some(missing) = netns.netns_dir.iter().find(|dir| !dir.is_dir()) {
        return Err(Failure::usage(format!(
            "--netns-dir {}: not a directory; allowed: a directory of bind-mounted namespaces",
            missing.display()
        )));
    }
    let mount_dirs = DEFAULT_MOUNT_DIRS.iter().map(PathBuf::from).chain(netns.netns_dir.iter().cloned()).collect();
    let own_only = netns.own_netns_only || !privileges.enter_others;
    Ok(ScanOptions { mount_dirs, own_only, ..ScanOptions::default() })
}

/// The encoding of `snapshot` or of a sink without settings of its own.
pub(crate) fn encoding(format: Format, collect: &CollectArgs) -> Encoding {
    Encoding { format, columns: collect.columns.clone(), humanize: collect.humanize }
}

impl Invocation {
    /// The destinations of `run`, checked.
    pub(crate) fn sinks(&self, run: &RunArgs) -> Result<Vec<SinkSpec>, Failure> {
        sinks(run, &self.sinks)
    }
}

fn spec_of(run: &RunArgs, dest: Dest) -> SinkSpec {
    SinkSpec {
        dest,
        encoding: encoding(run.marshal, &run.collect),
        queue_bytes: in_memory(run.queue_bytes),
        rotate_bytes: run.file_rotate_bytes,
        rotate_age: run.file_rotate_age,
        zstd: run.file_zstd,
    }
}

fn spec_of_table(run: &RunArgs, table: &SinkTable) -> Result<SinkSpec, Failure> {
    let flag = |text: &str| text.parse::<bool>().map_err(|_| format!("{text:?} is neither true nor false"));
    let inherited = spec_of(run, Dest::Null);
    Ok(SinkSpec {
        dest: table.value("dest", inherited.dest, str::parse)?,
        encoding: Encoding {
            format: table.value("marshal", inherited.encoding.format, str::parse)?,
            columns: table.value("columns", inherited.encoding.columns, |text| text.parse::<Selection>().map(Some))?,
            humanize: table.value("humanize", inherited.encoding.humanize, |text| flag(text).map(Some))?,
        },
        queue_bytes: table.value("queue-bytes", inherited.queue_bytes, |text| bytes(text).map(in_memory))?,
        rotate_bytes: table.value("file-rotate-bytes", inherited.rotate_bytes, |text| bytes(text).map(Some))?,
        rotate_age: table.value("file-rotate-age", inherited.rotate_age, |text| positive_duration(text).map(Some))?,
        zstd: table.value("file-zstd", inherited.zstd, flag)?,
    })
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The kernel's first message is not cut to the buffer: it takes up to a page and a half.
const MIN_PACKET_BYTES: u64 = 8192;
const MAX_PACKET_BYTES: u64 = 1 << 20;
