//! Memory that is allocated within a while, as jemalloc samples it: one allocation in so many bytes, with its stack.

use std::ffi::c_void;
use std::io::Read;
use std::ptr::with_exposed_provenance_mut;
use std::time::Duration;

use jemalloc_pprof::{JemallocProfCtl, PROF_CTL};
use tokio::sync::{Mutex, MutexGuard};

use super::Turn;
use super::heap_dump::{HeapDump, Site};
use super::names::readable;
use super::profile::{Call, Profile};

/// Records for so long and gives the profile. Nothing is recorded otherwise, unless jemalloc was told to from its start on.
pub(super) async fn take(seconds: u32, all: bool, turn: Turn) -> Result<Vec<u8>, String> {
    let control = PROF_CTL.as_ref().ok_or(NOT_BUILT_IN)?;
    let mut recording = Recording::begin(control).await?;
    let lasted = Duration::from_secs(seconds.into());
    tokio::time::sleep(lasted).await;
    let mut text = String::new();
    let dumped = recording.0.dump().and_then(|mut file| Ok(file.read_to_string(&mut text)?));
    dumped
        .map_err(|error| format!("no profile: {error}; a folder for temporary files is needed"))?;
    drop(recording);
    let evaluate = move || {
        let bytes = encode(&HeapDump::parse(&text)?, all, lasted);
        drop(turn);
        Ok(bytes)
    };
    tokio::task::spawn_blocking(evaluate).await.map_err(|error| error.to_string())?
}

/// Allocations are recorded until it is dropped.
struct Recording<'a>(MutexGuard<'a, JemallocProfCtl>, bool);

impl<'a> Recording<'a> {
    async fn begin(control: &'a Mutex<JemallocProfCtl>) -> Result<Self, String> {
        let mut control = control.lock().await;
        let always = control.activated();
        if !always {
            control.activate().map_err(|error| format!("no profile: {error}"))?;
        }
        Ok(Self(control, always))
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if !self.1 {
            // It could be switched on; and if not off, it costs a little and shows more the next time.
            let _ = self.0.deactivate();
        }
    }
}

fn encode(dump: &HeapDump, all: bool, lasted: Duration) -> Vec<u8> {
    let (objects, space) =
        if all { ("alloc_objects", "alloc_space") } else { ("inuse_objects", "inuse_space") };
    let mut profile = Profile::new(&[(objects, "count"), (space, "bytes")]);
    profile.lasted(lasted);
    profile.period("space", "bytes", i64::try_from(dump.rate).unwrap_or(i64::MAX));
    for Site { stack, left, made } in &dump.sites {
        let (count, bytes) = if all { *made } else { *left };
        if count > 0 {
            let frames: Vec<Vec<Call>> = stack.iter().map(|address| resolve(*address)).collect();
            let own = frames.iter().rposition(|calls| calls.iter().any(is_allocator));
            let frames = frames.get(own.map_or(0, |own| own + 1)..).unwrap_or_default();
            let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
            profile.sample(frames, vec![number(count), number(bytes)], &[]);
        }
    }
    profile.finish()
}

fn is_allocator(call: &Call) -> bool {
    call.name.starts_with("_rjem_") || call.name.starts_with("prof_")
}

fn resolve(address: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    backtrace::resolve(with_exposed_provenance_mut::<c_void>(address), |symbol| {
        let file = symbol.filename().map(|file| file.display().to_string()).unwrap_or_default();
        let name =
            symbol.name().map_or_else(|| format!("{address:#x}"), |name| format!("{name:#}"));
        let name = readable(&name, &file);
        calls.push(Call { name, file, line: symbol.lineno().unwrap_or(0).into() });
    });
    if calls.is_empty() {
        calls.push(Call { name: format!("{address:#x}"), file: String::new(), line: 0 });
    }
    calls
}

const NOT_BUILT_IN: &str = "allocations can't be recorded: jemalloc was built without prof:true; \
    start with _RJEM_MALLOC_CONF=prof:true,prof_active:false,prof_accum:true";
