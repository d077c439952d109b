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
use sockeye_source::sockdiag::{Counters, Settings, SockDiag};

use crate::config::settings::SinkSpec;
use crate::config::values::Dest;
use crate::exit::Failure;
use crate::fault::{Fault, Watched};

/// Everything that is needed to collect.
pub(crate) struct Wired {
    pub(crate) sources: Vec<Box<dyn Source>>,
    pub(crate) outlet: Outlet,
    pub(crate) sinks: Sinks,
    pub(crate) counters: Arc<Counters>,
}

/// The sinks' threads.
pub(crate) struct Sinks(Vec<(SinkThread, Fault)>);

/// What has become of a sink.
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) ledger: Ledger,
    /// The error that ended it before its time.
    pub(crate) fault: Option<String>,
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
    settings: Settings,
    specs: &[SinkSpec],
    when_full: WhenFull,
    stop: &Stop,
) -> Result<Wired, Failure> {
    let mut opened = Vec::new();
    for spec in specs {
        opened.push((spec, open(spec)?));
    }
    let mut lanes: Vec<Vec<Queue>> = settings.encodings.iter().map(|_| Vec::new()).collect();
    let mut threads = Vec::new();
    for (spec, sink) in opened {
        let fault = Fault::default();
        let sink = Box::new(Watched::new(sink, fault.clone()));
        let queue =
            Queue::new(&spec.dest.to_string(), QueueLimits { bytes: spec.queue_bytes, when_full });
        let lane = settings.encodings.iter().position(|encoding| *encoding == spec.encoding);
        if let Some(lane) = lane.and_then(|lane| lanes.get_mut(lane)) {
            lane.push(queue.clone());
        }
        threads.push((SinkThread::spawn(queue, sink).context("no thread for a sink")?, fault));
    }
    let directories = settings.scan.mount_dirs.clone();
    let own_only = settings.scan.own_only;
    let mut source = SockDiag::new(settings)
        .context("our own network namespace can't be read; is /proc mounted?")?;
    if !own_only {
        source.watch(directories);
    }
    Ok(Wired {
        counters: source.counters(),
        sources: vec![Box::new(source)],
        outlet: Outlet::new(lanes, stop.clone()),
        sinks: Sinks(threads),
    })
}

impl Sinks {
    /// What SIGHUP asks of them.
    pub(crate) fn reopen(&self) -> Vec<Reopen> {
        self.0.iter().map(|(thread, _)| thread.reopen()).collect()
    }

    /// Lets them flush and returns what has become of them: without a request to stop for as long as it takes, after
    /// one for at most [`FLUSH`].
    pub(crate) fn finish(self, stop: &Stop) -> Vec<Ended> {
        let close = |deadline| self.0.iter().for_each(|(thread, _)| thread.queue().close(deadline));
        close(Instant::now() + FOR_EVER);
        while !stop.requested() && !self.0.iter().all(|(thread, _)| thread.is_finished()) {
            thread::sleep(Duration::from_millis(2));
        }
        if stop.requested() {
            close(Instant::now() + FLUSH);
        }
        let ended = |(thread, fault): (SinkThread, Fault)| {
            let queue = thread.queue().clone();
            thread.join();
            Ended { name: queue.name().to_owned(), ledger: queue.ledger(), fault: fault.text() }
        };
        self.0.into_iter().map(ended).collect()
    }
}

fn open(spec: &SinkSpec) -> Result<Box<dyn Sink>, Failure> {
    let encoder = Encoder::new(&spec.encoding);
    let (header, headings) = (encoder.header(), encoder.table_header());
    let table = spec.encoding.format == Format::Table;
    Ok(match &spec.dest {
        Dest::Null => Box::new(Null),
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

/// What SIGTERM leaves the sinks.
pub(crate) const FLUSH: Duration = Duration::from_secs(5);
const FOR_EVER: Duration = Duration::from_hours(24 * 365);
