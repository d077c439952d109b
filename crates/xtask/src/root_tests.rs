//! The tests that need root: as root right here, as an ordinary user in a user namespace where the host allows it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use sockeye_testkit::netns::is_root;

use crate::cargo;
use crate::tally::Tally;

/// Runs every test that is marked `#[ignore]`.
///
/// # Errors
/// A test failed; or none of them could be run, and then their names have been printed: that is no success.
pub(crate) fn run(root: &Path, tally: &mut Tally) -> Result<()> {
    if is_root() {
        return run_ignored(cargo::cargo(root, &TESTS), tally);
    }
    match find_sandbox(root) {
        Ok(users) => {
            println!("not root: running them in a user namespace ({})", users.join(" "));
            let result = run_ignored(in_sandbox(root, users), tally);
            if users == ROOT_ALONE {
                result.map_err(|error| anyhow!("{error:#}. {OTHER_USERS}"))
            } else {
                result
            }
        }
        Err(error) => {
            println!("not run, since this is not root and {error:#}:");
            for name in names(&cargo::output(root, &[&TESTS[..], &["--list"]].concat())?) {
                println!("    {name}");
            }
            bail!("the tests that need root were not run: {error:#}. Run this command as root");
        }
    }
}

fn run_ignored(command: Command, tally: &mut Tally) -> Result<()> {
    let mut run = Tally::default();
    let result = cargo::test(command, &mut run);
    tally.add_run_of_ignored(run);
    result?;
    ensure!(tally.skipped == 0, "{} ignored tests did not run here either", tally.skipped);
    Ok(())
}

/// The users of the first sandbox that this host allows.
fn find_sandbox(root: &Path) -> Result<&'static [&'static str]> {
    let mut refusal = String::new();
    for users in [ALL_USERS, ROOT_ALONE] {
        let mut probe = cargo::command(root, "unshare");
        probe.args(users).args(NAMESPACES).args(["sh", "-c", PREPARE]);
        let probe = probe.output().context("running unshare")?;
        if probe.status.success() {
            return Ok(users);
        }
        refusal = String::from_utf8_lossy(&probe.stderr).trim().replace('\n', "; ");
    }
    bail!("this host allows no user namespace ({refusal})")
}

/// The tests as root of a user namespace, with namespaces of all kinds that they use. No process of it outlives it.
fn in_sandbox(root: &Path, users: &[&str]) -> Command {
    let mut command = cargo::command(root, "unshare");
    command.args(users).args(NAMESPACES).args(["sh", "-c", &format!("{PREPARE}; {RUN}"), "sh"]);
    // There is no network inside.
    command.arg(cargo::program()).args(TESTS).env("CARGO_NET_OFFLINE", "true");
    command
}

/// The names in what `--list` prints.
fn names(list: &str) -> Vec<&str> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).collect()
}

const TESTS: [&str; 5] = ["test", "--workspace", "--no-fail-fast", "--", "--ignored"];

/// Users of a sandbox: those that /etc/subuid gives us beside root, or root alone.
const ALL_USERS: &[&str] = &["--user", "--map-root-user", "--map-auto"];
const ROOT_ALONE: &[&str] = &["--user", "--map-root-user"];
const NAMESPACES: [&str; 6] =
    ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

const OTHER_USERS: &str = "Only root exists in this user namespace, and tests that need other users fail: run this \
    command as root, or install uidmap and give yourself a range in /etc/subuid and /etc/subgid";

/// `ip netns` mounts below /run; /sys/class/net is of the namespace that mounts /sys, without control groups.
const PREPARE: &str = "mount -t tmpfs tmpfs /run \
    && mkdir /run/cgroup && mount --rbind /sys/fs/cgroup /run/cgroup \
    && mount -t sysfs sysfs /sys && mount --rbind /run/cgroup /sys/fs/cgroup \
    && ip link set lo up || exit 125";

/// The shell stays process 1 and takes care of orphans; it also sees what namespaces were left.
const RUN: &str = "\"$@\" || exit; left=$(ip netns list); test -z \"$left\" || { echo \"left behind: $left\" >&2; exit 124; }";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_tests_that_were_not_run_are_those_of_the_list() {
        let list =
            "a_test: test\nmodule::another: test\na_bench: benchmark\n\n2 tests, 1 benchmark\n";
        assert_eq!(names(list), ["a_test", "module::another"]);
    }

    #[test]
    fn the_sandbox_passes_the_command_on_and_fails_with_it() {
        let run = |tests: &str| {
            Command::new("sh").args(["-c", RUN, "sh", "sh", "-c", tests]).status().unwrap().code()
        };
        assert_eq!(run("exit 101"), Some(101));
    }
}
