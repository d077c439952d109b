//! The queue of one sink: bounded in bytes, with the sink's ledger under the same lock.
//!
//! Bytes count from the offer until the sink has resolved the envelope, so what a client library holds is included.
//! The lock is taken per envelope, never per row.
//!
//! Rows of closed sockets come first: the kernel tells of them once, and what a poll would have shown the next one
//! shows. Polls leave them a part of the queue, and what of a poll is not taken yet makes room for them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sockeye_record::{Encoding, Envelope};

use crate::delivery::Delivery;
use crate::figures::{Figures, Link};
use crate::ledger::{DropReason, Ledger};
use crate::stop::Stop;

/// Bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Bytes of all envelopes that are not resolved yet.
    pub bytes: usize,
    /// What an offer does when there is no room.
    pub when_full: WhenFull,
}

/// What an offer does when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Waits for as long as the sink lives and nobody asks to stop: for commands that run once.
    Wait,
    /// Waits while the sink moves, for at most this long in one poll; then drops the envelope. A sink that does not
    /// move for 100 ms costs no more than that, until it moves again.
    Drop {
        /// Patience of one poll.
        patience: Duration,
    },
}

/// One sink's queue. Clones share it.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Shared>);

/// What a sink's thread gets.
#[derive(Debug)]
pub enum Take {
    /// An envelope.
    Delivery(Delivery),
    /// Everything of a poll has been taken.
    EndOfPoll,
    /// What comes from here on is in this encoding.
    Encoding(Encoding),
    /// Nothing came in time.
    Idle,
    /// Nothing will come any more.
    Closed,
}

#[derive(Debug)]
struct Shared {
    name: String,
    limits: QueueLimits,
    inner: Mutex<Inner>,
    filled: Condvar,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    ledger: Ledger,
    figures: Figures,
    link: Link,
    pending_bytes: usize,
    /// Grows whenever the sink takes or resolves something.
    progress: u64,
    /// What this poll may still wait, not counting the wait under way.
    patience: Duration,
    /// Set when the configuration was changed.
    other_patience: Option<Duration>,
    waiting: Waiting,
    stalled: bool,
    paused: bool,
    /// Bytes that polls leave to closed sockets.
    reserve: usize,
    /// Set when the queue is closed.
    flush_deadline: Option<Instant>,
    /// Why nothing is taken any more.
    gone: Option<DropReason>,
}

/// Offers that wait for room. Readers that wait at the same time lengthen the poll once, not once each.
#[derive(Debug, Default)]
struct Waiting {
    offers: usize,
    since: Option<Instant>,
}

#[derive(Debug)]
enum Item {
    /// And when it was offered.
    Envelope(Arc<Envelope>, Rows, Instant),
    EndOfPoll,
    Encoding(Encoding),
}

/// What is known of a sink at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Its account, in rows.
    pub ledger: Ledger,
    /// What else it counts.
    pub figures: Figures,
    /// Bytes not resolved yet.
    pub pending_bytes: usize,
    /// Whether its other side is there.
    pub link: Link,
    /// Why nothing is taken any more.
    pub gone: Option<DropReason>,
}

/// What an envelope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    Poll,
    Closed,
}

impl Queue {
    /// An empty queue for the sink called `name`.
    pub fn new(name: &str, limits: QueueLimits) -> Self {
        let queue = Self(Arc::new(Shared {
            name: name.into(),
            limits,
            inner: Mutex::default(),
            filled: Condvar::new(),
            freed: Condvar::new(),
        }));
        // There are sources that send before the first poll.
        queue.begin_poll(false);
        queue
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is the same queue, and not one of the same name.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The account as it is now.
    pub fn ledger(&self) -> Ledger {
        self.lock().ledger
    }

    /// Everything that is counted, at one moment.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let Inner { ledger, figures, pending_bytes, link, gone, .. } = *inner;
        Snapshot { ledger, figures, pending_bytes, link, gone }
    }

    /// The sink says whether its other side is there.
    pub fn set_link(&self, link: Link) {
        self.lock().link = link;
    }

    /// Bytes not resolved yet.
    pub fn pending_bytes(&self) -> usize {
        self.lock().pending_bytes
    }

    /// Whether the sink has ended for good.
    pub fn sink_gone(&self) -> bool {
        self.lock().gone.is_some()
    }

