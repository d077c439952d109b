//! What the source has seen since its start that the reports of its parts do not say. Added up once a dump.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sockeye_netns::Scan;
use tracing::warn;

use super::dump::DumpStats;
use super::health::HealthOf;
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
    tcp_info_bytes: AtomicU64,
    scans: AtomicU64,
    scan_us: AtomicU64,
    appeared: AtomicU64,
    gone: AtomicU64,
    /// By reader and part, until somebody takes it.
    health: Mutex<HealthOf>,
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
    /// Bytes of the longest `tcp_info` so far. No running total.
    pub tcp_info_bytes: u64,
    /// Scans for namespaces.
    pub scans: u64,
    /// Time of all scans.
    pub scan_time: Duration,
    /// Namespaces that were found for the first time.
    pub appeared: u64,
    /// Namespaces that were found no longer.
    pub gone: u64,
}

impl Totals {
    /// What two sources have counted, of which `self` is the later one: its figures that are no running totals hold.
    #[must_use]
    pub fn after(self, earlier: &Self) -> Self {
        let mut plans = self.plans;
        plans.iter_mut().zip(earlier.plans).for_each(|(mine, theirs)| *mine += theirs);
        Self {
            dumps: self.dumps + earlier.dumps,
            chunks: self.chunks + earlier.chunks,
            foreign: self.foreign + earlier.foreign,
            malformed: self.malformed + earlier.malformed,
            unknown_attributes: self.unknown_attributes + earlier.unknown_attributes,
            long_tcp_info: self.long_tcp_info + earlier.long_tcp_info,
            plans,
            checks: self.checks + earlier.checks,
            check_differences: self.check_differences + earlier.check_differences,
            scans: self.scans + earlier.scans,
            scan_time: self.scan_time + earlier.scan_time,
            appeared: self.appeared + earlier.appeared,
            gone: self.gone + earlier.gone,
            tcp_info_bytes: self.tcp_info_bytes.max(earlier.tcp_info_bytes),
            ..self
        }
    }
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
            tcp_info_bytes: read(&self.tcp_info_bytes),
            scans: read(&self.scans),
            scan_time: Duration::from_micros(read(&self.scan_us)),
            appeared: read(&self.appeared),
            gone: read(&self.gone),
        }
    }

    /// What the sockets of each namespace were like since this was last asked; a namespace that was read in parts comes
    /// several times. Nothing unless [`Settings::tcp_health`](super::Settings::tcp_health).
    pub fn take_health(&self) -> HealthOf {
        std::mem::take(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds up a reading.
    pub(super) fn read(&self, read: &mut Read) {
        self.tcp_info_bytes.fetch_max(read.tcp_info_bytes as u64, Ordering::Relaxed);
        if let Some(health) = read.health.take() {
            let mut all = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((read.report.part.clone(), health));
        }
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

    /// Adds up what changed between two scans.
    pub(super) fn changed(&self, appeared: usize, gone: usize) {
        self.appeared.fetch_add(appeared as u64, Ordering::Relaxed);
        self.gone.fetch_add(gone as u64, Ordering::Relaxed);
    }

    pub(super) fn scanned(&self, scan: &Scan, took: Duration) {
        self.scans.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.scan_us.fetch_add(took, Ordering::Relaxed);
        self.namespaces.store(scan.namespaces.len() as u64, Ordering::Relaxed);
        self.places_denied.store(scan.stats.denied, Ordering::Relaxed);
        self.places_failed.store(scan.stats.failed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
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
        counters.scanned(&scan, Duration::from_micros(3));
        counters.scanned(&scan, Duration::from_micros(4));
        counters.changed(5, 1);
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
            tcp_info_bytes: 0,
            scans: 2,
            scan_time: Duration::from_micros(7),
            appeared: 5,
            gone: 1,
        };
        assert_eq!(counters.totals(), expected);
        let twice = expected.after(&expected);
        assert_eq!((twice.dumps, twice.plans[2], twice.places_denied), (4, 4, 8));
        assert_eq!(twice.scan_time, Duration::from_micros(14));
    }
}
