//! `sockeye run`: the daemon.

use std::time::{Duration, Instant};

use sockeye_pipeline::{Collection, Event, Schedule, Stop, WhenFull, collect};
use sockeye_source::closed;
use sockeye_source::sockdiag::Totals;
use tracing::{info, warn};

use crate::cli::RunArgs;
use crate::config::settings::SinkSpec;
use crate::config::{Invocation, settings};
use crate::exit::{Failure, Status, complain};
use crate::poll_log::PollLog;
use crate::privileges::Privileges;
use crate::signals::{self, Hangup};
use crate::wire_up;

/// Polls until a signal, `--max-loops`, or the end of the last sink; then flushes and prints the ledger.
/// [`Status::Incomplete`] when a sink has ended by an error.
pub(crate) fn run(arguments: &RunArgs, invocation: &Invocation) -> Result<Status, Failure> {
    let specs = invocation.sinks(arguments)?;
    let filter = invocation.filter()?;
    settings::settle(&arguments.collect)?;
    let privileges = Privileges::current();
    let encodings = wire_up::encodings(&specs);
    let mut source = settings::source(&arguments.collect, privileges, encodings, filter);
    sockeye_telemetry::logging::init(arguments.log_level);
    if let Some(refused) = settings::probe_ring(&mut source) {
        warn!("{refused}");
    }
    // Every namespace takes an fd or two while it is read.
    if let Err(errno) = sockeye_sys::limits::raise_open_files() {
        warn!(%errno, "the limit of open files stays as it is");
    }
    let stop = Stop::default();
    let closed = settings::closed(arguments.closed, &arguments.track, &source, FLUSH_EVERY);
    source.track = settings::track(&arguments.track, closed, arguments.deltas);
    let wired = wire_up::wire_up(
        &source,
        closed,
        &specs,
        WhenFull::Drop { patience: patience(arguments, specs.len()) },
        &stop,
    )?;
    let shutdown = arguments.shutdown_timeout;
    signals::serve(&stop, Hangup::Reopens(wired.sinks.reopen()), shutdown)?;
    if let Some(shortfall) =
        privileges.shortfall().filter(|_| !arguments.collect.netns.own_netns_only)
    {
        warn!("{shortfall}");
    }
    for shortfall in &wired.shortfalls {
        warn!("{shortfall}");
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        frequency = %humantime::format_duration(arguments.frequency),
        destinations = %specs.iter().map(SinkSpec::name).collect::<Vec<_>>().join(" "),
        "collecting"
    );
    let schedule = Schedule::new(Instant::now(), arguments.frequency, arguments.jitter);
    let collection = Collection {
        sources: wired.sources,
        outlet: &wired.outlet,
        schedule,
        max_polls: arguments.max_loops,
    };
    let mut log = PollLog::default();
    let mut closed_rows = 0;
    let summary = collect(collection, &stop, |event| {
        if let Event::Polled { parts, .. } = &event {
            let closed = parts.iter().filter(|part| &*part.part == CLOSED_PART);
            closed_rows += closed.map(|part| part.rows).sum::<u64>();
        }
        log.event(&event);
    });
    let ended = wired.sinks.finish(&stop, shutdown);
    // Those of the time after the last poll are in no report.
    let ends = wired.closed.map(|counters| counters.totals());
    let rows = summary.rows - closed_rows + ends.map_or(0, |totals| totals.rows);
    complain(&format!(
        "{} polls, {rows} rows, {} incomplete namespaces; skipped {} late, {} at high water",
        summary.polls, summary.incomplete_parts, summary.late_ticks, summary.high_water_ticks
    ));
    let track = wired.track.map(|track| track.totals());
    let odd = [
        odd(&wired.counters.totals()),
        ends.and_then(|totals| totals.odd()),
        track.and_then(|totals| totals.odd()),
    ];
    odd.iter().flatten().for_each(|odd| complain(odd));
    if let Some(ends) = ends {
        let closed::Totals { rows, joined, lost, .. } = ends;
        let (sockets, bytes) = track.map_or((0, 0), |totals| (totals.entries, totals.bytes));
        complain(&format!(
            "closed sockets: {rows} rows, {joined} of them seen by a poll, {lost} lost; \
             {sockets} sockets remembered in {bytes} bytes"
        ));
    }
    for sink in &ended {
        let fault =
            sink.fault.as_ref().map_or(String::new(), |fault| format!("; ended by: {fault}"));
        complain(&format!("{}: {}{fault}", sink.name, sink.ledger));
        if let Some(notes) = &sink.notes {
            complain(&format!("{}: {notes}", sink.name));
        }
    }
    Ok(if ended.iter().all(|sink| sink.fault.is_none()) {
        Status::Done
    } else {
        Status::Incomplete
    })
}

/// What the kernel sent and no row could say; `None` when there was nothing of the kind.
fn odd(totals: &Totals) -> Option<String> {
    let counts = [
        (totals.malformed, "malformed messages"),
        (totals.foreign, "foreign messages"),
        (totals.unknown_attributes, "unknown attributes"),
        (totals.long_tcp_info, "sockets with a tcp_info longer than known"),
    ];
    let odd: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!odd.is_empty()).then(|| odd.join(", "))
}

/// How long a poll may wait for each slow sink: all of them together get a part of what the dumps' timeout leaves of the
/// frequency.
fn patience(arguments: &RunArgs, sinks: usize) -> Duration {
    let all =
        (arguments.frequency.saturating_sub(arguments.collect.timeout) / 2).min(LONGEST_PATIENCE);
    all / u32::try_from(sinks.max(1)).unwrap_or(u32::MAX)
}

/// How long the row of a closed socket waits for others, so that they share envelopes.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// What the source of closed sockets calls itself in its reports.
const CLOSED_PART: &str = "closed";
const LONGEST_PATIENCE: Duration = Duration::from_secs(2);
