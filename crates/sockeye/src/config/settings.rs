//! Options that fit together: what wiring needs, with every contradiction refused.

use std::path::PathBuf;
use std::time::Duration;

use sockeye_filter::{Filter, FilterError, Support};
use sockeye_netns::{DEFAULT_MOUNT_DIRS, ScanOptions};
use sockeye_record::{Encoding, Format, Limits, Selection};
use sockeye_source::closed::{self, Scope};
use sockeye_source::sockdiag::{Host, IoUring, Modulus, Netlinkers, SPLIT_FROM, Settings};
use sockeye_source::track::TrackSettings;
use sockeye_sys::Ring;
use sockeye_sys::affinity::{nice_current_thread, pin_current_thread};

use super::kafka::KafkaSpec;
use super::values::{Dest, When, bytes, positive_duration};
use super::{Invocation, Origin, SinkTable, kafka};
use crate::cli::{CollectArgs, Command, NetnsArgs, OutputArgs, RunArgs, TrackArgs};
use crate::cli_kafka::KafkaArgs;
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
    /// Of a Kafka destination.
    pub(crate) kafka: Option<KafkaSpec>,
}

impl SinkSpec {
    /// What it is called in the log and at the end.
    pub(crate) fn name(&self) -> String {
        match &self.kafka {
            Some(kafka) => format!("{}/{}", self.dest, kafka.options.topic),
            None => self.dest.to_string(),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let topic = |spec: &Self| spec.kafka.as_ref().map(|kafka| kafka.options.topic.clone());
        self.dest.is_same(&other.dest) && topic(self) == topic(other)
    }
}

/// What the sockets' source needs, for these encodings.
pub(crate) fn source(
    collect: &CollectArgs,
    privileges: Privileges,
    encodings: Vec<Encoding>,
    filter: Option<Filter>,
) -> Settings {
    Settings {
        host: Host {
            hostname: collect.hostname.clone().unwrap_or_default(),
            location: collect.location.clone(),
            label: collect.label.clone(),
            tag: collect.tag.clone(),
        },
        scan: scan(&collect.netns, privileges),
        states: collect.states,
        attrs: collect.deserializers,
        modulus: Modulus::one_in(collect.modulus),
        encodings,
        avx512: collect.avx512,
        limits: Limits {
            rows: collect.envelope_flush_rows,
            bytes: in_memory(collect.envelope_flush_bytes),
        },
        timeout: collect.timeout,
        plan: collect.plan,
        filter,
        support: Support { mark: privileges.read_mark, ..Support::ALL },
        netlinkers: collect.netlinkers,
        split_from: SPLIT_FROM,
        max_threads: usize::from(collect.max_threads),
        io_uring: collect.io_uring.then_some(IoUring {
            recv_batch: collect.io_uring_recv_batch,
            cqe_batch: collect.io_uring_cqe_batch,
        }),
        tcp_health: false,
        packet_bytes: in_memory(collect.packet_size),
        track: None,
    }
}

/// The settings to go on with: those of the start, but for what can change while it runs.
pub(crate) fn renewed(start: &Settings, new: Settings) -> Settings {
    let Settings { host, states, attrs, modulus, encodings, timeout, plan, filter, .. } = new;
    Settings { host, states, attrs, modulus, encodings, timeout, plan, filter, ..start.clone() }
}

/// Whether closed sockets become rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Closed {
    No,
    IfPermitted(closed::Settings),
    /// Or nothing is started.
    Must(closed::Settings),
}

/// How closed sockets are listened to.
pub(crate) fn closed(
    when: When,
    track: &TrackArgs,
    source: &Settings,
    flush_every: Duration,
) -> Closed {
    let scope = if source.scan.own_only { Scope::Own } else { Scope::All };
    let buffer_bytes = in_memory(track.closed_buffer);
    let settings = closed::Settings { scope, buffer_bytes, flush_every };
    match when {
        When::Auto => Closed::IfPermitted(settings),
        When::On => Closed::Must(settings),
        When::Off => Closed::No,
    }
}

/// What is remembered of sockets: for closed ones, and for deltas.
pub(crate) fn track(track: &TrackArgs, closed: Closed, deltas: bool) -> Option<TrackSettings> {
    let wanted = deltas || !matches!(closed, Closed::No);
    (wanted && track.track_bytes > 0)
        .then(|| TrackSettings { bytes: in_memory(track.track_bytes), deltas })
}

