//! The endpoint of a running daemon: what it says, when it is well and when it is not, and who can't harm it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;
mod endpoint_kit;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{eventually, output, text};
use endpoint_kit::Answering;
use serde_json::Value;
use sockeye_testkit::netns::{Netns, require_root};
use sockeye_testkit::netns_anonymous::AnonymousNetns;

const ONCE: [&str; 7] =
    ["--dest", "null", "--own-netns-only", "--frequency", "1h", "--timeout", "30s"];

#[test]
fn a_daemon_that_has_polled_is_healthy_and_ready_and_shows_its_poll() {
    let answering = Answering::start(&ONCE).polled();
    let (health, ready) = (answering.get("/healthz"), answering.get("/readyz"));
    assert_eq!(health.status, 200, "{}", health.text());
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    let polls: Value = serde_json::from_slice(&answering.get("/debug/polls").body).unwrap();
    let poll = &polls.as_array().unwrap()[0];
    assert_eq!((&poll["poll"], &poll["namespaces"]), (&1.into(), &1.into()));
    let netns = &poll["netns"][0];
    assert_eq!((&netns["complete"], &netns["reason"]), (&true.into(), &Value::Null));
    assert_eq!(netns["rows"], poll["rows"]);
    assert!(netns["took_s"].as_f64().unwrap() > 0.0);
    let page = answering.get("/").text();
    for part in ["<td>null</td>", "/debug/polls", "Namespaces in poll 1", "delivered"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn a_destination_that_cannot_be_reached_is_a_reason_not_to_be_ready_and_so_is_the_end() {
    // Nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dest = format!("kafka:127.0.0.1:{port}");
    let arguments = ["--dest", &dest, "--own-netns-only", "--shutdown-timeout", "4s"];
    let answering = Answering::start(&arguments);
    let reason = format!("{dest}/xtcp: can't deliver for now\n");
    eventually(Duration::from_secs(30), "the reason", || {
        let ready = answering.get("/readyz");
        ready.status == 503 && ready.text() == reason
    });
    assert!(
        (answering.metrics().value("sockeye_sink_up{sink=\"kafka\"}") - 0.0).abs() < f64::EPSILON
    );
    assert_eq!(answering.get("/healthz").status, 200);
    answering.daemon.signal("TERM");
    eventually(Duration::from_secs(3), "stopping", || {
        let ready = answering.get("/readyz");
        ready.status == 503 && ready.text().starts_with("stopping\n")
    });
}

#[test]
fn a_port_that_is_in_use_is_said_and_nothing_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let output = output(&["run", "--listen", &place, "--max-loops", "1", "--own-netns-only"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("--listen {place}: Address already in use")), "{said}");
    assert!(said.contains("allowed: an address of this host with a free port"), "{said}");
}

#[test]
fn without_a_place_nothing_answers_and_a_path_is_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endpoint");
    let place = format!("unix:{}", path.display());
    let run = ["run", "--max-loops", "1", "--dest", "null", "--own-netns-only", "--listen"];
    for off in ["", "off"] {
        let output = output(&[&run[..], &[off]].concat());
        assert!(output.status.success() && !text(&output.stderr).contains("answering"));
    }
    let output = output(&[&run[..], &[&place]].concat());
    assert!(text(&output.stderr).contains("answering"), "{}", text(&output.stderr));
    assert!(!path.exists(), "it goes with the daemon");
}

#[test]
fn five_hundred_slow_clients_do_not_keep_polls_from_their_time() {
    let answering = Answering::start(&[
        "--dest",
        "null",
        "--own-netns-only",
        "--frequency",
        "100ms",
        "--timeout",
        "90ms",
        "--jitter",
        "0",
    ])
    .polled();
    let polls = || {
        // A scrape may have to wait for a place.
        let mut now = None;
        eventually(Duration::from_secs(10), "a scrape", || {
            let metrics = answering.metrics();
            now = Some((
                metrics.find("sockeye_polls_total"),
                metrics.find("sockeye_poll_skipped_total{reason=\"late\"}"),
            ));
            now.is_some_and(|(polls, _)| polls.is_some())
        });
        let (polls, late) = now.unwrap();
        (polls.unwrap(), late.unwrap())
    };
    let (before, late_before) = polls();
    let began = Instant::now();
    let mut slow: Vec<TcpStream> = (0..500).map(|_| answering.connect()).collect();
    while began.elapsed() < Duration::from_secs(4) {
        // Those that were cut off are replaced; the others send another byte of their request.
        for stream in &mut slow {
            if stream.write_all(b"G").is_err() {
                *stream = answering.connect();
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(slow);
    let (after, late) = polls();
    let expected = began.elapsed().as_secs_f64() / 0.1;
    let made = after - before;
    assert!(
        made + (late - late_before) >= expected * 0.9,
        "{made} polls, {late} late, {expected} expected"
    );
    // On a host with something else to do some may be late all the same.
    assert!(made >= expected * 0.6, "{made} of {expected}");
    assert!(
        answering.metrics().0.is_empty()
            || answering.metrics().sum("sockeye_endpoint_refused_total") > 0.0
    );
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_namespace_whose_name_has_newline_quote_and_backslash_does_no_harm() {
    require_root();
    let netns = AnonymousNetns::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a\"b\\c\nd");
    fs::write(&path, "").unwrap();
    let mount = |arguments: &[&str]| {
        assert!(
            Command::new(arguments[0]).args(&arguments[1..]).arg(&path).status().unwrap().success()
        );
    };
    let namespace = netns.path();
    mount(&["mount", "--bind", namespace.to_str().unwrap()]);
    let answering = Answering::start(&[
        "--dest",
        "null",
        "--frequency",
        "1h",
        "--timeout",
        "30s",
        "--tcp-metrics",
        "--metrics-top-netns",
        "100",
        "--netns-dir",
        folder.path().to_str().unwrap(),
    ])
    .polled();
    let metrics = answering.metrics();
    let polls: Value = serde_json::from_slice(&answering.get("/debug/polls").body).unwrap();
    let page = answering.get("/").text();
    drop(answering);
    mount(&["umount"]);
    assert!(
        metrics.find("sockeye_netns_sockets{netns=\"a\\\"b\\\\c\\nd\"}").is_some(),
        "{}",
        metrics.0
    );
    for line in metrics.0.lines() {
        assert!(line.starts_with("# ") || line.starts_with("sockeye_"), "{line}");
    }
    let named =
        polls[0]["netns"].as_array().unwrap().iter().any(|netns| netns["name"] == "a\"b\\c\nd");
    assert!(named, "{polls}");
    assert!(page.contains("a&quot;b\\c\nd"));
    endpoint_kit::pipe("promtool", &["check", "metrics"], metrics.0.as_bytes());
}
