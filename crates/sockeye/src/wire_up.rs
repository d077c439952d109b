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
use crate::confine::Confinement;
use crate::exit::Failure;
use crate::fault::{Fault, Watched};
use crate::observe::{self, ClientFigures, SinkView};
use crate::renewed::Renewed;

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
    /// What those need who go on after these sources.
    pub(crate) handover: Handover,
    /// What it does less than it was asked to, for want of privileges: a line each.
    pub(crate) shortfalls: Vec<String>,
    /// The destinations, for those who look.
    pub(crate) views: Vec<SinkView>,
}

/// The sinks' threads.
pub(crate) struct Sinks(Vec<Running>);

struct Running {
    thread: SinkThread,
    fault: Fault,
    notes: Notes,
}

/// What a sink has to say beside its ledger.
type Notes = Option<Box<dyn Fn() -> String + Send>>;

/// The same, in figures.
type Client = Option<Box<dyn Fn() -> ClientFigures + Send + Sync>>;

/// A sink that is open, and what it counts besides its ledger.
type Open = (Box<dyn Sink>, Notes, Client);

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

/// The sources, open: what takes a privilege to open is, and no thread runs yet.
pub(crate) struct Sources {
    polls: SockDiag,
    closed: Option<closed::Closed>,
    /// What they do less than they were asked to.
    shortfalls: Vec<String>,
}

/// What outlives a source.
#[derive(Clone)]
pub(crate) struct Handover {
    closed: Option<closed::Handover>,
    track: Option<Arc<Track>>,
}

impl Sources {
    /// Opens them.
    ///
    /// # Errors
    /// [`Failure::Usage`]: closed sockets must be listened to, and can't be.
    pub(crate) fn open(settings: Settings, closed: Closed) -> Result<Self, Failure> {
        let polls = |settings| SockDiag::new(settings).context(NO_HOME);
        let source = polls(settings.clone())?;
        let (wanted, must) = match closed {
            Closed::No => return Ok(Self { polls: source, closed: None, shortfalls: Vec::new() }),
            Closed::IfPermitted(wanted) => (wanted, false),
            Closed::Must(wanted) => (wanted, true),
        };
        match closed::Closed::new(&source, wanted) {
            Ok(closed) => {
                let shortfalls = closed.shortfalls().to_vec();
                Ok(Self { polls: source, closed: Some(closed), shortfalls })
            }
            Err(error) if must => {
                Err(Failure::usage(format!("--closed: {error}; allowed: auto, off")))
            }
            Err(error) => {
                let shortfall = format!("closed sockets are not reported: {error}");
                // Nothing is remembered for nobody.
                let forgets = settings.track.is_some_and(|track| !track.deltas);
                let polls =
                    if forgets { polls(Settings { track: None, ..settings })? } else { source };
                Ok(Self { polls, closed: None, shortfalls: vec![shortfall] })
            }
        }
    }

    /// Opens those that go on after others.
    fn after(handover: &Handover, mut settings: Settings) -> Result<Self, Failure> {
        settings.track = handover.track.as_ref().map(|track| track.settings());
        let polls = SockDiag::after(settings, handover.track.clone()).context(NO_HOME)?;
        let closed = handover.closed.as_ref().map(|it| closed::Closed::after(it, &polls));
        Ok(Self { polls, closed, shortfalls: Vec::new() })
    }

    fn handover(&self) -> Handover {
        let closed = self.closed.as_ref().map(closed::Closed::handover);
        Handover { closed, track: self.polls.track() }
    }

    /// As the loop takes them. Polls go first: what they tell of a socket is there when its end is reported.
    fn into_boxes(mut self) -> Vec<Box<dyn Source>> {
        let scan = self.polls.scan_options();
        if !scan.own_only {
            let directories = scan.mount_dirs.clone();
            self.polls.watch(directories);
        }
        let mut boxes: Vec<Box<dyn Source>> = vec![Box::new(self.polls)];
        boxes.extend(self.closed.map(|closed| Box::new(closed) as Box<dyn Source>));
        boxes
    }
}

