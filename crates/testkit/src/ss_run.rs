//! Runs `ss` in a network namespace.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::ss::{SsSocket, parse};

/// The options that make `ss` print all that it knows of TCP sockets, one line each, in numbers.
pub const ARGUMENTS: [&str; 10] =
    ["-H", "-O", "-n", "-a", "-t", "-i", "-e", "-m", "--tos", "--cgroup"];

/// All TCP sockets of the calling thread's namespace, as `ss` sees them.
///
/// # Errors
/// `ss` is missing, failed, or printed what [`parse`] does not know.
pub fn here() -> Result<Vec<SsSocket>> {
    read(None, &ARGUMENTS)
}

/// All TCP sockets of the namespace at `netns` (`/run/netns/NAME`, `/proc/PID/ns/net`), as `ss` sees them.
///
/// # Errors
/// As of [`here`], and when the namespace cannot be entered.
pub fn inside(netns: &Path) -> Result<Vec<SsSocket>> {
    read(Some(netns), &ARGUMENTS)
}

/// Indices of the interfaces in a namespace by name; `None` is the calling thread's.
///
/// # Errors
/// `ip` is missing or failed.
pub fn interfaces(netns: Option<&Path>) -> Result<BTreeMap<String, u32>> {
    let text = output(netns, "ip", &["-o", "link", "show"])?;
    let mut interfaces = BTreeMap::new();
    for line in text.lines() {
        // `2: eth0@if3: <BROADCAST,…`
        let mut fields = line.split(": ");
        let (Some(index), Some(name)) = (fields.next(), fields.next()) else { continue };
        let name = name.split('@').next().unwrap_or(name);
        interfaces.insert(name.to_owned(), index.trim().parse().context("index of an interface")?);
    }
    Ok(interfaces)
}

/// Runs a program in a namespace and returns what it printed; `None` is the calling thread's namespace.
///
/// `nsenter` and not `ip netns exec`: the latter mounts a new /sys, in which `ss` finds no control groups.
///
/// # Errors
/// The program is missing or failed; what it wrote to stderr is part of the error.
pub fn output(netns: Option<&Path>, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = match netns {
        Some(netns) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", netns.display())).arg("--").arg(program);
            command
        }
        None => Command::new(program),
    };
    let output = command.args(arguments).output().with_context(|| format!("running {program}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} {arguments:?} in {netns:?}: {}: {stderr}",
        output.status
    );
    String::from_utf8(output.stdout).with_context(|| format!("output of {program}"))
}

fn read(netns: Option<&Path>, arguments: &[&str]) -> Result<Vec<SsSocket>> {
    let mut sockets = parse(&output(netns, "ss", arguments)?)?;
    if sockets.iter().any(|socket| socket.local.interface.is_some()) {
        let interfaces = interfaces(netns)?;
        for socket in &mut sockets {
            let name = socket.local.interface.as_ref();
            socket.local.interface_index = name.and_then(|name| interfaces.get(name).copied());
        }
    }
    Ok(sockets)
}
