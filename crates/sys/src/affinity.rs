//! Where a thread runs and how much it yields to others.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use rustix::process::setpriority_process;

/// Processors, written as the kernel writes them: `0,1,4-7`. There is at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuList {
    cpus: BTreeSet<u16>,
}

/// Why a text is no [`CpuList`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CpuListError {
    /// Not a number, or a range without one of its ends.
    #[error("'{0}' is no processor; allowed: numbers and ranges such as 0,1,4-7")]
    NoCpu(String),
    /// The end of a range is below its start.
    #[error("the range {first}-{last} runs backwards: write {last}-{first}")]
    Backwards {
        /// As written.
        first: u16,
        /// As written.
        last: u16,
    },
    /// Larger than the kernel interface that is used here takes.
    #[error("there is no processor {cpu}: the highest number is {max}", max = MAX_CPU)]
    TooHigh {
        /// As written.
        cpu: u16,
    },
}

/// Why a thread was not pinned. It runs where it ran before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PinError {
    /// A processor is offline, or outside of the process's cpuset: choose from those that are allowed.
    #[error("processors {refused} may not be used by this process; allowed: {allowed}")]
    NotAllowed {
        /// Which of those that were asked for.
        refused: CpuList,
        /// All that the process may use.
        allowed: CpuList,
    },
    /// The kernel refused; `EPERM` by a security module.
    #[error("cannot set the processors of the thread: {0}")]
    Kernel(#[from] Errno),
}

impl CpuList {
    /// The processors that this process may use: those of its main thread, which is best left unpinned.
    pub fn allowed() -> Result<Self, Errno> {
        let set = sched_getaffinity(Pid::this())?;
        Ok(Self { cpus: (0..=MAX_CPU).filter(|&cpu| set.is_set(cpu.into()) == Ok(true)).collect() })
    }

    /// The processors, lowest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u16> {
        self.cpus.iter().copied()
    }

    /// Whether this process may use all of them; for a check of settings before threads start.
    ///
    /// # Errors
    /// [`PinError::NotAllowed`] names both lists.
    pub fn check_allowed(&self) -> Result<(), PinError> {
        let allowed = Self::allowed()?;
        let refused = Self { cpus: &self.cpus - &allowed.cpus };
        if refused.cpus.is_empty() {
            Ok(())
        } else {
            Err(PinError::NotAllowed { refused, allowed })
        }
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let mut cpus = BTreeSet::new();
        for item in text.split(',').map(str::trim) {
            let no_cpu = |_| CpuListError::NoCpu(item.to_owned());
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let first: u16 = first.trim_end().parse().map_err(no_cpu)?;
            let last: u16 = last.trim_start().parse().map_err(no_cpu)?;
            if last < first {
                return Err(CpuListError::Backwards { first, last });
            }
            if last > MAX_CPU {
                return Err(CpuListError::TooHigh { cpu: last });
            }
            cpus.extend(first..=last);
        }
        Ok(Self { cpus })
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|&cpu| cpu == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

/// Lets the calling thread run on these processors alone. Threads that it starts inherit that.
///
/// # Errors
/// See [`PinError`]. The kernel itself would silently leave out what is not allowed.
pub fn pin_current_thread(cpus: &CpuList) -> Result<(), PinError> {
    cpus.check_allowed()?;
    let mut set = CpuSet::new();
    for cpu in cpus.iter() {
        set.set(cpu.into())?;
    }
    Ok(sched_setaffinity(CALLING_THREAD, &set)?)
}

/// Sets the nice value of the calling thread alone: 19 yields to everybody, -20 to nobody; the kernel clamps what is beyond.
/// Threads that it starts inherit that.
///
/// # Errors
/// `EACCES`: to go below the present value takes `CAP_SYS_NICE` or a lower `RLIMIT_NICE`.
pub fn nice_current_thread(nice: i8) -> Result<(), Errno> {
    // Without a process id Linux means the calling thread, other than POSIX.
    setpriority_process(None, nice.into()).map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

const CALLING_THREAD: Pid = Pid::from_raw(0);
#[expect(clippy::cast_possible_truncation, reason = "1024 bits")]
const MAX_CPU: u16 = CpuSet::count() as u16 - 1;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    fn parse_error(text: &str) -> String {
        text.parse::<CpuList>().unwrap_err().to_string()
    }

    /// A field of the calling thread's status file.
    fn status(field: &str) -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    }

    /// The nice value of the calling thread as the kernel shows it.
    fn nice() -> i32 {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        after_name.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn numbers_and_ranges_are_read_in_any_order() {
        assert_eq!(list("4-7, 1,0,5").iter().collect::<Vec<_>>(), [0, 1, 4, 5, 6, 7]);
        assert_eq!(list("1023").iter().collect::<Vec<_>>(), [1023]);
    }

    #[test]
    fn a_list_is_displayed_as_the_kernel_writes_it() {
        assert_eq!(list("7,6,5,4,1,0").to_string(), "0,1,4-7");
        assert_eq!(list("3").to_string(), "3");
    }

    #[test]
    fn what_is_no_list_is_refused_with_what_is_allowed() {
        let says = "'' is no processor; allowed: numbers and ranges such as 0,1,4-7";
        assert_eq!(parse_error(""), says);
        assert_eq!(parse_error("1,,2"), says);
        assert_eq!(
            parse_error("0,x"),
            "'x' is no processor; allowed: numbers and ranges such as 0,1,4-7"
        );
        for text in ["-1", "1-", "1-2-3", "0x1", "1;2", "70000"] {
            assert_eq!(text.parse::<CpuList>(), Err(CpuListError::NoCpu(text.to_owned())));
        }
        assert_eq!(parse_error("7-4"), "the range 7-4 runs backwards: write 4-7");
        assert_eq!(parse_error("0-1024"), "there is no processor 1024: the highest number is 1023");
    }

    #[test]
    fn a_processor_outside_of_the_allowed_ones_is_named() {
        let allowed = CpuList::allowed().unwrap();
        let first = allowed.iter().next().unwrap();
        let error = pin_current_thread(&list(&format!("{first},1023"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("processors 1023 may not be used by this process; allowed: {allowed}")
        );
    }

    #[test]
    fn a_thread_is_pinned_alone() {
        let allowed = CpuList::allowed().unwrap();
        let before = status("Cpus_allowed_list");
        let last = list(&allowed.iter().last().unwrap().to_string());
        let pinned = thread::spawn(move || {
            pin_current_thread(&last).unwrap();
            (status("Cpus_allowed_list"), last.to_string())
        });
        let (is, wanted) = pinned.join().unwrap();
        assert_eq!(is, wanted);
        assert_eq!(status("Cpus_allowed_list"), before);
        assert_eq!(CpuList::allowed().unwrap(), allowed);
    }

    #[test]
    fn a_thread_is_made_nice_alone() {
        let before = nice();
        let niced = thread::spawn(|| {
            nice_current_thread(19).unwrap();
            nice()
        });
        assert_eq!(niced.join().unwrap(), 19);
        assert_eq!(nice(), before);
    }
}
