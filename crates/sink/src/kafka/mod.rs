//! Kafka: one message is one envelope, and it is delivered when the brokers have acknowledged it.
//!
//! One producer, polled by the sink's own thread. While something is under way that thread looks for acknowledgements
//! every few milliseconds; else it waits in front of its queue.
//!
//! Without a spool the client library holds the only copy of what is under way, and gives up on a message after
//! `--produce-timeout`. With a spool what is not acknowledged within [`STALLED`] is put on the disk, and so is what comes
//! while something stalls or while the spool has something older; from there it is sent again and again until it is
//! acknowledged, the oldest first.

mod complaints;
mod context;
mod counters;
mod key;
mod open;
mod reader;
mod registry;
mod settings;
mod trouble;
mod under_way;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode as Code;
use sockeye_pipeline::{Delivery, DropReason, Link, Queue, SendError, Sink};
use tracing::{info, warn};

use crate::spool::{Found, Next, Place, Spool};
use complaints::Complaints;
use context::{Context, Happened};
use trouble::Verdict;
use under_way::{Message, UnderWay};

pub use counters::KafkaCounters;
pub use key::Key;
pub use open::OpenKafkaError;
pub use reader::{ReadError, Start, Step, TopicReader};
pub use registry::SchemaRegistry;
pub use settings::{Compression, Connection, KafkaSettings, RESERVED, Sasl, Secret, Tls};
pub use trouble::Trouble;

/// Produces envelopes to a topic.
pub struct KafkaSink {
    settings: KafkaSettings,
    producer: BaseProducer<Context>,
    /// Those that may still be tried; the first one is in use.
    codecs: VecDeque<&'static str>,
    under_way: UnderWay,
    /// What the client library, or the disk, has not taken yet.
    waiting: VecDeque<Message>,
    spool: Option<Spool>,
    /// What the spool had when it was opened, until the ledger knows.
    found: Found,
    queue: Option<Queue>,
    link: Link,
    /// Nothing is produced before: an error that comes back at once is not to be repeated at once.
    hold_until: Option<Instant>,
    hold: Duration,
    /// The disk did not take something: it is not asked again before.
    disk_until: Option<Instant>,
    /// Something from the spool has to be sent again: not before everything else is settled, to keep the order.
    again: bool,
    another_codec: bool,
    complaints: Complaints,
    counters: Arc<KafkaCounters>,
    /// Since when the end is being waited for.
    finishing: Option<Instant>,
}

impl KafkaSink {
    /// Its counters, for those who show them.
    pub fn counters(&self) -> Arc<KafkaCounters> {
        Arc::clone(&self.counters)
    }

    /// Takes it to the spool or to the client library.
    fn take(&mut self, message: Message) {
        if self.spool.is_some() && !self.disk_rests() && !self.goes_straight() {
            if let Err(message) = self.write_down(message) {
                self.waiting.push_back(message);
            }
        } else {
            self.waiting.push_back(message);
        }
    }

    /// Whether what comes now need not go through the spool.
    fn goes_straight(&self) -> bool {
        let window = self.settings.window();
        self.waiting.is_empty()
            && !self.is_stalled()
            && !self.is_held()
            && !self.again
            && (self.under_way.bytes() == 0 || self.under_way.bytes() < window)
            && self.spool.as_ref().is_none_or(Spool::is_read)
    }

    fn is_stalled(&self) -> bool {
        self.under_way.oldest().is_some_and(|since| since.elapsed() >= STALLED)
    }

    fn is_held(&self) -> bool {
        self.hold_until.is_some_and(|until| Instant::now() < until)
    }

    fn disk_rests(&self) -> bool {
        self.disk_until.is_some_and(|until| Instant::now() < until)
    }

    /// Appends a message to the spool; gives it back when the disk does not take it.
    #[expect(clippy::result_large_err, reason = "it goes back to where it came from")]
    fn write_down(&mut self, mut message: Message) -> Result<Place, Message> {
        let Some(spool) = &mut self.spool else { return Err(message) };
        let Some(delivery) = message.delivery.take() else { return Err(message) };
        let lost = spool.make_room(&message.key, delivery.bytes());
        if lost > 0
            && let Some(queue) = &self.queue
        {
            queue.spooled_dropped(lost, DropReason::SpoolFull);
        }
        match spool.append(&message.key, delivery.bytes(), delivery.rows()) {
            Ok(place) => {
                self.disk_until = None;
                self.counters.park();
                delivery.spooled();
                Ok(place)
            }
            Err(error) => {
                self.disk_until = Some(Instant::now() + DISK_RESTS);
                self.counters.spool_failed();
                self.complaints.spool(&error);
                message.delivery = Some(delivery);
                Err(message)
            }
        }
    }

