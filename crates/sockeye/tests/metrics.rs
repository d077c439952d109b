//! Metrics of a running daemon: their names, their format, and whether they say what is true.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;
mod endpoint_kit;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use common::text;
use endpoint_kit::{Answering, Metrics, file, pipe};
use sockeye_testkit::load::{Load, LoadOptions};
use sockeye_testkit::netns::{Netns, TestNetns, require_root};
use sockeye_testkit::ss_run;

/// Names in the page.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(file("docs/METRICS.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split('`').next()?.to_owned())).collect()
}

#[test]
fn every_metric_of_the_page_is_exported_and_the_other_way_round_and_promtool_likes_them() {
    let arguments = [
        "--dest",
        "null",
        "--dest",
        "stderr",
        "--own-netns-only",
        "--tcp-metrics",
        "--frequency",
        "1h",
        "--timeout",
        "9s",
    ];
    let answering = Answering::start(&arguments).polled();
    let metrics = answering.metrics();
    assert_eq!(metrics.families(), documented());
    pipe("promtool", &["check", "metrics"], metrics.0.as_bytes());
    let open = answering.ask("/metrics", "accept: application/openmetrics-text\r\n");
    assert!(open.head.contains("application/openmetrics-text; version=1.0.0"), "{}", open.head);
    let open = Metrics(open.text());
    assert!(open.0.ends_with("# EOF\n"));
    let short = |name: &String| name.strip_suffix("_total").unwrap_or(name).to_owned();
    assert_eq!(open.families(), documented().iter().map(short).collect());
    assert!(metrics.value("sockeye_queue_limit_bytes{sink=\"stderr\"}") > 0.0);
}

