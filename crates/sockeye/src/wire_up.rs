//! Wiring: the one file that names concrete sources and sinks.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use sockeye_pipeline::{
    Ledger, Outlet, Queue, QueueLimits, Reopen, Sink, SinkThread, Source, Stop, WhenFull,
};
use sockeye_record::{Encoder, Encoding, Format};
use sockeye_sink::{FileSettings, FileSink, Null, PathPattern, Stream, TableWriter};
use sockeye_source::closed;
use sockeye_source::sockdiag::{Counters, Settings, SockDiag};
use sockeye_source::track::Track;

use crate::cli::ConsumeArgs;
use crate::cli_kafka::KafkaConnectionArgs;
use crate::config::kafka::{Credentials, KafkaSpec};
use crate::config::settings::{Closed, SinkSpec};
use crate::config::values::{Dest, From};
use crate::exit::Failure;
use crate::fault::{Fault, Watched};

/// Everything that is needed to collect.
pub(crate) struct Wired {
    pub(crate) sources: Vec<Box<dyn Source>>,
    pub(crate) outlet: Outlet,
    pub(crate) sinks: Sinks,
    pub(crate) counters: Arc<Counters>,
    /// Of closed sockets, where they are listened to.
    pub(crate) closed: Option<Arc<closed::Counters>>,
    /// What is remembered of sockets, where anything is.
    pub(crate) track: Option<Arc<Track>>,
    /// What it does less than it was asked to, for want of privileges: a line each.
    pub(crate) shortfalls: Vec<String>,
}

/// The sinks' threads.
pub(crate) struct Sinks(Vec<Running>);

struct Running {
    thread: SinkThread,
    fault: Fault,
    notes: Notes,
}

/// What a sink has to say beside its ledger.
type Notes = Option<Box<dyn Fn() -> String>>;

/// A sink that serves no queue yet, and what it has to say.
type Opened = (Box<dyn Sink>, Notes);

/// What has become of a sink.
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) ledger: Ledger,
    /// The error that ended it before its time.
    pub(crate) fault: Option<String>,
    /// What else it counted.
    pub(crate) notes: Option<String>,
}

/// Whether a file sink could write there, as far as that can be told without creating anything.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    PathPattern::parse(path).map_err(|error| error.to_string())?;
    let mut ancestors = Path::new(path).ancestors().skip(1);
    // A directory with a % in its name is written with two in a pattern; opening it tells whether it is there.
    let named = ancestors.find(|directory| !directory.to_string_lossy().contains('%'));
    match named.filter(|directory| !directory.as_os_str().is_empty() && !directory.is_dir()) {
        Some(directory) => {
            let directory = directory.display();
            Err(format!("no directory {directory}; allowed: a file in a directory that exists"))
        }
        None => Ok(()),
    }
}

/// The distinct encodings of these sinks: a lane each, so that a row is encoded once for all sinks that want the same.
pub(crate) fn encodings(specs: &[SinkSpec]) -> Vec<Encoding> {
    let mut encodings: Vec<Encoding> = Vec::new();
    for spec in specs {
        if !encodings.contains(&spec.encoding) {
            encodings.push(spec.encoding.clone());
        }
    }
    encodings
}

/// Opens the destinations and connects the source to them. `settings.encodings` are those of [`encodings`].
///
/// # Errors
/// [`Failure::Usage`]: a destination can't be opened; nothing was started.
pub(crate) fn wire_up(
    settings: &Settings,
    closed: Closed,
    specs: &[SinkSpec],
    when_full: WhenFull,
    stop: &Stop,
) -> Result<Wired, Failure> {
    let mut opened = Vec::new();
    for spec in specs {
        opened.push((spec, open(spec)?));
    }
    connect(settings, closed, opened, when_full, stop)
}

/// Connects the source to one sink that is no destination. `settings.encodings` is that of `spec` alone.
///
/// # Errors
/// [`Failure::Usage`]: closed sockets must be listened to, and can't be.
pub(crate) fn wire_up_to(
    sink: Box<dyn Sink>,
    spec: &SinkSpec,
    settings: &Settings,
    closed: Closed,
    stop: &Stop,
) -> Result<Wired, Failure> {
    let when_full = WhenFull::Drop { patience: Duration::ZERO };
    connect(settings, closed, vec![(spec, (sink, None))], when_full, stop)
}