    /// What has been under way for too long is put on the disk as well: a crash does not take it then.
    fn park(&mut self) {
        if self.spool.is_some() && self.is_stalled() && !self.disk_rests() {
            self.park_all();
        }
    }

    #[expect(clippy::result_large_err, reason = "it goes back to where it came from")]
    fn park_all(&mut self) {
        let mut under_way = std::mem::take(&mut self.under_way);
        for number in under_way.not_on_disk() {
            let read = !self.has_unread();
            let outcome = under_way.change(number, |message| {
                let (key, since) = (message.key.clone(), message.since);
                let place = self.write_down(message).map_err(|message| (message, ()))?;
                Ok(Message { key, delivery: None, place: Some(place), since })
            });
            if outcome.is_err() {
                break;
            }
            // When nothing older is to be read there, it is not to be read either.
            if let Some(spool) = self.spool.as_mut().filter(|_| read) {
                spool.pass_over();
            }
        }
        self.under_way = under_way;
    }

    /// Gives the client library what it may have: the oldest first, which are in the spool.
    fn pump(&mut self) {
        self.again &= !self.under_way.is_empty();
        if self.again || self.is_held() {
            return;
        }
        while self.has_unread() && self.under_way.bytes() < self.settings.window() {
            let Some(spool) = &mut self.spool else { break };
            let under_way = &self.under_way;
            match spool.next(|place| under_way.has(place)) {
                Ok(Next::Envelope(spooled)) => {
                    let message = Message::from_spool(spooled.key, spooled.place);
                    if !self.produce(message, Some(&spooled.envelope)) {
                        return;
                    }
                }
                Ok(Next::Damaged(rows)) => {
                    if let Some(queue) = &self.queue {
                        queue.spooled_dropped(rows, DropReason::SpoolDamaged);
                    }
                }
                Ok(Next::End) => break,
                Err(error) => {
                    self.complaints.spool(&error);
                    self.hold_back();
                    return;
                }
            }
        }
        if self.has_unread() {
            return;
        }
        while let Some(message) = self.waiting.pop_front() {
            if self.spool.is_some() && self.under_way.bytes() >= self.settings.window() {
                self.waiting.push_front(message);
                return;
            }
            if !self.produce(message, None) {
                return;
            }
        }
    }

