//! What this process may do, and what it can't see for want of it.

use caps::{CapSet, Capability};

/// The privileges that reading other namespaces takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Privileges {
    /// `CAP_SYS_ADMIN`: `setns` into other network namespaces.
    pub(crate) enter_others: bool,
    /// `CAP_SYS_PTRACE`: `/proc/PID/ns/net` of other users' processes.
    pub(crate) find_others: bool,
    /// `CAP_NET_ADMIN`: the column mark.
    pub(crate) read_mark: bool,
}

impl Privileges {
    /// Those of the calling thread. One that can't be read counts as missing.
    pub(crate) fn current() -> Self {
        let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        Self {
            enter_others: has(Capability::CAP_SYS_ADMIN),
            find_others: has(Capability::CAP_SYS_PTRACE),
            read_mark: has(Capability::CAP_NET_ADMIN),
        }
    }

    /// One line about the namespaces that stay unseen, and why; `None` when nothing is missing.
    pub(crate) fn shortfall(self) -> Option<&'static str> {
        match (self.enter_others, self.find_others) {
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