/// Opens the destinations, as confined, and connects the sources to them, which were opened for [`encodings`] of theirs.
///
/// # Errors
/// [`Failure::Usage`]: a destination can't be opened; nothing was started.
pub(crate) fn wire_up(
    sources: Sources,
    specs: &[SinkSpec],
    when_full: WhenFull,
    confinement: &Confinement,
    stop: &Stop,
) -> Result<Wired, Failure> {
    let served = confinement.open(|| {
        // All of them, before any is served.
        let opened = specs.iter().map(|spec| Ok((spec, open(spec)?)));
        serve(opened.collect::<Result<_, Failure>>()?, when_full)
    })?;
    Ok(connect(sources, served, specs, stop))
}

/// Connects the sources to one sink that is no destination.
pub(crate) fn wire_up_to(
    sink: Box<dyn Sink>,
    spec: &SinkSpec,
    sources: Sources,
    stop: &Stop,
) -> Result<Wired, Failure> {
    let when_full = WhenFull::Drop { patience: Duration::ZERO };
    let served = serve(vec![(spec, (sink, None, None))], when_full)?;
    Ok(connect(sources, served, std::slice::from_ref(spec), stop))
}

fn connect(
    sources: Sources,
    (sinks, views): (Sinks, Vec<SinkView>),
    specs: &[SinkSpec],
    stop: &Stop,
) -> Wired {
    Wired {
        outlet: Outlet::new(sinks.lanes(&encodings(specs), specs), stop.clone()),
        counters: sources.polls.counters(),
        closed: sources.closed.as_ref().map(closed::Closed::counters),
        track: sources.polls.track(),
        handover: sources.handover(),
        shortfalls: sources.shortfalls.clone(),
        sources: sources.into_boxes(),
        sinks,
        views,
    }
}

/// What to go on with after a change of the configuration.
pub(crate) struct Rewired {
    pub(crate) sources: Vec<Box<dyn Source>>,
    pub(crate) outlet: Outlet,
    pub(crate) counters: Arc<Counters>,
    /// Tells the destinations of new encodings: to be called behind the last row of the old sources.
    pub(crate) announce: Box<dyn FnOnce()>,
}

/// New sources in place of those that left `handover`, and the destinations that run. `specs` are theirs, in their order.
pub(crate) fn rewire(
    settings: Settings,
    handover: &Handover,
    specs: &[SinkSpec],
    sinks: &Sinks,
    stop: &Stop,
) -> Result<Rewired, Failure> {
    let outlet = Outlet::new(sinks.lanes(&settings.encodings, specs), stop.clone());
    let sources = Sources::after(handover, settings)?;
    let encodings: Vec<_> = sinks
        .0
        .iter()
        .zip(specs)
        .map(|(sink, spec)| (sink.thread.queue().clone(), spec.encoding.clone()))
        .collect();
    let announce = Box::new(move || {
        for (queue, encoding) in encodings {
            queue.change_encoding(encoding);
        }
    });
    let counters = sources.polls.counters();
    Ok(Rewired { sources: sources.into_boxes(), outlet, counters, announce })
}

/// Gives each destination a queue and a thread.
fn serve(
    opened: Vec<(&SinkSpec, Open)>,
    when_full: WhenFull,
) -> Result<(Sinks, Vec<SinkView>), Failure> {
    let labels = observe::labels(opened.iter().map(|(spec, _)| spec.dest.kind()));
    let (mut threads, mut views) = (Vec::new(), Vec::new());
    for ((spec, (sink, notes, client)), label) in opened.into_iter().zip(labels) {
        let fault = Fault::default();
        let sink = Box::new(Watched::new(sink, fault.clone()));
        let queue = Queue::new(&spec.name(), QueueLimits { bytes: spec.queue_bytes, when_full });
        views.push(SinkView { label, queue: queue.clone(), client });
        let thread = SinkThread::spawn(queue, sink).context("no thread for a sink")?;
        threads.push(Running { thread, fault, notes });
    }
    Ok((Sinks(threads), views))
}

