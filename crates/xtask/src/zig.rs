//! Static binaries for other hosts: rustc's musl targets, and zig as the C compiler and linker of all of them.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo;

/// Makes sure that a target can be built: rustc's part by rustup, zig by Python's package manager to target/zig.
///
/// # Errors
/// One of them can't be had.
pub(crate) fn provide(root: &Path, target: &str) -> Result<()> {
    let sysroot = cargo::command(root, "rustc").args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    if !Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir() {
        let mut add = cargo::command(root, "rustup");
        add.args(["target", "add", target]);
        cargo::run(add).context("rustc has no such target")?;
    }
    let folder = root.join(FOLDER);
    if !folder.join("bin/cargo-zigbuild").is_file() {
        let mut make = cargo::command(root, "python3");
        make.args(["-m", "venv"]).arg(&folder);
        cargo::run(make).context("Debian's python3-venv makes environments")?;
        let mut install = cargo::command(root, folder.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        install.args(PACKAGES);
        cargo::run(install).context("zig is a Python package")?;
    }
    Ok(())
}

/// As [`crate::dist::build`].
pub(crate) fn build(root: &Path, folder: &str, target: &str, flags: &str) -> Result<()> {
    let mut command: Command = cargo::command(root, root.join(FOLDER).join("bin/cargo-zigbuild"));
    command.args(["zigbuild", "--release", "--package", "sockeye"]);
    command.args(["--target-dir", folder, "--target", target]);
    command.env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env("PATH", with_own_programs(root)?).env("CARGO", cargo::program());
    cargo::run(command)
}

/// zig is found beside Python.
fn with_own_programs(root: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = root.join(FOLDER).join("bin");
    ensure!(own.is_dir(), "no {FOLDER}");
    Ok(env::join_paths(std::iter::once(own).chain(env::split_paths(&path)))?)
}

const FOLDER: &str = "target/zig";
const PACKAGES: [&str; 2] = ["cargo-zigbuild==0.24.0", "ziglang==0.17.1"];
