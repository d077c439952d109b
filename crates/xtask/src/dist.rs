//! `dist`: the release binary for this host, built with the profile of `cargo xtask pgo`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{self, cargo};
use crate::pgo_stamp;

/// Builds `target/dist/sockeye`.
///
/// # Errors
/// There is no profile, or it does not build.
pub(crate) fn dist(root: &Path) -> Result<()> {
    let profile = root.join(PROFILE).canonicalize();
    let profile = profile.with_context(|| format!("no {PROFILE}: cargo xtask pgo makes it"))?;
    for warning in pgo_stamp::warnings(root)? {
        println!("warning: {warning}");
    }
    let target = host(root)?;
    build(root, FOLDER, &target, &format!("-Cprofile-use={}", profile.display()))?;
    let built = root.join(FOLDER).join(&target).join("release/sockeye");
    fs::copy(&built, root.join(PROGRAM)).with_context(|| built.display().to_string())?;
    println!("built {PROGRAM}: {} bytes", fs::metadata(root.join(PROGRAM))?.len());
    Ok(())
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