    /// Whether there is something that the sink has not taken yet.
    pub(crate) fn holds_envelopes(&self) -> bool {
        !self.lock().items.is_empty()
    }

    /// Half of its bytes are taken: time to stop asking the kernel.
    pub fn above_high_water(&self) -> bool {
        self.lock().pending_bytes > self.0.limits.bytes / 2
    }

    /// Begins a poll. A paused queue drops what the poll brings: it was above its mark, but other sinks were not.
    pub(crate) fn begin_poll(&self, paused: bool) {
        let mut inner = self.lock();
        inner.paused = paused;
        inner.patience = inner.other_patience.unwrap_or_else(|| self.patience());
        inner.waiting.since = inner.waiting.since.map(|_| Instant::now());
    }

    /// Offers an envelope: from here on its rows are read, and either in flight or dropped.
    pub fn offer(&self, envelope: Arc<Envelope>, stop: &Stop) -> Result<(), DropReason> {
        let (rows, bytes) = (envelope.rows(), envelope.bytes().len());
        let mut inner = self.lock();
        inner.ledger.read += rows;
        inner.ledger.in_flight += rows;
        let room;
        (inner, room) = self.wait_for_room(inner, bytes, stop);
        match room {
            Ok(()) => {
                inner.pending_bytes += bytes;
                inner.saw_pending();
                inner.items.push_back(Item::Envelope(envelope, Rows::Poll, Instant::now()));
                drop(inner);
                self.0.filled.notify_one();
            }
            Err(reason) => {
                inner.ledger.in_flight -= rows;
                inner.ledger.drop_rows(reason, rows);
            }
        }
        room
    }

    /// Offers an envelope of closed sockets. It never waits, and a pause is not for it: where there is no room, what
    /// polls have brought and the sink has not taken yet is dropped, the latest first.
    pub(crate) fn offer_closed(&self, envelope: Arc<Envelope>) -> Result<(), DropReason> {
        let (rows, bytes) = (envelope.rows(), envelope.bytes().len());
        let mut inner = self.lock();
        inner.ledger.read += rows;
        if !self.fits(&inner, bytes, Rows::Closed) {
            inner.displace(bytes, self.0.limits.bytes);
        }
        let refused = match inner.gone {
            None if self.fits(&inner, bytes, Rows::Closed) => None,
            None => Some(DropReason::QueueFull),
            gone => gone,
        };
        if let Some(reason) = refused {
            inner.ledger.drop_rows(reason, rows);
            return Err(reason);
        }
        inner.ledger.in_flight += rows;
        inner.pending_bytes += bytes;
        inner.saw_pending();
        inner.items.push_back(Item::Envelope(envelope, Rows::Closed, Instant::now()));
        drop(inner);
        self.0.filled.notify_one();
        Ok(())
    }

    /// From now on polls leave an eighth of the queue to closed sockets.
    pub(crate) fn keep_room_for_closed(&self) {
        self.lock().reserve = self.0.limits.bytes / RESERVE;
    }