#[test]
fn rules_and_dashboards_name_metrics_that_there_are_and_rules_fire_when_they_should() {
    let documented = documented();
    for path in [
        "docs/prometheus/alerts.yaml",
        "docs/prometheus/alerts_test.yaml",
        "docs/grafana/daemon.json",
        "docs/tuning.md",
    ] {
        let text = fs::read_to_string(file(path)).unwrap();
        let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        let named: BTreeSet<&str> = words.filter(|word| word.starts_with("sockeye_")).collect();
        assert!(named.len() >= 5, "{path}");
        for name in named {
            let is_crate =
                ["sockeye_source", "sockeye_record", "sockeye_sink", "sockeye_telemetry"]
                    .contains(&name);
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(is_crate || documented.contains(family), "{path}: {name}");
        }
    }
    let (alerts, tests) =
        (file("docs/prometheus/alerts.yaml"), file("docs/prometheus/alerts_test.yaml"));
    pipe("promtool", &["check", "rules", alerts.to_str().unwrap()], b"");
    pipe("promtool", &["test", "rules", tests.to_str().unwrap()], b"");
    let dashboard = fs::read_to_string(file("docs/grafana/daemon.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert_eq!(dashboard["uid"], "sockeye-daemon");
}

#[test]
fn counters_are_what_the_file_has_and_the_ledger_balances() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let dest = format!("file:{}", path.display());
    let arguments =
        ["--dest", &dest, "--own-netns-only", "--frequency", "200ms", "--timeout", "150ms"];
    let answering = Answering::start(&arguments).polled();
    // At every moment, whatever is under way.
    let mut last = 0.0;
    for _ in 0..20 {
        let metrics = answering.metrics();
        assert!(metrics.value("sockeye_queue_imbalance_rows{sink=\"file\"}").abs() < f64::EPSILON);
        let rows = metrics.sum("sockeye_source_rows_total");
        assert!(rows >= last, "a counter grows");
        last = rows;
        std::thread::sleep(Duration::from_millis(20));
    }
    answering.daemon.signal("STOP");
    answering.daemon.signal("CONT");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let before = fs::read_to_string(&path).unwrap().lines().count();
        let delivered =
            answering.metrics().value("sockeye_sink_delivered_rows_total{sink=\"file\"}");
        let after = fs::read_to_string(&path).unwrap().lines().count();
        // Between two polls nothing moves.
        if before == after {
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let lines = before as f64;
            assert!(
                (lines - delivered).abs() < f64::EPSILON,
                "{lines} lines, {delivered} delivered"
            );
            break;
        }
        assert!(Instant::now() < deadline);
    }
    let metrics = answering.metrics();
    let one = "{sink=\"file\"}";
    let payloads = metrics.value(&format!("sockeye_sink_delivered_payloads_total{one}"));
    assert!(payloads >= 1.0 && payloads <= metrics.sum("sockeye_envelopes_total"));
    assert!(metrics.value(&format!("sockeye_sink_latency_seconds_count{one}")) >= payloads);
    let cpu = metrics.sum("sockeye_process_cpu_seconds_total")
        - metrics.sum("sockeye_stage_cpu_seconds_total");
    assert!(cpu.abs() < 0.5, "stages make up the process: {cpu}");
    let status = fs::read_to_string(format!("/proc/{}/status", answering.daemon.pid())).unwrap();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    let counted = metrics.sum("sockeye_threads");
    assert!((threads.trim().parse::<f64>().unwrap() - counted).abs() <= 2.0, "{threads} {counted}");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn sockets_are_what_the_load_generator_and_ss_say_with_their_states_and_round_trips() {
    require_root();
    let netns = TestNetns::new("metrics").unwrap();
    let options = LoadOptions {
        netns: Some(netns.path()),
        connections: 300,
        ports: vec![8080],
        ..LoadOptions::default()
    };
    let load = Load::spawn(&options).unwrap();
    let arguments = [
        "--dest",
        "null",
        "--frequency",
        "1h",
        "--timeout",
        "30s",
        "--tcp-metrics",
        "--metrics-top-netns",
        "100",
    ];
    let answering = Answering::start(&arguments).polled();
    let metrics = answering.metrics();
    let name = netns.name();
    let state = |state: &str| {
        metrics.value(&format!("sockeye_tcp_sockets{{netns=\"{name}\",state=\"{state}\"}}"))
    };
    let close = |one: f64, other: f64| (one - other).abs() < f64::EPSILON;
    assert!(close(metrics.value(&format!("sockeye_netns_sockets{{netns=\"{name}\"}}")), 601.0));
    assert!(close(state("ESTAB"), 600.0) && close(state("LISTEN"), 1.0), "{}", metrics.0);
    assert_eq!(load.sockets().len(), 601);
    assert_eq!(ss_run::inside(&netns.path()).unwrap().len(), 601);
    let class = |class: &str| {
        metrics.value(&format!(
            "sockeye_tcp_rtt_seconds_count{{netns=\"{name}\",port_class=\"{class}\"}}"
        ))
    };
    assert!(
        close(class("system"), 0.0) && close(class("user"), 600.0) && close(class("dynamic"), 0.0)
    );
    let mean = metrics
        .value(&format!("sockeye_tcp_rtt_seconds_sum{{netns=\"{name}\",port_class=\"user\"}}"))
        / 600.0;
    assert!(mean > 0.0 && mean < 0.1, "loopback: {mean}");
    // States read, classes and buckets make the number that the page states.
    let series = metrics.0.lines().filter(|line| {
        line.starts_with("sockeye_tcp_") && line.contains(&format!("netns=\"{name}\""))
    });
    assert_eq!(series.count(), 132);
    assert!(
        close(metrics.sum("sockeye_source_tcp_info_bytes"), 280.0)
            || metrics.sum("sockeye_source_tcp_info_bytes") >= 104.0
    );
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_scrape_while_polls_run_takes_little() {
    require_root();
    let netns = TestNetns::new("scrape").unwrap();
    let options =
        LoadOptions { netns: Some(netns.path()), connections: 5_000, ..LoadOptions::default() };
    let _load = Load::spawn(&options).unwrap();
    let arguments = [
        "--dest",
        "null",
        "--frequency",
        "50ms",
        "--timeout",
        "45ms",
        "--jitter",
        "0",
        "--plan",
        "full",
        "--tcp-metrics",
    ];
    let answering = Answering::start(&arguments).polled();
    let mut took: Vec<Duration> = (0..100)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(answering.get("/metrics").status, 200);
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    println!("a scrape takes {:?} in the median, {:?} at the most", took[50], took[99]);
    // Far below any scrape interval; the figure of a quiet machine is in docs/performance.md.
    assert!(took[50] < Duration::from_millis(100), "{took:?}");
}

#[test]
fn the_two_last_words_of_the_ledger_are_those_of_the_metrics() {
    let output = common::output(&["run", "--max-loops", "1", "--dest", "null", "--own-netns-only"]);
    let said = text(&output.stderr);
    assert!(said.contains("= delivered") && !said.contains("DOES NOT BALANCE"), "{said}");
}
