//! `dist`: release binaries, built with the profile of `cargo xtask pgo`: one for this host, static ones for others, and
//! packages of those.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::cargo::{self, cargo};
use crate::package::{self, Arch, Effort, Programs};
use crate::{pgo_stamp, zig};

/// What `dist` takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct DistArguments {
    /// Build target/dist/sockeye alone, and no packages.
    #[arg(long, conflicts_with = "target")]
    host_only: bool,
    /// A target to build and package; repeatable. Default: the static ones that can be had.
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
}

/// Builds `target/dist/sockeye`, and static binaries with their packages in `target/packages`.
///
/// # Errors
/// There is no profile, it does not build, or there is no compiler for a target that was asked for.
pub(crate) fn dist(root: &Path, arguments: &DistArguments) -> Result<()> {
    if arguments.host_only {
        return program(root);
    }
    let asked: Vec<&str> = arguments.target.iter().map(String::as_str).collect();
    let targets = if asked.is_empty() { STATIC.to_vec() } else { asked.clone() };
    let host = Arch::of(&host(root)?)?;
    // It prints the pages of programs that do not run here.
    if asked.is_empty() || asked.iter().any(|target| Arch::of(target).ok() != Some(host)) {
        program(root)?;
    }
    let out = root.join(package::OUT);
    if out.exists() {
        fs::remove_dir_all(&out).context("packages of the last time")?;
    }
    for target in targets {
        if let Err(error) = zig::provide(root, target) {
            ensure!(asked.is_empty(), "{target}: {error:#}");
            println!("warning: no packages for {target}: {error:#}");
            continue;
        }
        zig::build(root, FOLDER, target, &flags(root)?)?;
        let built = root.join(FOLDER).join(target).join("release/sockeye");
        let native = if Arch::of(target)? == host { built.clone() } else { root.join(PROGRAM) };
        let programs = Programs { installed: &built, asked: &native };
        for file in package::make(root, &programs, target, &out, Effort::Most)? {
            println!("made {}: {} bytes", file.display(), fs::metadata(&file)?.len());
        }
    }
    Ok(())
}

/// Builds `target/dist/sockeye`.
///
/// # Errors
/// There is no profile, or it does not build.
pub(crate) fn program(root: &Path) -> Result<()> {
    let flags = flags(root)?;
    for warning in pgo_stamp::warnings(root)? {
        println!("warning: {warning}");
    }
    let target = host(root)?;
    build(root, FOLDER, &target, &flags)?;
    let built = root.join(FOLDER).join(&target).join("release/sockeye");
    fs::copy(&built, root.join(PROGRAM)).with_context(|| built.display().to_string())?;
    println!("built {PROGRAM}: {} bytes", fs::metadata(root.join(PROGRAM))?.len());
    Ok(())
}

fn flags(root: &Path) -> Result<String> {
    let profile = root.join(PROFILE).canonicalize();
    let profile = profile.with_context(|| format!("no {PROFILE}: cargo xtask pgo makes it"))?;
    Ok(format!("-Cprofile-use={}", profile.display()))
}

/// Builds the release binary with flags for the compiler. With a target, so that the flags are not for build scripts.
pub(crate) fn build(root: &Path, folder: &str, target: &str, flags: &str) -> Result<()> {
    let mut command = cargo(root, &["build", "--release", "--package", "sockeye"]);
    command.args(["--target-dir", folder, "--target", target]);
    // What is set for other builds does not belong here.
    command.env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo::run(command)
}

/// The target of this host, as rustc names it.
pub(crate) fn host(root: &Path) -> Result<String> {
    let output = cargo::command(root, "rustc").arg("-vV").output().context("running rustc")?;
    ensure!(output.status.success(), "rustc -vV: {}", output.status);
    let text = String::from_utf8(output.stdout).context("output of rustc")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The profile, at the top of the repository.
pub(crate) const PROFILE: &str = "default.profdata";
/// The binary for this host.
pub(crate) const PROGRAM: &str = "target/dist/sockeye";
const FOLDER: &str = "target/dist";
/// With nothing of the host in them.
const STATIC: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];
