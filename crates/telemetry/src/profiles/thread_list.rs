//! Every thread with its processor time.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use super::profile::{Call, Profile};
use crate::threads::{Thread, all};

/// A line for each thread, those that used most first.
pub(super) fn text() -> String {
    let mut threads = all();
    threads.sort_by_key(|thread| std::cmp::Reverse(thread.user + thread.system));
    let mut text = format!(
        "{:>8} {:<15} {:>5} {:>10} {:>10} {:>10} {:>10}  {}\n",
        "tid", "name", "state", "user_s", "system_s", "switches", "preempted", "waits_in"
    );
    for thread in threads {
        let Thread { tid, name, state, user, system, .. } = thread;
        let (user, system) = (user.as_secs_f64(), system.as_secs_f64());
        let status =
            fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map_or("", |value| value.trim_start_matches(':').trim()).to_owned()
        };
        let (own, forced) = (field("voluntary_ctxt_switches"), field("nonvoluntary_ctxt_switches"));
        let wchan = fs::read_to_string(format!("/proc/self/task/{tid}/wchan")).unwrap_or_default();
        // A String takes every write.
        let _ = writeln!(
            text,
            "{tid:>8} {name:<15} {state:>5} {user:>10.2} {system:>10.2} {own:>10} {forced:>10}  {}",
            if wchan == "0" { "" } else { &wchan }
        );
    }
    text
}

/// A sample for each thread: its name, in its own code and in the kernel.
pub(super) fn profile() -> Vec<u8> {
    let mut profile = Profile::new(&[("threads", "count"), ("cpu", "nanoseconds")]);
    for thread in all() {
        let frame = |name: &str| vec![Call { name: name.to_owned(), file: String::new(), line: 0 }];
        let labels = [("thread", thread.name.as_str()), ("state", &thread.state)];
        for (place, count, time) in [("user", 1, thread.user), ("system", 0, thread.system)] {
            profile.sample(&[frame(place), frame(&thread.name)], vec![count, nanos(time)], &labels);
        }
    }
    profile.finish()
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
