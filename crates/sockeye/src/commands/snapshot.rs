//! `sockeye snapshot`: everything once.

use std::time::{Duration, Instant};

use sockeye_pipeline::{
    Collection, Completeness, DropReason, Event, Incomplete, PartReport, Schedule, Stop, WhenFull, collect,
};

use crate::cli::SnapshotArgs;
use crate::config::settings;
use crate::config::settings::SinkSpec;
use crate::config::values::Dest;
use crate::exit::{Failure, Status, complain};
use crate::privileges::Privileges;
use crate::signals;
use crate::wire_up;

/// One poll of everything to stdout. Nothing is dropped: the dump waits for a slow reader.
pub(crate) fn run(arguments: &SnapshotArgs) -> Result<Status, Failure> {
    let privileges = Privileges::current();
    let collect_args = &arguments.collect;
    let spec = SinkSpec {
        dest: Dest::Stdout,
        encoding: settings::encoding(arguments.marshal, collect_args),
        queue_bytes: QUEUE_BYTES,
        rotate_bytes: None,
        rotate_age: None,
        zstd: false,
    };
    let stop = Stop::default();
    let source = settings::source(collect_args, privileges, vec![spec.encoding.clone()])?;
    let wired = wire_up::wire_up(source, &[spec], WhenFull::Wait, &stop)?;
    if let Some(shortfall) = privileges.shortfall().filter(|_| !collect_args.netns.own_netns_only) {
        complain(shortfall);
    }
    signals::serve(&stop, || ())?;
    let mut incomplete = Vec::new();
    let schedule = Schedule::new(Instant::now(), Duration::from_secs(1), 0);
    let collection = Collection { sources: wired.sources, outlet: &wired.outlet, schedule, max_polls: 1 };
    collect(collection, &stop, |event| {
        if let Event::Polled { parts, .. } = event {
            incomplete.extend(parts.iter().filter(|part| is_missed(part)).cloned());
        }
    });
    let ledgers = wired.sinks.finish(&stop);
    for part in &incomplete {
        if let Completeness::Incomplete(why) = part.completeness {
            complain(&format!("namespace {} is incomplete: {why}", part.part));
        }
    }
    // Rows that a closed pipe did not want are not lost.
    let lost = ledgers.iter().any(|(_, ledger)| ledger.dropped_rows() > ledger.dropped_for(DropReason::SinkClosed));
    Ok(if incomplete.is_empty() && !lost { Status::Done } else { Status::Incomplete })
}

/// A namespace that ended meanwhile has no sockets to miss.
fn is_missed(part: &PartReport) -> bool {
    !matches!(part.completeness, Completeness::Complete | Completeness::Incomplete(Incomplete::Vanished))
}

const QUEUE_BYTES: usize = 16 << 20;