fn connect(
    settings: &Settings,
    closed: Closed,
    opened: Vec<(&SinkSpec, Opened)>,
    when_full: WhenFull,
    stop: &Stop,
) -> Result<Wired, Failure> {
    let collected = collected(settings, closed)?;
    let mut lanes: Vec<Vec<Queue>> = settings.encodings.iter().map(|_| Vec::new()).collect();
    let mut threads = Vec::new();
    for (spec, (sink, notes)) in opened {
        let fault = Fault::default();
        let sink = Box::new(Watched::new(sink, fault.clone()));
        let queue = Queue::new(&spec.name(), QueueLimits { bytes: spec.queue_bytes, when_full });
        let lane = settings.encodings.iter().position(|encoding| *encoding == spec.encoding);
        if let Some(lane) = lane.and_then(|lane| lanes.get_mut(lane)) {
            lane.push(queue.clone());
        }
        let thread = SinkThread::spawn(queue, sink).context("no thread for a sink")?;
        threads.push(Running { thread, fault, notes });
    }
    let Collected { polls, closed, shortfalls } = collected;
    Ok(Wired {
        counters: polls.counters(),
        closed: closed.as_ref().map(closed::Closed::counters),
        track: polls.track(),
        shortfalls,
        // Polls go first: what they tell of a socket is there when its end is reported.
        sources: [
            Some(Box::new(polls) as Box<dyn Source>),
            closed.map(|it| Box::new(it) as Box<dyn Source>),
        ]
        .into_iter()
        .flatten()
        .collect(),
        outlet: Outlet::new(lanes, stop.clone()),
        sinks: Sinks(threads),
    })
}

/// The sources, and what they do less than they were asked to.
struct Collected {
    polls: SockDiag,
    closed: Option<closed::Closed>,
    shortfalls: Vec<String>,
}

fn collected(settings: &Settings, closed: Closed) -> Result<Collected, Failure> {
    let polls = |settings: Settings| -> Result<SockDiag, Failure> {
        let (directories, own_only) = (settings.scan.mount_dirs.clone(), settings.scan.own_only);
        let mut polls = SockDiag::new(settings)
            .context("our own network namespace can't be read; is /proc mounted?")?;
        if !own_only {
            polls.watch(directories);
        }
        Ok(polls)
    };
    let source = polls(settings.clone())?;
    let (wanted, must) = match closed {
        Closed::No => {
            return Ok(Collected { polls: source, closed: None, shortfalls: Vec::new() });
        }
        Closed::IfPermitted(wanted) => (wanted, false),
        Closed::Must(wanted) => (wanted, true),
    };
    match closed::Closed::new(&source, wanted) {
        Ok(closed) => {
            let shortfalls = closed.shortfalls().to_vec();
            Ok(Collected { polls: source, closed: Some(closed), shortfalls })
        }
        Err(error) if must => Err(Failure::usage(format!("--closed: {error}; allowed: auto, off"))),
        Err(error) => {
            let shortfall = format!("closed sockets are not reported: {error}");
            // Nothing is remembered for nobody.
            let forgets = settings.track.is_some_and(|track| !track.deltas);
            let polls = if forgets {
                drop(source);
                polls(Settings { track: None, ..settings.clone() })?
            } else {
                source
            };
            Ok(Collected { polls, closed: None, shortfalls: vec![shortfall] })
        }
    }
}

impl Sinks {
    /// What SIGHUP asks of them.
    pub(crate) fn reopen(&self) -> Vec<Reopen> {
        self.0.iter().map(|sink| sink.thread.reopen()).collect()
    }

    /// Lets them flush and returns what has become of them: without a request to stop for as long as it takes, after
    /// one for at most `flush`.
    pub(crate) fn finish(self, stop: &Stop, flush: Duration) -> Vec<Ended> {
        let close = |deadline| self.0.iter().for_each(|sink| sink.thread.queue().close(deadline));
        close(Instant::now() + FOR_EVER);
        while !stop.requested() && !self.0.iter().all(|sink| sink.thread.is_finished()) {
            thread::sleep(Duration::from_millis(2));
        }
        if stop.requested() {
            close(Instant::now() + flush);
        }
        let ended = |Running { thread, fault, notes }| {
            let queue = thread.queue().clone();
            thread.join();
            let (name, ledger) = (queue.name().to_owned(), queue.ledger());
            Ended { name, ledger, fault: fault.text(), notes: notes.map(|notes| notes()) }
        };
        self.0.into_iter().map(ended).collect()
    }
}

/// The sink, and what it has to say at the end.
fn open(spec: &SinkSpec) -> Result<Opened, Failure> {
    if let (Dest::Kafka(brokers), Some(kafka)) = (&spec.dest, &spec.kafka) {
        return open_kafka(brokers, kafka, spec);
    }
    open_local(spec).map(|sink| (sink, None))
}

