//! What was measured on: the machine, the kernel, the compiler, the version; and whether others were busy.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

/// Where numbers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) compiler: String,
    pub(crate) version: String,
}

impl Machine {
    /// This one, and what `sockeye` says that it is.
    pub(crate) fn here(root: &Path, sockeye: &Path) -> Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        let memory = field(&memory, "MemTotal").unwrap_or_default();
        let memory = memory.trim_end_matches(" kB").parse::<u64>().context("MemTotal")? / 1024;
        Ok(Self {
            processor: field(&fs::read_to_string("/proc/cpuinfo")?, "model name")
                .unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            memory_mib: memory,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            compiler: said(root, "rustc", &["--version"])?,
            version: said(root, &sockeye.display().to_string(), &["--version"])?,
        })
    }
}

/// How much processes have waited for a processor since some moment (`/proc/pressure/cpu`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet {
    since: Instant,
    waited_us: Option<u64>,
}

impl Quiet {
    /// Begins.
    pub(crate) fn now() -> Self {
        Self { since: Instant::now(), waited_us: waited_us() }
    }

    /// One sentence.
    pub(crate) fn waited(self) -> String {
        let Some((then, now)) = self.waited_us.zip(waited_us()) else {
            return "Whether others were busy meanwhile, this kernel does not tell.".to_owned();
        };
        let elapsed = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
        let percent = now.saturating_sub(then) * 100 / elapsed;
        format!("Some process waited for a processor during {percent} % of the time.")
    }
}

fn waited_us() -> Option<u64> {
    total_of(&fs::read_to_string("/proc/pressure/cpu").ok()?)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`
fn total_of(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find(|line| line.starts_with("some "))?;
    some.rsplit_once("total=")?.1.trim().parse().ok()
}

/// The value behind a name and a colon.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

fn said(root: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(root).output();
    let output = output.with_context(|| format!("running {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC: x\nMemTotal:       24683844 kB\n";
        assert_eq!(field(text, "model name").unwrap(), "AMD EPYC: x");
        assert_eq!(field(text, "MemTotal").unwrap(), "24683844 kB");
        assert_eq!(field(text, "MemFree"), None);
    }

    #[test]
    fn the_time_that_some_process_waited_is_the_total_of_the_first_line() {
        let text = "some avg10=0.00 avg60=1.20 avg300=0.00 total=1234567\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        assert_eq!(total_of(text), Some(1_234_567));
        assert_eq!(total_of("some avg10=0.00"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_compiler() {
        let machine = Machine::here(Path::new("/"), Path::new("/bin/true")).unwrap();
        assert!(machine.cores > 0 && machine.memory_mib > 100, "{machine:?}");
        assert!(machine.compiler.starts_with("rustc "), "{machine:?}");
    }
}