    /// Whether an offer of so many bytes would be settled without waiting, as far as can be told beforehand.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let inner = self.lock();
        inner.gone.is_some() || inner.paused || self.fits(&inner, bytes, Rows::Poll)
    }

    /// An envelope longer than the whole queue passes when it is alone; else it could never be delivered.
    fn fits(&self, inner: &Inner, bytes: usize, rows: Rows) -> bool {
        let reserve = if rows == Rows::Closed { 0 } else { inner.reserve };
        inner.pending_bytes == 0 || inner.pending_bytes + bytes <= self.0.limits.bytes - reserve
    }

    fn wait_for_room<'q>(
        &'q self,
        mut inner: MutexGuard<'q, Inner>,
        bytes: usize,
        stop: &Stop,
    ) -> (MutexGuard<'q, Inner>, Result<(), DropReason>) {
        loop {
            if let Some(reason) = inner.gone {
                return (inner, Err(reason));
            }
            if inner.paused {
                return (inner, Err(DropReason::HighWater));
            }
            if self.fits(&inner, bytes, Rows::Poll) {
                return (inner, Ok(()));
            }
            let nap = match self.0.limits.when_full {
                WhenFull::Wait => STALL,
                WhenFull::Drop { .. } if inner.stalled => Duration::ZERO,
                WhenFull::Drop { .. } => inner.patience_left().min(STALL),
            };
            // A sink that would have been waited for is not to blame.
            if stop.requested() {
                return (inner, Err(DropReason::Shutdown));
            }
            if nap.is_zero() {
                return (inner, Err(DropReason::QueueFull));
            }
            let progress = inner.progress;
            inner.begin_wait();
            let timeout;
            (inner, timeout) =
                self.0.freed.wait_timeout(inner, nap).unwrap_or_else(PoisonError::into_inner);
            inner.end_wait();
            // A patience shorter than this is no evidence.
            inner.stalled |= nap == STALL && timeout.timed_out() && inner.progress == progress;
        }
    }

    fn patience(&self) -> Duration {
        match self.0.limits.when_full {
            WhenFull::Wait => Duration::MAX,
            WhenFull::Drop { patience } => patience,
        }
    }

    /// Tells the sink that everything of a poll has been offered. A pause ends with its poll.
    pub fn end_of_poll(&self) {
        let mut inner = self.lock();
        inner.paused = false;
        // Polls that brought nothing add nothing, or a stuck sink's queue would grow for ever.
        if inner.gone.is_none() && !matches!(inner.items.back(), Some(Item::EndOfPoll)) {
            inner.items.push_back(Item::EndOfPoll);
            drop(inner);
            self.0.filled.notify_one();
        }
    }

    /// Another patience than that of its limits, from the next poll on.
    pub fn set_patience(&self, patience: Duration) {
        self.lock().other_patience = Some(patience);
    }

    /// What is offered from here on is in another encoding.
    pub fn change_encoding(&self, encoding: Encoding) {
        let mut inner = self.lock();
        // One that nothing came in between is replaced: a stuck sink's queue must not grow with every reload.
        if matches!(inner.items.back(), Some(Item::Encoding(_))) {
            inner.items.pop_back();
        }
        if inner.gone.is_none() {
            inner.items.push_back(Item::Encoding(encoding));
            drop(inner);
            self.0.filled.notify_one();
        }
    }

    /// Nothing will be offered any more; the sink has until `flush_deadline` to deliver what is left.
    pub fn close(&self, flush_deadline: Instant) {
        let mut inner = self.lock();
        inner.flush_deadline = Some(flush_deadline);
        drop(inner);
        self.0.filled.notify_all();
    }

    /// The next thing for the sink; waits for at most `timeout`.
    pub fn take(&self, timeout: Duration) -> Take {
        let deadline = Instant::now() + timeout;
        let mut inner = self.lock();
        loop {
            match inner.items.pop_front() {
                Some(Item::EndOfPoll) => return Take::EndOfPoll,
                Some(Item::Encoding(encoding)) => return Take::Encoding(encoding),
                Some(Item::Envelope(envelope, _, offered)) => {
                    inner.moved();
                    return Take::Delivery(Delivery::new(self.clone(), envelope, offered));
                }
                None if inner.gone.is_some() || inner.flush_deadline.is_some() => {
                    return Take::Closed;
                }
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Take::Idle;
            }
            inner =
                self.0.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// When the queue is closed: the time up to which deliveries are worth a try.
    pub fn flush_deadline(&self) -> Option<Instant> {
        self.lock().flush_deadline
    }

    /// Sleeps between two attempts; ends early when the queue is closed meanwhile, or at the flush deadline. False when
    /// that has passed already, or nobody waits for the sink any more.
    pub(crate) fn wait_to_retry(&self, nap: Duration) -> bool {
        self.nap(self.lock(), nap)
    }

    fn nap(&self, mut inner: MutexGuard<'_, Inner>, nap: Duration) -> bool {
        let wake = Instant::now() + nap;
        let closed = inner.flush_deadline.is_some();
        loop {
            let now = Instant::now();
            if inner.gone.is_some() || inner.flush_deadline.is_some_and(|deadline| now >= deadline)
            {
                return false;
            }
            if now >= wake || inner.flush_deadline.is_some() != closed {
                return true;
            }
            // Offers wake this as well, and it sleeps on: a full disk is not tried again for every envelope.
            let left = inner.flush_deadline.map_or(wake, |deadline| wake.min(deadline)) - now;
            inner =
                self.0.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The sink has ended: what waits, and everything offered from now on, is dropped for this reason. Only the first
    /// reason counts.
    pub fn abandon(&self, reason: DropReason) {
        let mut inner = self.lock();
        let reason = *inner.gone.get_or_insert(reason);
        for item in std::mem::take(&mut inner.items) {
            if let Item::Envelope(envelope, ..) = item {
                inner.resolve(envelope.rows(), envelope.bytes().len());
                inner.ledger.drop_rows(reason, envelope.rows());
            }
        }
        drop(inner);
        self.0.freed.notify_all();
        self.0.filled.notify_all();
    }

    /// Rows that a spool holds from an earlier life: they are read, and in flight, once more.
    pub fn recovered(&self, rows: u64) {
        let ledger = &mut self.lock().ledger;
        ledger.read += rows;
        ledger.recovered += rows;
        ledger.in_flight += rows;
        ledger.spooled += rows;
    }

    /// The other side has rows that were [`Delivery::spooled`] or [`Queue::recovered`].
    pub fn spooled_delivered(&self, rows: u64) {
        let mut inner = self.lock();
        inner.unspool(rows);
        inner.ledger.delivered += rows;
        inner.figures.delivered_payloads += 1;
    }

    /// Rows that were [`Delivery::spooled`] or [`Queue::recovered`] are lost.
    pub fn spooled_dropped(&self, rows: u64, reason: DropReason) {
        let mut inner = self.lock();
        inner.unspool(rows);
        inner.ledger.drop_rows(reason, rows);
    }

    /// An attempt to send what is spooled failed and will be made again.
    pub fn retried(&self) {
        self.lock().ledger.retries += 1;
    }

    /// The sink has taken a payload with so many rows.
    pub(crate) fn accepted(&self, rows: u64) {
        let figures = &mut self.lock().figures;
        figures.accepted_payloads += 1;
        figures.accepted_rows += rows;
    }

    /// Its bounds.
    pub fn limits(&self) -> QueueLimits {
        self.0.limits
    }

    /// Whether an offer waits for room.
    pub(crate) fn holds_up_others(&self) -> bool {
        self.lock().waiting.offers > 0
    }

    /// Why nothing is taken any more.
    pub(crate) fn gone(&self) -> Option<DropReason> {
        self.lock().gone
    }

    /// Something that waits has got another size.
    pub(crate) fn recount(&self, before: usize, now: usize) {
        let mut inner = self.lock();
        inner.pending_bytes = inner.pending_bytes - before + now;
        inner.saw_pending();
    }

    pub(crate) fn resolve(
        &self,
        rows: u64,
        bytes: usize,
        account: impl FnOnce(&mut Ledger, &mut Figures),
    ) {
        let mut inner = self.lock();
        inner.resolve(rows, bytes);
        let Inner { ledger, figures, .. } = &mut *inner;
        account(ledger, figures);
        drop(inner);
        self.0.freed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic anywhere ends the process; nothing here is left half done by one.
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn patience_left(&self) -> Duration {
        let under_way = self.waiting.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.patience.saturating_sub(under_way)
    }

    fn begin_wait(&mut self) {
        self.waiting.offers += 1;
        self.waiting.since.get_or_insert_with(Instant::now);
    }

    fn end_wait(&mut self) {
        self.waiting.offers -= 1;
        if self.waiting.offers == 0 {
            self.patience = self.patience_left();
            self.waiting.since = None;
        }
    }

    /// Drops what polls have brought last, until there is room for so many bytes, unless that would not be enough.
    fn displace(&mut self, bytes: usize, limit: usize) {
        let of_polls = |item: &Item| match item {
            Item::Envelope(envelope, Rows::Poll, _) => envelope.bytes().len(),
            _ => 0,
        };
        let most: usize = self.items.iter().map(of_polls).sum();
        // Alone it would pass whatever its length.
        let left = self.pending_bytes - most;
        if left > 0 && left + bytes > limit {
            return;
        }
        for at in (0..self.items.len()).rev() {
            if self.pending_bytes == 0 || self.pending_bytes + bytes <= limit {
                return;
            }
            if self.items.get(at).is_some_and(|item| of_polls(item) > 0)
                && let Some(Item::Envelope(envelope, ..)) = self.items.remove(at)
            {
                self.pending_bytes -= envelope.bytes().len();
                self.ledger.in_flight -= envelope.rows();
                self.ledger.drop_rows(DropReason::QueueFull, envelope.rows());
            }
        }
    }

    fn saw_pending(&mut self) {
        self.figures.most_pending_bytes = self.figures.most_pending_bytes.max(self.pending_bytes);
    }

    fn moved(&mut self) {
        self.progress += 1;
        self.stalled = false;
    }

    fn resolve(&mut self, rows: u64, bytes: usize) {
        self.moved();
        self.pending_bytes -= bytes;
        self.ledger.in_flight -= rows;
    }

    fn unspool(&mut self, rows: u64) {
        self.moved();
        self.ledger.in_flight -= rows;
        self.ledger.spooled -= rows;
    }
}

/// One part in so many is for closed sockets.
const RESERVE: usize = 8;
/// A sink that neither takes nor resolves anything for so long is not waited for.
const STALL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(patience: Duration) -> Queue {
        let queue =
            Queue::new("test", QueueLimits { bytes: 1, when_full: WhenFull::Drop { patience } });
        queue.begin_poll(false);
        queue
    }

    #[test]
    fn offers_that_wait_at_the_same_time_cost_the_patience_once() {
        let queue = queue(HOUR);
        let began = Instant::now();
        (0..10).for_each(|_| queue.lock().begin_wait());
        std::thread::sleep(Duration::from_millis(20));
        (0..10).for_each(|_| queue.lock().end_wait());
        let waited = began.elapsed();
        let left = queue.lock().patience_left();
        assert!(
            left <= HOUR.saturating_sub(Duration::from_millis(20))
                && left >= HOUR.saturating_sub(waited),
            "{left:?} {waited:?}"
        );
        assert!(queue.lock().waiting.since.is_none());
    }

    #[test]
    fn a_poll_has_its_patience_anew_even_while_somebody_waits() {
        let queue = queue(HOUR);
        queue.lock().begin_wait();
        std::thread::sleep(Duration::from_millis(20));
        let began = Instant::now();
        queue.begin_poll(false);
        assert!(queue.lock().patience_left() >= HOUR.saturating_sub(began.elapsed()));
    }

    #[test]
    fn a_stall_is_paid_for_once_and_forgotten_when_the_sink_moves() {
        let queue = queue(HOUR);
        queue.lock().pending_bytes = 1;
        let wait = || queue.wait_for_room(queue.lock(), 1, &Stop::default()).1;
        assert_eq!(wait(), Err(DropReason::QueueFull));
        let left = queue.lock().patience_left();
        assert!(left <= HOUR.saturating_sub(STALL));
        assert_eq!(wait(), Err(DropReason::QueueFull));
        assert_eq!(queue.lock().patience_left(), left, "nothing was waited for");
        queue.begin_poll(false);
        assert_eq!(wait(), Err(DropReason::QueueFull));
        assert_eq!(queue.lock().patience_left(), HOUR, "nor in the next poll");
        queue.lock().moved();
        assert_eq!(wait(), Err(DropReason::QueueFull));
        assert!(
            queue.lock().patience_left() <= HOUR.saturating_sub(STALL),
            "it was given another chance"
        );
    }

    #[test]
    fn a_nap_between_attempts_ends_by_its_length_or_by_the_close_or_not_at_all_after_the_deadline()
    {
        let queue = queue(HOUR);
        assert!(queue.wait_to_retry(Duration::from_millis(5)));
        std::thread::scope(|scope| {
            let inner = queue.lock();
            scope.spawn(|| {
                // Who has the lock knows that the nap has begun.
                drop(queue.lock());
                // An offer wakes the same condition, and the nap goes on.
                queue.0.filled.notify_all();
                queue.close(Instant::now() + HOUR);
            });
            let began = Instant::now();
            assert!(queue.nap(inner, HOUR));
            assert!(began.elapsed() < HOUR / 2);
        });
        assert!(queue.wait_to_retry(Duration::from_millis(5)), "closed, and naps as before");
        queue.close(Instant::now());
        assert!(!queue.wait_to_retry(HOUR));
    }

    const HOUR: Duration = Duration::from_hours(1);
}