fn open_local(spec: &SinkSpec) -> Result<Box<dyn Sink>, Failure> {
    let encoder = Encoder::new(&spec.encoding);
    let (header, headings) = (encoder.header(), encoder.table_header());
    let table = spec.encoding.format == Format::Table;
    Ok(match &spec.dest {
        Dest::Null | Dest::Kafka(_) => Box::new(Null),
        Dest::Stdout | Dest::Stderr => {
            let stream = if spec.dest == Dest::Stdout {
                Stream::stdout(header)
            } else {
                Stream::stderr(header)
            };
            let stream =
                stream.map_err(|error| Failure::usage(format!("{}: {error}", spec.dest)))?;
            if table { Box::new(TableWriter::new(stream, headings)) } else { Box::new(stream) }
        }
        Dest::File(path) => {
            let path = PathPattern::parse(path)
                .map_err(|error| Failure::usage(format!("{}: {error}", spec.dest)))?;
            let file = FileSink::open(FileSettings {
                path,
                rotate_bytes: spec.rotate_bytes,
                rotate_age: spec.rotate_age,
                zstd: spec.zstd,
                header,
                format: spec.encoding.format,
            });
            let file = file.map_err(|error| Failure::usage(format!("{}: {error}", spec.dest)))?;
            if table { Box::new(TableWriter::new(file, headings)) } else { Box::new(file) }
        }
    })
}

/// Whether this program can speak with Kafka at all.
pub(crate) fn check_kafka() -> Result<(), &'static str> {
    if cfg!(feature = "kafka") {
        Ok(())
    } else {
        Err("built without the feature kafka; allowed: stdout, stderr, null, file:PATH")
    }
}

/// Whether a setting of the client library has no option of its own and is no secret.
#[cfg_attr(
    not(feature = "kafka"),
    expect(clippy::unnecessary_wraps, reason = "only the feature knows")
)]
pub(crate) fn check_kafka_setting(key: &str, value: &str) -> Result<(), String> {
    #[cfg(feature = "kafka")]
    {
        let reserved = sockeye_sink::kafka::RESERVED;
        if let Some((key, option)) = reserved.into_iter().find(|(reserved, _)| *reserved == key) {
            return Err(format!("{key} is not for --kafka-set; allowed: {option}"));
        }
        if SECRETS.iter().any(|word| key.contains(word)) {
            return Err(format!(
                "{key} looks like a secret, which would be printed; allowed: a file"
            ));
        }
        if matches!(key, "acks" | "request.required.acks") && value == "0" {
            return Err("acks=0: nothing would ever be delivered; allowed: acks=all, acks=1".into());
        }
    }
    let _ = (key, value);
    Ok(())
}

/// Whether a schema registry can have this address.
#[cfg_attr(
    not(feature = "kafka"),
    expect(clippy::unnecessary_wraps, reason = "only the feature knows")
)]
pub(crate) fn check_registry(url: &str) -> Result<(), &'static str> {
    #[cfg(feature = "kafka")]
    sockeye_sink::kafka::SchemaRegistry::parse(url)?;
    let _ = url;
    Ok(())
}

#[cfg(feature = "kafka")]
fn open_kafka(
    brokers: &str,
    kafka: &KafkaSpec,
    spec: &SinkSpec,
) -> Result<(Box<dyn Sink>, Notes), Failure> {
    use sockeye_sink::kafka::{KafkaSink, SchemaRegistry};

    let options = &kafka.options;
    let sink = KafkaSink::open(kafka_settings(brokers, kafka, spec.queue_bytes))
        .map_err(|error| Failure::usage(format!("{}: {error}", spec.name())))?;
    if let Some(registry) = &options.schema_registry {
        let registry = SchemaRegistry::parse(&registry.0).map_err(Failure::usage)?;
        registry.register(&options.topic.to_string()).context("no thread for the schema")?;
    }
    let counters = sink.counters();
    Ok((Box::new(sink), Some(Box::new(move || counters.to_string()))))
}

