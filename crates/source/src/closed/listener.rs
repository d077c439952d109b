//! The thread that listens: it reads what the kernel tells, and does nothing else but make rows of it.

use std::io::{PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use nix::libc::{EAGAIN, EINTR, ENOBUFS};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sockeye_pipeline::Outlet;
use sockeye_sys::{Event, EventBatch, EventSocket, RouteSocket, clock};
use tracing::warn;

use super::counters::Totals;
use super::pace::{Left, Next, Pace};
use super::rows::{Groups, Owners, Rows};
use super::shared::Shared;

/// What the thread owns.
pub(super) struct Listener {
    pub(super) shared: Arc<Shared>,
    pub(super) socket: EventSocket,
    /// Hears of ids; only waited for here.
    pub(super) news: Arc<RouteSocket>,
    /// Something is asked of it.
    pub(super) woken: PipeReader,
    /// Tells that what was asked for, by number, has been sent, and what was counted by then.
    pub(super) answered: Sender<(u64, Totals)>,
    /// Wakes the finder of namespaces.
    pub(super) find: Sender<()>,
    pub(super) outlet: Outlet,
    /// How long a row may wait for its envelope to become full.
    pub(super) flush_every: Duration,
    /// What the kernel had lost when it was last asked.
    pub(super) lost: u32,
}

impl Listener {
    /// Listens until the source ends. Gives back the socket, and what the kernel had lost. Where events come faster than they
    /// are read, some may be left in the socket: whoever goes on reads them, and at an exit they are neither rows nor counted.
    pub(super) fn run(mut self) -> (EventSocket, u32) {
        let mut batch = EventBatch::new(BATCH);
        let mut rows = Rows::new(&self.shared.sockdiag.settings);
        let (mut pace, mut answered) = (Pace::default(), 0);
        loop {
            // Asked before anything is read: what was told before is among the rows then.
            let asked = self.shared.asked.load(Ordering::Acquire);
            let ending = self.shared.ending.load(Ordering::Acquire);
            let left = self.batch(&mut batch, &mut rows);
            let next = pace.next(left, asked > answered, ending, Instant::now());
            let due = rows.since().is_some_and(|since| since.elapsed() >= self.flush_every);
            let answers = next != Next::Read && asked > answered;
            if due || answers || next == Next::End {
                rows.send(&self.outlet);
            }
            if answers {
                self.count_lost();
                answered = asked;
                // Whoever asked may have given up.
                let _ = self.answered.try_send((answered, self.shared.counters.totals()));
            }
            if next == Next::End {
                if left == Left::More {
                    warn!("events of closed sockets come faster than they are read: some are left");
                }
                self.count_lost();
                return (self.socket, self.lost);
            }
            if left != Left::More {
                self.wait(rows.since());
            }
        }
    }

    /// Reads what is there and makes rows of it.
    fn batch(&mut self, batch: &mut EventBatch, rows: &mut Rows) -> Left {
        self.shared.hearing().ids.batch_begins();
        let asked_ns = clock::boottime_ns();
        let left = match self.socket.recv(batch) {
            // A batch that is not full says nothing: that the buffer was full may be told behind it.
            Ok(_) => Left::More,
            Err(error) => match error.raw_os_error() {
                Some(EAGAIN) => Left::Nothing,
                Some(EINTR) => return Left::More,
                Some(ENOBUFS) => {
                    self.shared.counters.add(&Totals { enobufs: 1, ..Totals::default() });
                    self.count_lost();
                    return Left::More;
                }
                _ => {
                    warn!(%error, "events of closed sockets can't be read");
                    std::thread::sleep(RECOVERY);
                    Left::Unknown
                }
            },
        };
        let events: Vec<Event<'_>> = batch.events().collect();
        let mut owners = Owners::default();
        let heard = {
            let mut hearing = self.shared.hearing();
            let heard = hearing.catch_up();
            owners.look_up(&hearing.ids, &events);
            if left == Left::Nothing {
                hearing.ids.nothing_left();
            }
            heard
        };
        if heard.given || heard.lost > 0 || owners.is_any_unknown() {
            // Full: it is woken already.
            let _ = self.find.try_send(());
        }
        let settings = &self.shared.sockdiag.settings;
        let seen = rows.take(settings, &events, &owners, &mut Groups::default(), &self.outlet);
        self.shared.counters.add(&Totals { notices_lost: heard.lost, ..seen });
        if left == Left::Nothing
            && let Some(track) = self.shared.track()
        {
            track.heard(asked_ns);
        }
        left
    }

    /// Asks the kernel how many events it had no room for.
    fn count_lost(&mut self) {
        if let Ok(lost) = self.socket.lost() {
            let more = lost.wrapping_sub(self.lost);
            self.lost = lost;
            self.shared.counters.add(&Totals { lost: more.into(), ..Totals::default() });
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self, since: Option<Instant>) {
        // Events come one by one: a few of them are read at once, which costs less.
        std::thread::sleep(GATHER);
        let wake_up = since.map(|since| since + self.flush_every);
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.news.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = wake_up.map_or(LONGEST_WAIT, |wake_up| {
            wake_up.saturating_duration_since(Instant::now()).min(LONGEST_WAIT)
        });
        // Rounded up, so that the thread does not spin through the last millisecond.
        let timeout = u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX).saturating_add(1);
        if poll(&mut fds, PollTimeout::from(timeout)).is_err() {
            return;
        }
        if fds.get(1).and_then(PollFd::any) == Some(true) {
            // As many wake-ups as fit are one.
            let _ = self.woken.read(&mut [0; 64]);
        }
    }
}

/// Events that are read at once.
const BATCH: usize = 128;
/// At 24,000 events a second these are 48, of the 20,000 and more for which there is room.
const GATHER: Duration = Duration::from_millis(2);
/// So that what was heard up to now is known, whether anything happens or not.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
const RECOVERY: Duration = Duration::from_millis(100);
