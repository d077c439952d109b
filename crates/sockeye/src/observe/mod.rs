//! What the daemon shows of itself: it listens to the poll loop, and gives the endpoint what it asks for.

mod families;
mod health;
mod page;
mod polls;
mod sinks;
mod snapshot;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sockeye_pipeline::{Event, Link, Outlet, Sent, Stop};
use sockeye_source::closed;
use sockeye_source::sockdiag::{Counters, Totals};
use sockeye_source::track::Track;
use sockeye_telemetry::endpoint::{Subject, Traffic};
use sockeye_telemetry::metrics::{Format, expose};
use sockeye_telemetry::threads::Threads;

use health::Health;
use polls::Polls;
pub(crate) use sinks::{ClientFigures, SinkView, labels};
use snapshot::{KINDS, Observed, kind_of};

/// What there is to be seen. Clones share it.
#[derive(Clone)]
pub(crate) struct Observer(Arc<Shared>);

/// What an observer looks at.
pub(crate) struct Observes {
    pub(crate) outlet: Outlet,
    pub(crate) counters: Arc<Counters>,
    /// Of closed sockets, and of what is remembered of sockets; they stay the same whatever is reloaded.
    pub(crate) closed: Option<Arc<closed::Counters>>,
    pub(crate) track: Option<Arc<Track>>,
    pub(crate) sinks: Vec<SinkView>,
    pub(crate) stop: Stop,
    pub(crate) frequency: Duration,
    /// Namespaces that have figures of their own; the rest is added up.
    pub(crate) top_netns: usize,
}

/// What collects now, and what those before it had counted.
struct Collection {
    outlet: Outlet,
    counters: Arc<Counters>,
    sent_before: Sent,
    counted_before: Totals,
}

struct Shared {
    collection: Mutex<Collection>,
    closed: Option<Arc<closed::Counters>>,
    track: Option<Arc<Track>>,
    sinks: Vec<SinkView>,
    stop: Stop,
    top_netns: usize,
    frequency_us: AtomicU64,
    started: Instant,
    started_at: SystemTime,
    polls: Mutex<Polls>,
    threads: Mutex<Threads>,
    health: Mutex<Health>,
    traffic: Traffic,
}

impl Observer {
    pub(crate) fn new(observes: Observes) -> Self {
        let Observes { outlet, counters, closed, track, sinks, stop, frequency, top_netns } =
            observes;
        let (sent_before, counted_before) = (Sent::default(), Totals::default());
        let collection = Collection { outlet, counters, sent_before, counted_before };
        Self(Arc::new(Shared {
            collection: Mutex::new(collection),
            closed,
            track,
            sinks,
            stop,
            top_netns,
            frequency_us: AtomicU64::new(micros(frequency)),
            started: Instant::now(),
            started_at: SystemTime::now(),
            polls: Mutex::new(Polls::new()),
            threads: Mutex::new(Threads::new(&KINDS, kind_of)),
            health: Mutex::new(Health::new(top_netns)),
            traffic: Traffic::default(),
        }))
    }

    /// The poll loop tells what it does; which shows that it lives.
    pub(crate) fn event(&self, event: &Event<'_>) {
        let track = self.0.track.as_ref().map(|track| track.totals()).unwrap_or_default();
        lock(&self.0.polls).event(event, &track);
        if matches!(event, Event::Polled { .. }) {
            lock(&self.0.threads).read();
            let counted = lock(&self.0.collection).counters.take_health();
            lock(&self.0.health).polled(counted);
        }
    }

    /// The poll loop lives.
    pub(crate) fn beat(&self) {
        lock(&self.0.polls).beats();
    }

    /// From now on something else collects, so often. Its counters go on from where those before it are.
    pub(crate) fn renewed(&self, outlet: Outlet, counters: Arc<Counters>, frequency: Duration) {
        lock(&self.0.collection).renew(outlet, counters);
        self.0.frequency_us.store(micros(frequency), Ordering::Relaxed);
    }

    /// For the endpoint.
    pub(crate) fn subject(&self) -> Arc<dyn Subject> {
        Arc::<Shared>::clone(&self.0)
    }

    /// What the endpoint's clients do is shown as well.
    pub(crate) fn traffic(&self) -> Traffic {
        self.0.traffic.clone()
    }
}

impl Collection {
    fn renew(&mut self, outlet: Outlet, counters: Arc<Counters>) {
        (self.sent_before, self.counted_before) = (self.sent(), self.counted());
        (self.outlet, self.counters) = (outlet, counters);
    }

    fn sent(&self) -> Sent {
        self.outlet.sent().and(&self.sent_before)
    }

    fn counted(&self) -> Totals {
        self.counters.totals().after(&self.counted_before)
    }
}

impl Shared {
    /// How long the poll loop may be silent.
    fn silence(&self) -> Duration {
        let frequency = Duration::from_micros(self.frequency_us.load(Ordering::Relaxed));
        (INTERVALS * frequency).max(LEAST_SILENCE)
    }
}

impl Subject for Shared {
    fn metrics(&self, format: Format) -> String {
        expose(families::METRICS, &Observed::now(self), format)
    }

    fn healthy(&self) -> (bool, String) {
        let silent = lock(&self.polls).silent();
        let (allowed, silent_s) = (self.silence(), silent.as_secs_f64());
        let text = format!(
            "the poll loop was last seen {silent_s:.1} s ago; allowed: {} s",
            allowed.as_secs_f64()
        );
        (silent <= allowed, text)
    }

    fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stop.requested() {
            reasons.push("stopping".into());
        }
        if lock(&self.polls).made() == 0 {
            reasons.push("no poll has ended yet".into());
        }
        for SinkView { queue, .. } in &self.sinks {
            let (now, name) = (queue.snapshot(), queue.name());
            match (now.gone, now.link) {
                (Some(reason), _) => reasons.push(format!("{name}: ended ({})", reason.name())),
                (None, Link::Down) => reasons.push(format!("{name}: can't deliver for now")),
                (None, Link::Connecting) if now.ledger.in_flight > 0 => {
                    reasons.push(format!("{name}: nothing has been confirmed yet"));
                }
                (None, Link::Connecting | Link::Up) => {}
            }
        }
        reasons
    }

    fn polls(&self) -> String {
        let recent = lock(&self.polls).recent();
        polls::json(&recent)
    }

    fn index(&self) -> String {
        page::index(&Observed::now(self))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic anywhere ends the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const INTERVALS: u32 = 3;
/// Where polls come many times a second, a busy host is no reason to give it up.
const LEAST_SILENCE: Duration = Duration::from_secs(5);
