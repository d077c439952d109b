//! What this process may do, and what it can't see for want of it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use sockeye_sys::capabilities::{self, Capability};
use sockeye_wire::AttrSet;
use sockeye_wire::attrs::nr::MARK;

use crate::cli::CollectArgs;
use crate::config::values::When;
use crate::exit::Failure;

/// The privileges that reading other namespaces takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a privilege of its own")]
pub(crate) struct Privileges {
    /// `CAP_SYS_ADMIN`: `setns` into other network namespaces.
    pub(crate) enter_others: bool,
    /// `CAP_SYS_PTRACE`: `/proc/PID/ns/net` of other users' processes.
    pub(crate) find_others: bool,
    /// `CAP_NET_ADMIN`: the column mark; and to give a namespace the id that the ends of its connections are told by.
    pub(crate) read_mark: bool,
    /// `CAP_NET_BROADCAST`: to hear of connections that end in other namespaces.
    pub(crate) hear_others: bool,
    /// In a user namespace made for it, where capabilities reach no further than what was made inside.
    pub(crate) confined: bool,
}

impl Privileges {
    /// Those of the calling thread. One that can't be read counts as missing.
    pub(crate) fn current() -> Self {
        let has = capabilities::has;
        Self {
            enter_others: has(Capability::CAP_SYS_ADMIN),
            find_others: has(Capability::CAP_SYS_PTRACE),
            read_mark: has(Capability::CAP_NET_ADMIN),
            hear_others: has(Capability::CAP_NET_BROADCAST),
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

/// What these options want to read, and so which capabilities it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    others: bool,
    mark: Mark,
    closed: When,
}

/// Whether the mark is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Some column shows it, or the filter looks at it, by name.
    Named,
    /// It is among all columns.
    WhereItCanBe,
    /// Nobody sees it.
    Not,
}

impl Wanted {
    /// `shown` is what some column shows and what the filter looks at; `filter` what the filter alone does.
    pub(crate) fn of(collect: &CollectArgs, shown: AttrSet, filter: AttrSet, closed: When) -> Self {
        let named = filter.contains(MARK) || (shown.contains(MARK) && collect.columns.is_some());
        let mark = match (named, shown.contains(MARK)) {
            (true, _) => Mark::Named,
            (false, true) => Mark::WhereItCanBe,
            (false, false) => Mark::Not,
        };
        Self { others: !collect.netns.own_netns_only, mark, closed }
    }

    /// Everything that must be there for what is wanted, and what for.
    fn needed(&self) -> impl Iterator<Item = (Capability, &'static str)> {
        let others = [ENTER, FIND].into_iter().filter(|_| self.others);
        let hear = [HEAR].into_iter().filter(|_| self.others && self.closed == When::On);
        others.chain(hear).chain([READ_MARK].into_iter().filter(|_| self.mark == Mark::Named))
    }

    /// What is of use once everything is open. What hears of closed sockets is by then; it takes the same capability as the
    /// mark to give an id to a namespace that has none.
    pub(crate) fn kept(&self) -> Vec<Capability> {
        let gives_ids = self.others && self.closed != When::Off;
        let admin = (self.mark == Mark::WhereItCanBe || gives_ids).then_some(READ_MARK);
        let needed = self.needed().filter(|it| *it != HEAR);
        needed.chain(admin).map(|(capability, _)| capability).collect()
    }

    /// `--require full`: everything that is wanted can be read.
    ///
    /// # Errors
    /// What is missing, by name.
    pub(crate) fn check(&self, privileges: Privileges) -> Result<(), Failure> {
        let missing = self.needed().filter(|(capability, _)| !privileges.has(*capability));
        let missing: Vec<String> =
            missing.map(|(capability, what_for)| format!("{capability} ({what_for})")).collect();
        let why = if !missing.is_empty() {
            missing.join(", ")
        } else if self.others && privileges.confined {
            "the host's own user namespace (this one reaches nothing outside)".into()
        } else {
            return Ok(());
        };
        Err(Failure::usage(format!(
            "--require full: missing {why}; allowed: to have them, or --require available"
        )))
    }

    /// The same after the start, when what opens sockets alone has been given up.
    ///
    /// # Errors
    /// What is missing, by name.
    pub(crate) fn check_again(&self, privileges: Privileges) -> Result<(), Failure> {
        self.check(Privileges { hear_others: true, ..privileges })
    }

    /// What stays unseen of what was asked for by name, besides namespaces.
    pub(crate) fn shortfall(&self, privileges: Privileges) -> Option<&'static str> {
        (self.mark == Mark::Named && !privileges.read_mark).then_some(
            "the mark of sockets is not read without CAP_NET_ADMIN: the column mark is absent",
        )
    }
}

impl Privileges {
    fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::CAP_SYS_ADMIN => self.enter_others,
            Capability::CAP_SYS_PTRACE => self.find_others,
            Capability::CAP_NET_ADMIN => self.read_mark,
            Capability::CAP_NET_BROADCAST => self.hear_others,
            _ => false,
        }
    }
}

const ENTER: (Capability, &str) = (Capability::CAP_SYS_ADMIN, "to enter other network namespaces");
const FIND: (Capability, &str) =
    (Capability::CAP_SYS_PTRACE, "to find namespaces of other users' processes in /proc");
const HEAR: (Capability, &str) =
    (Capability::CAP_NET_BROADCAST, "to hear of connections that end in other namespaces");
const READ_MARK: (Capability, &str) = (Capability::CAP_NET_ADMIN, "to read the mark of sockets");

/// The inode of the host's user namespace, in every kernel since Linux 3.8.
const PROC_USER_INIT_INO: u64 = 0xefff_fffd;