    fn has_unread(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| !spool.is_read())
    }

    /// Hands a message over; false when the client library takes none now.
    fn produce(&mut self, mut message: Message, envelope: Option<&[u8]>) -> bool {
        let number = self.under_way.next_number();
        let bytes = envelope.or(message.delivery.as_ref().map(Delivery::bytes)).unwrap_or_default();
        let len = bytes.len();
        let mut record = BaseRecord::with_opaque_to(&self.settings.topic, number).payload(bytes);
        if !message.key.is_empty() {
            record = record.key(&*message.key);
        }
        let outcome = self.producer.send(record).map_err(|(error, _)| error);
        match outcome {
            Ok(()) => {
                if self.spool.is_none()
                    && let Some(delivery) = &mut message.delivery
                {
                    delivery.release();
                }
                self.under_way.insert(number, message, len);
                true
            }
            Err(KafkaError::MessageProduction(Code::QueueFull)) => {
                self.put_back(message);
                false
            }
            Err(error) => match error.rdkafka_error_code().unwrap_or(Code::Unknown) {
                // Nothing was handed over, and there will be another producer soon.
                Code::Fatal => {
                    self.put_back(message);
                    false
                }
                code => {
                    self.failed(message, code);
                    !self.is_held()
                }
            },
        }
    }

    fn put_back(&mut self, message: Message) {
        match (message.place, &mut self.spool) {
            (Some(place), Some(spool)) => spool.read_again(place),
            _ => self.waiting.push_front(message),
        }
    }

    /// Waits for so long, serves the client library, and does what follows from what happened.
    fn serve(&mut self, wait: Duration) {
        // A poll with a timeout does not end before it, and burns its last millisecond.
        thread::sleep(wait);
        loop {
            let calls = self.producer.context().calls();
            self.producer.poll(Duration::ZERO);
            if self.producer.context().calls() == calls {
                break;
            }
        }
        let happened = self.producer.context().take();
        let mut errors = Vec::new();
        for happened in happened {
            match happened {
                Happened::Settled(number, outcome) => {
                    let Some(message) = self.under_way.settle(number) else { continue };
                    match outcome {
                        Ok(()) => self.acknowledged(message),
                        Err(code) => self.failed(message, code),
                    }
                }
                Happened::Error(code, text) => errors.push((code, text)),
                Happened::OldBroker => self.another_codec |= self.codecs.front() == Some(&"zstd"),
            }
        }
        self.complaints.client(errors, &self.counters);
        if self.complaints.is_away() {
            self.set_link(Link::Down);
        }
        if let Some(error) = self.producer.client().fatal_error()
            && !self.is_held()
        {
            self.complaints.client(vec![error], &self.counters);
            self.start_anew();
        }
        self.expire();
        if self.another_codec && self.under_way.is_empty() {
            self.choose_another_codec();
        }
    }

    fn acknowledged(&mut self, message: Message) {
        self.counters.acknowledge();
        self.complaints.works(self.queue.as_ref().map_or("kafka", Queue::name));
        (self.hold_until, self.hold) = (None, FIRST_HOLD);
        self.set_link(Link::Up);
        if let Some(place) = message.place {
            self.spool_done(place, None);
        }
        if let Some(delivery) = message.delivery {
            delivery.delivered();
        }
    }

    /// A message is not to be delivered: not now, or never.
    fn failed(&mut self, message: Message, code: Code) {
        if code == Code::UnsupportedCompressionType {
            self.another_codec = true;
        }
        let retriable = Verdict::of(code) == Verdict::Retriable;
        let trouble = self.complaints.message(code, message.rows(), &self.counters);
        if retriable && self.spool.is_some() {
            self.hold_back();
            self.again = true;
            match (message.place, &mut self.spool) {
                (Some(place), Some(spool)) => {
                    spool.read_again(place);
                    self.queue.iter().for_each(Queue::retried);
                    return;
                }
                _ => match self.write_down(message) {
                    Ok(_) => {
                        self.queue.iter().for_each(Queue::retried);
                        // In front of what comes now.
                        self.park_all();
                        return;
                    }
                    Err(message) => return drop_message(message, trouble.reason()),
                },
            }
        }
        if let Some(place) = message.place {
            self.spool_done(place, Some(trouble.reason()));
        }
        drop_message(message, trouble.reason());
    }

    fn hold_back(&mut self) {
        if !self.is_held() {
            self.hold_until = Some(Instant::now() + self.hold);
            self.hold = (self.hold * 2).min(LONGEST_HOLD);
        }
    }

    fn spool_done(&mut self, place: Place, lost: Option<DropReason>) {
        let (Some(spool), Some(queue)) = (&mut self.spool, &self.queue) else { return };
        let (rows, outcome) = spool.done(place);
        if let Err(error) = outcome {
            self.complaints.spool(&error);
        }
        match lost {
            None => queue.spooled_delivered(rows),
            Some(reason) => queue.spooled_dropped(rows, reason),
        }
    }

    /// What a producer that has failed for good does not take any more has no longer time than what it took.
    fn expire(&mut self) {
        let longest = self.settings.produce_timeout;
        while self.waiting.front().is_some_and(|first| first.since.elapsed() >= longest) {
            if let Some(message) = self.waiting.pop_front() {
                let trouble =
                    self.complaints.message(Code::MessageTimedOut, message.rows(), &self.counters);
                drop_message(message, trouble.reason());
            }
        }
    }

    /// A new producer. What was under way goes back to the spool, or is lost: nobody knows what the brokers have of it.
    fn start_anew(&mut self) {
        for message in self.under_way.drain() {
            self.failed(message, Code::Fatal);
        }
        self.hold_back();
        self.make_producer();
    }

    fn choose_another_codec(&mut self) {
        self.another_codec = false;
        if self.codecs.len() < 2 {
            return;
        }
        self.codecs.pop_front();
        if let Some(codec) = self.codecs.front() {
            info!(sink = self.name(), codec, "the broker does not know the codec before");
        }
        self.make_producer();
    }

    fn make_producer(&mut self) {
        match open::producer(&self.settings, &mut self.codecs) {
            Ok(producer) => {
                self.producer = producer;
                self.counters.producer();
            }
            Err(error) => {
                warn!(sink = self.name(), %error, "no new producer; going on with the old one");
            }
        }
    }

    /// Told when it changes.
    fn set_link(&mut self, link: Link) {
        if self.link != link {
            self.link = link;
            self.queue.iter().for_each(|queue| queue.set_link(link));
        }
    }

    fn name(&self) -> &str {
        self.queue.as_ref().map_or("kafka", Queue::name)
    }

    /// Whether there is something that the client library, or a look at the clock, can bring forward.
    fn is_busy(&self) -> bool {
        !self.under_way.is_empty() || !self.waiting.is_empty() || self.has_unread()
    }

    /// Nothing can be delivered any more: what is left goes to the spool, or is lost and counted.
    fn give_up(&mut self) {
        let mut left = self.under_way.drain();
        left.extend(self.waiting.drain(..));
        for message in left.into_iter().filter(|message| message.place.is_none()) {
            if let Err(message) = self.write_down(message) {
                drop_message(message, DropReason::Shutdown);
            }
        }
        self.sync();
    }

    fn sync(&mut self) {
        if let Some(Err(error)) = self.spool.as_mut().map(Spool::sync) {
            self.complaints.spool(&error);
        }
    }

    /// How long to wait before the client library is looked at.
    fn wait(&self) -> Duration {
        if !self.is_busy() {
            Duration::ZERO
        } else if self.is_stalled() || self.is_held() || self.under_way.is_empty() {
            SLOW
        } else {
            FAST
        }
    }
}