impl Sinks {
    /// Their queues, by encoding.
    fn lanes(&self, encodings: &[Encoding], specs: &[SinkSpec]) -> Vec<Vec<Queue>> {
        let wanted = |encoding: &Encoding| {
            let sinks = self.0.iter().zip(specs).filter(|(_, spec)| spec.encoding == *encoding);
            sinks.map(|(sink, _)| sink.thread.queue().clone()).collect()
        };
        encodings.iter().map(wanted).collect()
    }

    /// Another patience of every queue.
    pub(crate) fn set_patience(&self, patience: Duration) {
        self.0.iter().for_each(|sink| sink.thread.queue().set_patience(patience));
    }

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

/// The sink, and what it has to say.
fn open(spec: &SinkSpec) -> Result<Open, Failure> {
    if let (Dest::Kafka(brokers), Some(kafka)) = (&spec.dest, &spec.kafka) {
        return open_kafka(brokers, kafka, spec);
    }
    let sink = open_local(spec)?;
    if !has_header(spec) {
        return Ok((sink, None, None));
    }
    let spec = spec.clone();
    let encoding = spec.encoding.clone();
    let reopen = move |encoding: &Encoding| {
        let spec = SinkSpec { encoding: encoding.clone(), ..spec.clone() };
        open_local(&spec).map_err(|failure| failure.to_string())
    };
    Ok((Box::new(Renewed::new(sink, encoding, Box::new(reopen))), None, None))
}

/// Whether something stands in front of the rows that depends on the columns.
fn has_header(spec: &SinkSpec) -> bool {
    let tabular = matches!(spec.encoding.format, Format::Csv | Format::Tsv | Format::Table);
    tabular && spec.dest != Dest::Null
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
fn open_kafka(brokers: &str, kafka: &KafkaSpec, spec: &SinkSpec) -> Result<Open, Failure> {
    use sockeye_sink::kafka::{KafkaSink, SchemaRegistry, Trouble};

    let options = &kafka.options;
    let sink = KafkaSink::open(kafka_settings(brokers, kafka, spec.queue_bytes))
        .map_err(|error| Failure::usage(format!("{}: {error}", spec.name())))?;
    if let Some(registry) = &options.schema_registry {
        let registry = SchemaRegistry::parse(&registry.0).map_err(Failure::usage)?;
        registry.register(&options.topic.to_string()).context("no thread for the schema")?;
    }
    let (counters, also) = (sink.counters(), sink.counters());
    let client = move || ClientFigures {
        acknowledged: also.acknowledged(),
        spooled: also.parked(),
        spool_failures: also.spool_failures(),
        spool_damaged_bytes: also.torn_bytes(),
        producers: also.producers(),
        troubles: Trouble::ALL
            .iter()
            .map(|trouble| (trouble.name(), also.troubles(*trouble)))
            .collect(),
    };
    Ok((Box::new(sink), Some(Box::new(move || counters.to_string())), Some(Box::new(client))))
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
fn open_kafka(_brokers: &str, _kafka: &KafkaSpec, spec: &SinkSpec) -> Result<Open, Failure> {
    // Its destination is refused when it is parsed.
    let _ = check_kafka();
    Err(Failure::usage(format!("{}: built without Kafka", spec.name())))
}

/// Words in the names of settings that hold a secret itself, not the name of a file.
#[cfg(feature = "kafka")]
const SECRETS: [&str; 5] = ["password", "passphrase", "secret", "pem", "jaas"];
const NO_HOME: &str = "our own network namespace can't be read; is /proc mounted?";
const FOR_EVER: Duration = Duration::from_hours(24 * 365);
