//! `sockeye closed`: each connection when it ends, live.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use sockeye_pipeline::{Collection, Event, Schedule, Stop, collect};
use sockeye_record::{Encoding, Format};
use sockeye_source::closed::Totals;

use super::closed_line::Line;
use super::closed_sink::{ClosedSink, Shown};
use super::decode::Output;
use crate::cli::ClosedArgs;
use crate::config::settings::SinkSpec;
use crate::config::values::{Dest, When};
use crate::config::{Invocation, settings};
use crate::exit::{Failure, Status, complain};
use crate::privileges::Privileges;
use crate::signals::{self, Hangup};
use crate::wire_up::{self, Sources};

/// Prints until a signal, `--count`, `--duration` or the end of whoever reads. It polls as well, so that it knows how long
/// connections have lived and whose they were.
pub(crate) fn run(arguments: &ClosedArgs, invocation: &Invocation) -> Result<Status, Failure> {
    let privileges = Privileges::current();
    let collect_args = &arguments.collect;
    let filter = invocation.filter()?;
    let output = arguments.marshal.map(|format| settings::encoding(format, collect_args));
    output.as_ref().map_or(Ok(()), settings::check_humanize)?;
    settings::settle(collect_args)?;
    let spec = spec();
    let encodings = vec![spec.encoding.clone()];
    let mut source = settings::source(collect_args, privileges, encodings, filter);
    if let Some(refused) = settings::probe_ring(&mut source) {
        complain(&refused);
    }
    let closed = settings::closed(When::On, &arguments.track, &source, FLUSH_EVERY);
    source.track = settings::track(&arguments.track, closed, false);
    let stop = Stop::default();
    let shown = Arc::new(Shown::default());
    let sink = match &output {
        Some(encoding) => ClosedSink::rows(Output::new(encoding)),
        None => ClosedSink::lines(Line::new(EVERY)),
    };
    let sink = sink.ending_after(arguments.count, &stop, Arc::clone(&shown));
    let sources = Sources::open(source, closed)?;
    let wired = wire_up::wire_up_to(Box::new(sink), &spec, sources, &stop)?;
    if let Some(shortfall) = privileges.shortfall().filter(|_| !collect_args.netns.own_netns_only) {
        complain(shortfall);
    }
    for shortfall in &wired.shortfalls {
        complain(shortfall);
    }
    signals::serve(&stop, Hangup::Ends, FLUSH)?;
    if let Some(duration) = arguments.duration {
        end_after(duration, &stop)?;
    }
    let schedule = Schedule::new(Instant::now(), EVERY, 0);
    let collection = Collection {
        sources: wired.sources,
        outlet: &wired.outlet,
        schedule,
        max_polls: 0,
        between: Box::new(|| None),
    };
    collect(collection, &stop, |event| {
        if matches!(event, Event::Polled { .. }) {
            shown.polled();
        }
    });
    let ended = wired.sinks.finish(&stop, FLUSH);
    let mut status = Status::Done;
    for sink in &ended {
        if let Some(fault) = &sink.fault {
            complain(&format!("{}: {fault}", sink.name));
            status = Status::Incomplete;
        }
    }
    if let Some(counters) = wired.closed {
        summarize(&counters.totals(), shown.count());
    }
    Ok(status)
}

fn summarize(totals: &Totals, shown: u64) {
    let Totals { rows, lost, .. } = totals;
    complain(&format!("{rows} sockets closed, {shown} shown, {lost} lost"));
    if let Some(odd) = totals.odd() {
        complain(&odd);
    }
}

/// What the sink is called, and how it gets its rows: whole, so that it can show any column.
fn spec() -> SinkSpec {
    SinkSpec {
        dest: Dest::Stdout,
        encoding: Encoding { format: Format::ProtobufList, columns: None, humanize: None },
        queue_bytes: QUEUE_BYTES,
        rotate_bytes: None,
        rotate_age: None,
        zstd: false,
        kafka: None,
    }
}

fn end_after(duration: Duration, stop: &Stop) -> Result<(), Failure> {
    let (stop, deadline) = (stop.clone(), Instant::now() + duration);
    let wait = move || {
        stop.wait_until(deadline);
        stop.request();
    };
    thread::Builder::new().name("duration".into()).spawn(wait).context("no thread for a clock")?;
    Ok(())
}

/// How often it polls.
const EVERY: Duration = Duration::from_secs(2);
/// How long a row waits for others.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// What a signal leaves the reader of stdout.
const FLUSH: Duration = Duration::from_secs(5);
const QUEUE_BYTES: usize = 64 << 20;
