//! Live sockets through every format and back, each read by somebody else's reader.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{cookie, rows, stdout};
use prost::Message;
use sockeye_record::v1::Envelope;
use sockeye_testkit::netns::{Netns, TestNetns, require_root};
use sockeye_testkit::states;

/// One poll of a namespace of its own, as a protobufList file and in another format at the same time.
fn poll_twice(
    netns: &TestNetns,
    directory: &tempfile::TempDir,
    format: &str,
    extra: &[&str],
) -> (String, Vec<u8>) {
    let (list, other) = (directory.path().join("list"), directory.path().join(format));
    let config = directory.path().join("sockeye.toml");
    fs::write(
        &config,
        format!(
            "max-loops = 1\nown-netns-only = true\nlisten = \"off\"\nclosed = \"off\"\n[[sink]]\ndest = \"file:{}\"\nmarshal = \"protobufList\"\n\
             [[sink]]\ndest = \"file:{}\"\nmarshal = \"{format}\"\n{}\n",
            list.display(),
            other.display(),
            extra.join("\n"),
        ),
    )
    .unwrap();
    let config = config.display().to_string();
    netns.exec(env!("CARGO_BIN_EXE_sockeye"), &["run", "--config", &config]).unwrap();
    (list.display().to_string(), fs::read(&other).unwrap())
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn what_decode_makes_of_a_list_is_what_the_daemon_wrote_in_that_format() {
    require_root();
    let netns = TestNetns::new("formats").unwrap();
    let _held = netns
        .enter(|| {
            (
                states::waiting("127.0.0.1:0".parse().unwrap(), 5, 3).unwrap(),
                states::half_closed("[::1]:0".parse().unwrap()).unwrap(),
                states::established("127.0.0.1:0".parse().unwrap(), Some("bbr")).unwrap(),
                states::mapped().unwrap(),
            )
        })
        .unwrap();
    for format in ["jsonl", "csv", "tsv", "protoJson", "protoText", "msgpack", "table"] {
        let directory = tempfile::tempdir().unwrap();
        let (list, direct) = poll_twice(&netns, &directory, format, &[]);
        let decoded = stdout(&["decode", &list, "--to", format]);
        assert!(!direct.is_empty());
        assert_eq!(common::text(&decoded), common::text(&direct), "{format}");
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn prost_a_csv_reader_and_another_msgpack_read_the_same_rows() {
    require_root();
    let netns = TestNetns::new("readers").unwrap();
    let _held = netns
        .enter(|| {
            let pairs: Vec<_> = (0..20)
                .map(|_| states::established("127.0.0.1:0".parse().unwrap(), None).unwrap())
                .collect();
            pairs
        })
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (list, jsonl) = poll_twice(&netns, &directory, "jsonl", &[]);
    let by_cookie: BTreeMap<u64, _> =
        rows(&jsonl).into_iter().map(|row| (cookie(&row), row)).collect();
    assert_eq!(by_cookie.len(), 60);

    let bytes = fs::read(&list).unwrap();
    let mut rest = bytes.as_slice();
    let mut seen = 0;
    while !rest.is_empty() {
        let envelope = Envelope::decode_length_delimited(&mut rest).unwrap();
        for record in &envelope.row {
            let row = &by_cookie[&record.inet_diag_msg_socket_cookie];
            assert_eq!(
                u64::from(record.inet_diag_msg_inode),
                common::number(row, "inet_diag_msg_inode")
            );
            assert_eq!(record.hostname, common::string(row, "hostname"));
            seen += 1;
        }
    }
    assert_eq!(seen, 60);

    let csv_bytes = stdout(&["decode", &list, "--to", "csv"]);
    let mut reader = csv::Reader::from_reader(csv_bytes.as_slice());
    let header = reader.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    let mut seen = 0;
    for record in reader.records() {
        let record = record.unwrap();
        let row = &by_cookie[&record[at("inet_diag_msg_socket_cookie")].parse::<u64>().unwrap()];
        assert_eq!(
            record[at("inet_diag_msg_socket_source")],
            *common::string(row, "inet_diag_msg_socket_source")
        );
        let state = &record[at("inet_diag_msg_state")];
        assert!(state == "ESTAB" || state == "LISTEN", "{state}");
        seen += 1;
    }
    assert_eq!(seen, 60);

    let packed = stdout(&["decode", &list, "--to", "msgpack"]);
    let mut rest = packed.as_slice();
    let mut seen = 0;
    while !rest.is_empty() {
        let value = rmpv::decode::read_value(&mut rest).unwrap();
        let map: BTreeMap<String, rmpv::Value> = value
            .as_map()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.as_str().unwrap().to_owned(), value.clone()))
            .collect();
        let row = &by_cookie[&map["inet_diag_msg_socket_cookie"].as_u64().unwrap()];
        assert_eq!(map.len(), row.len());
        for (name, value) in row {
            match value {
                serde_json::Value::Number(number) => {
                    assert_eq!(map[name].as_u64(), number.as_u64(), "{name}");
                }
                other => assert_eq!(map[name].as_str(), other.as_str(), "{name}"),
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 60);
}
