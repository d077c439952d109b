//! Every metric: a line each. docs/METRICS.md is made from this table.

use sockeye_pipeline::{DropReason, Incomplete, Latency, Sent};
use sockeye_source::sockdiag::{Connections, Plan, PortClass, Spread, TcpHealth};
use sockeye_telemetry::metrics::{Buckets, Kind, Metric, Samples};
use sockeye_wire::tcp_state;

use super::snapshot::{Observed, SinkNow};

/// Families in the order of a scrape.
#[rustfmt::skip]
pub(super) const METRICS: &[Metric<Observed>] = &[
    // The daemon.
    gauge("sockeye_build_info", &["version", "features"], "1, with the version and the features that it was built with", |_, s| s.with(&[env!("CARGO_PKG_VERSION"), FEATURES], 1)),
    gauge("sockeye_start_time_seconds", &[], "When the daemon started, as seconds since the epoch", |o, s| s.value(o.started_at.as_secs_f64())),
    counter("sockeye_process_cpu_seconds_total", &["mode"], "Processor time of the process, in its own code and in the kernel for it", |o, s| {
        s.with(&["user"], o.process.user.as_secs_f64());
        s.with(&["system"], o.process.system.as_secs_f64());
    }),
    gauge("sockeye_process_resident_memory_bytes", &[], "Memory of the process that is in RAM", |o, s| s.value(o.process.resident_bytes)),
    gauge("sockeye_process_virtual_memory_bytes", &[], "Address space of the process", |o, s| s.value(o.process.virtual_bytes)),
    gauge("sockeye_process_open_fds", &[], "Open files of the process", |o, s| s.value(o.process.open_files)),
    gauge("sockeye_threads", &["kind"], "Threads by what they do; reader: those that read namespaces", |o, s| o.threads.iter().for_each(|(kind, usage)| s.with(&[kind], usage.threads))),
    counter("sockeye_stage_cpu_seconds_total", &["stage"], "Processor time by stage; kernel: readers in the kernel, decode_encode: readers in our code, client: threads of the Kafka client library", |o, s| {
        for (stage, time) in o.stages() { s.with(&[stage], time.as_secs_f64()); }
    }),

    // Polls.
    counter("sockeye_polls_total", &[], "Polls made", |o, s| s.value(o.polls.made)),
    counter("sockeye_poll_skipped_total", &["reason"], "Polls that were not made; late: the one before was still running, high_water: every queue was above its mark", |o, s| {
        s.with(&["late"], o.polls.late_ticks);
        s.with(&["high_water"], o.polls.high_water_ticks);
    }),
    histogram("sockeye_poll_duration_seconds", &[], "Time of a poll over all namespaces", |o, s| s.histogram(&[], &o.polls.took.buckets())),
    histogram("sockeye_poll_lateness_seconds", &[], "How long after its tick a poll began", |o, s| s.histogram(&[], &o.polls.late.buckets())),
    gauge("sockeye_poll_silence_seconds", &[], "Time since the poll loop last showed that it lives", |o, s| s.value(o.polls.silent().as_secs_f64())),
    gauge("sockeye_poll_last_rows", &[], "Rows of the last poll", |o, s| s.value(o.polls.last().map_or(0, |poll| poll.rows))),
    gauge("sockeye_poll_last_incomplete_namespaces", &[], "Namespaces that the last poll could not read to the end", |o, s| s.value(o.polls.last().map_or(0, |poll| poll.incomplete))),

    // The source.
    counter("sockeye_source_dumps_total", &["source"], "Readings of a namespace, or of a part of a large one", |o, s| s.with(&[SOURCE], o.source.dumps)),
    counter("sockeye_source_dump_errors_total", &["source", "kind"], "Readings of a namespace that were not complete, by the first thing that went wrong", |o, s| {
        for (kind, count) in Incomplete::NAMES.iter().zip(o.polls.incomplete) { s.with(&[SOURCE, kind], count); }
    }),
    histogram("sockeye_dump_duration_seconds", &[], "Time to read one namespace", |o, s| s.histogram(&[], &o.polls.part_took.buckets())),
    counter("sockeye_source_plans_total", &["source", "plan"], "Readings by how they were made", |o, s| {
        for (plan, count) in Plan::ALL.iter().zip(o.source.plans) { s.with(&[SOURCE, plan.name()], count); }
    }),
    counter("sockeye_source_checks_total", &["source"], "Cheap plans that were compared with a walk of the whole table", |o, s| s.with(&[SOURCE], o.source.checks)),
    counter("sockeye_source_check_differences_total", &["source"], "Sockets that a cheap plan and a walk did not have in common; always 0", |o, s| s.with(&[SOURCE], o.source.check_differences)),
    counter("sockeye_source_chunks_total", &["source"], "Receives that brought bytes", |o, s| s.with(&[SOURCE], o.source.chunks)),
    counter("sockeye_source_read_bytes_total", &["source"], "Bytes that the kernel sent", |o, s| s.with(&[SOURCE], o.polls.bytes)),
    counter("sockeye_source_sockets_total", &["source"], "Sockets that were seen and wanted, those that --modulus left out included", |o, s| s.with(&[SOURCE], o.polls.seen)),
    counter("sockeye_source_rows_total", &["source"], "Rows made of them", |o, s| s.with(&[SOURCE], o.polls.rows)),
    counter("sockeye_source_foreign_messages_total", &["source"], "Messages that answer somebody else's request", |o, s| s.with(&[SOURCE], o.source.foreign)),
    counter("sockeye_source_malformed_messages_total", &["source"], "Messages that make no sense", |o, s| s.with(&[SOURCE], o.source.malformed)),
    counter("sockeye_source_unknown_attributes_total", &["source"], "Attributes that only a newer kernel knows", |o, s| s.with(&[SOURCE], o.source.unknown_attributes)),
    counter("sockeye_source_long_tcp_info_total", &["source"], "Sockets with a tcp_info longer than known", |o, s| s.with(&[SOURCE], o.source.long_tcp_info)),
    gauge("sockeye_source_tcp_info_bytes", &["source"], "Length of the longest tcp_info so far", |o, s| s.with(&[SOURCE], o.source.tcp_info_bytes)),

    // Closed sockets, and what is remembered of sockets.
    counter("sockeye_closed_events_total", &["result"], "Ends of sockets that the kernel told of, by what became of them; row: a row was made, unconnected: listeners and what never was a connection, filtered: left out by --filter, sampled_out: by --modulus, unknown_netns: of a namespace that is not known for certain, malformed: makes no sense", |o, s| if let Some(closed) = &o.closed {
        for (result, count) in [("row", closed.rows), ("unconnected", closed.unconnected), ("filtered", closed.filtered), ("sampled_out", closed.sampled_out), ("unknown_netns", closed.unknown_netns), ("malformed", closed.malformed)] { s.with(&[result], count); }
    }),
    counter("sockeye_closed_rows_total", &["joined"], "Rows of closed sockets; joined: whether a poll had seen the connection", |o, s| if let Some(closed) = &o.closed {
        s.with(&["true"], closed.joined);
        s.with(&["false"], closed.not_joined);
    }),
    counter("sockeye_closed_lost_events_total", &[], "Ends that the kernel had no room for, by its own count: raise --closed-buffer", |o, s| if let Some(closed) = &o.closed { s.value(closed.lost) }),
    counter("sockeye_closed_overruns_total", &[], "How often the kernel said that its buffer was full (ENOBUFS)", |o, s| if let Some(closed) = &o.closed { s.value(closed.enobufs) }),
    counter("sockeye_closed_lost_news_total", &[], "How often news of namespaces were lost; until they are found again the ends of their connections are of unknown namespaces", |o, s| if let Some(closed) = &o.closed { s.value(closed.notices_lost) }),
    gauge("sockeye_closed_unheard_namespaces", &[], "Namespaces whose closed sockets are not told of, for want of a privilege", |o, s| if let Some(closed) = &o.closed { s.value(closed.unbound) }),
    gauge("sockeye_closed_vanished_connections", &["bound"], "Estimate: connections that two polls did not show any more and whose end nobody told of; bound upper: --states leaves out states that they may be in", |o, s| if let Some(track) = &o.track {
        let bound = if track.estimate_is_upper_bound { "upper" } else { "exact" };
        s.with(&[bound], track.estimated_lost());
    }),
    counter("sockeye_closed_gone_with_netns_total", &[], "Sockets whose namespace went away without an event of theirs", |o, s| if let Some(track) = &o.track { s.value(track.netns_gone) }),
    gauge("sockeye_track_sockets", &[], "Sockets that are remembered from one row to the next", |o, s| if let Some(track) = &o.track { s.value(track.entries) }),
    gauge("sockeye_track_bytes", &[], "Bytes that they take", |o, s| if let Some(track) = &o.track { s.value(track.bytes) }),
    gauge("sockeye_track_limit_bytes", &[], "Bytes that they may take: --track-bytes", |o, s| if let Some(track) = &o.track { s.value(track.limit) }),
    counter("sockeye_track_refused_total", &[], "Sockets of polls for which there was no room: their rows have no deltas", |o, s| if let Some(track) = &o.track { s.value(track.refused) }),
    counter("sockeye_track_forgotten_total", &[], "Sockets that were forgotten without anybody knowing that they had closed", |o, s| if let Some(track) = &o.track { s.value(track.forgotten) }),
    counter("sockeye_dump_duplicates_total", &[], "Sockets that one dump showed twice; the second is no row", |o, s| if let Some(track) = &o.track { s.value(track.duplicates) }),
    counter("sockeye_dump_missed_total", &[], "Sockets that a dump had not shown and the next one showed again", |o, s| if let Some(track) = &o.track { s.value(track.missed) }),

    // Namespaces.
    gauge("sockeye_netns_known", &[], "Network namespaces that the last scan found", |o, s| s.value(o.source.namespaces)),
    counter("sockeye_netns_appeared_total", &[], "Network namespaces that were found for the first time", |o, s| s.value(o.source.appeared)),
    counter("sockeye_netns_gone_total", &[], "Network namespaces that were found no longer", |o, s| s.value(o.source.gone)),
    counter("sockeye_netns_scans_total", &[], "Scans for network namespaces", |o, s| s.value(o.source.scans)),
    counter("sockeye_netns_scan_seconds_total", &[], "Time of all scans for network namespaces", |o, s| s.value(o.source.scan_time.as_secs_f64())),
    gauge("sockeye_netns_unscanned_places", &["reason"], "Places that the last scan could not look at; a namespace may be behind each", |o, s| {
        s.with(&["denied"], o.source.places_denied);
        s.with(&["failed"], o.source.places_failed);
    }),
    gauge("sockeye_netns_sockets", &["netns"], "Sockets of a namespace in the last poll: of the largest --metrics-top-netns, and of all others", |o, s| o.netns.iter().for_each(|(name, now)| s.with(&[name], now.sockets))),
    gauge("sockeye_netns_read_bytes", &["netns"], "Bytes read of a namespace in the last poll, likewise", |o, s| o.netns.iter().for_each(|(name, now)| s.with(&[name], now.bytes))),
    gauge("sockeye_netns_dump_seconds", &["netns"], "Time to read a namespace in the last poll, likewise; of the others the longest", |o, s| o.netns.iter().for_each(|(name, now)| s.with(&[name], now.took.as_secs_f64()))),
    gauge("sockeye_netns_incomplete", &["netns"], "Whether the last poll could not read a namespace to the end, likewise; of the others how many", |o, s| o.netns.iter().for_each(|(name, now)| s.with(&[name], now.incomplete))),

    // Envelopes.
    counter("sockeye_envelopes_total", &["reason"], "Envelopes by why they were cut, each encoding for itself", |o, s| {
        for ((_, reason), count) in Sent::REASONS.iter().zip(o.sent.envelopes) { s.with(&[reason], count); }
    }),
    histogram("sockeye_envelope_rows", &[], "Rows of an envelope", |o, s| {
        let bounds = Sent::ROWS.map(float);
        s.histogram(&[], &Buckets { bounds: &bounds, counts: &o.sent.by_rows, sum: float(o.sent.rows) });
    }),
    counter("sockeye_envelope_bytes_total", &[], "Bytes of all envelopes", |o, s| s.value(o.sent.bytes)),

    // Queues.
    gauge("sockeye_queue_bytes", &["sink"], "Bytes that a destination has not delivered yet", |o, s| each(o, s, |sink| sink.now.pending_bytes as u64)),
    gauge("sockeye_queue_most_bytes", &["sink"], "Most bytes that there were at once", |o, s| each(o, s, |sink| sink.now.figures.most_pending_bytes as u64)),
    gauge("sockeye_queue_limit_bytes", &["sink"], "Bytes that may wait: --queue-bytes", |o, s| each(o, s, |sink| sink.limits.bytes as u64)),
    gauge("sockeye_queue_high_water_bytes", &["sink"], "Bytes above which polls are skipped", |o, s| each(o, s, |sink| (sink.limits.bytes / 2) as u64)),
    gauge("sockeye_queue_rows", &["sink"], "Rows in flight: in the queue, in the sink's hands, or in its spool", |o, s| each(o, s, |sink| sink.now.ledger.in_flight)),
    counter("sockeye_queue_read_rows_total", &["sink"], "Rows that were read for a destination", |o, s| each(o, s, |sink| sink.now.ledger.read)),
    counter("sockeye_queue_dropped_rows_total", &["sink", "reason"], "Rows that were dropped", |o, s| {
        for sink in &o.sinks {
            for (reason, count) in DropReason::ALL.iter().zip(sink.now.ledger.dropped) { s.with(&[&sink.label, reason.name()], count); }
        }
    }),
    gauge("sockeye_queue_imbalance_rows", &["sink"], "Rows read less those delivered, dropped and in flight; always 0", |o, s| each_signed(o, s, imbalance)),

    // Sinks.
    gauge("sockeye_sink_up", &["sink"], "Whether the other side of a destination is there, as far as one knows", |o, s| each(o, s, |sink| u64::from(sink.is_up()))),
    counter("sockeye_sink_accepted_payloads_total", &["sink"], "Envelopes that a sink has taken", |o, s| each(o, s, |sink| sink.now.figures.accepted_payloads)),
    counter("sockeye_sink_accepted_rows_total", &["sink"], "Rows in them", |o, s| each(o, s, |sink| sink.now.figures.accepted_rows)),
    counter("sockeye_sink_delivered_payloads_total", &["sink"], "Payloads that the other side has: written, acknowledged", |o, s| each(o, s, |sink| sink.now.figures.delivered_payloads)),
    counter("sockeye_sink_delivered_rows_total", &["sink"], "Rows in them", |o, s| each(o, s, |sink| sink.now.ledger.delivered)),
    counter("sockeye_sink_delivered_bytes_total", &["sink"], "Bytes in them, those that went through a spool left out", |o, s| each(o, s, |sink| sink.now.figures.delivered_bytes)),
    counter("sockeye_sink_retries_total", &["sink"], "Attempts that failed and were made again", |o, s| each(o, s, |sink| sink.now.ledger.retries)),
    histogram("sockeye_sink_latency_seconds", &["sink"], "Time from an envelope to the acknowledgement of its delivery, spooled ones left out", |o, s| {
        for sink in &o.sinks {
            let Latency { counts, sum } = sink.now.figures.latency;
            s.histogram(&[&sink.label], &Buckets { bounds: &Latency::BOUNDS, counts: &counts, sum: sum.as_secs_f64() });
        }
    }),
    gauge("sockeye_sink_spooled_rows", &["sink"], "Rows in flight that are safe in a spool", |o, s| each(o, s, |sink| sink.now.ledger.spooled)),
    counter("sockeye_sink_recovered_rows_total", &["sink"], "Rows that a spool had from an earlier life", |o, s| each(o, s, |sink| sink.now.ledger.recovered)),
    counter("sockeye_client_acknowledged_messages_total", &["sink"], "Messages that Kafka brokers have acknowledged", |o, s| clients(o, s, |client| client.acknowledged)),
    counter("sockeye_client_troubles_total", &["sink", "kind"], "Errors that the Kafka client library told of", |o, s| {
        for (sink, client) in o.sinks.iter().filter_map(|sink| Some((sink, sink.client.as_ref()?))) {
            for (kind, count) in &client.troubles { s.with(&[&sink.label, kind], count); }
        }
    }),
    counter("sockeye_client_producers_total", &["sink"], "Kafka producers that were made: one, and one more after each fatal error", |o, s| clients(o, s, |client| client.producers)),
    counter("sockeye_spool_messages_total", &["sink"], "Messages that were written to the spool", |o, s| clients(o, s, |client| client.spooled)),
    counter("sockeye_spool_write_failures_total", &["sink"], "Writes to the spool that failed", |o, s| clients(o, s, |client| client.spool_failures)),
    counter("sockeye_spool_damaged_bytes_total", &["sink"], "Bytes of the spool that could not be read back", |o, s| clients(o, s, |client| client.spool_damaged_bytes)),

    // The endpoint.
    counter("sockeye_endpoint_requests_total", &[], "Requests that were answered", |o, s| s.value(o.requests)),
    counter("sockeye_endpoint_refused_total", &[], "Connections that were refused since there were too many", |o, s| s.value(o.refused)),
    counter("sockeye_endpoint_timeouts_total", &[], "Connections that were cut off since a request or an answer took too long", |o, s| s.value(o.timed_out)),

    // With --tcp-metrics.
    gauge("sockeye_tcp_sockets", &["netns", "state"], "Sockets of a namespace by state in the last poll; with --tcp-metrics, of the largest --metrics-top-netns and of all others", states),
    histogram("sockeye_tcp_rtt_seconds", &["netns", "port_class"], "Smoothed round-trip times of connections, each once a poll, likewise; by the lower port: system below 1024, user below 32768, dynamic from there on", |o, s| spreads(o, s, |it| (&it.rtt_us, &Connections::RTT_US, 1e6))),
    histogram("sockeye_tcp_retransmit_ratio", &["netns", "port_class"], "Share of its data segments that a connection has retransmitted over its life, likewise", |o, s| spreads(o, s, |it| (&it.retransmits_ppm, &Connections::RETRANSMITS_PPM, 1e6))),
    histogram("sockeye_tcp_delivery_rate_bytes_per_second", &["netns", "port_class"], "Most recent delivery rates of connections, likewise", |o, s| spreads(o, s, |it| (&it.delivery_rate, &Connections::DELIVERY_RATE, 1.0))),
];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    collect: fn(&Observed, &mut Samples<'_>),
) -> Metric<Observed> {
    Metric::new(name, Kind::Counter, labels, help, collect)
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    collect: fn(&Observed, &mut Samples<'_>),
) -> Metric<Observed> {
    Metric::new(name, Kind::Gauge, labels, help, collect)
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    collect: fn(&Observed, &mut Samples<'_>),
) -> Metric<Observed> {
    Metric::new(name, Kind::Histogram, labels, help, collect)
}

fn each(observed: &Observed, samples: &mut Samples<'_>, value: fn(&SinkNow) -> u64) {
    observed.sinks.iter().for_each(|sink| samples.with(&[&sink.label], value(sink)));
}

fn each_signed(observed: &Observed, samples: &mut Samples<'_>, value: fn(&SinkNow) -> i128) {
    observed.sinks.iter().for_each(|sink| samples.with(&[&sink.label], value(sink)));
}

fn clients(
    observed: &Observed,
    samples: &mut Samples<'_>,
    value: fn(&super::ClientFigures) -> u64,
) {
    for sink in &observed.sinks {
        if let Some(client) = &sink.client {
            samples.with(&[&sink.label], value(client));
        }
    }
}

fn imbalance(sink: &SinkNow) -> i128 {
    let ledger = &sink.now.ledger;
    let accounted = [ledger.delivered, ledger.dropped_rows(), ledger.in_flight];
    i128::from(ledger.read) - accounted.into_iter().map(i128::from).sum::<i128>()
}

fn states(observed: &Observed, samples: &mut Samples<'_>) {
    for (netns, health) in observed.health.all() {
        // The kernel's own name for requests is shown to users as the state that they are in.
        let of = |state: u8| health.states.get(usize::from(state)).copied().unwrap_or(0);
        for state in (1..TcpHealth::STATES).filter_map(|state| u8::try_from(state).ok()) {
            if let Some(name) = tcp_state::name(state).filter(|_| state != NEW_SYN_RECV) {
                let also = if state == SYN_RECV { of(NEW_SYN_RECV) } else { 0 };
                samples.with(&[netns, name], of(state) + also);
            }
        }
    }
}

/// Divides what was counted in a smaller unit by `scale`.
fn spreads<const N: usize>(
    observed: &Observed,
    samples: &mut Samples<'_>,
    of: fn(&Connections) -> (&Spread<N>, &'static [u64; N], f64),
) {
    for (netns, health) in observed.health.all() {
        for (class, connections) in PortClass::ALL.iter().zip(&health.classes) {
            let (spread, bounds, scale) = of(connections);
            let bounds = bounds.map(|bound| float(bound) / scale);
            let mut counts = spread.counts.to_vec();
            counts.push(spread.over);
            let buckets =
                Buckets { bounds: &bounds, counts: &counts, sum: float(spread.sum) / scale };
            samples.histogram(&[netns, class.name()], &buckets);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "every scraper reads floats")]
fn float(number: u64) -> f64 {
    number as f64
}

const SOURCE: &str = "sockdiag";
const SYN_RECV: u8 = 3;
const NEW_SYN_RECV: u8 = 12;
const FEATURES: &str =
    match (cfg!(feature = "kafka"), cfg!(feature = "pprof"), cfg!(feature = "jemalloc")) {
        (false, false, false) => "",
        (true, false, false) => "kafka",
        (false, true, false) => "pprof",
        (true, true, false) => "kafka,pprof",
        (false, false, true) => "jemalloc",
        (true, false, true) => "jemalloc,kafka",
        (false, true, true) => "jemalloc,pprof",
        (true, true, true) => "jemalloc,kafka,pprof",
    };

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn names_follow_the_rules_and_each_comes_once() {
        let mut seen = Vec::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(name.starts_with("sockeye_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(
                !metric.help.ends_with('.') && !metric.help.contains(['|', '\n', '\\']),
                "{name}"
            );
            assert!(!seen.contains(&name), "{name} twice");
            seen.push(name);
        }
    }

    #[test]
    fn the_page_of_metrics_is_what_the_table_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/METRICS.md");
        let page = format!("{INTRODUCTION}\n{}", sockeye_telemetry::metrics::page(METRICS));
        if std::env::var_os("SOCKEYE_BLESS").is_some() {
            fs::write(&path, &page).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page,
            "docs/METRICS.md is old: SOCKEYE_BLESS=1 cargo test -p sockeye the_page_of_metrics"
        );
    }

    const INTRODUCTION: &str = "\
# Metrics

Made from the table in `crates/sockeye/src/observe/families.rs`: `SOCKEYE_BLESS=1 cargo test -p sockeye the_page_of_metrics`.
`--listen` (default `127.0.0.1:9088`) serves them at `/metrics`, as Prometheus text 0.0.4 or, for those who ask for it in `Accept`,
as OpenMetrics 1.0. Counters begin at 0 when the daemon starts.

Labels are closed lists, so that the number of series does not depend on what happens on the host. Two exceptions are bounded:

- `netns`: the `--metrics-top-netns` (default 10, at most 100) namespaces with most sockets in the last poll, and `other` for the rest.
- `sink`: the kind of a destination, with a number from the second one of a kind on (`file`, `file-2`), in the order of the
  configuration. The page at `/` says which is which.

`--tcp-metrics` adds the families `sockeye_tcp_*`: 132 series for each of those namespaces and for `other`, which is at most
1452 by default and 13332 with `--metrics-top-netns 100`. Without it those families have no samples. Histograms of connections
count each connection once a poll; a namespace that leaves the largest ones and comes back begins anew.

Rules for alerts are in [prometheus/alerts.yaml](prometheus/alerts.yaml), a dashboard is [grafana/daemon.json](grafana/daemon.json), and
[tuning.md](tuning.md) says what to do about what they show.
";
}
