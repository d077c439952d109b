//! What scans remember of processes. Kernel threads are most of the processes of a quiet host, thousands on a large one, and
//! never leave the host's namespace: from the third scan on, none of them is looked at.

use nix::libc::PF_KTHREAD;
use sockeye_sys::netns::NetnsId;

/// A process in a listing of procfs.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Listed {
    pub(crate) pid: u32,
    /// Of its directory in procfs: from a counter, so another one when the id was reused. The kernel may give a process a new one,
    /// and shows [`NO_INODE`] when it has no memory for one.
    pub(crate) inode: u64,
}

/// A process, and what is known of it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remembered {
    pub(crate) listed: Listed,
    kind: Kind,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Kind {
    /// Not looked at closely: most processes that come and go are seen by one scan alone.
    New,
    SeenBefore,
    /// It may enter another namespace at any time.
    Process,
    KernelThread(NetnsId),
}

impl Remembered {
    /// The namespace of a kernel thread.
    pub(crate) fn kernel_threads_netns(&self) -> Option<NetnsId> {
        match self.kind {
            Kind::KernelThread(id) => Some(id),
            _ => None,
        }
    }

    /// A scan has found it in what seems to be the host's own namespace. `stat` reads its file of that name: at the second scan,
    /// and at further ones while it can't.
    pub(crate) fn found_in_default(&mut self, id: NetnsId, stat: impl FnOnce() -> Option<Vec<u8>>) {
        if self.kind == Kind::SeenBefore {
            self.kind = match stat() {
                Some(stat) if is_kernel_thread(&stat) => Kind::KernelThread(id),
                Some(_) => Kind::Process,
                None => Kind::SeenBefore,
            };
        }
    }
}

/// What is known of the processes in `listing`, in the order of their ids. Both are in that order.
pub(crate) fn recall(before: &[Remembered], listing: &[Listed]) -> Vec<Remembered> {
    let mut before = before.iter().peekable();
    let recall = |listed: &Listed| {
        while before.next_if(|one| one.listed < *listed).is_some() {}
        let same = before.next_if(|one| one.listed == *listed);
        let kind = match same.filter(|_| listed.inode != NO_INODE).map(|one| one.kind) {
            Some(Kind::New) => Kind::SeenBefore,
            Some(kind) => kind,
            None => Kind::New,
        };
        Remembered { listed: *listed, kind }
    };
    listing.iter().map(recall).collect()
}

/// Whether it is a child of `kthreadd` that ignores every signal; `stat`: see `proc_pid_stat(5)`. Such a one never executes a
/// program, and never leaves the namespace that it was born in. Before Linux 5.19, the helpers that the kernel starts (kernel/umh.c)
/// look the same until they execute theirs, but for the signals: these they make their own before anything else.
///
/// In a process namespace of its own, process 2 is another one, and its children lack the flag.
fn is_kernel_thread(stat: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stat);
    // The name, in parentheses, may hold anything. Behind it is the third field.
    let behind = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
    let (parent, flags, ignored) = (field(4), field(9), field(33));
    parent == Some(KTHREADD)
        && flags.is_some_and(|flags| flags & PF_KTHREAD.cast_unsigned() != 0)
        && ignored == Some(ALL_SIGNALS)
}

/// The process that all kernel threads come from.
const KTHREADD: u32 = 2;
/// All that this field shows: the lowest 31.
const ALL_SIGNALS: u32 = 0x7fff_ffff;
/// See `proc_fill_cache` in fs/proc/base.c.
const NO_INODE: u64 = 1;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What `stat` says of a process with this name, parent and flags, and the signals that it ignores.
    pub(crate) fn stat(name: &str, parent: u32, flags: u32, ignored: u32) -> String {
        let between = "0 ".repeat(23);
        format!("17 ({name}) S {parent} 0 0 0 -1 {flags} {between}{ignored} 0 1")
    }

    pub(crate) const KWORKER: u32 = 69_238_880;
    const PROGRAM: u32 = 4_194_560;
    const HOST: NetnsId = NetnsId { device: 4, inode: 1 };

    fn listed(pid: u32, inode: u64) -> Listed {
        Listed { pid, inode }
    }

    #[test]
    fn a_kernel_thread_is_a_child_of_kthreadd_with_the_flag_that_ignores_all_signals() {
        // From Linux 6.18.
        let real = "17 (rcu_exp_gp_kthread_worker) S 2 0 0 0 -1 2129984 0 0 0 0 0 361 0 0 20 0 1 0 24 0 0 \
            18446744073709551615 0 0 0 0 0 0 0 2147483647 0 1 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";
        assert!(is_kernel_thread(real.as_bytes()));
        assert!(is_kernel_thread(stat("kworker/0:1", 2, KWORKER, ALL_SIGNALS).as_bytes()));
        for other in [
            stat("kworker) S 2", 1, PROGRAM, 0),
            // Helpers that the kernel has started, before they execute their program.
            stat("kworker/u4:0", 9, KWORKER, 0),
            stat("kworker/u4:0", 2, KWORKER, 0),
            // A child of process 2 of a container.
            stat("sh", 2, PROGRAM, ALL_SIGNALS),
            "17 (kworker/0:1) S 2 0 0 0 -1 69238880".to_owned(),
            String::new(),
        ] {
            assert!(!is_kernel_thread(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_process_is_looked_at_closely_by_the_second_scan_that_finds_it_and_never_again() {
        let thread = stat("kworker/0:1", 2, KWORKER, ALL_SIGNALS);
        for (stat, expected) in [(thread, Some(HOST)), (stat("sh", 1, PROGRAM, 0), None)] {
            let mut seen = recall(&[], &[listed(17, 5)]);
            seen[0].found_in_default(HOST, || panic!("not by the first"));
            seen = recall(&seen, &[listed(17, 5)]);
            assert_eq!(seen[0].kernel_threads_netns(), None);
            // It has just ended, or may not be read.
            seen[0].found_in_default(HOST, || None);
            seen[0].found_in_default(HOST, || Some(stat.into_bytes()));
            seen = recall(&seen, &[listed(17, 5)]);
            assert_eq!(seen[0].kernel_threads_netns(), expected);
            seen[0].found_in_default(HOST, || panic!("not by the third"));
        }
    }

    #[test]
    fn whoever_has_a_reused_id_is_new_and_the_others_are_known() {
        let known =
            |pid, inode| Remembered { listed: listed(pid, inode), kind: Kind::KernelThread(HOST) };
        let before = [known(3, 9), known(5, 9), known(6, 9), known(7, 2), known(8, 1), known(9, 2)];
        let listing =
            [listed(3, 9), listed(4, 9), listed(6, 8), listed(7, 3), listed(8, 1), listed(9, 2)];
        let now: Vec<_> = recall(&before, &listing)
            .iter()
            .map(|one| (one.listed.pid, one.kernel_threads_netns().is_some()))
            .collect();
        let expected = [(3, true), (4, false), (6, false), (7, false), (8, false), (9, true)];
        assert_eq!(now, expected);
    }
}
