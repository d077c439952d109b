//! What the host of a virtual machine takes from it: time in which one of its processors had work and did not run.

use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Watches one turn after the other until `is_over` has no sender any more, and tells what was stolen in each, the last one
/// as far as it came, in ticks of the clock of /proc/stat, of all processors.
///
/// # Errors
/// /proc/stat can't be read.
pub(crate) fn of_turns(began: Instant, turn: Duration, is_over: &Receiver<()>) -> Result<Vec<u64>> {
    let (mut stolen, mut before) = (Vec::new(), since_boot()?);
    let mut end = began + turn;
    loop {
        let rest = end.saturating_duration_since(Instant::now());
        let ended = is_over.recv_timeout(rest) != Err(RecvTimeoutError::Timeout);
        let now = since_boot()?;
        stolen.push(now.saturating_sub(before));
        if ended {
            return Ok(stolen);
        }
        (before, end) = (now, end + turn);
    }
}

fn since_boot() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    steal_of(&stat).with_context(|| format!("/proc/stat has no steal: {stat:?}"))
}

/// `cpu  user nice system idle iowait irq softirq steal …` (proc(5)).
fn steal_of(stat: &str) -> Option<u64> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    all.split_ascii_whitespace().nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn steal_is_the_eighth_number_of_all_processors() {
        let stat = "cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1 2 3 4 5 6 7 44 9 10\n";
        assert_eq!(steal_of(stat), Some(88));
        assert_eq!(steal_of("cpu  1 2 3 4\ncpu0 1 2 3 4 5 6 7 44\n"), None);
    }

    #[test]
    fn each_turn_is_told() {
        let (over, is_over) = mpsc::channel();
        let turn = Duration::from_millis(20);
        let watch = thread::spawn(move || of_turns(Instant::now(), turn, &is_over));
        thread::sleep(turn * 4);
        drop(over);
        let turns = watch.join().unwrap().unwrap().len();
        assert!((4..=50).contains(&turns), "{turns}");
    }
}
