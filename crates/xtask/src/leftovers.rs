//! What tests must not leave: network namespaces and processes of theirs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// What was there before the tests, which is not theirs.
#[derive(Debug)]
pub(crate) struct Before {
    programs: PathBuf,
    there: BTreeSet<Leftover>,
}

/// What looks as if tests had made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leftover {
    Netns(String),
    Process { pid: u32, name: String },
}

impl Before {
    /// Looks at the host. What runs a program below the folder `programs` is ours.
    ///
    /// # Errors
    /// /proc can't be read.
    pub(crate) fn now(programs: &Path) -> Result<Self> {
        Ok(Self { there: look(programs)?, programs: programs.to_owned() })
    }

    /// Looks again, for as long as `patience`, since what was killed takes a moment to go.
    ///
    /// # Errors
    /// What is there now, was not before, and has nobody who could still remove it.
    pub(crate) fn nothing_left(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let now = look(&self.programs)?;
            let left: Vec<&Leftover> = now.difference(&self.there).collect();
            if left.is_empty() || Instant::now() >= deadline {
                let left: Vec<String> = left.into_iter().map(Leftover::text).collect();
                ensure!(left.is_empty(), "tests left behind: {}", left.join(", "));
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Leftover {
    fn text(&self) -> String {
        match self {
            Self::Netns(name) => format!("namespace {name} (`ip netns del {name}`)"),
            Self::Process { pid, name } => format!("process {pid} ({name})"),
        }
    }
}

fn look(programs: &Path) -> Result<BTreeSet<Leftover>> {
    let mut found = BTreeSet::new();
    // What `ip netns list` lists; without the folder there has never been one.
    for entry in fs::read_dir("/run/netns").into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_of_tests(&name) && !maker(&name).is_some_and(is_alive) {
            found.insert(Leftover::Netns(name));
        }
    }
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that ended meanwhile is none that is left.
        let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
        let name = name.trim_end().to_owned();
        let was_started = STARTED.contains(&name.as_str()) && runs_one_of(programs, pid);
        if is_of_tests(&name) || (was_started && !has_maker(programs, pid)) {
            found.insert(Leftover::Process { pid, name });
        }
    }
    Ok(found)
}

fn is_of_tests(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The process that made a namespace is part of its name: `skt-123-0-label`. It removes it when it ends.
fn maker(name: &str) -> Option<u32> {
    name.split('-').find_map(|part| part.parse().ok())
}

/// Whether the test that started a process, one of its ancestors, still lives and can end it.
fn has_maker(programs: &Path, pid: u32) -> bool {
    let mut ancestors = std::iter::successors(parent(pid), |pid| parent(*pid));
    ancestors.any(|ancestor| runs_one_of(programs, ancestor))
}

fn runs_one_of(programs: &Path, pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.starts_with(programs))
}

/// The parent of a process; none of process 1, and of one that has ended.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have spaces and brackets of its own.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent != 0)
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Names that only tests give.
const PREFIXES: [&str; 3] = ["skt-", "skn-", "sks-"];

/// Programs of ours that tests start.
const STARTED: [&str; 5] =
    ["sockeye", "sockeye-load", "sockeye-spread", "sockeye-brief", "sockeye-drain"];

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_namespace_of_a_process_that_lives_is_not_left_behind() {
        assert_eq!(maker("skt-123-0-label"), Some(123));
        assert_eq!(maker("skn-sys-77-x"), Some(77));
        assert_eq!(maker("sks-plain"), None);
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(u32::MAX));
        assert!(is_of_tests("sks-plain") && !is_of_tests("my-skt-1"));
    }

    #[test]
    fn a_process_whose_test_still_lives_is_not_left_behind() {
        let own = std::env::current_exe().unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(parent(child.id()), Some(std::process::id()));
        assert!(has_maker(own.parent().unwrap(), child.id()));
        assert!(!has_maker(Path::new("/nowhere"), child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_new_is_found_and_one_from_before_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("sockeye-load");
        fs::copy("/bin/cat", &program).unwrap();
        let none = Before::now(folder.path()).unwrap();
        // It ends with its stdin.
        let mut child = Command::new(&program).stdin(Stdio::piped()).spawn().unwrap();
        let leftover = Leftover::Process { pid: child.id(), name: "sockeye-load".to_owned() };
        // The name is there a moment after the process.
        let deadline = Instant::now() + Duration::from_secs(5);
        let all = loop {
            let all = Before::now(folder.path()).unwrap();
            if all.there.contains(&leftover) || Instant::now() > deadline {
                break all;
            }
        };
        assert!(all.there.contains(&leftover));
        assert!(!none.there.contains(&leftover));
        all.nothing_left(Duration::from_secs(5)).unwrap();
        let error = none.nothing_left(Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} (sockeye-load)", child.id())), "{error}");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
