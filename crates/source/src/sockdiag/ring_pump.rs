//! Many conversations with the kernel through one ring, in rounds: queue what is due, one system call, take what came.
//!
//! The kernel works inside that call, so the calls are kept short: few namespaces walk the table in one round.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{io, thread};

use nix::libc::{EAGAIN, EBUSY, ECANCELED, EINTR, ENOBUFS};
use sockeye_pipeline::{Incomplete, Outlet};
use sockeye_record::Envelope;
use sockeye_sys::{Completion, DiagSocket, Ring};
use sockeye_wire::Layouts;

use super::dump::{Got, failed};
use super::kit::Lanes;
use super::progress::Step;
use super::reader::{Errand, RECEIVE_TIMEOUT, Shared};
use super::reading::{Reading, To};
use super::ring_conversation::Conversation;
use super::rows::Ship;

/// The conversations of one thread.
pub(crate) struct Pump<'a> {
    shared: &'a Shared,
    ring: &'a mut Ring,
    lanes: &'a mut Lanes,
    layouts: &'a mut Layouts,
    /// Sends, and receives, that may be in flight.
    most: usize,
    sends: usize,
    receives: usize,
    /// By token; the oldest come first. What is over is in the ring at the most.
    open: BTreeMap<u32, Conversation>,
    next: u32,
    /// How many may walk the table in one round.
    walks: usize,
    cut: RefCell<Vec<Cut>>,
}

/// An envelope that waits until nothing is in flight.
struct Cut {
    outlet: Outlet,
    lane: usize,
    envelope: Envelope,
}

/// Takes envelopes without sending them. They are of one round: no more than the ring's buffers bring.
struct Later<'a> {
    outlet: &'a Outlet,
    cut: &'a RefCell<Vec<Cut>>,
}

impl Ship for Later<'_> {
    fn ship(&self, lane: usize, envelope: Envelope) {
        self.cut.borrow_mut().push(Cut { outlet: self.outlet.clone(), lane, envelope });
    }
}

