//! The process as the kernel sees it: memory, processor time, open files.

use std::fs;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

/// Figures of our own process; zero where `/proc` does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    /// Memory that is in RAM.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Processor time in our own code.
    pub user: Duration,
    /// Processor time that the kernel spent for us.
    pub system: Duration,
    /// Threads.
    pub threads: u64,
    /// Open files.
    pub open_files: u64,
}

impl Process {
    /// Reads them.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = Stat::parse(&stat).unwrap_or_default();
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let mut pages = statm.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0u64));
        let page = page_size() as u64;
        // The descriptor of the very folder is one of them.
        let open = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1));
        Self {
            virtual_bytes: pages.next().unwrap_or(0) * page,
            resident_bytes: pages.next().unwrap_or(0) * page,
            user: fields.user,
            system: fields.system,
            threads: fields.threads,
            open_files: open as u64,
        }
    }
}

/// What `/proc/PID/stat` and `/proc/PID/task/TID/stat` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) threads: u64,
    /// In ticks since boot: tells a thread from one that had its number before.
    pub(crate) started: u64,
}

impl Stat {
    /// `None` where that is no such line. The name may hold blanks and parentheses.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (begin, end) = (line.find('(')?, line.rfind(')')?);
        let name = line.get(begin + 1..end)?;
        let fields: Vec<&str> = line.get(end + 1..)?.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - FIRST_FIELD)?.parse::<u64>().ok();
        let ticks = clock_ticks_per_second().max(1);
        let time = |ticks_used: u64| Duration::from_millis(ticks_used * 1000 / ticks);
        Some(Self {
            name: name.to_owned(),
            state: (*fields.first()?).to_owned(),
            user: time(number(14)?),
            system: time(number(15)?),
            threads: number(20)?,
            started: number(22)?,
        })
    }
}

/// Of those behind the name, as proc(5) counts them.
const FIRST_FIELD: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_blanks_and_parentheses() {
        let line = "17 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 1234 99 5";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.name.as_str(), stat.state.as_str()), ("a) b (c", "R"));
        let tick = 1000 / clock_ticks_per_second();
        assert_eq!(stat.user, Duration::from_millis(250 * tick));
        assert_eq!(stat.system, Duration::from_millis(50 * tick));
        assert_eq!((stat.threads, stat.started), (9, 1234));
        assert_eq!(Stat::parse("nonsense"), None);
        assert_eq!(Stat::parse("1 (short) R 1"), None);
    }

    #[test]
    fn our_own_process_has_memory_threads_and_files() {
        let process = Process::read();
        assert!(process.resident_bytes > 1 << 20 && process.virtual_bytes > process.resident_bytes);
        assert!(process.threads >= 1 && process.open_files >= 3);
    }
}
