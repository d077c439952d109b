//! Profiles of a running daemon, read by Go's own tool.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![cfg(feature = "pprof")]

mod common;
mod endpoint_kit;

use std::fs;

use endpoint_kit::{Answering, pipe};

const BUSY: [&str; 11] = [
    "--dest",
    "null",
    "--own-netns-only",
    "--frequency",
    "2ms",
    "--timeout",
    "1ms",
    // Polls are shorter than the kernel's tick, which takes the samples: they must not always fall between two of them.
    "--jitter",
    "50",
    "--plan",
    "full",
];

/// What `go tool pprof -top` says of it.
fn top(profile: &[u8], sample: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.pb.gz");
    fs::write(&path, profile).unwrap();
    pipe("go", &["tool", "pprof", "-top", sample, "-nodecount=500", path.to_str().unwrap()], b"")
}

#[test]
fn a_profile_of_processor_time_shows_our_own_functions() {
    let answering = Answering::start(&BUSY).polled();
    let profile = answering.get("/debug/pprof/profile?seconds=3&hz=999");
    assert_eq!(profile.status, 200, "{}", profile.text());
    let top = top(&profile.body, "-sample_index=cpu");
    assert!(top.contains("Type: cpu"), "{top}");
    for function in ["sockeye_source::sockdiag::reader::", "sockeye_source::sockdiag::"] {
        assert!(top.contains(function), "{function}: {top}");
    }
    assert!(!top.contains("perf_signal_handler"), "{top}");
    assert_eq!(answering.get("/healthz").status, 200);
}

#[test]
fn threads_are_a_profile_and_a_table() {
    let answering = Answering::start(&BUSY).polled();
    let top = top(&answering.get("/debug/pprof/threads").body, "-sample_index=threads");
    assert!(top.contains("sink-null") || top.contains("nl-"), "{top}");
    let table = answering.get("/debug/pprof/threads?debug=1").text();
    for thread in ["telemetry", "sink-null", "signals", "nl-"] {
        assert!(table.contains(thread), "{table}");
    }
}

#[test]
fn memory_is_recorded_when_asked_for_or_it_is_said_why_not() {
    let answering = Answering::start(&BUSY).polled();
    for (page, kind) in [("heap", "inuse_space"), ("allocs", "alloc_space")] {
        let profile = answering.get(&format!("/debug/pprof/{page}?seconds=2"));
        if cfg!(feature = "jemalloc") {
            assert_eq!(profile.status, 200, "{}", profile.text());
            assert!(top(&profile.body, "-sample_index=1").contains(&format!("Type: {kind}")));
        } else {
            assert_eq!(profile.status, 501);
            assert!(profile.text().contains("built without the feature jemalloc"));
        }
    }
}