impl<'a> Pump<'a> {
    /// With room for `most` conversations.
    pub(crate) fn new(
        shared: &'a Shared,
        ring: &'a mut Ring,
        lanes: &'a mut Lanes,
        layouts: &'a mut Layouts,
        most: usize,
    ) -> Self {
        let (open, cut) = (BTreeMap::new(), RefCell::default());
        let (next, walks) = (0, MOST_WALKS);
        Self { shared, ring, lanes, layouts, most, sends: 0, receives: 0, open, next, walks, cut }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether another conversation would not only wait, nor what it keeps back be too much.
    pub(crate) fn has_room(&self) -> bool {
        let walking =
            self.open.values().filter(|conversation| conversation.reading.walks()).count();
        let kept: u64 =
            self.open.values().map(|conversation| conversation.reading.may_keep()).sum();
        self.open.len() < self.most && walking < self.walks && kept < MOST_KEPT
    }

    pub(crate) fn open(&mut self, reading: Reading, socket: DiagSocket, errand: Errand) {
        let timeout = self.shared.settings.timeout;
        self.open.insert(self.next, Conversation::new(reading, socket, errand, timeout));
        self.next = self.next.wrapping_add(1);
    }

    /// One system call, or a few; what is over is added to `over`.
    ///
    /// # Errors
    /// The ring can't be used any more.
    pub(crate) fn round(&mut self, over: &mut Vec<(Reading, Errand)>) -> io::Result<()> {
        let began = Instant::now();
        self.open.values_mut().for_each(Conversation::look);
        self.part_with(over);
        self.ask();
        self.wait()?;
        self.take();
        let took = began.elapsed();
        self.open.values_mut().for_each(|conversation| conversation.took(took));
        self.part_with(over);
        // Those that end when it has waited for a sink may have rows left as well.
        while !self.cut.borrow().is_empty() {
            self.quiet()?;
            self.part_with(over);
            self.ship();
            self.part_with(over);
        }
        Ok(())
    }

    /// Takes back what is in flight: afterwards the conversations alone hold their sockets.
    ///
    /// # Errors
    /// As of [`Pump::round`].
    pub(crate) fn quiet(&mut self) -> io::Result<()> {
        let began = Instant::now();
        while self.ring.in_flight() > 0 {
            let busy = self.open.iter().filter(|(_, conversation)| conversation.receives > 0);
            busy.for_each(|(token, _)| self.ring.cancel(*token));
            self.wait()?;
            self.take();
            if began.elapsed() > LONGEST_QUIET {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Ends every conversation, whatever is in flight.
    pub(crate) fn give_up(&mut self, why: Incomplete) -> Vec<(Reading, Errand)> {
        self.open.values_mut().for_each(|conversation| conversation.reading.fail(why));
        let mut over = Vec::new();
        self.part_with(&mut over);
        self.ship();
        over
    }

    /// Lets go of the conversations that are over.
    fn part_with(&mut self, over: &mut Vec<(Reading, Errand)>) {
        let Self { shared, ring, lanes, layouts, open, cut, .. } = self;
        for (token, mut conversation) in open.extract_if(.., |_, it| it.reading.is_over()) {
            if conversation.receives > 0 {
                ring.cancel(token);
            }
            let ship = Later { outlet: &conversation.errand.outlet, cut };
            conversation.reading.send_rest(shared, &mut To { lanes, layouts, ship: &ship });
            over.push((conversation.reading, conversation.errand));
        }
    }

    /// Queues requests and receives, the oldest conversations first.
    fn ask(&mut self) {
        let (mut walks, mut chunks) = (self.walks, CHUNKS_AT_ONCE);
        for (token, conversation) in &mut self.open {
            let walking = conversation.reading.walks();
            let may = !walking || (walks > 0 && chunks > 0);
            let heard = conversation.receives > 0 || self.receives < self.most;
            let Some(socket) = conversation.socket.clone().filter(|_| may && heard) else {
                continue;
            };
            if conversation.due && self.sends < self.most {
                let Some(request) = conversation.reading.ask(self.shared) else { continue };
                if self.ring.send(*token, &socket, request.to_vec()).is_err() {
                    conversation.reading.fail(Incomplete::Failed(EAGAIN));
                    continue;
                }
                self.sends += 1;
                conversation.due = false;
            }
            let wanted = conversation.receives_wanted();
            let wanted = if walking { wanted.min(chunks) } else { wanted };
            while !conversation.due
                && conversation.receives < wanted
                && self.receives < self.most
                && self.ring.recv(*token, &socket).is_ok()
            {
                self.receives += 1;
                conversation.receives += 1;
            }
            if walking {
                walks -= 1;
                chunks = chunks.saturating_sub(conversation.receives);
            }
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let began = Instant::now();
        self.open.values_mut().for_each(Conversation::waits);
        match self.ring.submit_and_wait(RECEIVE_TIMEOUT) {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                // The kernel has no memory now; the deadlines go on.
                Some(EAGAIN | EBUSY | EINTR) => thread::sleep(NO_MEMORY),
                _ => return Err(error),
            },
        }
        let took = began.elapsed();
        if took > LONG {
            self.walks = (self.walks / 2).max(1);
        } else if took < LONG / 2 {
            self.walks = (self.walks * 2).min(MOST_WALKS);
        }
        Ok(())
    }

    /// Feeds what has come to those that it is for.
    fn take(&mut self) {
        let Self { shared, ring, lanes, layouts, open, cut, sends, receives, .. } = self;
        while let Some((token, completion)) = ring.next_completion() {
            match &completion {
                Completion::Sent(..) => *sends -= 1,
                Completion::Received(_) => *receives -= 1,
            }
            let Some(conversation) = open.get_mut(&token) else { continue };
            let received = matches!(completion, Completion::Received(_));
            conversation.receives -= usize::from(received);
            // Nothing was asked: it can only be somebody else's.
            let Some(got) = got(completion).filter(|_| !conversation.due) else { continue };
            let ship = Later { outlet: &conversation.errand.outlet, cut };
            let mut to = To { lanes, layouts, ship: &ship };
            match conversation.reading.feed(&got, shared, &mut to) {
                Step::Ended => conversation.exchange_ended(),
                Step::GoOn => conversation.goes_on(),
            }
        }
    }

    /// Sends what was cut. A sink may keep it waiting: what dies meanwhile is let go of. Nothing is in flight.
    fn ship(&mut self) {
        let parked = &self.shared.parked;
        let leave = |(token, conversation): (&u32, &mut Conversation)| {
            Some((*token, parked.park(conversation.leave()?)))
        };
        let places: Vec<(u32, u64)> = self.open.iter_mut().filter_map(leave).collect();
        for Cut { outlet, lane, envelope } in self.cut.take() {
            outlet.send(lane, envelope);
        }
        for (token, number) in places {
            let place = parked.take_back(number);
            if let Some(conversation) = self.open.get_mut(&token) {
                conversation.come_back(place);
            }
        }
    }
}

/// What a completion means to a reading; `None`: nothing.
fn got(completion: Completion<'_>) -> Option<Got<'_>> {
    match completion {
        Completion::Sent(Ok(()), _) => None,
        Completion::Sent(Err(error), _) => Some(Got::Nothing(failed(&error))),
        Completion::Received(Ok((received, chunk))) => Some(Got::Chunk(received, chunk)),
        Completion::Received(Err(error)) => match error.raw_os_error() {
            Some(EINTR | EAGAIN | ECANCELED) => None,
            Some(ENOBUFS) => Some(Got::Lost),
            _ => Some(Got::Nothing(failed(&error))),
        },
    }
}

/// Each may walk the whole table within a round, which takes milliseconds where that is large.
const MOST_WALKS: usize = 8;
/// Receives in one round of all that walk: each fills a message, and the oldest go first.
const CHUNKS_AT_ONCE: usize = 16;
/// Sockets of which replies may be kept back at once, before the last namespace: half a KiB each.
const MOST_KEPT: u64 = 4096;
/// A round that is longer delays the stop flag.
const LONG: Duration = Duration::from_millis(50);
const LONGEST_QUIET: Duration = Duration::from_secs(1);
const NO_MEMORY: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use sockeye_netns::{ScanOptions, Scanner};
    use sockeye_pipeline::Completeness;

    use super::*;
    use crate::sockdiag::kit::Kit;
    use crate::sockdiag::reading::tests;

    #[test]
    fn a_ring_that_gives_up_in_a_check_sends_what_the_plan_has_brought() {
        let tests::Conversation { shared, mut kit, reading } = tests::Conversation::in_a_check();
        let options = ScanOptions { own_only: true, ..ScanOptions::default() };
        let errand = Errand::of_tests(Scanner::new(options).scan().namespaces.remove(0));
        let mut ring = Ring::new(4, 4, shared.settings.packet_bytes).unwrap();
        let Kit { lanes, layouts, .. } = &mut kit;
        let mut pump = Pump::new(&shared, &mut ring, lanes, layouts, 4);
        pump.open(reading, DiagSocket::open(RECEIVE_TIMEOUT).unwrap(), errand);
        let over = pump.give_up(Incomplete::Stopped);
        assert!(pump.is_idle());
        let [(reading, errand)] = <[_; 1]>::try_from(over).ok().unwrap();
        let report = reading.finish().report;
        assert_eq!((report.rows, report.completeness), (3, Completeness::Complete));
        assert_eq!(errand.outlet.sent().rows, 3);
    }
}
