//! `sockeye run`: the daemon.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sockeye_filter::Filter;
use sockeye_pipeline::{Change, Collection, Schedule, Stop, WhenFull, collect};
use sockeye_source::sockdiag::{Counters, Settings};
use sockeye_telemetry::endpoint::{Bound, Endpoint, Limits};
use sockeye_telemetry::logging::{self, Log};
use sockeye_wire::AttrSet;
use tracing::{debug, error, info, warn};

use super::last_words::LastWords;
use crate::cli::RunArgs;
use crate::cli_service::Requirement;
use crate::config::settings::SinkSpec;
use crate::config::{Checked, Invocation, settings};
use crate::confine::confine;
use crate::exit::{Failure, Status};
use crate::observe::{Observer, Observes};
use crate::poll_log::PollLog;
use crate::privileges::{Privileges, Wanted};
use crate::reload::{Reload, Reloaded, Requested, patience};
use crate::signals::{self, Hangup};
use crate::systemd::{self, Systemd};
use crate::wire_up::{self, Handover, Sinks, Sources};

/// Polls until a signal, `--max-loops`, or the end of the last sink; then flushes and prints the ledger.
/// [`Status::Incomplete`] when a sink has ended by an error.
pub(crate) fn run(arguments: &RunArgs, invocation: &Invocation) -> Result<Status, Failure> {
    let checked = invocation.checked()?;
    let Checked { ref specs, ref filter, .. } = checked;
    let privileges = Privileges::current();
    let mut source = source(arguments, specs, filter.clone(), privileges);
    let wanted = wanted(arguments, &source, filter.as_ref());
    if arguments.service.require == Requirement::Full {
        wanted.check(privileges)?;
    }
    let refused = |error| Failure::usage(format!("--listen {error}"));
    let bound = arguments.listen.bind().map_err(refused)?;
    settings::settle(&arguments.collect)?;
    let lines = logging::init(arguments.service.logging())
        .map_err(|error| Failure::usage(format!("--log-to journald: {error}; allowed: stderr")))?;
    if let Some(refused) = settings::probe_ring(&mut source) {
        warn!("{refused}");
    }
    // Every namespace takes an fd or two while it is read.
    if let Err(errno) = sockeye_sys::limits::raise_open_files() {
        warn!(%errno, "the limit of open files stays as it is");
    }
    let closed = settings::closed(arguments.closed, &arguments.track, &source, FLUSH_EVERY);
    source.track = settings::track(&arguments.track, closed, arguments.deltas);
    let started_with = source.clone();
    let sources = Sources::open(source, closed)?;
    let also = bound.as_ref().map(Bound::writes).unwrap_or_default();
    let confinement = confine(&checked, &wanted, invocation.file().as_deref(), also);
    let stop = Stop::default();
    let when_full = WhenFull::Drop { patience: patience(arguments, specs.len()) };
    let wired = wire_up::wire_up(sources, specs, when_full, &confinement, &stop)?;
    let observer = Observer::new(Observes {
        outlet: wired.outlet.clone(),
        counters: Arc::clone(&wired.counters),
        closed: wired.closed.clone(),
        track: wired.track.clone(),
        sinks: wired.views,
        stop: stop.clone(),
        frequency: arguments.frequency,
        top_netns: usize::from(arguments.metrics_top_netns),
    });
    // It answers until the last words: what is in flight at the end is to be seen as well.
    let start = |bound| confinement.open(|| endpoint(bound, &observer));
    let _endpoint = bound.map(start).transpose()?;
    let shutdown = arguments.shutdown_timeout;
    let requested = Requested::default();
    signals::serve(&stop, Hangup::Reloads(wired.sinks.reopen(), requested.clone()), shutdown)?;
    let unseen = privileges.shortfall().filter(|_| !arguments.collect.netns.own_netns_only);
    let shortfalls = [unseen, wanted.shortfall(privileges)].into_iter().flatten();
    for shortfall in shortfalls.chain(wired.shortfalls.iter().map(String::as_str)) {
        warn!("{shortfall}");
    }
    confinement.tell();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        frequency = %humantime::format_duration(arguments.frequency),
        destinations = %specs.iter().map(SinkSpec::name).collect::<Vec<_>>().join(" "),
        "collecting"
    );
    let systemd = RefCell::new(Systemd::new());
    systemd::ready();
    let mut log = PollLog::default();
    let mut between = Between {
        reload: Reload::new(invocation, specs.clone()),
        requested,
        lines: lines.clone(),
        told: Instant::now(),
        counters: vec![Arc::clone(&wired.counters)],
        handover: wired.handover,
        started_with,
    };
    let collection = Collection {
        sources: wired.sources,
        outlet: &wired.outlet,
        schedule: Schedule::new(Instant::now(), arguments.frequency, arguments.jitter),
        max_polls: arguments.max_loops,
        between: Box::new(|| {
            systemd.borrow_mut().feed();
            observer.beat();
            between.look(&wired.sinks, &observer, &stop)
        }),
    };
    // What reads options and opens destinations is not used again for long.
    if let Err(error) = sockeye_sys::code::let_go() {
        debug!(%error, "the code of the start stays resident");
    }
    let mut last_words = LastWords::new(lines.is_plain(), wired.closed, wired.track);
    let summary = collect(collection, &stop, |event| {
        observer.event(&event);
        systemd.borrow_mut().event(&event);
        log.event(&event);
        last_words.event(&event);
    });
    if !stop.requested() {
        systemd::stopping(shutdown);
    }
    let ended = wired.sinks.finish(&stop, shutdown);
    lines.tell_suppressed();
    last_words.say_all(&summary, &between.counters, &ended);
    Ok(if ended.iter().all(|sink| sink.fault.is_none()) {
        Status::Done
    } else {
        Status::Incomplete
    })
}

