//! What scans remember of processes. Kernel threads are most of the processes of a quiet host, thousands on a large one, and
//! never leave the host's namespace: from the third scan on, none of them is looked at.

use nix::libc::PF_KTHREAD;
use sockeye_sys::netns::NetnsId;

/// A process in a listing of procfs.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Listed {
    pub(crate) pid: u32,
    /// Of its directory in procfs, which is another one when the id was reused. The kernel may give a process a new one.
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
    /// Not looked at closely: most processes that come and go are seen by one scan.
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

    /// A scan has found it in what seems to be the host's own namespace. `stat` reads its file of that name, once.
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
        let kind = match before.next_if(|one| one.listed == *listed).map(|one| one.kind) {
            Some(Kind::New) => Kind::SeenBefore,
            Some(kind) => kind,
            None => Kind::New,
        };
        Remembered { listed: *listed, kind }
    };
    listing.iter().map(recall).collect()
}

/// Whether it is a child of `kthreadd`: those never execute a program, unlike the helpers that the kernel starts. `stat`: see
/// `proc_pid_stat(5)`. In a process namespace of its own, process 2 is another one, and its children lack the flag.
fn is_kernel_thread(stat: &[u8]) -> bool {
    // The name, in parentheses, may hold anything.
    let rest = String::from_utf8_lossy(stat);
    let mut fields = rest.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().skip(1);
    let parent = fields.next().and_then(|field| field.parse::<u32>().ok());
    let flags = fields.nth(4).and_then(|field| field.parse::<u32>().ok());
    parent == Some(KTHREADD) && flags.is_some_and(|flags| flags & PF_KTHREAD.cast_unsigned() != 0)
}

/// The process that all kernel threads come from.
const KTHREADD: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: NetnsId = NetnsId { device: 4, inode: 1 };
    const KWORKER: &[u8] = b"17 (kworker/0:1) S 2 0 0 0 -1 69238880 0 0";
    const SHELL: &[u8] = b"17 (kworker) S 2) S 1 17 17 0 -1 4194560 0 0";

    fn listed(pid: u32, inode: u64) -> Listed {
        Listed { pid, inode }
    }

    #[test]
    fn a_kernel_thread_is_a_child_of_kthreadd_with_the_flag() {
        assert!(is_kernel_thread(KWORKER));
        for other in [
            SHELL,
            // A helper that a kernel thread has started, before it executes its program.
            b"17 (modprobe) S 9 0 0 0 -1 69238880 0 0",
            // A child of process 2 of a container.
            b"17 (sh) S 2 0 0 0 -1 4194560 0 0",
            b"17 (kworker/0:1) S 2 0 0 0",
            b"",
        ] {
            assert!(!is_kernel_thread(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_process_is_looked_at_closely_by_the_second_scan_that_finds_it_and_never_again() {
        for (stat, expected) in [(KWORKER, Some(HOST)), (SHELL, None)] {
            let mut seen = recall(&[], &[listed(17, 5)]);
            seen[0].found_in_default(HOST, || panic!("not by the first"));
            seen = recall(&seen, &[listed(17, 5)]);
            assert_eq!(seen[0].kernel_threads_netns(), None);
            // It has just ended, or may not be read.
            seen[0].found_in_default(HOST, || None);
            seen[0].found_in_default(HOST, || Some(stat.to_vec()));
            seen = recall(&seen, &[listed(17, 5)]);
            assert_eq!(seen[0].kernel_threads_netns(), expected);
            seen[0].found_in_default(HOST, || panic!("not by the third"));
        }
    }

    #[test]
    fn whoever_has_a_reused_id_is_new_and_the_others_are_known() {
        let known =
            |pid, inode| Remembered { listed: listed(pid, inode), kind: Kind::KernelThread(HOST) };
        let before = [known(3, 9), known(5, 9), known(6, 9), known(7, 1), known(9, 2)];
        let listing = [listed(3, 9), listed(4, 9), listed(6, 8), listed(7, 2), listed(9, 2)];
        let now: Vec<_> = recall(&before, &listing)
            .iter()
            .map(|one| (one.listed.pid, one.kernel_threads_netns().is_some()))
            .collect();
        assert_eq!(now, [(3, true), (4, false), (6, false), (7, false), (9, true)]);
    }
}
