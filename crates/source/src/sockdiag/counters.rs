//! What the source has seen since its start that the reports of its parts do not say. Added up once a dump.

use std::sync::atomic::{AtomicU64, Ordering};

use sockeye_netns::Scan;
use tracing::warn;

use super::dump::DumpStats;
use super::plan::Plan;
use super::reading::Read;

/// The counters of one source. Read them with [`Counters::totals`] at any time.
#[derive(Debug, Default)]
pub struct Counters {
    dumps: AtomicU64,
    chunks: AtomicU64,
    foreign: AtomicU64,
    malformed: AtomicU64,
    unknown_attributes: AtomicU64,
    long_tcp_info: AtomicU64,
    plans: [AtomicU64; Plan::ALL.len()],
    checks: AtomicU64,
    check_differences: AtomicU64,
    namespaces: AtomicU64,
    places_denied: AtomicU64,
    places_failed: AtomicU64,
}

/// The counters at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests sent: one for each namespace, or part of one, that could be opened.
    pub dumps: u64,
    /// Receives that brought bytes.
    pub chunks: u64,
    /// Messages that answer somebody else's request, or that the kernel did not send.
    pub foreign: u64,
    /// Messages and chunks that make no sense; what could not be read of them is no row.
    pub malformed: u64,
    /// Attributes with unknown numbers: the kernel is newer than this program.
    pub unknown_attributes: u64,
    /// Sockets whose `tcp_info` is longer than known here: the kernel is newer than this program.
    pub long_tcp_info: u64,
    /// How namespaces and parts of them were read, by [`Plan::ALL`].
    pub plans: [u64; Plan::ALL.len()],
    /// Cheap plans that were compared with a walk while nothing changed.
    pub checks: u64,
    /// Sockets that one of the two had and the other had not: always 0, or a cheap plan is wrong.
    pub check_differences: u64,
    /// Namespaces that the last scan found. No running total.
    pub namespaces: u64,
    /// Places that the last scan lacked the privilege to look at; a namespace may be behind each. No running total.
    pub places_denied: u64,
    /// Places that the last scan could not look at for another reason. No running total.
    pub places_failed: u64,
}

impl Counters {
    /// The counters as they are now.
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            dumps: read(&self.dumps),
            chunks: read(&self.chunks),
            foreign: read(&self.foreign),
            malformed: read(&self.malformed),
            unknown_attributes: read(&self.unknown_attributes),
            long_tcp_info: read(&self.long_tcp_info),
            plans: self.plans.each_ref().map(read),
            checks: read(&self.checks),
            check_differences: read(&self.check_differences),
            namespaces: read(&self.namespaces),
            places_denied: read(&self.places_denied),
            places_failed: read(&self.places_failed),
        }
    }

    /// Adds up a reading.
    pub(super) fn read(&self, read: &Read) {
        self.dumped(&read.stats, read.plan);
        if let Some(differences) = read.differences {
            self.checks.fetch_add(1, Ordering::Relaxed);
            self.check_differences.fetch_add(differences, Ordering::Relaxed);
            if differences > 0 {
                let netns = &read.report.part;
                warn!(%netns, differences, "a cheap plan and a walk differ; --plan full avoids it");
            }
        }
    }

    fn dumped(&self, stats: &DumpStats, plan: Plan) {
        if let Some(plan) = self.plans.get(plan as usize) {
            plan.fetch_add(1, Ordering::Relaxed);
        }
        self.dumps.fetch_add(1, Ordering::Relaxed);
        for (counter, seen) in [
            (&self.chunks, stats.chunks),
            (&self.foreign, stats.foreign),
            (&self.malformed, stats.malformed),
            (&self.unknown_attributes, stats.unknown_attributes),
            (&self.long_tcp_info, stats.long_tcp_info),
        ] {
            counter.fetch_add(seen, Ordering::Relaxed);
        }
    }

    pub(super) fn scanned(&self, scan: &Scan) {
        self.namespaces.store(scan.namespaces.len() as u64, Ordering::Relaxed);
        self.places_denied.store(scan.stats.denied, Ordering::Relaxed);
        self.places_failed.store(scan.stats.failed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sockeye_netns::ScanStats;
    use sockeye_pipeline::Completeness;

    use super::*;

    #[test]
    fn dumps_add_up_and_a_scan_replaces_the_one_before() {
        let counters = Counters::default();
        let stats = DumpStats {
            chunks: 2,
            bytes: 1000,
            sockets: 5,
            foreign: 3,
            malformed: 4,
            unknown_attributes: 6,
            long_tcp_info: 7,
            took: Duration::ZERO,
            completeness: Completeness::Complete,
        };
        counters.dumped(&stats, Plan::Lookups);
        counters.dumped(&stats, Plan::Lookups);
        let stats = ScanStats { denied: 8, failed: 9, ..ScanStats::default() };
        let scan = Scan { namespaces: Vec::new(), stats, incomplete: None };
        counters.scanned(&scan);
        counters.scanned(&scan);
        let expected = Totals {
            dumps: 2,
            chunks: 4,
            foreign: 6,
            malformed: 8,
            unknown_attributes: 12,
            long_tcp_info: 14,
            plans: [0, 0, 2, 0, 0, 0],
            checks: 0,
            check_differences: 0,
            namespaces: 0,
            places_denied: 8,
            places_failed: 9,
        };
        assert_eq!(counters.totals(), expected);
    }
}
