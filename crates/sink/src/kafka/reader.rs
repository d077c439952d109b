//! The other side: the messages of a topic, read without a group, so that nobody else's offsets move.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::settings::Connection;

/// Reads the partitions of a topic.
pub struct TopicReader {
    topic: String,
    consumer: BaseConsumer<DefaultConsumerContext>,
    /// Where each partition ended when reading began, of those that have not been read so far; none when it goes on.
    until: Option<BTreeMap<i32, i64>>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that the brokers have.
    Beginning,
    /// With the next one.
    End,
    /// With the first one since then.
    Since(SystemTime),
}

/// What was read.
#[derive(Debug)]
pub enum Step {
    /// A message.
    Message {
        /// The partition that it was in.
        partition: i32,
        /// Its place there.
        offset: i64,
        /// What it says.
        payload: Vec<u8>,
    },
    /// Nothing has come for the moment.
    Quiet,
    /// Everything up to the end has been read.
    End,
}

/// Why a topic can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client library does not like the options.
    #[error("{0}")]
    Client(KafkaError),
    /// The brokers do not answer, or refuse.
    #[error("the brokers can't be asked: {0}")]
    Brokers(KafkaError),
    /// There is no such topic.
    #[error("there is no topic {0}")]
    NoTopic(String),
}

impl TopicReader {
    /// Begins to read; with `follow` there is no end.
    ///
    /// # Errors
    /// Each says what is wrong.
    pub fn open(
        connection: &Connection,
        topic: &str,
        start: Start,
        follow: bool,
    ) -> Result<Self, ReadError> {
        let consumer: BaseConsumer<DefaultConsumerContext> = connection
            .client_config()
            // Never joined: partitions are assigned here and offsets are not stored.
            .set("group.id", "sockeye-consume")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            .create()
            .map_err(ReadError::Client)?;
        let metadata =
            consumer.fetch_metadata(Some(topic), PATIENCE).map_err(ReadError::Brokers)?;
        let found = metadata.topics().first().filter(|found| found.error().is_none());
        let partitions: Vec<i32> = found
            .map(|found| found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id))
            .into_iter()
            .flatten()
            .collect();
        if partitions.is_empty() {
            return Err(ReadError::NoTopic(topic.into()));
        }
        let mut until = BTreeMap::new();
        for partition in &partitions {
            let (low, high) = consumer
                .fetch_watermarks(topic, *partition, PATIENCE)
                .map_err(ReadError::Brokers)?;
            if low < high && start != Start::End {
                until.insert(*partition, high);
            }
        }
        let places = places(&consumer, topic, &partitions, start).map_err(ReadError::Brokers)?;
        consumer.assign(&places).map_err(ReadError::Client)?;
        Ok(Self { topic: topic.into(), consumer, until: (!follow).then_some(until) })
    }

    /// The next message, which is waited for as long as `wait`. What comes and is none that is wanted ends the waiting as
    /// well: a busy topic must not keep a caller who has other things to look at.
    ///
    /// # Errors
    /// [`ReadError::Brokers`]: reading cannot go on. Brokers that are away are waited for.
    pub fn step(&mut self, wait: Duration) -> Result<Step, ReadError> {
        if self.until.as_ref().is_some_and(BTreeMap::is_empty) {
            return Ok(Step::End);
        }
        let (partition, offset, payload) = match self.consumer.poll(wait) {
            None => return Ok(Step::Quiet),
            Some(Ok(message)) => {
                let payload = message.payload().unwrap_or_default().to_vec();
                (message.partition(), message.offset(), payload)
            }
            // What lies before the end may be no message at all.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.is_read(partition);
                return Ok(Step::Quiet);
            }
            Some(Err(error)) => {
                let code = error.rdkafka_error_code();
                if code.is_some_and(|code| LASTING.contains(&code)) {
                    return Err(ReadError::Brokers(error));
                }
                return Ok(Step::Quiet);
            }
        };
        if let Some(until) = &self.until {
            let end = until.get(&partition).copied();
            if end.is_none_or(|end| offset + 1 >= end) {
                self.is_read(partition);
            }
            // It came after reading had begun.
            if end.is_none_or(|end| offset >= end) {
                return Ok(Step::Quiet);
            }
        }
        Ok(Step::Message { partition, offset, payload })
    }

    /// Nothing more is wanted of a partition, unless reading goes on and on.
    fn is_read(&mut self, partition: i32) {
        let Some(until) = &mut self.until else { return };
        until.remove(&partition);
        let mut paused = TopicPartitionList::new();
        paused.add_partition(&self.topic, partition);
        // What comes all the same is passed over.
        let _ = self.consumer.pause(&paused);
    }
}

fn places(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: &[i32],
    start: Start,
) -> Result<TopicPartitionList, KafkaError> {
    let mut places = TopicPartitionList::new();
    let offset = match start {
        Start::Beginning => Offset::Beginning,
        Start::End => Offset::End,
        Start::Since(time) => {
            let ms = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            Offset::Offset(i64::try_from(ms).unwrap_or(i64::MAX))
        }
    };
    for partition in partitions {
        places.add_partition_offset(topic, *partition, offset)?;
    }
    // Times stand where offsets come.
    if matches!(start, Start::Since(_)) {
        consumer.offsets_for_times(places, PATIENCE)
    } else {
        Ok(places)
    }
}

/// What no waiting helps against. That the group is forbidden is no harm: the client library looks for it by itself, and
/// nothing is asked of it.
const LASTING: [Code; 6] = [
    Code::Authentication,
    Code::SaslAuthenticationFailed,
    Code::TopicAuthorizationFailed,
    Code::UnknownTopicOrPartition,
    Code::UnknownTopic,
    Code::SSL,
];
const PATIENCE: Duration = Duration::from_secs(10);
