//! Messages that the client library has, by number, in the order in which it got them.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use sockeye_pipeline::Delivery;

use super::Key;
use super::key::{self, Part};
use crate::spool::Place;

/// One message: in memory, on the disk, or, after it stalled, with the client library and on the disk.
#[derive(Debug)]
pub(crate) struct Message {
    /// Empty for none.
    pub(crate) key: Box<[u8]>,
    /// While its rows are not in the spool.
    pub(crate) delivery: Option<Delivery>,
    /// When they are.
    pub(crate) place: Option<Place>,
    pub(crate) since: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    messages: BTreeMap<usize, (Message, usize)>,
    places: HashSet<Place>,
    bytes: usize,
    next: usize,
}

impl Message {
    pub(crate) fn from_spool(key: Vec<u8>, place: Place) -> Self {
        Self { key: key.into(), delivery: None, place: Some(place), since: Instant::now() }
    }

    /// Rows that are in memory.
    pub(crate) fn rows(&self) -> u64 {
        self.delivery.as_ref().map_or(0, Delivery::rows)
    }
}

/// The messages of an envelope: one, unless its rows have different keys.
pub(crate) fn messages(key: &Key, delivery: Delivery) -> Vec<Message> {
    let message = |key: Vec<u8>, delivery| Message {
        key: key.into(),
        delivery: Some(delivery),
        place: None,
        since: Instant::now(),
    };
    match key {
        Key::None => vec![message(Vec::new(), delivery)],
        Key::Fixed(text) => vec![message(text.clone().into_bytes(), delivery)],
        Key::Netns => match key::by_netns(delivery.bytes()) {
            Some(mut parts) if parts.len() == 1 => {
                vec![message(parts.pop().map(|part| part.key).unwrap_or_default(), delivery)]
            }
            Some(parts) if !parts.is_empty() => {
                let (mut keys, mut split) = (Vec::new(), Vec::new());
                for Part { key, envelope, rows } in parts {
                    keys.push(key);
                    split.push((envelope, rows));
                }
                let split = delivery.split(split);
                keys.into_iter().zip(split).map(|(key, part)| message(key, part)).collect()
            }
            // No envelope of ours; it goes as it is.
            _ => vec![message(Vec::new(), delivery)],
        },
    }
}

impl UnderWay {
    pub(crate) fn next_number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    pub(crate) fn insert(&mut self, number: usize, mut message: Message, len: usize) {
        message.since = Instant::now();
        self.bytes += len;
        self.places.extend(message.place);
        self.messages.insert(number, (message, len));
    }

    /// The client library has it no more.
    pub(crate) fn settle(&mut self, number: usize) -> Option<Message> {
        let (message, len) = self.messages.remove(&number)?;
        self.bytes -= len;
        if let Some(place) = &message.place {
            self.places.remove(place);
        }
        Some(message)
    }

    /// Changes a message while it is under way: it may get a place.
    pub(crate) fn change<E>(
        &mut self,
        number: usize,
        change: impl FnOnce(Message) -> Result<Message, (Message, E)>,
    ) -> Result<(), E> {
        let Some((message, len)) = self.messages.remove(&number) else { return Ok(()) };
        let (message, outcome) = match change(message) {
            Ok(message) => (message, Ok(())),
            Err((message, error)) => (message, Err(error)),
        };
        self.places.extend(message.place);
        self.messages.insert(number, (message, len));
        outcome
    }

    /// Everything, in order.
    pub(crate) fn drain(&mut self) -> Vec<Message> {
        self.bytes = 0;
        self.places.clear();
        std::mem::take(&mut self.messages).into_values().map(|(message, _)| message).collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Since when the first one is under way.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.messages.first_key_value().map(|(_, (message, _))| message.since)
    }

    /// Whether what is there in the spool is under way.
    pub(crate) fn has(&self, place: Place) -> bool {
        self.places.contains(&place)
    }

    pub(crate) fn not_on_disk(&self) -> Vec<usize> {
        let on_memory = self.messages.iter().filter(|(_, (message, _))| message.delivery.is_some());
        on_memory.map(|(number, _)| *number).collect()
    }
}