impl Sink for KafkaSink {
    fn start(&mut self, queue: &Queue) {
        let Found { envelopes, rows, damaged_bytes, damaged_rows } = self.found;
        queue.recovered(rows + damaged_rows);
        queue.spooled_dropped(damaged_rows, DropReason::SpoolDamaged);
        if envelopes > 0 {
            info!(
                sink = queue.name(),
                envelopes, rows, "the spool has rows from before; they go first"
            );
        }
        if damaged_bytes > 0 {
            self.counters.torn(damaged_bytes);
            warn!(
                sink = queue.name(),
                bytes = damaged_bytes,
                rows = damaged_rows,
                "a part of the spool could not be read back"
            );
        }
        self.complaints.name(queue.name());
        self.queue = Some(queue.clone());
        self.set_link(Link::Connecting);
    }

    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        // What stalls is older, and has to be in front of it.
        self.park();
        for message in under_way::messages(&self.settings.key, delivery) {
            self.take(message);
        }
        self.pump();
        self.serve(Duration::ZERO);
        Ok(())
    }

    fn end_of_poll(&mut self) -> io::Result<()> {
        self.sync();
        Ok(())
    }

    fn nap(&self) -> Duration {
        if self.is_busy() { Duration::ZERO } else { NAP }
    }

    fn idle(&mut self) -> io::Result<()> {
        self.serve(self.wait());
        self.park();
        self.pump();
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let began = *self.finishing.get_or_insert_with(Instant::now);
        // Without a spool every message comes back within --produce-timeout.
        let own = self.spool.as_ref().map(|_| began + self.settings.shutdown_timeout);
        let is_over = |queue: &Option<Queue>| {
            let asked = queue.as_ref().and_then(Queue::flush_deadline);
            asked.into_iter().chain(own).any(|deadline| Instant::now() >= deadline)
        };
        while self.is_busy() && !is_over(&self.queue) {
            self.idle()?;
        }
        self.give_up();
        Ok(())
    }
}

fn drop_message(message: Message, reason: DropReason) {
    if let Some(delivery) = message.delivery {
        delivery.dropped(reason);
    }
}

/// What is not acknowledged for so long goes to the spool, if there is one, and so does what comes after it.
const STALLED: Duration = Duration::from_secs(2);
/// With nothing to do.
const NAP: Duration = Duration::from_millis(200);
/// Acknowledgements are to come at any moment, and readers may wait for the room.
const FAST: Duration = Duration::from_millis(10);
/// They are not.
const SLOW: Duration = Duration::from_millis(50);
/// After a write that failed, most likely because the disk is full.
const DISK_RESTS: Duration = Duration::from_secs(1);
const FIRST_HOLD: Duration = Duration::from_millis(500);
const LONGEST_HOLD: Duration = Duration::from_secs(10);
