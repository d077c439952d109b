//! Where processor time goes: a timer that runs while the process does interrupts whoever is running, and notes its stack.

use std::time::Duration;

use pprof::{ProfilerGuardBuilder, Report};

use super::Turn;
use super::names::readable;
use super::profile::{Call, Profile};

/// Collects for so long and gives the profile. Ends early when nobody waits for it any more.
pub(super) async fn take(seconds: u32, hz: u32, turn: Turn) -> Result<Vec<u8>, String> {
    let rate = i32::try_from(hz).map_err(|_| "hz is too large")?;
    // The kernel's page of code that stands for system calls has no description of its stack.
    let guard = ProfilerGuardBuilder::default().frequency(rate).blocklist(&["vdso"]);
    let guard = guard.build().map_err(|error| format!("no profile: {error}"))?;
    let lasted = Duration::from_secs(seconds.into());
    tokio::time::sleep(lasted).await;
    // To find names takes seconds, and others want to be answered.
    let evaluate = move || {
        let report = guard.report().build();
        // Before the names are written: they are none of what was asked for.
        drop(guard);
        let report = report.map_err(|error| format!("no profile: {error}"))?;
        let bytes = encode(&report, hz, lasted);
        drop(turn);
        Ok(bytes)
    };
    tokio::task::spawn_blocking(evaluate).await.map_err(|error| error.to_string())?
}

fn encode(report: &Report, hz: u32, lasted: Duration) -> Vec<u8> {
    let period = 1_000_000_000 / i64::from(hz);
    let mut profile = Profile::new(&[("samples", "count"), ("cpu", "nanoseconds")]);
    profile.lasted(lasted);
    profile.period("cpu", "nanoseconds", period);
    for (stack, count) in &report.data {
        let frames: Vec<Vec<Call>> =
            stack.frames.iter().map(|frame| frame.iter().map(call).collect()).collect();
        // The timer's own frames stand in front.
        let own = frames
            .iter()
            .rposition(|calls| calls.iter().any(|call| OWN.contains(&call.name.as_str())));
        let frames = frames.get(own.map_or(0, |own| own + 1)..).unwrap_or_default();
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        profile.sample(
            frames,
            vec![count, count.saturating_mul(period)],
            &[("thread", &stack.thread_name)],
        );
    }
    profile.finish()
}

fn call(symbol: &pprof::Symbol) -> Call {
    let file = symbol.filename().into_owned();
    Call { name: readable(&symbol.name(), &file), file, line: symbol.lineno().into() }
}

/// Functions that stand between a signal and what it interrupted.
const OWN: [&str; 3] =
    ["perf_signal_handler", "__restore_rt", "pprof::profiler::perf_signal_handler"];
