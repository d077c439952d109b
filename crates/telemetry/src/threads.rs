//! Processor time by what threads do. Threads come and go; what they used stays counted.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

use crate::process::Stat;

/// What threads of one kind have used since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in our own code.
    pub user: Duration,
    /// Processor time that the kernel spent for them.
    pub system: Duration,
    /// How many there are now.
    pub threads: u64,
}

/// Adds up processor time by kind of thread. What a thread used after it was last read is lost with it: read often.
#[derive(Debug)]
pub struct Threads {
    kind_of: fn(&str) -> &'static str,
    seen: HashMap<(u32, u64), (Duration, Duration)>,
    totals: BTreeMap<&'static str, Usage>,
}

/// A thread as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub tid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// `R` running, `S` sleeping, `D` waiting for a disk, and so on.
    pub state: String,
    /// Processor time in our own code.
    pub user: Duration,
    /// Processor time that the kernel spent for it.
    pub system: Duration,
    started: u64,
}

impl Threads {
    /// `kinds` are those that are always shown; `kind_of` tells the kind by a thread's name.
    pub fn new(kinds: &[&'static str], kind_of: fn(&str) -> &'static str) -> Self {
        let totals = kinds.iter().map(|kind| (*kind, Usage::default())).collect();
        Self { kind_of, seen: HashMap::new(), totals }
    }

    /// Looks at every thread once.
    pub fn read(&mut self) {
        self.add(all());
    }

    /// By kind.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, Usage)> + '_ {
        self.totals.iter().map(|(kind, usage)| (*kind, *usage))
    }

    fn add(&mut self, threads: Vec<Thread>) {
        self.totals.values_mut().for_each(|usage| usage.threads = 0);
        let before = std::mem::take(&mut self.seen);
        for thread in threads {
            let key = (thread.tid, thread.started);
            let (user, system) = before.get(&key).copied().unwrap_or_default();
            let usage = self.totals.entry((self.kind_of)(&thread.name)).or_default();
            usage.threads += 1;
            usage.user += thread.user.saturating_sub(user);
            usage.system += thread.system.saturating_sub(system);
            // The kernel may take some of one back in favour of the other.
            self.seen.insert(key, (thread.user.max(user), thread.system.max(system)));
        }
    }
}

/// Every thread of our process. One that ends meanwhile is left out.
pub fn all() -> Vec<Thread> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let tids = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
    let read = |tid: u32| {
        let stat = fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
        let Stat { name, state, user, system, started, .. } = Stat::parse(&stat)?;
        Some(Thread { tid, name, state, user, system, started })
    };
    tids.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(tid: u32, started: u64, name: &str, user: u64) -> Thread {
        let (name, state) = (name.to_owned(), "S".to_owned());
        Thread {
            tid,
            name,
            state,
            user: Duration::from_secs(user),
            system: Duration::ZERO,
            started,
        }
    }

    fn kind(name: &str) -> &'static str {
        if name.starts_with("nl-") { "reader" } else { "other" }
    }

    #[test]
    fn what_a_thread_used_stays_counted_when_it_has_gone_and_its_number_is_used_again() {
        let mut threads = Threads::new(&["reader", "sink"], kind);
        threads.add(vec![thread(1, 5, "main", 2), thread(2, 6, "nl-1", 10)]);
        threads.add(vec![thread(1, 5, "main", 3)]);
        threads.add(vec![thread(1, 5, "main", 3), thread(2, 9, "nl-2", 4)]);
        let totals: Vec<(&str, u64, u64)> = threads
            .totals()
            .map(|(kind, usage)| (kind, usage.user.as_secs(), usage.threads))
            .collect();
        assert_eq!(totals, [("other", 3, 1), ("reader", 14, 1), ("sink", 0, 0)]);
    }

    #[test]
    fn a_counter_of_the_kernel_that_goes_back_is_not_counted_twice() {
        let mut threads = Threads::new(&[], kind);
        for user in [10, 9, 11] {
            threads.add(vec![thread(1, 1, "nl-1", user)]);
        }
        assert_eq!(threads.totals().next().unwrap().1.user, Duration::from_secs(11));
    }

    #[test]
    fn our_own_threads_are_found_by_name() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let named = std::thread::Builder::new().name("a name".into());
        let thread = named.spawn(move || wait.recv().is_err()).unwrap();
        // The new thread gives itself its name.
        let mut found = false;
        for _ in 0..1000 {
            found = all().iter().any(|thread| thread.name == "a name");
            if found {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(found);
        drop(done);
        assert!(thread.join().unwrap());
    }
}
