//! `sockeye snapshot`: everything once.

use std::time::{Duration, Instant};

use sockeye_pipeline::{
    Collection, Completeness, DropReason, Event, Incomplete, PartReport, Schedule, Stop, WhenFull,
    collect,
};

use crate::cli::SnapshotArgs;
use crate::config::settings::{Closed, SinkSpec};
use crate::config::values::Dest;
use crate::config::{Invocation, settings};
use crate::confine::Confinement;
use crate::exit::{Failure, Status, complain};
use crate::privileges::Privileges;
use crate::signals::{self, Hangup};
use crate::wire_up::{self, Sources};

/// One poll of everything to stdout. Nothing is dropped: the dump waits for a slow reader.
pub(crate) fn run(arguments: &SnapshotArgs, invocation: &Invocation) -> Result<Status, Failure> {
    let privileges = Privileges::current();
    let collect_args = &arguments.collect;
    let spec = SinkSpec {
        dest: Dest::Stdout,
        encoding: settings::encoding(arguments.marshal, collect_args),
        queue_bytes: QUEUE_BYTES,
        rotate_bytes: None,
        rotate_age: None,
        zstd: false,
        kafka: None,
    };
    settings::check_humanize(&spec.encoding)?;
    let filter = invocation.filter()?;
    settings::settle(collect_args)?;
    let stop = Stop::default();
    let encodings = vec![spec.encoding.clone()];
    let mut source = settings::source(collect_args, privileges, encodings, filter);
    if let Some(refused) = settings::probe_ring(&mut source) {
        complain(&refused);
    }
    let sources = Sources::open(source, Closed::No)?;
    let wired = wire_up::wire_up(sources, &[spec], WhenFull::Wait, &Confinement::none(), &stop)?;
    let shortfall = privileges.shortfall().filter(|_| !collect_args.netns.own_netns_only);
    if let Some(shortfall) = shortfall {
        complain(shortfall);
    }
    signals::serve(&stop, Hangup::Ends, FLUSH)?;
    let mut incomplete = Vec::new();
    let schedule = Schedule::new(Instant::now(), Duration::from_secs(1), 0);
    let collection = Collection {
        sources: wired.sources,
        outlet: &wired.outlet,
        schedule,
        max_polls: 1,
        between: Box::new(|| None),
    };
    let summary = collect(collection, &stop, |event| {
        if let Event::Polled { parts, .. } = event {
            incomplete
                .extend(parts.iter().filter(|part| is_missed(part, shortfall.is_some())).cloned());
        }
    });
    let ended = wired.sinks.finish(&stop, FLUSH);
    let faults: Vec<String> = ended
        .iter()
        .filter_map(|sink| Some(format!("{}: {}", sink.name, sink.fault.as_ref()?)))
        .collect();
    for fault in &faults {
        complain(fault);
    }
    if stop.requested() {
        complain("stopped by a signal; not everything is there");
        return Ok(Status::Incomplete);
    }
    complain_about(&incomplete);
    // Rows that a closed pipe did not want are not lost.
    let lost = ended
        .iter()
        .any(|sink| sink.ledger.dropped_rows() > sink.ledger.dropped_for(DropReason::SinkClosed));
    let whole = summary.polls == 1 && incomplete.is_empty() && faults.is_empty() && !lost;
    Ok(if whole { Status::Done } else { Status::Incomplete })
}

/// A line each, unless they are many.
fn complain_about(incomplete: &[PartReport]) {
    for part in incomplete.iter().take(MOST_LINES) {
        if let Completeness::Incomplete(why) = part.completeness {
            complain(&format!("namespace {} is incomplete: {why}", part.part));
        }
    }
    if let more @ 1.. = incomplete.len().saturating_sub(MOST_LINES) {
        complain(&format!("so are {more} more namespaces"));
    }
}

/// A namespace that ended meanwhile has no sockets to miss, and those that can't be entered have been spoken of.
fn is_missed(part: &PartReport, shortfall_was_told: bool) -> bool {
    match part.completeness {
        Completeness::Complete | Completeness::Incomplete(Incomplete::Vanished) => false,
        Completeness::Incomplete(Incomplete::Denied) => !shortfall_was_told,
        Completeness::Incomplete(_) => true,
    }
}

/// What a signal leaves the reader of stdout.
const FLUSH: Duration = Duration::from_secs(5);
const MOST_LINES: usize = 10;
const QUEUE_BYTES: usize = 16 << 20;
