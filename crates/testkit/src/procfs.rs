//! What a process uses, as /proc tells it: threads, file descriptors, memory, processor time.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The number of threads of a process.
///
/// # Errors
/// There is no such process.
pub fn threads(pid: u32) -> Result<u64> {
    status_field(pid, "Threads:")
}

/// The names of the threads of a process, sorted. Threads that end meanwhile are left out.
///
/// # Errors
/// There is no such process.
pub fn thread_names(pid: u32) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for task in
        fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))?
    {
        names.extend(
            fs::read_to_string(task?.path().join("comm")).map(|name| name.trim_end().to_owned()),
        );
    }
    names.sort();
    Ok(names)
}

/// The number of open file descriptors of a process. Of the calling process: without the one that counts.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn file_descriptors(pid: u32) -> Result<usize> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .with_context(|| format!("descriptors of process {pid}"))?;
    let own = usize::from(pid == std::process::id());
    Ok(entries.count().saturating_sub(own))
}

/// What the file descriptors of a process point to: `socket:[123]`, `/dev/null`, `net:[4026531840]`, …
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn file_descriptor_targets(pid: u32) -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))
        .with_context(|| format!("descriptors of process {pid}"))?
    {
        // One that was closed meanwhile is not open.
        targets.extend(
            fs::read_link(entry?.path()).map(|target| target.to_string_lossy().into_owned()),
        );
    }
    Ok(targets)
}

/// The memory of a process that is in RAM, in bytes (`VmRSS`).
///
/// # Errors
/// There is no such process, or it is a kernel thread or a zombie, which have none.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    Ok(status_field(pid, "VmRSS:")? * 1024)
}

/// The most memory that a process ever had in RAM, in bytes (`VmHWM`).
///
/// # Errors
/// As of [`resident_bytes`].
pub fn peak_resident_bytes(pid: u32) -> Result<u64> {
    Ok(status_field(pid, "VmHWM:")? * 1024)
}

/// The processor time that all threads of a process have used, in user and kernel, to a hundredth of a second.
///
/// # Errors
/// There is no such process.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid}"))?;
    // The name, in brackets, may have spaces and brackets of its own: count from the last one.
    let fields = stat.rsplit_once(')').context("stat without a name")?.1;
    let mut ticks = fields.split_whitespace().skip(11);
    let mut next = || -> Result<u64> { Ok(ticks.next().context("short stat")?.parse()?) };
    let (user, system) = (next()?, next()?);
    // USER_HZ is 100 on every architecture that Linux has a Rust target for.
    Ok(Duration::from_millis((user + system) * 10))
}

fn status_field(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("process {pid} has no {name}"))?;
    let number = line.split_whitespace().next().with_context(|| format!("{name} is empty"))?;
    number.parse().with_context(|| format!("{name} {number}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    // Other tests of this process come and go, so a child is looked at. It inherits what this process was given, so
    // its number of descriptors is told against that of a second child, which gets one more.
    #[test]
    fn a_child_has_one_thread_and_the_descriptors_it_was_given() {
        let start = |command: &str| {
            let mut child = process::Command::new("sh")
                .args(["-c", command])
                .stdin(process::Stdio::piped())
                .stdout(process::Stdio::piped())
                .spawn()
                .unwrap();
            // The answer tells that cat runs, with all that the loader opened closed again.
            child.stdin.as_mut().unwrap().write_all(b"?").unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            child
        };
        let (mut child, mut more) =
            (start("exec 9<&-; exec cat"), start("exec 9</dev/zero; exec cat"));
        let pid = child.id();
        assert_eq!(threads(pid).unwrap(), 1);
        assert_eq!(thread_names(pid).unwrap(), ["cat"]);
        assert_eq!(file_descriptors(more.id()).unwrap(), file_descriptors(pid).unwrap() + 1);
        assert_eq!(file_descriptor_targets(pid).unwrap().len(), file_descriptors(pid).unwrap());
        assert!(file_descriptor_targets(more.id()).unwrap().contains(&"/dev/zero".to_owned()));
        for child in [&mut child, &mut more] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        assert!(threads(pid).is_err());
    }

    #[test]
    fn a_named_thread_is_seen_by_its_name() {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("skt-look-at-me".to_owned());
        let thread = thread.spawn(move || stopped.recv()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while !thread_names(process::id()).unwrap().contains(&"skt-look-at-me".to_owned()) {
            assert!(std::time::Instant::now() < deadline, "no thread of that name");
        }
        drop(stop);
        assert!(thread.join().unwrap().is_err());
    }

    #[test]
    fn memory_and_time_are_in_bytes_and_seconds() {
        let pid = process::id();
        let resident = resident_bytes(pid).unwrap();
        assert!((100_000..4_000_000_000).contains(&resident), "{resident}");
        assert!(peak_resident_bytes(pid).unwrap() >= 100_000);
        assert!(cpu_time(pid).unwrap() < Duration::from_hours(1));
    }
}
