//! A child process and what it used: processor time, wall clock, memory, threads.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use sockeye_testkit::procfs::{peak_resident_bytes, threads};

use crate::bench_steal;

/// What a child used until it ended.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    /// In user and kernel, all threads.
    pub(crate) cpu: Duration,
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
}

/// The most of what a child had at one time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    pub(crate) threads: u64,
    pub(crate) resident_bytes: u64,
}

/// Runs a child to its end; its stdout goes nowhere.
///
/// The time is told by what waiting for it adds to the time of all children: no other may end meanwhile.
///
/// # Errors
/// It can't be started, or failed.
pub(crate) fn run(mut command: Command) -> Result<Used> {
    let before = cpu_of_children()?;
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {command:?}"))?;
    let mut stderr = String::new();
    child.stderr.take().context("stderr was piped")?.read_to_string(&mut stderr)?;
    let status = child.wait()?;
    let wall = began.elapsed();
    ensure!(status.success(), "{command:?}: {status}: {stderr}");
    Ok(Used { cpu: cpu_of_children()?.saturating_sub(before), wall, stderr })
}

/// What children that took turns have said, and what was stolen from them.
#[derive(Clone, Debug)]
pub(crate) struct ByTurns {
    /// What each wrote to stderr.
    pub(crate) stderr: Vec<String>,
    /// Processor time that the host took in each turn, from the first child's start on, in ticks of /proc/stat.
    pub(crate) stolen_ticks: Vec<u64>,
}

/// Runs children at once to their ends, each started so long after the one before.
///
/// # Errors
/// As of [`run`]. The others are waited for.
pub(crate) fn run_by_turns(
    commands: impl Iterator<Item = Command>,
    turn: Duration,
) -> Result<ByTurns> {
    let mut children = Vec::new();
    let began = Instant::now();
    let (over, is_over) = mpsc::channel();
    let stolen = thread::spawn(move || {
        bench_steal::of_turns(began, turn, &is_over, bench_steal::since_boot)
    });
    for (command, place) in commands.zip(0..) {
        thread::sleep((began + turn * place).saturating_duration_since(Instant::now()));
        children.push(thread::spawn(move || run(command).map(|used| used.stderr)));
    }
    let ended: Vec<Result<String>> = children
        .into_iter()
        .map(|child| {
            child.join().unwrap_or_else(|_| bail!("a thread of the benchmark has panicked"))
        })
        .collect();
    drop::<mpsc::Sender<()>>(over);
    let stolen = stolen.join();
    let stolen = stolen.unwrap_or_else(|_| bail!("a thread of the benchmark has panicked"))?;
    Ok(ByTurns { stderr: ended.into_iter().collect::<Result<_>>()?, stolen_ticks: stolen })
}

/// Runs a child to its end and looks at it all the time, which costs it a little: not to be used where time is told.
///
/// # Errors
/// As of [`run`].
pub(crate) fn watch(mut command: Command) -> Result<Peak> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("running {command:?}"))?;
    let mut peak = Peak::default();
    loop {
        // Before `nsenter` has become the program, and after it has ended, there is little to see.
        peak.threads = peak.threads.max(threads(child.id()).unwrap_or(0));
        // The highest ever, so that looking now and then is enough.
        peak.resident_bytes = peak.resident_bytes.max(peak_resident_bytes(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{command:?}: {status}");
            return Ok(peak);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// From the start of a child to the first byte on its stdout.
///
/// # Errors
/// It wrote nothing, or failed.
pub(crate) fn until_first_byte(mut command: Command) -> Result<Duration> {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("running {command:?}"))?;
    let mut stdout = child.stdout.take().context("stdout was piped")?;
    let first = stdout.read(&mut [0; 1]).context("its first byte")?;
    let took = began.elapsed();
    std::io::copy(&mut stdout, &mut std::io::sink())?;
    let status = child.wait()?;
    ensure!(first == 1 && status.success(), "{command:?}: {status}, {first} bytes");
    Ok(took)
}

fn cpu_of_children() -> Result<Duration> {
    let usage: Usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let duration = |time: TimeVal| {
        let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_that_fails_is_an_error_with_what_it_said() {
        let error = run(shell("echo no luck >&2; exit 3")).unwrap_err().to_string();
        assert!(error.contains("exit status: 3: no luck"), "{error}");
        assert_eq!(run(shell("echo all is well >&2")).unwrap().stderr, "all is well\n");
    }

    #[test]
    fn sleeping_costs_wall_clock_and_no_processor() {
        let used = run(shell("sleep 0.2")).unwrap();
        assert!(used.wall >= Duration::from_millis(200));
        assert!(used.cpu < Duration::from_millis(150), "{:?}", used.cpu);
    }

    #[test]
    fn the_first_byte_comes_before_the_end_and_has_to_come() {
        let took = until_first_byte(shell("echo first; sleep 0.3")).unwrap();
        assert!(took < Duration::from_millis(290), "{took:?}");
        assert!(until_first_byte(shell("exit 0")).is_err());
    }

    #[test]
    fn a_child_that_is_watched_has_a_thread_and_some_memory() {
        let peak = watch(shell("sleep 0.1")).unwrap();
        assert!(peak.threads == 1 && peak.resident_bytes > 100_000, "{peak:?}");
    }
}
