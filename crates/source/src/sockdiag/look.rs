//! A look around inside a namespace: what its counters say, what that means for the plan, and a socket to ask with.

use std::io;
use std::path::Path;
use std::sync::Arc;

use sockeye_filter::Resolved;
use sockeye_netns::Census;
use sockeye_sys::DiagSocket;
use sockeye_wire::StateSet;

use super::memory::Memory;
use super::plan::{Bound, Counts, First, PlanMode, SMALL, bound, first, hidden, still};
use super::reader::{RECEIVE_TIMEOUT, Shared};
use super::settings::{Netlinkers, Settings, processors};

/// What was seen.
#[derive(Debug)]
pub(crate) struct Look {
    /// The counters, to read them once more.
    pub(crate) census: Option<Census>,
    pub(crate) counts: Option<Counts>,
    /// Connections opened so far, where that may be of use.
    pub(crate) opens: Option<u64>,
    /// There may be sockets that are bound and neither listen nor connect.
    pub(crate) bound: bool,
    /// States that a walk is to leave out, since no socket is in them.
    pub(crate) left_out: StateSet,
    /// The kernel has sockets of its own.
    pub(crate) kernel_sockets: bool,
    pub(crate) first: First,
    /// None where there is nothing to ask for.
    pub(crate) socket: Option<DiagSocket>,
    pub(crate) filter: Option<Arc<Resolved>>,
}

impl Look {
    /// To be called inside the namespace by the reader that leads.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub(crate) fn around(
        shared: &Shared,
        memory: &Memory,
        proc_root: &Path,
        check: bool,
    ) -> io::Result<Self> {
        let settings = &shared.settings;
        let wanted = settings.states;
        let mut look = Self {
            census: None,
            counts: None,
            opens: None,
            bound: wanted.intersects(StateSet::BOUND_INACTIVE),
            left_out: StateSet::NONE,
            kernel_sockets: false,
            first: First::Walk,
            socket: None,
            filter: shared.resolve_filter(),
        };
        // What is not among connections is asked for directly: that is as cheap as counting.
        if !wanted.is_within(StateSet::UNCONNECTED) {
            look.count(proc_root);
        }
        if settings.plan == PlanMode::Auto {
            look.leave_out_bound(memory);
            if !shared.filters_in_kernel() {
                look.plan(wanted, memory, check);
            }
        }
        if look.first != First::Nothing {
            look.socket = Some(DiagSocket::open(RECEIVE_TIMEOUT)?);
        }
        Ok(look)
    }

    /// To be called by a reader that was given its part, and which states it is to leave out.
    ///
    /// # Errors
    /// As of [`Look::around`].
    pub(crate) fn at_a_part(shared: &Shared, left_out: StateSet) -> io::Result<Self> {
        Ok(Self {
            census: None,
            counts: None,
            opens: None,
            bound: true,
            left_out,
            kernel_sockets: false,
            first: First::Walk,
            socket: Some(DiagSocket::open(RECEIVE_TIMEOUT)?),
            filter: shared.resolve_filter(),
        })
    }

    /// Whether mini-sockets, should there be any, are worth being looked up at the next poll.
    pub(crate) fn may_hide(&self, shared: &Shared) -> bool {
        let Settings { plan, states, .. } = &shared.settings;
        *plan == PlanMode::Auto
            && !shared.filters_in_kernel()
            && states.intersects(StateSet::TIME_WAITERS)
            && self.counts.is_some_and(|counts| counts.in_use <= SMALL)
    }

    /// How many readers the namespace is worth.
    pub(crate) fn readers(&self, shared: &Shared) -> u16 {
        let in_use = self.counts.map_or(0, |counts| counts.in_use);
        shared.settings.netlinkers.readers(in_use, shared.settings.split_from)
    }

    fn count(&mut self, proc_root: &Path) {
        // Without counters, which a hardened /proc may hide, the table is walked.
        self.census = Census::open(proc_root).ok();
        let stat = self.census.as_ref().and_then(|census| census.sockstat().ok());
        self.counts = stat.map(Counts::from);
    }

    /// Sockets that are bound and do nothing are not asked for where the counters leave no room for one. Their table holds every
    /// socket that has a port, and a walk of it finds next to nothing.
    fn leave_out_bound(&mut self, memory: &Memory) {
        let (Some(counts), Some(census), true) = (self.counts, &self.census, self.bound) else {
            return;
        };
        let by_protocols = || census.in_use_by_protocols().ok();
        if counts.in_use <= SMALL {
            // As many sockets as TCP counts, or else as many as all protocols count: no other can be bound. Checks look after it.
            let used = u64::from(counts.used);
            let counted = if used == counts.in_use { Some(used) } else { by_protocols() };
            self.kernel_sockets = counted.is_some_and(|counted| counted > used);
            self.bound = memory.kernel_sockets || counted != Some(used);
            if !self.bound {
                self.left_out = StateSet::BOUND_INACTIVE;
            }
        } else if !memory.kernel_sockets {
            let counted = by_protocols();
            let bound = bound(counts, counted, census.sockstat().ok().map(Counts::from));
            if bound == Bound::None {
                self.left_out = StateSet::BOUND_INACTIVE;
            }
            self.kernel_sockets = bound == Bound::Hidden;
        }
    }

    fn plan(&mut self, wanted: StateSet, memory: &Memory, check: bool) {
        self.first = first(wanted, self.counts, self.bound);
        if check && self.first == First::Nothing {
            self.first = First::Unconnected;
        }
        if self.first != First::Unconnected {
            return;
        }
        let needed = |counts| check || memory.needs_opens(counts, hidden(wanted, counts));
        let Some(census) = self.census.as_ref().filter(|_| self.counts.is_some_and(needed)) else {
            return;
        };
        // Before the sockets are counted: what is opened in between is then in the count of sockets, or in the next count of
        // what was opened.
        self.opens = census.opens().ok();
        let counts = census.sockstat().ok().map(Counts::from);
        if !still(self.counts, counts) {
            // What was said of bound sockets was said of other counts.
            self.left_out = StateSet::NONE;
            self.bound = wanted.intersects(StateSet::BOUND_INACTIVE);
        }
        self.counts = counts;
    }
}