/// Tries whether the kernel allows the rings that are wanted. If not, blocking reads are used, and the reason is returned.
pub(crate) fn probe_ring(source: &mut Settings) -> Option<String> {
    let IoUring { recv_batch, cqe_batch } = source.io_uring?;
    let error = Ring::new(recv_batch, cqe_batch, source.packet_bytes).err()?;
    source.io_uring = None;
    Some(format!("--io-uring: {error}; blocking reads are used instead"))
}

/// Runs on the chosen processors and with the chosen niceness from here on; so will every thread that is started.
pub(crate) fn settle(collect: &CollectArgs) -> Result<(), Failure> {
    if let Some(cpus) = &collect.cpus {
        pin_current_thread(cpus).map_err(|error| Failure::usage(format!("--cpus: {error}")))?;
    }
    if let Some(nice) = collect.nice {
        let refused = |errno| {
            Failure::usage(format!(
                "--nice {nice}: {errno}; allowed: 0 to 19, below with CAP_SYS_NICE"
            ))
        };
        nice_current_thread(nice).map_err(refused)?;
    }
    Ok(())
}

/// Where to look for namespaces. Without the privilege to enter others there is no point in finding them.
pub(crate) fn scan(netns: &NetnsArgs, privileges: Privileges) -> ScanOptions {
    let mount_dirs = DEFAULT_MOUNT_DIRS
        .iter()
        .map(PathBuf::from)
        .chain(netns.netns_dir.iter().cloned())
        .collect();
    let own_only = netns.own_netns_only || !privileges.enter_others;
    ScanOptions { mount_dirs, own_only, ..ScanOptions::default() }
}

/// The encoding of `snapshot` or of a sink without settings of its own.
pub(crate) fn encoding(format: Format, collect: &CollectArgs) -> Encoding {
    Encoding { format, columns: collect.columns.clone(), humanize: collect.humanize }
}

/// The encoding of `decode` and `consume`.
pub(crate) fn encoding_of(output: &OutputArgs) -> Encoding {
    Encoding { format: output.to, columns: output.columns.clone(), humanize: output.humanize }
}

/// Refuses names for people where the format has no place for them.
pub(crate) fn check_humanize(encoding: &Encoding) -> Result<(), Failure> {
    use Format::{Msgpack, ProtoJson, ProtoText, ProtobufList};
    let fixed = matches!(encoding.format, ProtobufList | ProtoJson | ProtoText | Msgpack);
    if fixed && encoding.humanize == Some(true) {
        return Err(Failure::usage(format!(
            "--humanize has no effect on {}; allowed: with jsonl, csv, tsv and table",
            encoding.format.name()
        )));
    }
    Ok(())
}

impl Invocation {
    /// `--filter`, or the words behind `snapshot`.
    pub(crate) fn filter(&self) -> Result<Option<Filter>, Failure> {
        let (option, words) = match &self.command {
            Command::Run(arguments) => (&arguments.collect.filter, &[][..]),
            Command::Snapshot(arguments) => (&arguments.collect.filter, &arguments.expression[..]),
            Command::Closed(arguments) => (&arguments.collect.filter, &arguments.expression[..]),
            Command::Consume(arguments) => (&arguments.filter, &[][..]),
            _ => return Ok(None),
        };
        if !words.is_empty() {
            let parsed = words.join(" ").parse();
            return parsed
                .map(Some)
                .map_err(|error: FilterError| Failure::Expression(error.to_string()));
        }
        let parsed = option.as_ref().map(|text| text.parse()).transpose();
        let place = self.origin("filter").of("filter");
        parsed.map_err(|error: FilterError| Failure::Expression(format!("{place}: {error}")))
    }

    /// The destinations of `run`: of `--dest`, or the file's `[[sink]]` tables; every contradiction is refused.
    pub(crate) fn sinks(&self, run: &RunArgs) -> Result<Vec<SinkSpec>, Failure> {
        let mut specs: Vec<SinkSpec> = Vec::new();
        if self.sinks.is_empty() {
            if run.dest.iter().all(is_kafka) {
                self.check_marshal(run)?;
            } else {
                check_humanize(&encoding(run.marshal, &run.collect))?;
            }
            for dest in &run.dest {
                let spec = spec_of(run, dest.clone());
                let spec = with_kafka(spec, &run.kafka, run)?;
                add(&mut specs, spec, run, "")?;
            }
        }
        for table in &self.sinks {
            let spec = self.spec_of_table(run, table)?;
            add(&mut specs, spec, run, &format!("{}: ", table.place))?;
        }
        Ok(specs)
    }

