//! The Kafka sink against the client library's mock cluster, whose brokers do wrong what they are told to.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod kit;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kit::{Served, encoder, envelopes};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use sockeye_pipeline::{DropReason, Ledger};
use sockeye_record::decode::Records;
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_record::{BufferPool, Builder, Envelope, Format, Limits};
use sockeye_sink::kafka::{Compression, KafkaCounters, KafkaSettings, KafkaSink, Key, Trouble};
use sockeye_sink::spool::SpoolSettings;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    cluster
}

fn settings(cluster: &Cluster) -> KafkaSettings {
    KafkaSettings {
        brokers: cluster.bootstrap_servers(),
        topic: TOPIC.into(),
        key: Key::None,
        compression: Compression::Auto,
        linger: Duration::from_millis(5),
        message_max_bytes: 1_000_000,
        produce_timeout: Duration::from_mins(1),
        queue_bytes: 1 << 20,
        tls: None,
        sasl: None,
        set: [("reconnect.backoff.max.ms", "200"), ("topic.metadata.refresh.interval.ms", "1000")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        spool: None,
        shutdown_timeout: Duration::from_secs(10),
    }
}

fn spooling(cluster: &Cluster, dir: &Path) -> KafkaSettings {
    KafkaSettings {
        produce_timeout: Duration::from_millis(1500),
        spool: Some(SpoolSettings { dir: dir.join("spool"), bytes: 16 << 20 }),
        ..settings(cluster)
    }
}

fn start(settings: KafkaSettings) -> (Served, Arc<KafkaCounters>) {
    let sink = KafkaSink::open(settings).unwrap();
    let counters = sink.counters();
    (Served::start(sink), counters)
}

/// `count` envelopes of two rows each, numbered from `first`.
fn numbered(first: u64, count: u64) -> Vec<Envelope> {
    let limits = Limits { rows: 2, bytes: usize::MAX };
    let mut builder = Builder::new(encoder(Format::ProtobufList), limits, BufferPool::new(4));
    let mut envelopes = Vec::new();
    for record_counter in first..first + 2 * count {
        let netns = if record_counter % 2 == 0 { "even" } else { "odd" }.into();
        let record = XtcpFlatRecord { record_counter, netns, ..Default::default() };
        builder.push_record(&record, |envelope| envelopes.push(envelope));
    }
    envelopes
}

/// Key and payload of every message in the topic.
fn messages(cluster: &Cluster) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(TOPIC, 0, Offset::Beginning).unwrap();
    consumer.assign(&places).unwrap();
    let mut messages = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(10)).expect("a message or the end") {
            Ok(message) => messages
                .push((message.key().map(<[u8]>::to_vec), message.payload().unwrap().to_vec())),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return messages,
            Err(error) => panic!("{error}"),
        }
    }
}

fn rows(cluster: &Cluster) -> Vec<u64> {
    let payloads = messages(cluster).into_iter().flat_map(|(_, payload)| payload);
    let payloads: Vec<u8> = payloads.collect();
    Records::new(payloads.as_slice()).map(|record| record.unwrap().record_counter).collect()
}

#[test]
fn every_envelope_is_one_message_without_a_key_and_delivered_when_it_is_acknowledged() {
    let cluster = cluster();
    let (served, counters) = start(settings(&cluster));
    served.offer(envelopes(Format::ProtobufList, 100));
    served.wait("acknowledgements", |ledger| ledger.delivered == 200);
    assert_eq!(served.close().to_string(), "read 200 = delivered 200 + dropped 0 + in flight 0");
    let expected: Vec<_> = envelopes(Format::ProtobufList, 100)
        .iter()
        .map(|envelope| (None, envelope.bytes().to_vec()))
        .collect();
    assert_eq!(messages(&cluster), expected);
    assert_eq!((counters.acknowledged(), counters.producers()), (100, 1));
}

#[test]
fn keys_are_a_fixed_text_or_the_namespace_by_which_envelopes_are_taken_apart() {
    let cluster = cluster();
    let (served, _) = start(KafkaSettings { key: Key::Fixed("host".into()), ..settings(&cluster) });
    served.offer(numbered(1, 1));
    assert_eq!(served.close().delivered, 2);
    let (served, counters) = start(KafkaSettings { key: Key::Netns, ..settings(&cluster) });
    served.offer(numbered(3, 2));
    assert_eq!((served.close().delivered, counters.acknowledged()), (4, 4));
    let keys: Vec<_> = messages(&cluster)
        .into_iter()
        .map(|(key, payload)| {
            let rows = Records::new(payload.as_slice()).map(|row| row.unwrap().record_counter);
            (String::from_utf8(key.unwrap()).unwrap(), rows.collect::<Vec<u64>>())
        })
        .collect();
    let expected = [("host", vec![1, 2]), ("odd", vec![3]), ("even", vec![4])];
    let expected = expected.into_iter().chain([("odd", vec![5]), ("even", vec![6])]);
    assert_eq!(keys, expected.map(|(key, rows)| (key.to_owned(), rows)).collect::<Vec<_>>());
}

