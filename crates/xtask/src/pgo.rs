//! `pgo`: makes `default.profdata`, the profile that release binaries are built with.
//!
//! An instrumented binary polls what the benchmark polls: 100,000 sockets of one namespace in the formats that matter,
//! and some small namespaces.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use sockeye_testkit::netns::is_root;

use crate::bench_child::run;
use crate::bench_load::{Churn, Crowd, Village};
use crate::bench_polls::{Contender, rhythm};
use crate::bench_programs::Programs;
use crate::processor::has_avx512;
use crate::{bench_sandbox, cargo, dist, pgo_stamp, prerequisites};

/// What `pgo` takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct PgoArguments {
    /// Set by the command itself: the instrumented program to put to work.
    #[arg(long, hide = true, value_name = "PROGRAM")]
    train: Option<PathBuf>,
}

/// Builds, trains, merges, and writes the profile with its stamp.
///
/// # Errors
/// This is not root; something could not be built or started; no `llvm-profdata` reads what this rustc writes.
pub(crate) fn pgo(root: &Path, arguments: &PgoArguments) -> Result<()> {
    if let Some(program) = &arguments.train {
        return train(root, program);
    }
    ensure!(is_root(), "this makes network namespaces: run it as root");
    if !has_avx512() {
        eprintln!(
            "warning: without AVX-512 VBMI2 the profile says that rows never go eight columns at a time"
        );
    }
    prerequisites::provide(root)?;
    let tool = profdata(root)?;
    Programs::build(root)?;
    let target = dist::host(root)?;
    let raw = root.join(FOLDER).join("raw");
    if raw.exists() {
        fs::remove_dir_all(&raw).context("profiles of the last time")?;
    }
    dist::build(root, FOLDER, &target, &format!("-Cprofile-generate={}", raw.display()))?;
    let program = root.join(FOLDER).join(&target).join("release/sockeye");
    bench_sandbox::run(root, "pgo", &[format!("--train={}", program.display())])?;

    let mut merge = cargo::command(root, &tool);
    merge.args(["merge", "--sparse", "--output", dist::PROFILE]).arg(&raw);
    cargo::run(merge).context("merging; is there an llvm-profdata for this rustc?")?;
    pgo_stamp::write(root)?;
    let bytes = fs::metadata(root.join(dist::PROFILE))?.len();
    println!("wrote {}: {bytes} bytes", dist::PROFILE);
    Ok(())
}

fn train(root: &Path, program: &Path) -> Result<()> {
    let programs = Programs::built(root)?;
    let crowd = Crowd::open(&programs, 100_000)?;
    let village = Village::open(&programs, 20, 10, Churn::Closed)?;
    let rows = crowd.sockets + village.sockets;
    let path = crowd.path();
    let mut work = Vec::new();
    for format in ["protobufList", "jsonl", "csv"] {
        work.push(Contender::poll(program, Some(&path), crowd.sockets, format));
    }
    // What processors without AVX-512 do is not to be taken for something that is never done.
    let poll = Contender::poll(program, Some(&path), crowd.sockets, "protobufList");
    work.push(poll.with(&["--avx512=false"]));
    work.push(Contender::poll(program, None, rows, "protobufList").moving());
    for contender in &work {
        let every = rhythm(std::slice::from_ref(contender))?;
        run(contender.command(POLLS, every))?;
    }
    Ok(())
}

/// The newest `llvm-profdata` that there is: it has to know the format of the compiler's LLVM.
fn profdata(root: &Path) -> Result<PathBuf> {
    let sysroot = cargo::command(root, "rustc").args(["--print", "sysroot"]).output()?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    let own = sysroot.join("lib/rustlib").join(dist::host(root)?).join("bin/llvm-profdata");
    if own.is_file() {
        return Ok(own);
    }
    let mut named = (OLDEST..=NEWEST).rev().map(|version| format!("llvm-profdata-{version}"));
    if let Some(found) = named.find_map(|name| cargo::find(&name)) {
        return Ok(found);
    }
    if cargo::find("apt-get").is_some() {
        prerequisites::install(root, &[PACKAGE])?;
        if let Some(found) = cargo::find(&format!("llvm-profdata-{OLDEST}")) {
            return Ok(found);
        }
    }
    bail!(
        "no llvm-profdata of LLVM {OLDEST} or newer: rustup component add llvm-tools, or Debian's {PACKAGE}"
    )
}

const FOLDER: &str = "target/pgo";
const PACKAGE: &str = "llvm-19";
/// LLVM 19 reads what that of rustc 1.95 writes.
const OLDEST: u32 = 19;
const NEWEST: u32 = 29;
const POLLS: u32 = 10;
