//! `sockeye run`: the daemon.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sockeye_filter::Filter;
use sockeye_pipeline::{Change, Collection, Event, Schedule, Stop, Summary, WhenFull, collect};
use sockeye_source::closed;
use sockeye_source::sockdiag::{Counters, Settings, Totals};
use sockeye_telemetry::endpoint::{Bound, Endpoint, Limits};
use sockeye_telemetry::logging::{self, Log};
use sockeye_wire::AttrSet;
use tracing::{error, info, warn};

use crate::cli::RunArgs;
use crate::cli_service::Requirement;
use crate::config::settings::SinkSpec;
use crate::config::{Checked, Invocation, settings};
use crate::confine::confine;
use crate::exit::{Failure, Status, complain};
use crate::observe::{Observer, Observes};
use crate::poll_log::PollLog;
use crate::privileges::{Privileges, Wanted};
use crate::reload::{Reload, Reloaded, Requested, patience};
use crate::signals::{self, Hangup};
use crate::systemd::{self, Systemd};
use crate::wire_up::{self, Ended, Handover, Sinks, Sources};

/// Polls until a signal, `--max-loops`, or the end of the last sink; then flushes and prints the ledger.
/// [`Status::Incomplete`] when a sink has ended by an error.
pub(crate) fn run(arguments: &RunArgs, invocation: &Invocation) -> Result<Status, Failure> {
    let checked = invocation.checked()?;
    let Checked { ref specs, ref filter, .. } = checked;
    let privileges = Privileges::current();
    let mut source = source(arguments, specs, filter.clone(), privileges);
    let of_filter = filter.as_ref().map_or(AttrSet::NONE, Filter::attrs);
    let wanted = Wanted::of(&arguments.collect, source.useful_attrs(), of_filter, arguments.closed);
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
    let sources = Sources::open(source, closed)?;
    let also = bound.as_ref().map(Bound::writes).unwrap_or_default();
    let confinement = confine(&checked, &wanted, invocation.file().as_deref(), also);
    let stop = Stop::default();
    let when_full = WhenFull::Drop { patience: patience(arguments, specs.len()) };
    let wired = wire_up::wire_up(sources, specs, when_full, &confinement, &stop)?;
    let observer = Observer::new(Observes {
        outlet: wired.outlet.clone(),
        counters: Arc::clone(&wired.counters),
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
    for shortfall in [unseen, wanted.shortfall(privileges)].into_iter().flatten() {
        warn!("{shortfall}");
    }
    for shortfall in &wired.shortfalls {
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
    let mut closed_rows = 0;
    let summary = collect(collection, &stop, |event| {
        if let Event::Polled { parts, .. } = &event {
            let closed = parts.iter().filter(|part| &*part.part == CLOSED_PART);
            closed_rows += closed.map(|part| part.rows).sum::<u64>();
        }
        observer.event(&event);
        systemd.borrow_mut().event(&event);
        log.event(&event);
    });
    if !stop.requested() {
        systemd::stopping(shutdown);
    }
    let ended = wired.sinks.finish(&stop, shutdown);
    lines.tell_suppressed();
    // Closed sockets of the time after the last poll are in no report.
    let ends = wired.closed.map(|counters| counters.totals());
    let rows = summary.rows - closed_rows + ends.map_or(0, |totals| totals.rows);
    let track = wired.track.map(|track| track.totals());
    let odd = [
        odd(&between.counters),
        ends.and_then(|totals| totals.odd()),
        track.and_then(|totals| totals.odd()),
    ];
    let closed = ends.map(|ends| {
        let closed::Totals { rows, joined, lost, .. } = ends;
        let (sockets, bytes) = track.map_or((0, 0), |totals| (totals.entries, totals.bytes));
        format!(
            "closed sockets: {rows} rows, {joined} of them seen by a poll, {lost} lost; \
             {sockets} sockets remembered in {bytes} bytes"
        )
    });
    let said = odd.into_iter().flatten().chain(closed);
    tell_the_end(&Summary { rows, ..summary }, said, &ended, lines.is_plain());
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

/// What is done between polls.
struct Between<'a> {
    reload: Reload<'a>,
    requested: Requested,
    lines: Log,
    told: Instant,
    /// Of every source that there was.
    counters: Vec<Arc<Counters>>,
    handover: Handover,
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
        let Reloaded { live, specs, filter } = self.reload.read()?;
        let run = self.reload.run()?;
        self.lines.set_level(run.service.log_level);
        if live.iter().all(|option| option == "log-level") {
            return None;
        }
        let mut source = source(run, &specs, filter, Privileges::current());
        // It has been warned of at the start.
        let _ = settings::probe_ring(&mut source);
        let rewired = match wire_up::rewire(source, &self.handover, &specs, sinks, stop) {
            Ok(rewired) => rewired,
            Err(failure) => {
                error!(error = %failure, "not changed: the one before goes on");
                return None;
            }
        };
        sinks.set_patience(patience(run, specs.len()));
        observer.renewed(rewired.outlet.clone(), Arc::clone(&rewired.counters), run.frequency);
        self.counters.push(rewired.counters);
        Some(Change {
            sources: rewired.sources,
            outlet: rewired.outlet,
            frequency: run.frequency,
            jitter_percent: run.jitter,
        })
    }
}

/// The summary, and the ledger of every sink.
fn tell_the_end(
    summary: &Summary,
    said: impl Iterator<Item = String>,
    ended: &[Ended],
    plain: bool,
) {
    let last_words = LastWords { plain };
    last_words.say(&format!(
        "{} polls, {} rows, {} incomplete namespaces; skipped {} late, {} at high water",
        summary.polls,
        summary.rows,
        summary.incomplete_parts,
        summary.late_ticks,
        summary.high_water_ticks
    ));
    said.for_each(|said| last_words.say(&said));
    for sink in ended {
        let fault =
            sink.fault.as_ref().map_or(String::new(), |fault| format!("; ended by: {fault}"));
        last_words.say(&format!("{}: {}{fault}", sink.name, sink.ledger));
        if let Some(notes) = &sink.notes {
            last_words.say(&format!("{}: {notes}", sink.name));
        }
    }
}

/// The ledger and what else is said at the end: lines of their own, or of the log where that is for programs.
struct LastWords {
    plain: bool,
}

impl LastWords {
    fn say(&self, words: &str) {
        if self.plain {
            complain(words);
        } else {
            info!("{words}");
        }
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

/// What the kernel sent and no row could say; `None` when there was nothing of the kind.
fn odd(counters: &[Arc<Counters>]) -> Option<String> {
    let all: Vec<Totals> = counters.iter().map(|counters| counters.totals()).collect();
    let sum = |count: fn(&Totals) -> u64| all.iter().map(count).sum::<u64>();
    let counts = [
        (sum(|totals| totals.malformed), "malformed messages"),
        (sum(|totals| totals.foreign), "foreign messages"),
        (sum(|totals| totals.unknown_attributes), "unknown attributes"),
        (sum(|totals| totals.long_tcp_info), "sockets with a tcp_info longer than known"),
    ];
    let odd: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!odd.is_empty()).then(|| odd.join(", "))
}

/// How often it is said what the log has left out.
const PACE: Duration = Duration::from_mins(1);
/// How long the row of a closed socket waits for others, so that they share envelopes.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// What the source of closed sockets calls itself in its reports.
const CLOSED_PART: &str = "closed";
