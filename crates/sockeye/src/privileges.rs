//! What this process may do, and what it can't see for want of it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use caps::{CapSet, Capability};

/// The privileges that reading other namespaces takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a privilege of its own")]
pub(crate) struct Privileges {
    /// `CAP_SYS_ADMIN`: `setns` into other network namespaces.
    pub(crate) enter_others: bool,
    /// `CAP_SYS_PTRACE`: `/proc/PID/ns/net` of other users' processes.
    pub(crate) find_others: bool,
    /// `CAP_NET_ADMIN`: the column mark.
    pub(crate) read_mark: bool,
    /// In a user namespace made for it, where capabilities reach no further than what was made inside.
    pub(crate) confined: bool,
}

impl Privileges {
    /// Those of the calling thread. One that can't be read counts as missing.
    pub(crate) fn current() -> Self {
        let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        Self {
            enter_others: has(Capability::CAP_SYS_ADMIN),
            find_others: has(Capability::CAP_SYS_PTRACE),
            read_mark: has(Capability::CAP_NET_ADMIN),
            confined: fs::metadata("/proc/self/ns/user")
                .is_ok_and(|it| it.ino() != PROC_USER_INIT_INO),
        }
    }

    /// One line about the namespaces that stay unseen, and why; `None` when nothing is missing.
    pub(crate) fn shortfall(self) -> Option<&'static str> {
        match (self.enter_others, self.find_others) {
            (true, true) if self.confined => Some(
                "only network namespaces of this user namespace are read: nothing inside of it may enter those of the \
                 host; run as root of the host to see all",
            ),
            (true, true) => None,
            (false, _) => Some(
                "only this network namespace is read: others need CAP_SYS_ADMIN (to enter them) and CAP_SYS_PTRACE \
                 (to find them in /proc); run as root to see all",
            ),
            (true, false) => Some(
                "network namespaces of other users' processes are not found without CAP_SYS_PTRACE; \
                 bind mounts (ip netns) are",
            ),
        }
    }
}

/// The inode of the host's user namespace, in every kernel since Linux 3.8.
const PROC_USER_INIT_INO: u64 = 0xefff_fffd;
