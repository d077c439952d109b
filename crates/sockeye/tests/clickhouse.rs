//! The engine of `ClickHouse` reads a topic through the documented tables: rows, queries, dashboards, corrupt messages.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sockeye_record::v1::{Envelope, XtcpFlatRecord};
use sockeye_testkit::kafka::{Broker, Settings};
use sockeye_testkit::load::{Load, LoadOptions};
use sockeye_testkit::netns::{Netns as _, TestNetns, require_root};
use sockeye_testkit::{kafka_files, python, states};

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn clickhouse_reads_a_topic_through_the_documented_tables_and_answers_the_documented_queries() {
    require_root();
    let folder = tempfile::tempdir().unwrap();
    let netns = TestNetns::new("clickhouse").unwrap();
    let load = Load::spawn(&load_in(&netns)).unwrap();
    // Broker, Sockeye and ClickHouse too: what else this host does is not in the way.
    // What they need is fetched out here, since there is no other network inside.
    let python = python::interpreter().unwrap();
    kafka_files::libraries().unwrap();
    let said = netns.enter(|| read_by_clickhouse(&python, folder.path())).unwrap();
    load.stop().unwrap();
    let count = common::rows(&fs::read(folder.path().join(DECODED)).unwrap()).len();
    assert!(count > 200, "{count}");
    assert!(said.contains(&format!("{count} rows are the same")), "{said}");
    assert!(said.contains("10 queries answer"), "{said}");
}

fn load_in(netns: &TestNetns) -> LoadOptions {
    LoadOptions {
        netns: Some(netns.path()),
        connections: 20,
        listen: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        bytes: 1_000..=100_000,
        ..LoadOptions::default()
    }
}

/// What the checks say.
fn read_by_clickhouse(python: &Path, folder: &Path) -> String {
    let broker = Broker::start(&Settings::default()).unwrap();
    broker.create_topic(TOPIC, 2, &[]).unwrap();
    let (rows, decoded) = (folder.join("rows.pb"), folder.join(DECODED));
    collect(&broker.bootstrap(), &rows);
    corrupt(&broker.bootstrap());
    fs::write(&decoded, common::stdout(&["decode", rows.to_str().unwrap()])).unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(python)
        .arg("-B")
        .arg(root.join("crates/sockeye/tests/clickhouse/check.py"))
        .args([&broker.bootstrap(), TOPIC])
        .args([root.join("docs/clickhouse"), root.join("docs/grafana"), decoded])
        .arg(folder.join("clickhouse"))
        .output()
        .unwrap();
    let said = common::text(&output.stdout);
    assert!(output.status.success(), "{said}{}", common::text(&output.stderr));
    said
}

/// Two hosts with three polls each, to the topic and to a file, while bytes move.
fn collect(bootstrap: &str, rows: &Path) {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let pair = states::established(loopback, Some("bbr")).unwrap();
    let _waiting = states::waiting(loopback, 7, 3).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = vec![0; 50_000];
            while !done.load(Ordering::Relaxed) {
                (&pair.client).write_all(&bytes).unwrap();
                (&pair.server).read_exact(&mut bytes).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
        });
        for host in ["web-1", "web-2"] {
            let (kafka, file) = (format!("kafka:{bootstrap}"), format!("file:{}", rows.display()));
            let polls =
                ["--max-loops", "3", "--frequency", "500ms", "--timeout", "400ms", "--jitter", "0"];
            let to =
                ["--dest", &kafka, "--topic", TOPIC, "--dest", &file, "--marshal", "protobufList"];
            let small = ["--envelope-flush-rows", "50", "--hostname", host, "--own-netns-only"];
            common::stdout(&[&["run"][..], &polls, &to, &small].concat());
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Two messages that are no envelopes, one without anything, and rows of a schema that is not known yet.
fn corrupt(bootstrap: &str) {
    let row = XtcpFlatRecord {
        schema_version: 2,
        hostname: "from-the-future".to_owned(),
        ..XtcpFlatRecord::default()
    };
    let future = Envelope { row: vec![row; 3] }.encode_length_delimited_to_vec();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    for payload in [&b"\xff\xff\xff no envelope"[..], b"\x05hello", b"", &future] {
        for_partition(&producer, payload);
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

fn for_partition(producer: &BaseProducer, payload: &[u8]) {
    let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(TOPIC).partition(0).payload(payload);
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

const DECODED: &str = "rows.jsonl";
const TOPIC: &str = "xtcp-clickhouse";