#[cfg(feature = "kafka")]
fn kafka_settings(
    brokers: &str,
    kafka: &KafkaSpec,
    queue_bytes: usize,
) -> sockeye_sink::kafka::KafkaSettings {
    use sockeye_sink::kafka::{Compression, KafkaSettings, Key};
    use sockeye_sink::spool::SpoolSettings;

    use crate::cli_kafka::{KafkaCompression, KafkaKey};

    let options = &kafka.options;
    let connection = kafka_connection(brokers, &options.connection, kafka.sasl.as_ref());
    KafkaSettings {
        brokers: connection.brokers,
        topic: options.topic.to_string(),
        key: match options.kafka_key {
            KafkaKey::None => Key::None,
            KafkaKey::Hostname => Key::Fixed(kafka.hostname.clone()),
            KafkaKey::Netns => Key::Netns,
        },
        compression: match options.kafka_compression {
            KafkaCompression::Auto => Compression::Auto,
            KafkaCompression::None => Compression::Codec("none"),
            KafkaCompression::Gzip => Compression::Codec("gzip"),
            KafkaCompression::Snappy => Compression::Codec("snappy"),
            KafkaCompression::Lz4 => Compression::Codec("lz4"),
            KafkaCompression::Zstd => Compression::Codec("zstd"),
        },
        linger: options.kafka_linger,
        message_max_bytes: usize::try_from(options.kafka_message_max_bytes).unwrap_or(usize::MAX),
        produce_timeout: options.produce_timeout,
        queue_bytes,
        tls: connection.tls,
        sasl: connection.sasl,
        set: connection.set,
        spool: kafka.spool.clone().map(|dir| SpoolSettings { dir, bytes: options.spool_bytes }),
        shutdown_timeout: kafka.shutdown_timeout,
    }
}

#[cfg(feature = "kafka")]
fn kafka_connection(
    brokers: &str,
    options: &KafkaConnectionArgs,
    sasl: Option<&Credentials>,
) -> sockeye_sink::kafka::Connection {
    use sockeye_sink::kafka::{Connection, Sasl, Secret, Tls};

    use crate::cli_kafka::KafkaMechanism;

    let tls = Tls {
        ca: options.kafka_tls_ca.clone(),
        cert: options.kafka_tls_cert.clone(),
        key: options.kafka_tls_key.clone(),
    };
    Connection {
        brokers: brokers.into(),
        tls: (options.kafka_tls || tls != Tls::default()).then_some(tls),
        sasl: sasl.map(|(mechanism, username, password)| Sasl {
            mechanism: match mechanism {
                KafkaMechanism::Plain => "PLAIN",
                KafkaMechanism::ScramSha256 => "SCRAM-SHA-256",
                KafkaMechanism::ScramSha512 => "SCRAM-SHA-512",
            },
            username: username.clone(),
            password: Secret::new(password.0.clone()),
        }),
        set: options.kafka_set.iter().map(|it| (it.key.clone(), it.value.clone())).collect(),
    }
}

/// What was read of a topic.
pub(crate) enum Read {
    /// A message: its partition, its offset, and what it says.
    Message(i32, i64, Vec<u8>),
    /// Nothing for the moment.
    Nothing,
    /// Everything has been read.
    End,
}

/// Reads a topic, by a function that waits for a message for a while.
#[cfg(feature = "kafka")]
pub(crate) fn read_topic(
    arguments: &ConsumeArgs,
    sasl: Option<&Credentials>,
) -> anyhow::Result<impl FnMut(Duration) -> anyhow::Result<Read>> {
    use sockeye_sink::kafka::{Start, Step, TopicReader};

    let connection = kafka_connection(&arguments.brokers.0, &arguments.connection, sasl);
    let start = match arguments.from {
        From::Beginning => Start::Beginning,
        From::End => Start::End,
        From::Since(time) => Start::Since(time),
    };
    let topic = arguments.topic.to_string();
    let mut reader = TopicReader::open(&connection, &topic, start, arguments.follow)?;
    Ok(move |wait| {
        Ok(match reader.step(wait)? {
            Step::Message { partition, offset, payload } => {
                Read::Message(partition, offset, payload)
            }
            Step::Quiet => Read::Nothing,
            Step::End => Read::End,
        })
    })
}

#[cfg(not(feature = "kafka"))]
pub(crate) fn read_topic(
    _arguments: &ConsumeArgs,
    _sasl: Option<&Credentials>,
) -> anyhow::Result<impl FnMut(Duration) -> anyhow::Result<Read>> {
    Ok(|_wait| Ok(Read::End))
}

#[cfg(not(feature = "kafka"))]
fn open_kafka(
    _brokers: &str,
    _kafka: &KafkaSpec,
    spec: &SinkSpec,
) -> Result<(Box<dyn Sink>, Notes), Failure> {
    // Its destination is refused when it is parsed.
    let _ = check_kafka();
    Err(Failure::usage(format!("{}: built without Kafka", spec.name())))
}

/// Words in the names of settings that hold a secret itself, not the name of a file.
#[cfg(feature = "kafka")]
const SECRETS: [&str; 5] = ["password", "passphrase", "secret", "pem", "jaas"];
const FOR_EVER: Duration = Duration::from_hours(24 * 365);