impl Netlinkers {
    /// Readers for a namespace with so many sockets in use.
    fn readers(self, in_use: u64, split_from: u64) -> u16 {
        match self {
            Self::Fixed(readers) if in_use >= split_from => readers.max(1),
            Self::Auto if in_use >= AUTO_SPLIT_FROM => auto_readers(),
            Self::Fixed(_) | Self::Auto => 1,
        }
    }

    /// Readers that a namespace may get, should it be large.
    pub(crate) fn most(self) -> u16 {
        match self {
            Self::Fixed(readers) => readers.max(1),
            Self::Auto => auto_readers(),
        }
    }
}

fn auto_readers() -> u16 {
    u16::try_from(processors()).unwrap_or(u16::MAX).min(MOST_AUTO_READERS)
}

/// Each further reader walks the table once more: below this, a shorter dump is not worth the processor time.
const AUTO_SPLIT_FROM: u64 = 200_000;
const MOST_AUTO_READERS: u16 = 4;

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::libc::O_NONBLOCK;
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use sockeye_sys::netns::NetnsFd;
    use sockeye_testkit::netns::{Netns as _, TestNetns, require_root};
    use sockeye_testkit::states;

    use super::*;
    use crate::sockdiag::settings::Settings;

    fn shared() -> Shared {
        let home = NetnsFd::open("/proc/thread-self/ns/net").unwrap();
        Shared::new(Settings::of_tests(), home, 1, None)
    }

    /// What a look at the namespace leaves out, and whether it asks for bound sockets, once that is `expected`: the kernel
    /// frees netlink sockets a moment after they were closed.
    fn look_until(netns: &TestNetns, expected: (StateSet, bool)) {
        let shared = shared();
        let look = || Look::around(&shared, &Memory::default(), Path::new("/proc"), false).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            thread::sleep(Duration::from_millis(200));
            let look = netns.enter(look).unwrap();
            let seen = (look.left_out, look.bound);
            if seen == expected {
                return;
            }
            assert!(Instant::now() < until, "{seen:?}");
        }
    }

    #[test]
    #[ignore = "needs root; `cargo xtask ci` runs it"]
    fn bound_sockets_are_left_out_of_small_and_of_large_namespaces_while_there_is_none() {
        require_root();
        let netns = TestNetns::new("look").unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let bind = || netns.enter(|| states::bound(address).unwrap()).unwrap();
        let connect = || netns.enter(|| states::established(address, None).unwrap()).unwrap();
        let _few = connect();
        look_until(&netns, (StateSet::BOUND_INACTIVE, false));
        let bound = bind();
        look_until(&netns, (StateSet::NONE, true));
        drop(bound);
        let _many: Vec<_> = (0..700).map(|_| connect()).collect();
        // Of a large one it is only the walk that asks for them.
        look_until(&netns, (StateSet::BOUND_INACTIVE, true));
        let _bound = bind();
        look_until(&netns, (StateSet::NONE, true));
    }

    #[test]
    fn sockets_are_counted_after_what_was_opened_and_what_was_said_of_other_counts_is_forgotten() {
        let proc = tempfile::tempdir().unwrap();
        let net = proc.path().join("thread-self/net");
        fs::create_dir_all(&net).unwrap();
        let count = |sockets: u32| {
            let line =
                format!("sockets: used {sockets}\nTCP: inuse {sockets} orphan 0 tw 0 mem 1\n");
            fs::write(net.join("sockstat"), line).unwrap();
        };
        count(3);
        // Whoever opens it to read waits for somebody who writes. It can't be read at an offset: what was opened is not known.
        mkfifo(&net.join("snmp"), Mode::S_IRWXU).unwrap();
        let reads = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        reads.add_watch(&net.join("sockstat"), AddWatchFlags::IN_ACCESS).unwrap();
        let (look, was_counted) = thread::scope(|scope| {
            let around = || Look::around(&shared(), &Memory::default(), proc.path(), true).unwrap();
            let looking = scope.spawn(around);
            let until = Instant::now() + Duration::from_secs(10);
            let later = |done: &dyn Fn() -> bool| {
                while !done() && Instant::now() < until && !looking.is_finished() {
                    thread::sleep(Duration::from_millis(1));
                }
            };
            later(&|| reads.read_events().is_ok());
            let was_counted = !looking.is_finished();
            count(4);
            let writer =
                || OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(net.join("snmp"));
            later(&|| writer().is_ok());
            (looking.join().unwrap(), was_counted)
        });
        assert!(was_counted);
        assert_eq!(look.counts, Some(Counts { in_use: 4, time_waiters: 0, used: 4 }));
        assert_eq!((look.left_out, look.bound), (StateSet::NONE, true));
        assert_eq!(look.opens, None);
    }

    #[test]
    fn only_large_namespaces_are_split() {
        assert_eq!(Netlinkers::Fixed(3).readers(10_000, 10_000), 3);
        assert_eq!(Netlinkers::Fixed(3).readers(9_999, 10_000), 1);
        assert_eq!(Netlinkers::Fixed(0).readers(10_000, 10_000), 1);
        assert_eq!(Netlinkers::Auto.readers(AUTO_SPLIT_FROM - 1, 10_000), 1);
        assert_eq!(Netlinkers::Auto.readers(AUTO_SPLIT_FROM, 10_000), auto_readers());
        assert!((1..=MOST_AUTO_READERS).contains(&auto_readers()));
    }
}
