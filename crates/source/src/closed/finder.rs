//! Finds namespaces and binds each to its id, so that the kernel tells of its sockets and we know whose they are.
//!
//! A thread of its own, since it opens files and waits for nobody else's poll. It opens a namespace for the moment that
//! it takes to ask for the id, and holds none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use nix::errno::Errno;
use sockeye_filter::{Filter, Resolved};
use sockeye_netns::{Netns, NetnsFd, NetnsId, OpenFailure, Scanner, reconcile};
use sockeye_sys::netns::{VisitError, visit};
use tracing::{debug, warn};

use super::counters::Totals;
use super::hearing::Asking;
use super::label::Label;
use super::shared::Shared;

/// What the thread knows.
pub(super) struct Finder {
    shared: Arc<Shared>,
    asking: Asking,
    scanner: Scanner,
    known: BTreeMap<NetnsId, Netns>,
    own_only: bool,
    /// Namespaces that could not be bound, each told of once.
    failed: BTreeSet<NetnsId>,
}

impl Finder {
    pub(super) fn new(
        shared: Arc<Shared>,
        asking: Asking,
        scanner: Scanner,
        own_only: bool,
    ) -> Self {
        let (known, failed) = (BTreeMap::new(), BTreeSet::new());
        Self { shared, asking, scanner, known, own_only, failed }
    }

    /// Why not all namespaces are listened to.
    pub(super) fn shortfall(&self) -> Option<String> {
        let count = self.failed.len();
        (count > 0 && !self.own_only).then(|| {
            format!(
                "closed sockets of {count} network namespaces are not told of: CAP_NET_ADMIN is missing to give them \
                 an id, or CAP_SYS_PTRACE to open them"
            )
        })
    }

    /// Looks when it is told to, and now and then, until nobody is left who could tell.
    pub(super) fn run(mut self, wake: &Receiver<()>) -> Asking {
        loop {
            let began = Instant::now();
            self.look();
            let cost = began.elapsed();
            // Whoever wakes it all the time wakes it less often than that.
            std::thread::sleep((cost * REST).min(LONGEST_REST));
            match wake.recv_timeout(LOOK.max(cost * SHARE)) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.asking,
            }
        }
    }

    /// Its socket, for another.
    pub(super) fn into_asking(self) -> Asking {
        self.asking
    }

    /// Looks for namespaces once.
    pub(super) fn look(&mut self) {
        let scan = self.scanner.scan();
        let changes = reconcile(&self.known, &scan);
        for id in changes.gone {
            self.known.remove(&id);
            self.failed.remove(&id);
            if let Some(track) = self.shared.track() {
                track.gone(id);
            }
        }
        let mut unbound = 0;
        for netns in &scan.namespaces {
            let is_bound = self.is_bound(netns);
            self.known.insert(netns.id, netns.clone());
            if is_bound {
                continue;
            }
            match self.bind(netns) {
                Ok(()) => drop(self.failed.remove(&netns.id)),
                // It has gone meanwhile, which is normal.
                Err(Errno::ENOENT) => {}
                Err(errno) => {
                    unbound += 1;
                    if self.failed.insert(netns.id) {
                        warn!(netns = %netns.id, %errno, "closed sockets of a namespace are not told of");
                    }
                }
            }
        }
        self.shared.counters.unbound(unbound);
    }

    /// Whether it is bound, and nothing that rows say of it has changed since.
    fn is_bound(&mut self, netns: &Netns) -> bool {
        let known = self.known.get(&netns.id);
        let table = self.shared.track().map(|track| track.table(netns.id));
        let is_alike = known
            .is_some_and(|known| known.name == netns.name && known.container == netns.container);
        let home = &self.shared.sockdiag.home;
        if !is_alike || netns.id != home.id() {
            return is_alike && self.shared.hearing().ids.is_bound(netns.id, table.as_ref());
        }
        // Somebody may have given it an id for itself meanwhile.
        let nsid = self.asking.id(home).unwrap_or(None);
        let ids = &self.shared.hearing().ids;
        [None, nsid].iter().all(|nsid| ids.is_bound_to(*nsid, netns.id, table.as_ref()))
    }

    fn bind(&mut self, netns: &Netns) -> Result<(), Errno> {
        let opened = netns.open().map_err(|failure| match failure {
            OpenFailure::Gone => Errno::ENOENT,
            OpenFailure::Denied => Errno::EACCES,
            OpenFailure::Other(errno) => errno,
        })?;
        let is_home = netns.id == self.shared.sockdiag.home.id();
        let nsid = if is_home {
            // Most have no id for themselves; where one has, its events carry that.
            self.asking.id(&opened.fd).unwrap_or(None)
        } else {
            Some(self.asking.id_or_new(&opened.fd)?)
        };
        let filter = self.filter(&opened.fd)?;
        let table = self.shared.track().map(|track| track.table(netns.id));
        let label = |nsid| {
            Arc::new(Label {
                id: netns.id,
                name: Arc::clone(&opened.name),
                container: opened.container.clone(),
                nsid,
                filter: filter.clone(),
                table: table.clone(),
            })
        };
        debug!(netns = %netns.id, nsid, "closed sockets are told of");
        let mut hearing = self.shared.hearing();
        let heard = hearing.catch_up();
        self.shared.counters.add(&Totals { notices_lost: heard.lost, ..Totals::default() });
        // The namespace is open still: news of an end are of whoever had the id before.
        if is_home {
            hearing.ids.bind(label(None));
        }
        if nsid.is_some() {
            hearing.ids.bind(label(nsid));
        }
        Ok(())
    }

    /// The filter as the namespace understands it.
    fn filter(&self, fd: &NetnsFd) -> Result<Option<Arc<Resolved>>, Errno> {
        let sockdiag = &self.shared.sockdiag;
        if !sockdiag.settings.filter.as_ref().is_some_and(Filter::is_per_netns) {
            return Ok(sockdiag.resolve_filter());
        }
        visit(fd, &sockdiag.home, || sockdiag.resolve_filter()).map_err(|error| match error {
            VisitError::Enter(errno) | VisitError::Unknown(errno) => errno,
            VisitError::WrongNetns { .. } => Errno::ENOENT,
        })
    }
}

/// Namespaces that nothing tells of are found after so long; where scans take long, one hundredth of the time is theirs.
const LOOK: Duration = Duration::from_secs(1);
const SHARE: u32 = 100;
/// It rests for so many times as long as it has worked.
const REST: u32 = 9;
const LONGEST_REST: Duration = Duration::from_millis(200);