#[test]
fn a_broker_that_is_away_at_the_start_is_waited_for_and_counted() {
    let cluster = cluster();
    cluster.broker_down(1).unwrap();
    let (served, counters) = start(settings(&cluster));
    served.offer(numbered(1, 50));
    let deadline = Instant::now() + Duration::from_secs(30);
    while counters.troubles(Trouble::Unreachable) == 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(served.queue.ledger().in_flight, 100);
    cluster.broker_up(1).unwrap();
    served.wait("the broker", |ledger| ledger.delivered == 100);
    served.close();
    assert_eq!(rows(&cluster), (1..=100).collect::<Vec<u64>>());
}

#[test]
fn what_is_not_acknowledged_in_time_is_dropped_for_that() {
    let cluster = cluster();
    cluster.broker_down(1).unwrap();
    let short = Duration::from_secs(3);
    let (served, _) = start(KafkaSettings { produce_timeout: short, ..settings(&cluster) });
    served.offer(numbered(1, 10));
    served.wait("the timeout", |ledger| ledger.dropped_for(DropReason::Timeout) == 20);
    cluster.broker_up(1).unwrap();
    served.offer(numbered(21, 10));
    served.wait("the broker", |ledger| ledger.delivered == 20);
    served.close();
    assert_eq!(rows(&cluster), (21..=40).collect::<Vec<u64>>());
}

#[test]
fn errors_that_pass_are_tried_again_and_those_that_do_not_are_counted_by_their_names() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as TOO_LARGE,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as REPLICAS,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as UNAUTHORISED,
    };
    let cluster = cluster();
    let (served, counters) = start(settings(&cluster));
    cluster.request_errors(RDKafkaApiKey::Produce, &[REPLICAS, REPLICAS]);
    served.offer(numbered(1, 1));
    served.wait("the replicas", |ledger| ledger.delivered == 2);
    cluster.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE]);
    served.offer(numbered(3, 1));
    let too_large = |ledger: &Ledger| ledger.dropped_for(DropReason::MessageTooLarge) == 2;
    served.wait("the size", too_large);
    cluster.request_errors(RDKafkaApiKey::Produce, &[UNAUTHORISED]);
    served.offer(numbered(5, 1));
    let unauthorised = |ledger: &Ledger| ledger.dropped_for(DropReason::NotAuthorised) == 2;
    served.wait("the right", unauthorised);
    // The client believes it until it asks again.
    let deadline = Instant::now() + Duration::from_secs(30);
    for first in (7..).step_by(2) {
        served.offer(numbered(first, 1));
        served.wait("an answer", |ledger| ledger.in_flight == 0);
        if served.queue.ledger().delivered == 4 {
            break;
        }
        assert!(Instant::now() < deadline, "{}", served.queue.ledger());
        std::thread::sleep(Duration::from_millis(200));
    }
    served.close();
    assert_eq!((rows(&cluster).len(), counters.troubles(Trouble::MessageTooLarge)), (4, 1));
    assert!(counters.troubles(Trouble::NotAuthorised) >= 1);
}

#[test]
fn a_message_longer_than_the_client_takes_is_dropped_at_once() {
    let cluster = cluster();
    let (served, _) = start(KafkaSettings { message_max_bytes: 1000, ..settings(&cluster) });
    let mut builder = Builder::new(
        encoder(Format::ProtobufList),
        Limits { rows: 1, bytes: usize::MAX },
        BufferPool::new(1),
    );
    let record = XtcpFlatRecord { hostname: "h".repeat(2000), ..Default::default() };
    builder.push_record(&record, |envelope| served.offer([envelope]));
    served.offer(numbered(1, 1));
    let ledger = served.close();
    assert_eq!((ledger.delivered, ledger.dropped_for(DropReason::MessageTooLarge)), (2, 1));
}

#[test]
fn a_broker_that_does_not_know_zstd_gets_the_next_best_codec() {
    let cluster = cluster();
    cluster.apiversion(RDKafkaApiKey::Produce, Some(0), Some(6)).unwrap();
    let (served, counters) = start(settings(&cluster));
    for round in 0..3 {
        served.offer(numbered(1 + 20 * round, 10));
        served.wait("a round", |ledger| ledger.delivered == 20 * (round + 1));
        std::thread::sleep(Duration::from_millis(300));
    }
    served.close();
    assert_eq!(counters.producers(), 2, "zstd, then lz4");
    assert_eq!(rows(&cluster), (1..=60).collect::<Vec<u64>>());
}

#[test]
fn every_codec_arrives_as_it_was() {
    let cluster = cluster();
    for (round, codec) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let compression = Compression::Codec(codec);
        let (served, _) = start(KafkaSettings { compression, ..settings(&cluster) });
        served.offer(numbered(1 + 40 * round, 20));
        assert_eq!(served.close().delivered, 40, "{codec}");
    }
    assert_eq!(rows(&cluster), (1..=200).collect::<Vec<u64>>());
}

