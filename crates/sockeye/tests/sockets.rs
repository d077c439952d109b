//! Rows against `ss` and against the load generator, on live sockets in throw-away namespaces.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::net::IpAddr;

use common::{
    assert_equals_ss, cookie, distinct, number, of_netns, rows, snapshot, stdout, string,
};
use prost::Message;
use sockeye_record::v1::Envelope;
use sockeye_testkit::load::{Load, LoadOptions, Role, TruthSocket};
use sockeye_testkit::netns::{Netns, TestNetns, require_root};
use sockeye_testkit::netns_anonymous::AnonymousNetns;
use sockeye_testkit::{Row, ss_run};

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// What the load generator knows of a socket equals the row with its cookie.
fn assert_equals_truth(truth: &[TruthSocket], rows: &[Row]) {
    let by_cookie: BTreeMap<u64, &Row> = rows.iter().map(|row| (cookie(row), row)).collect();
    for socket in truth {
        let row = by_cookie.get(&socket.cookie).unwrap_or_else(|| panic!("no row for {socket:?}"));
        let known = |column: &str| number(row, column);
        assert_eq!(known("inet_diag_msg_family"), u64::from(socket.family), "{socket:?}");
        assert_eq!(string(row, "inet_diag_msg_socket_source"), socket.local, "{socket:?}");
        assert_eq!(
            known("inet_diag_msg_socket_source_port"),
            u64::from(socket.local_port),
            "{socket:?}"
        );
        assert_eq!(string(row, "inet_diag_msg_socket_destination"), socket.peer, "{socket:?}");
        assert_eq!(
            known("inet_diag_msg_socket_destination_port"),
            u64::from(socket.peer_port),
            "{socket:?}"
        );
        assert_eq!(known("inet_diag_msg_inode"), socket.inode, "{socket:?}");
        assert_eq!(known("inet_diag_msg_uid"), u64::from(socket.uid), "{socket:?}");
        assert_eq!(
            known("inet_diag_msg_state"),
            if socket.role == Role::Listener { 10 } else { 1 },
            "{socket:?}"
        );
        if socket.role != Role::Listener {
            let syn = u64::from(socket.role == Role::Client);
            assert_eq!(known("tcp_info_bytes_sent"), socket.bytes_sent, "{socket:?}");
            assert_eq!(known("tcp_info_bytes_acked"), socket.bytes_sent + syn, "{socket:?}");
            assert_eq!(known("tcp_info_bytes_received"), socket.bytes_received, "{socket:?}");
        }
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn five_thousand_connections_in_three_namespaces_are_what_ss_and_their_makers_say() {
    require_root();
    let (red, blue, nameless) = (
        TestNetns::new("red").unwrap(),
        TestNetns::new("blue").unwrap(),
        AnonymousNetns::new().unwrap(),
    );
    let base = LoadOptions { connections: 1_700, bytes: 1..=20_000, ..LoadOptions::default() };
    let loads = Load::spawn_all(&[
        LoadOptions {
            netns: Some(red.path()),
            listen: addresses(&["127.0.0.1", "127.0.0.2", "127.3.2.1", "::1"]),
            ports: vec![0, 8080],
            client_addresses: addresses(&["127.0.0.5", "127.200.0.1", "::1"]),
            uid: Some(1234),
            ..base.clone()
        },
        LoadOptions {
            netns: Some(blue.path()),
            listen: addresses(&["127.0.0.1", "::1", "::ffff:127.0.0.9"]),
            dual_stack: true,
            tos: Some(0x10),
            ..base.clone()
        },
        LoadOptions {
            netns: Some(nameless.path()),
            listen: addresses(&["127.0.0.1"]),
            congestion: Some("bbr".into()),
            ..base
        },
    ])
    .unwrap();
    let all = snapshot(&[]);
    for (load, (path, name, inode)) in loads.iter().zip([
        (red.path(), red.name().to_owned(), red.inode().unwrap()),
        (blue.path(), blue.name().to_owned(), blue.inode().unwrap()),
        (
            nameless.path(),
            format!("netns:[{}]", nameless.inode().unwrap()),
            nameless.inode().unwrap(),
        ),
    ]) {
        let own = of_netns(&all, inode);
        assert_eq!(own.len(), load.sockets().len(), "{name}");
        assert_eq!(distinct(&own), own.len(), "{name}");
        assert!(own.iter().all(|row| string(row, "netns") == name), "{name}");
        assert_equals_truth(load.sockets(), &own);
        assert_equals_ss(&ss_run::inside(&path).unwrap(), &own);
        let numbers: Vec<u64> = own.iter().map(|row| number(row, "record_counter")).collect();
        assert_eq!(numbers, (1..=own.len() as u64).collect::<Vec<_>>(), "{name}");
        let times: std::collections::BTreeSet<_> =
            own.iter().map(|row| number(row, "timestamp_ns")).collect();
        assert_eq!(times.len(), 1, "one timestamp a dump");
    }
}

/// Rows and bytes of each envelope of a protobufList file.
fn envelopes(mut bytes: &[u8]) -> Vec<(usize, usize, Envelope)> {
    let mut envelopes = Vec::new();
    while !bytes.is_empty() {
        let before = bytes.len();
        let envelope = Envelope::decode_length_delimited(&mut bytes).unwrap();
        envelopes.push((envelope.row.len(), before - bytes.len(), envelope));
    }
    envelopes
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn thirty_thousand_sockets_come_whole_in_several_envelopes() {
    require_root();
    let netns = TestNetns::new("large").unwrap();
    let half = |port| LoadOptions {
        netns: Some(netns.path()),
        connections: 7_500,
        listen: addresses(&["127.0.0.1", "127.0.0.2"]),
        ports: vec![port],
        bytes: 1..=16,
        ..LoadOptions::default()
    };
    let loads = Load::spawn_all(&[half(5001), half(5002)]).unwrap();
    let truth: Vec<TruthSocket> =
        loads.iter().flat_map(|load| load.sockets().iter().cloned()).collect();
    assert_eq!(truth.len(), 30_004);
    let directory = tempfile::tempdir().unwrap();
    for (extra, most_rows) in [(&[][..], 10_000), (&["--envelope-flush-rows", "1000"][..], 1_000)] {
        let file = directory.path().join(format!("{most_rows}.pb"));
        let dest = format!("file:{}", file.display());
        let arguments = [
            "run",
            "--max-loops",
            "1",
            "--marshal",
            "protobufList",
            "--dest",
            &dest,
            "--dest",
            "null",
        ];
        let output = common::output(&[&arguments, extra].concat());
        let said = common::text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let envelopes = envelopes(&std::fs::read(&file).unwrap());
        assert!(envelopes.iter().all(|(rows, bytes, _)| *rows <= most_rows && *bytes <= 786_432));
        assert!(envelopes.len() >= 30_000 / most_rows, "{}", envelopes.len());
        let mut written = 0;
        let mut cookies: Vec<u64> = Vec::new();
        for (rows, _, envelope) in &envelopes {
            written += rows;
            let own = envelope.row.iter().filter(|row| row.netns == netns.name());
            cookies.extend(own.map(|row| row.inet_diag_msg_socket_cookie));
        }
        cookies.sort_unstable();
        let mut expected: Vec<u64> = truth.iter().map(|socket| socket.cookie).collect();
        expected.sort_unstable();
        assert!(cookies == expected, "{} rows for {} sockets", cookies.len(), expected.len());
        assert!(
            said.contains(&format!(
                "{dest}: read {written} = delivered {written} + dropped 0 + in flight 0"
            )),
            "{said}"
        );
        assert!(
            said.contains(&format!(
                "null: read {written} = delivered {written} + dropped 0 + in flight 0"
            )),
            "{said}"
        );
        // One file through another reader of ours: every row comes back.
        let decoded = rows(&stdout(&["decode", &file.display().to_string(), "--columns", "netns"]));
        assert_eq!(decoded.len(), written);
    }
    // The default format, of which a poll is larger than the queue.
    let file = directory.path().join("rows.jsonl");
    let dest = format!("file:{}", file.display());
    assert!(common::output(&["run", "--max-loops", "1", "--dest", &dest]).status.success());
    let own = of_netns(&rows(&std::fs::read(&file).unwrap()), netns.inode().unwrap());
    assert_eq!((own.len(), distinct(&own)), (30_004, 30_004));
    // Several readers share the ports: the same sockets, numbered from 1 without gaps.
    let own = of_netns(&snapshot(&["--netlinkers", "3"]), netns.inode().unwrap());
    let mut numbers: Vec<u64> = own.iter().map(|row| number(row, "record_counter")).collect();
    numbers.sort_unstable();
    assert_eq!((own.len(), distinct(&own)), (30_004, 30_004));
    assert!(numbers.into_iter().eq(1..=30_004));
    let times: std::collections::BTreeSet<_> =
        own.iter().map(|row| number(row, "timestamp_ns")).collect();
    assert_eq!(times.len(), 1, "one moment for all readers of a namespace");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn one_in_n_sockets_is_the_same_one_every_time() {
    require_root();
    let netns = TestNetns::new("modulus").unwrap();
    let options = LoadOptions {
        netns: Some(netns.path()),
        connections: 1_000,
        bytes: 1..=16,
        ..LoadOptions::default()
    };
    let _load = Load::spawn(&options).unwrap();
    let cookies = || -> Vec<u64> {
        let mut cookies: Vec<u64> =
            of_netns(&snapshot(&["--modulus", "4"]), netns.inode().unwrap())
                .iter()
                .map(cookie)
                .collect();
        cookies.sort_unstable();
        cookies
    };
    let first = cookies();
    assert!((400..600).contains(&first.len()), "{}", first.len());
    assert_eq!(first, cookies());
}