    /// What a table does not say is as for all; and so is what a flag or the environment says, as they go first.
    fn spec_of_table(&self, run: &RunArgs, table: &SinkTable) -> Result<SinkSpec, Failure> {
        let flag = |text: &str| {
            text.parse::<bool>()
                .map_err(|_| format!("invalid value '{text}'; allowed: true, false"))
        };
        let inherited = spec_of(run, Dest::Null);
        let own =
            |key: &str| !matches!(self.origins.get(key), Some(Origin::Flag | Origin::Environment));
        let spec = SinkSpec {
            dest: table.value("dest", true, inherited.dest, str::parse)?,
            encoding: Encoding {
                format: table.value(
                    "marshal",
                    own("marshal"),
                    inherited.encoding.format,
                    str::parse,
                )?,
                columns: table.value(
                    "columns",
                    own("columns"),
                    inherited.encoding.columns,
                    |text| text.parse::<Selection>().map(Some),
                )?,
                humanize: table.value(
                    "humanize",
                    own("humanize"),
                    inherited.encoding.humanize,
                    |text| flag(text).map(Some),
                )?,
            },
            queue_bytes: table.value(
                "queue-bytes",
                own("queue-bytes"),
                inherited.queue_bytes,
                |text| bytes(text).map(in_memory),
            )?,
            rotate_bytes: table.value(
                "file-rotate-bytes",
                own("file-rotate-bytes"),
                inherited.rotate_bytes,
                |text| bytes(text).map(Some),
            )?,
            rotate_age: table.value(
                "file-rotate-age",
                own("file-rotate-age"),
                inherited.rotate_age,
                |text| positive_duration(text).map(Some),
            )?,
            zstd: table.value("file-zstd", own("file-zstd"), inherited.zstd, flag)?,
            kafka: None,
        };
        let marshal = table.entries().find(|(key, _)| *key == "marshal");
        if let (true, Some((_, marshal))) = (is_kafka(&spec.dest), marshal)
            && marshal != Format::ProtobufList.name()
        {
            let dest = &spec.dest;
            return Err(Failure::usage(format!(
                "marshal {marshal} of {dest}; allowed: protobufList"
            ))
            .at(&table.place));
        }
        let options = self.kafka_options(table)?;
        let spec = with_kafka(spec, &options, run).map_err(|failure| failure.at(&table.place))?;
        if table.entries().any(|(key, _)| key == "humanize") {
            check_humanize(&spec.encoding).map_err(|failure| failure.at(&table.place))?;
        }
        Ok(spec)
    }

    /// Refuses a format that was asked for where none of the destinations has it.
    fn check_marshal(&self, run: &RunArgs) -> Result<(), Failure> {
        let asked = matches!(self.origin("marshal"), Origin::Flag | Origin::Environment);
        if !asked || run.marshal == Format::ProtobufList {
            return Ok(());
        }
        let marshal = self.named("marshal", run.marshal.name());
        Err(Failure::usage(format!("{marshal} has no effect on Kafka; allowed: protobufList")))
    }