/// What the sockets' source is told, of options that are right.
fn source(
    run: &RunArgs,
    specs: &[SinkSpec],
    filter: Option<Filter>,
    privileges: Privileges,
) -> Settings {
    let encodings = wire_up::encodings(specs);
    let mut source = settings::source(&run.collect, privileges, encodings, filter);
    source.tcp_health = run.tcp_metrics;
    source
}

/// What these options want to read.
fn wanted(run: &RunArgs, source: &Settings, filter: Option<&Filter>) -> Wanted {
    let of_filter = filter.map_or(AttrSet::NONE, Filter::attrs);
    Wanted::of(&run.collect, source.useful_attrs(), of_filter, run.closed)
}

/// What is done between polls.
struct Between<'a> {
    reload: Reload<'a>,
    requested: Requested,
    lines: Log,
    told: Instant,
    /// Of every source that there was.
    counters: Vec<Arc<Counters>>,
    handover: Handover,
    /// Most of it is read at start alone.
    started_with: Settings,
}

impl Between<'_> {
    fn look(&mut self, sinks: &Sinks, observer: &Observer, stop: &Stop) -> Option<Change> {
        if self.told.elapsed() >= PACE {
            self.told = Instant::now();
            self.lines.tell_suppressed();
        }
        if !self.requested.take() {
            return None;
        }
        systemd::reloading();
        let change = self.reload(sinks, observer, stop);
        systemd::ready();
        change
    }

    fn reload(&mut self, sinks: &Sinks, observer: &Observer, stop: &Stop) -> Option<Change> {
        let reloaded = self.reload.read()?;
        let change = match self.change(&reloaded, sinks, observer, stop) {
            Ok(change) => change,
            Err(failure) => {
                error!(error = %failure, "not reloaded: the configuration before stays in force");
                return None;
            }
        };
        self.reload.took(reloaded);
        change
    }

    fn change(
        &mut self,
        reloaded: &Reloaded,
        sinks: &Sinks,
        observer: &Observer,
        stop: &Stop,
    ) -> Result<Option<Change>, Failure> {
        let Reloaded { live, specs, filter, .. } = reloaded;
        let Some(run) = reloaded.run() else { return Ok(None) };
        let privileges = Privileges::current();
        let new = source(run, specs, filter.clone(), privileges);
        let wanted = wanted(run, &new, filter.as_ref());
        // What was given up at the start can't be had again.
        if run.service.require == Requirement::Full {
            wanted.check_again(privileges)?;
        }
        if let Some(shortfall) = wanted.shortfall(privileges) {
            warn!("{shortfall}");
        }
        if live.iter().all(|option| option == "log-level") {
            self.lines.set_level(run.service.log_level);
            return Ok(None);
        }
        let settings = settings::renewed(&self.started_with, new);
        let rewired = wire_up::rewire(settings, &self.handover, specs, sinks, stop)?;
        self.lines.set_level(run.service.log_level);
        sinks.set_patience(patience(run, specs.len()));
        observer.renewed(rewired.outlet.clone(), Arc::clone(&rewired.counters), run.frequency);
        self.counters.push(rewired.counters);
        Ok(Some(Change {
            sources: rewired.sources,
            outlet: rewired.outlet,
            frequency: run.frequency,
            jitter_percent: run.jitter,
            handover: rewired.announce,
        }))
    }
}

/// Answers those who ask about the daemon.
fn endpoint(bound: Bound, observer: &Observer) -> Result<Endpoint, Failure> {
    let (subject, traffic) = (observer.subject(), observer.traffic());
    let endpoint = Endpoint::start(bound, subject, traffic, Limits::default());
    let endpoint = endpoint.context("no thread for the endpoint")?;
    info!(place = endpoint.place(), "answering");
    Ok(endpoint)
}

/// How often it is said what the log has left out.
const PACE: Duration = Duration::from_mins(1);
/// How long the row of a closed socket waits for others, so that they share envelopes.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
