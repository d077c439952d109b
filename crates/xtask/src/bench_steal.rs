//! What the host of a virtual machine takes from it: time in which one of its processors had work and did not run.

use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Watches one turn after the other until `is_over` has no sender any more, and tells what `since_boot` has grown by in each,
/// the last one as far as it came.
///
/// # Errors
/// Those of `since_boot`.
pub(crate) fn of_turns(
    began: Instant,
    turn: Duration,
    is_over: &Receiver<()>,
    mut since_boot: impl FnMut() -> Result<u64>,
) -> Result<Vec<u64>> {
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

/// What was stolen from all processors, in ticks of /proc/stat.
///
/// # Errors
/// It can't be read, or does not tell.
pub(crate) fn since_boot() -> Result<u64> {
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

    use super::*;

    #[test]
    fn steal_is_the_eighth_number_of_all_processors() {
        let stat = "cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1 2 3 4 5 6 7 44 9 10\n";
        assert_eq!(steal_of(stat), Some(88));
        assert_eq!(steal_of("cpu  1 2 3 4\ncpu0 1 2 3 4 5 6 7 44\n"), None);
    }

    #[test]
    fn each_turn_is_told_and_the_last_one_as_far_as_it_came() {
        let (over, is_over) = mpsc::channel();
        let (mut over, mut readings) = (Some(over), [100, 107, 107, 110, 150].into_iter());
        let since_boot = || {
            let reading = readings.next().context("one reading too many")?;
            if reading == 110 {
                drop(over.take());
            }
            Ok(reading)
        };
        // The first two turns have ended by now, and a third.
        let turn = Duration::from_secs(1);
        let began = Instant::now().checked_sub(turn * 3).unwrap();
        assert_eq!(of_turns(began, turn, &is_over, since_boot).unwrap(), [7, 0, 3, 40]);
    }

    #[test]
    fn this_kernel_tells() {
        assert!(since_boot().is_ok());
    }
}