    /// Refuses options that contradict one another, destinations aside.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Run(run) => {
                self.check_times(run)?;
                self.check_deltas(run)?;
                self.check_ring(&run.collect)?;
                self.check_threads(&run.collect)
            }
            Command::Snapshot(snapshot) => {
                self.check_ring(&snapshot.collect)?;
                self.check_threads(&snapshot.collect)
            }
            Command::Closed(closed) => {
                self.check_ring(&closed.collect)?;
                self.check_threads(&closed.collect)
            }
            Command::Decode(_)
            | Command::Consume(_)
            | Command::Netns(_)
            | Command::Doctor(_)
            | Command::CheckConfig(_)
            | Command::Completions(_)
            | Command::Man(_) => Ok(()),
        }
    }

    /// A file may keep the batches of a ring that is switched off.
    fn check_ring(&self, collect: &CollectArgs) -> Result<(), Failure> {
        let batches = [
            ("io-uring-recv-batch", collect.io_uring_recv_batch),
            ("io-uring-cqe-batch", collect.io_uring_cqe_batch),
        ];
        for (key, value) in batches {
            let chosen = matches!(self.origin(key), Origin::Flag | Origin::Environment);
            if chosen && !collect.io_uring {
                let named = self.named(key, &value.to_string());
                return Err(Failure::usage(format!(
                    "{named} has no effect without a ring; allowed: with --io-uring"
                )));
            }
        }
        Ok(())
    }

    /// Deltas are differences to something that must be remembered.
    fn check_deltas(&self, run: &RunArgs) -> Result<(), Failure> {
        if run.deltas && run.track.track_bytes == 0 {
            return Err(Failure::usage(format!(
                "{} needs memory for sockets and {} is none; allowed: --track-bytes 64MiB, say",
                self.named("deltas", "true"),
                self.named("track-bytes", "0"),
            )));
        }
        Ok(())
    }

    /// All readers of one namespace run at once.
    fn check_threads(&self, collect: &CollectArgs) -> Result<(), Failure> {
        match collect.netlinkers {
            Netlinkers::Fixed(readers) if readers > collect.max_threads => {
                Err(Failure::usage(format!(
                    "{} of a namespace do not fit into {}; allowed: at most {}",
                    self.named("netlinkers", &readers.to_string()),
                    self.named("max-threads", &collect.max_threads.to_string()),
                    collect.max_threads,
                )))
            }
            Netlinkers::Fixed(_) | Netlinkers::Auto => Ok(()),
        }
    }

    /// An option with its value, and where that came from unless it was a flag.
    fn named(&self, key: &str, value: &str) -> String {
        match self.origin(key) {
            Origin::Flag => format!("--{key} {value}"),
            origin => format!("--{key} {value} ({})", origin.of(key)),
        }
    }

    fn check_times(&self, run: &RunArgs) -> Result<(), Failure> {
        if run.collect.timeout < run.frequency {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{} is not below {}; allowed: a dump that ends before the next poll begins, such as --timeout {}",
            self.named("timeout", &humantime::format_duration(run.collect.timeout).to_string()),
            self.named("frequency", &humantime::format_duration(run.frequency).to_string()),
            humantime::format_duration(run.frequency / 2)
        )))
    }
}

/// Adds a destination, unless it can't work with the others or with its queue.
fn add(
    specs: &mut Vec<SinkSpec>,
    spec: SinkSpec,
    run: &RunArgs,
    place: &str,
) -> Result<(), Failure> {
    let dest = spec.name();
    if specs.iter().any(|other| other.is_same(&spec)) {
        let message = format!("{place}destination {dest} is named twice; allowed: once");
        return Err(Failure::usage(message));
    }
    let envelope = run.collect.envelope_flush_bytes;
    let least = envelope.saturating_mul(2);
    if (spec.queue_bytes as u64) < least {
        return Err(Failure::usage(format!(
            "{place}--queue-bytes {} of {dest} holds less than two envelopes of --envelope-flush-bytes {envelope}; \
             allowed: {least} and more",
            spec.queue_bytes
        )));
    }
    specs.push(spec);
    Ok(())
}

fn spec_of(run: &RunArgs, dest: Dest) -> SinkSpec {
    SinkSpec {
        dest,
        encoding: encoding(run.marshal, &run.collect),
        queue_bytes: in_memory(run.queue_bytes),
        rotate_bytes: run.file_rotate_bytes,
        rotate_age: run.file_rotate_age,
        zstd: run.file_zstd,
        kafka: None,
    }
}

fn is_kafka(dest: &Dest) -> bool {
    matches!(dest, Dest::Kafka(_))
}

/// Adds what a Kafka destination needs; others are as they were.
fn with_kafka(mut spec: SinkSpec, options: &KafkaArgs, run: &RunArgs) -> Result<SinkSpec, Failure> {
    if is_kafka(&spec.dest) {
        // A message is a protobufList envelope, whatever other destinations get.
        spec.encoding.format = Format::ProtobufList;
        spec.encoding.humanize = None;
        spec.kafka = Some(kafka::spec(options.clone(), &spec.encoding, run)?);
    }
    Ok(spec)
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
