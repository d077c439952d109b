//! `sockeye run`: the daemon.

use std::time::{Duration, Instant};

use sockeye_pipeline::{Collection, Schedule, Stop, WhenFull, collect};
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
    let wired = wire_up::wire_up(
        source,
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
    let summary = collect(collection, &stop, |event| log.event(&event));
    let ended = wired.sinks.finish(&stop, shutdown);
    complain(&format!(
        "{} polls, {} rows, {} incomplete namespaces; skipped {} late, {} at high water",
        summary.polls,
        summary.rows,
        summary.incomplete_parts,
        summary.late_ticks,
        summary.high_water_ticks
    ));
    if let Some(odd) = odd(&wired.counters.totals()) {
        complain(&odd);
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

const LONGEST_PATIENCE: Duration = Duration::from_secs(2);
