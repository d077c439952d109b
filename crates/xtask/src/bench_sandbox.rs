//! Where measuring takes place: in mount, process and network namespaces of its own, which end with the command.
//!
//! So the namespaces that are there are those that a case made, whatever else runs on the host, and nothing is left.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cargo;

/// Runs `xtask COMMAND ARGUMENTS` once more, inside.
///
/// # Errors
/// The kernel refused the namespaces, or the command failed.
pub(crate) fn run(root: &Path, command: &str, arguments: &[String]) -> Result<()> {
    let own = std::env::current_exe().context("own path")?;
    let mut inside = cargo::command(root, "unshare");
    inside.args(NAMESPACES).args(["sh", "-c", PREPARE, "sh"]);
    inside.arg(own).arg(command).args(arguments);
    cargo::run(inside)
}

const NAMESPACES: [&str; 6] =
    ["--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"];

/// `ip netns` mounts below /run. The shell stays process 1 and takes care of orphans.
const PREPARE: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && \"$@\"; exit $?";