#[test]
fn at_the_deadline_of_the_shutdown_what_is_left_is_lost_without_a_spool_and_kept_with_one() {
    let cluster = cluster();
    cluster.broker_down(1).unwrap();
    let (served, _) = start(settings(&cluster));
    served.offer(numbered(1, 10));
    let ledger = served.close_within(Duration::from_millis(300));
    assert_eq!((ledger.dropped_for(DropReason::Shutdown), ledger.in_flight), (20, 0));

    let dir = tempfile::tempdir().unwrap();
    let (served, _) = start(spooling(&cluster, dir.path()));
    served.offer(numbered(21, 10));
    let ledger = served.close_within(Duration::from_millis(300));
    assert_eq!(
        ledger.to_string(),
        "read 20 = delivered 0 + dropped 0 + in flight 20 (20 in the spool)"
    );
    cluster.broker_up(1).unwrap();
    let (served, _) = start(spooling(&cluster, dir.path()));
    served.offer(numbered(41, 1));
    served.wait("the spool", |ledger| ledger.delivered == 22);
    let ledger = served.close();
    let expected = "read 22 (20 from the spool) = delivered 22 + dropped 0 + in flight 0";
    assert_eq!(ledger.to_string(), expected);
    assert_eq!(rows(&cluster), (21..=42).collect::<Vec<u64>>(), "what is older goes first");
}

#[test]
fn with_a_spool_an_outage_costs_nothing_and_the_order_stays() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let (served, counters) = start(spooling(&cluster, dir.path()));
    served.offer(numbered(1, 5));
    served.wait("the first", |ledger| ledger.delivered == 10);
    cluster.broker_down(1).unwrap();
    for round in 0..8 {
        served.offer(numbered(11 + 10 * round, 5));
        std::thread::sleep(Duration::from_millis(500));
    }
    served.wait("the disk", |ledger| ledger.spooled == 80);
    let ledger = served.queue.ledger();
    assert_eq!((ledger.delivered, ledger.dropped_rows()), (10, 0));
    assert_eq!(served.queue.pending_bytes(), 0, "all of it is on the disk");
    cluster.broker_up(1).unwrap();
    served.wait("the spool", |ledger| ledger.delivered == 90);
    served.offer(numbered(91, 5));
    served.wait("what comes then", |ledger| ledger.delivered == 100);
    assert!(counters.parked() >= 40);
    let ledger = served.close();
    assert_eq!((ledger.dropped_rows(), ledger.in_flight), (0, 0));
    let mut found = rows(&cluster);
    // A message that timed out while the broker had it comes twice.
    found.dedup();
    assert_eq!(found, (1..=100).collect::<Vec<u64>>());
    let left: Vec<_> = std::fs::read_dir(dir.path().join("spool")).unwrap().collect();
    assert_eq!(left.len(), 1, "the lock");
}

#[test]
fn a_disk_that_does_not_take_what_stalls_is_asked_once_a_second() {
    let cluster = cluster();
    cluster.broker_down(1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Nothing fits, and nothing times out for the time being.
    let spool = Some(SpoolSettings { dir: dir.path().join("spool"), bytes: 10 });
    let (served, counters) = start(KafkaSettings { spool, ..settings(&cluster) });
    served.offer(numbered(1, 10));
    std::thread::sleep(Duration::from_millis(4500));
    let failures = counters.spool_failures();
    assert!((2..=4).contains(&failures), "{failures}");
    cluster.broker_up(1).unwrap();
    served.wait("the broker", |ledger| ledger.delivered == 20);
    served.close();
}

#[test]
fn what_was_refused_for_want_of_a_right_waits_in_the_spool_until_it_is_given() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as UNAUTHORISED;
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let (served, counters) = start(spooling(&cluster, dir.path()));
    cluster.request_errors(RDKafkaApiKey::Produce, &[UNAUTHORISED; 2]);
    served.offer(numbered(1, 1));
    served.wait("the right", |ledger| ledger.delivered == 2);
    let ledger = served.close();
    assert_eq!(ledger.dropped_rows(), 0);
    // The client believes it until it asks again.
    let seen = counters.troubles(Trouble::NotAuthorised);
    assert!(seen >= 2 && ledger.retries == seen, "{seen} {ledger}");
    assert_eq!(rows(&cluster), [1, 2]);
}

#[test]
fn a_spool_in_use_and_settings_that_the_client_does_not_know_are_refused() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let _first = KafkaSink::open(spooling(&cluster, dir.path())).unwrap();
    let refused = |settings| KafkaSink::open(settings).err().unwrap().to_string();
    let said = refused(spooling(&cluster, dir.path()));
    assert!(said.contains("is in use by another process or destination"), "{said}");
    let set = vec![("no.such.thing".into(), "1".into())];
    let said = refused(KafkaSettings { set, ..settings(&cluster) });
    assert!(said.starts_with("librdkafka ") && said.contains("no.such.thing"), "{said}");
}

const TOPIC: &str = "xtcp";
