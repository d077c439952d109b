//! `jsonl` through `serde_json`: exact keys and values; what did not come has no key.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sockeye_record::Format::Jsonl;

use crate::common::socket::{
    BbrInfo, Cut, DctcpInfo, KernelStruct, MemInfo, MptcpInfo, SkMemInfo, Socket, TcpInfo, Ulp,
    VegasInfo,
};
use crate::common::strategies::{Lengths, dumps};
use crate::common::{Dump, Rows, encode, of_columns, of_filled, plain};

#[test]
fn a_socket_with_everything_has_every_key_with_its_value() {
    assert_eq!(object(&dump(), everything(), None), with_everything());
}

#[test]
fn humanize_adds_names_and_a_time_and_leaves_the_numbers() {
    let mut expected = with_everything();
    let names = [
        ("timestamp", "2023-11-14T22:13:20.123456789Z"),
        ("inet_diag_msg_family_name", "inet6"),
        ("inet_diag_msg_state_name", "ESTAB"),
        ("inet_diag_msg_timer_name", "on"),
        ("tcp_info_state_name", "ESTAB"),
        ("tcp_info_ca_state_name", "cwr"),
        ("congestion_algorithm_enum_name", "CONGESTION_ALGORITHM_CUBIC"),
        ("record_kind_name", "poll"),
    ];
    expected.extend(names.map(|(key, name)| (key.to_owned(), json!(name))));
    assert_eq!(object(&dump(), everything(), Some(true)), expected);
}

#[test]
fn humanize_has_no_name_for_a_number_that_has_none() {
    let socket = Socket { state: 77, timer: 9, ..Socket::default() };
    let row = object(&Dump { record_kind: 9, ..Dump::default() }, socket, Some(true));
    assert_eq!(
        (&row["inet_diag_msg_state"], &row["inet_diag_msg_timer"], &row["record_kind"]),
        (&json!(77), &json!(9), &json!(9))
    );
    let named: Vec<&String> = row.keys().filter(|key| key.ends_with("_name")).collect();
    assert_eq!(named, ["inet_diag_msg_family_name"]);
}

#[test]
fn a_tcp_info_of_104_bytes_has_no_key_behind_total_retrans() {
    let mut socket = everything();
    socket.info = Some(Cut { len: 104, ..socket.info.unwrap() });
    let mut expected = with_everything();
    let newer = [
        "pacing_rate",
        "max_pacing_rate",
        "bytes_acked",
        "bytes_received",
        "segs_out",
        "segs_in",
        "not_sent_bytes",
        "min_rtt",
        "data_segs_in",
        "data_segs_out",
        "delivery_rate",
        "delivery_rate_app_limited",
        "busy_time",
        "rwnd_limited",
        "sndbuf_limited",
        "delivered",
        "delivered_ce",
        "bytes_sent",
        "bytes_retrans",
        "dsack_dups",
        "reord_seen",
        "rcv_ooopack",
        "fast_open_client_failed",
        "snd_wnd",
        "rcv_wnd",
        "rehash",
        "total_rto",
        "total_rto_recoveries",
        "total_rto_time",
        "received_ce",
        "delivered_e1_bytes",
        "delivered_e0_bytes",
        "delivered_ce_bytes",
        "received_e1_bytes",
        "received_e0_bytes",
        "received_ce_bytes",
        "accecn_word",
    ];
    for name in newer {
        assert!(expected.remove(&format!("tcp_info_{name}")).is_some(), "{name}");
    }
    expected["tcp_info_length"] = json!(104);
    assert_eq!(object(&dump(), socket, None), expected);
}

#[test]
fn a_listener_without_attributes_has_zeros_where_the_header_has_and_no_other_keys() {
    let socket = Socket {
        record_counter: 1,
        socket_fd: 5,
        ipv6: true,
        state: 10,
        sport: 443,
        rqueue: 3,
        wqueue: 4096,
        inode: 9,
        ..Socket::default()
    };
    let dump = Dump {
        record_kind: 1,
        boottime_ns: 8,
        netns: "default".into(),
        netns_inode: 4_026_531_840,
        ..Dump::default()
    };
    let expected = json!({
        "schema_version": 1,
        "daemon_version": "sockeye/test",
        "timestamp_ns": 0,
        "netns": "default",
        "netns_inode": 4_026_531_840u64,
        "record_counter": 1,
        "socket_fd": 5,
        "netlinker_id": 0,
        "inet_diag_msg_family": 10,
        "inet_diag_msg_state": 10,
        "inet_diag_msg_timer": 0,
        "inet_diag_msg_retrans": 0,
        "inet_diag_msg_socket_source_port": 443,
        "inet_diag_msg_socket_destination_port": 0,
        "inet_diag_msg_socket_source": "::",
        "inet_diag_msg_socket_destination": "::",
        "inet_diag_msg_socket_interface": 0,
        "inet_diag_msg_socket_cookie": 0,
        "inet_diag_msg_expires": 0,
        "inet_diag_msg_rqueue": 3,
        "inet_diag_msg_wqueue": 4096,
        "inet_diag_msg_uid": 0,
        "inet_diag_msg_inode": 9,
        "record_kind": 1,
        "boottime_ns": 8,
        "attributes": 1,
    });
    assert_eq!(Value::Object(object(&dump, socket, None)), expected);
}

#[test]
fn an_attribute_of_zeros_came_and_shows_its_zeros() {
    let socket = Socket {
        meminfo: Some(Cut::whole(MemInfo::default())),
        info: Some(Cut::whole(TcpInfo::default())),
        tos: Some(0),
        mark: Some(0),
        cgroup: Some(0),
        sockopt: Some([0; 2]),
        ..Socket::default()
    };
    let row = object(&Dump { nsid: Some(0), ..Dump::default() }, socket, None);
    for name in [
        "nsid",
        "mem_info_tmem",
        "tcp_info_rtt",
        "tcp_info_accecn_word",
        "type_of_service",
        "mark",
        "c_group",
        "sock_opt",
    ] {
        assert_eq!(row.get(name), Some(&json!(0)), "{name}");
    }
    for name in [
        "traffic_class",
        "class_id",
        "shutdown_state",
        "sk_mem_info_drops",
        "vegas_info_rtt",
        "ipv6_only",
    ] {
        assert_eq!(row.get(name), None, "{name}");
    }
}

#[test]
fn an_infinite_threshold_and_an_unlimited_rate_are_absent() {
    let with = |snd_ssthresh, pacing_rate, max_pacing_rate| {
        let info = TcpInfo { snd_ssthresh, pacing_rate, max_pacing_rate, ..TcpInfo::default() };
        let row = object(
            &Dump::default(),
            Socket { info: Some(Cut::whole(info)), ..Socket::default() },
            None,
        );
        ["snd_ssthresh", "pacing_rate", "max_pacing_rate"]
            .map(|name| row.get(&format!("tcp_info_{name}")).and_then(Value::as_u64))
    };
    assert_eq!(with(0x7fff_ffff, u64::MAX, u64::MAX), [None; 3]);
    assert_eq!(with(0, 0, 0), [None; 3]);
    assert_eq!(
        with(0x7fff_fffe, u64::MAX - 1, 1),
        [Some(0x7fff_fffe), Some(u64::MAX - 1), Some(1)]
    );
}

#[test]
fn addresses_are_text() {
    let text = |ipv6: bool, src: &[u8]| {
        let mut socket = Socket { ipv6, ..Socket::default() };
        socket.src[..src.len()].copy_from_slice(src);
        object(&Dump::default(), socket, None)["inet_diag_msg_socket_source"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(text(false, &[192, 168, 0, 255]), "192.168.0.255");
    assert_eq!(text(true, &[0x20, 1, 0xd, 0xb8]), "2001:db8::");
    assert_eq!(
        text(true, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]),
        "::ffff:10.0.0.1"
    );
}

#[test]
fn numbers_above_2_to_the_53_keep_every_digit() {
    let socket = Socket { cookie: (1 << 53) + 1, cgroup: Some(u64::MAX), ..Socket::default() };
    let row = object(&Dump { timestamp_ns: i64::MIN, ..Dump::default() }, socket, None);
    assert_eq!(row["inet_diag_msg_socket_cookie"].as_u64(), Some(9_007_199_254_740_993));
    assert_eq!(row["c_group"].as_u64(), Some(u64::MAX));
    assert_eq!(row["timestamp_ns"].as_i64(), Some(i64::MIN));
}

#[test]
fn a_congestion_control_that_is_no_text_is_left_out() {
    for name in [&b"\xff\xfe\0"[..], b"\0", b""] {
        let row = object(
            &Dump::default(),
            Socket { cong: Some(name.to_vec()), ..Socket::default() },
            None,
        );
        assert_eq!(
            (row.get("congestion_algorithm_string"), &row["attributes"]),
            (None, &json!(1 | 1 << 4))
        );
    }
}

#[test]
fn the_md5_key_is_in_no_row() {
    let socket = Socket { noise: true, mark: Some(3), ..everything() };
    assert!(socket.payload().windows(6).any(|window| window == b"secret"));
    let line = encode(&plain(Jsonl), &[Rows { dump: dump(), sockets: vec![socket] }]);
    assert!(!line.windows(6).any(|window| window == b"secret"));
}

#[test]
fn chosen_columns_are_the_only_keys_and_without_any_there_is_an_empty_object() {
    let rows = [Rows { dump: dump(), sockets: vec![everything(), Socket::default()] }];
    let lines =
        String::from_utf8(encode(&of_columns(Jsonl, "tcp_info_rtt,hostname"), &rows)).unwrap();
    assert_eq!(lines, "{\"hostname\":\"h\",\"tcp_info_rtt\":24}\n{\"hostname\":\"h\"}\n");
    let lines = encode(&of_columns(Jsonl, "tcp_info_rtt"), &rows);
    assert_eq!(String::from_utf8(lines).unwrap(), "{\"tcp_info_rtt\":24}\n{}\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_row_is_a_line_and_an_object_with_the_text_that_went_in(dumps in dumps(Lengths::Any), humanize: bool) {
        let lines = String::from_utf8(encode(&of_filled(Jsonl, Some(humanize)), &dumps)).unwrap();
        let rows: Vec<(&Dump, &Socket)> = dumps.iter().flat_map(|rows| rows.sockets.iter().map(|s| (&rows.dump, s))).collect();
        prop_assert_eq!(lines.split_inclusive('\n').count(), rows.len());
        for (line, (dump, socket)) in lines.split_inclusive('\n').zip(rows) {
            let row: Map<String, Value> = serde_json::from_str(line).unwrap();
            let texts = [("hostname", &dump.hostname), ("label", &dump.label), ("netns", &dump.netns), ("tag", &dump.tag)];
            for (key, text) in texts {
                prop_assert_eq!(row.get(key).map(|v| v.as_str().unwrap()), (!text.is_empty()).then_some(text.as_str()));
            }
            prop_assert_eq!(row["inet_diag_msg_socket_cookie"].as_u64(), Some(socket.cookie));
            prop_assert_eq!(row["timestamp_ns"].as_i64(), Some(dump.timestamp_ns));
            prop_assert!(row.values().all(|value| !value.is_null()));
        }
    }
}

fn object(dump: &Dump, socket: Socket, humanize: Option<bool>) -> Map<String, Value> {
    let encoding = of_filled(Jsonl, humanize);
    let line = encode(&encoding, &[Rows { dump: dump.clone(), sockets: vec![socket] }]);
    assert_eq!(line.last(), Some(&b'\n'));
    serde_json::from_slice(&line).unwrap()
}

pub(crate) fn dump() -> Dump {
    Dump {
        timestamp_ns: 1_700_000_000_123_456_789,
        boottime_ns: 42,
        hostname: "h".into(),
        location: "lo".into(),
        netns: "blue".into(),
        netns_inode: 4_026_532_000,
        nsid: Some(3),
        container_id: "c0ffee".into(),
        container_runtime: "docker".into(),
        label: "la".into(),
        tag: "ta".into(),
        record_kind: 1,
    }
}

/// Every column of a poll has its own value here; `tcp_info` has 8, 9, 10… from `rto` on.
pub(crate) fn everything() -> Socket {
    let counting = |fields: usize, first: u64| (first..).take(fields).collect::<Vec<u64>>();
    let mut info = TcpInfo::from_words(&counting(TcpInfo::FIELDS, 1));
    if cfg!(target_endian = "little") {
        (info.wscales, info.bits) = (0x97, 0b101);
    } else {
        (info.wscales, info.bits) = (0x79, 0b1100_0000);
    }
    info.state = 1;
    info.bytes_acked = 9_007_199_254_740_993;
    Socket {
        record_counter: 11,
        socket_fd: 12,
        netlinker_id: 13,
        ipv6: true,
        state: 1,
        timer: 1,
        retrans: 2,
        sport: 8080,
        dport: 443,
        src: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1],
        dst: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        interface: 4,
        cookie: 0x1234_5678_9abc_def0,
        expires: 200,
        rqueue: 5,
        wqueue: 6,
        uid: 1000,
        inode: 77,
        meminfo: Some(Cut::whole(MemInfo::from_words(&counting(MemInfo::FIELDS, 100)))),
        info: Some(Cut::whole(info)),
        vegas: Some(Cut::whole(VegasInfo::from_words(&counting(VegasInfo::FIELDS, 200)))),
        cong: Some(b"cubic\0".to_vec()),
        tos: Some(8),
        tclass: Some(9),
        skmem: Some(Cut::whole(SkMemInfo::from_words(&counting(SkMemInfo::FIELDS, 300)))),
        shutdown: Some(3),
        dctcp: Some(Cut::whole(DctcpInfo::from_words(&counting(DctcpInfo::FIELDS, 400)))),
        v6only: Some(1),
        mark: Some(0xdead),
        bbr: Some(Cut::whole(BbrInfo::from_words(&counting(BbrInfo::FIELDS, 500)))),
        class_id: Some(21),
        ulp: Some(Ulp::Tls { version: 0x0304, cipher: 52, tx_conf: 2, rx_conf: 3 }),
        cgroup: Some(22),
        sockopt: Some([0x03, 0x01]),
        noise: false,
        known: None,
        deltas: None,
    }
}

#[expect(clippy::too_many_lines, reason = "a line a column")]
fn with_everything() -> Map<String, Value> {
    let row = json!({
        "schema_version": 1,
        "daemon_version": "sockeye/test",
        "timestamp_ns": 1_700_000_000_123_456_789u64,
        "hostname": "h",
        "location": "lo",
        "netns": "blue",
        "netns_inode": 4_026_532_000u64,
        "nsid": 3,
        "container_id": "c0ffee",
        "container_runtime": "docker",
        "label": "la",
        "tag": "ta",
        "record_counter": 11,
        "socket_fd": 12,
        "netlinker_id": 13,
        "inet_diag_msg_family": 10,
        "inet_diag_msg_state": 1,
        "inet_diag_msg_timer": 1,
        "inet_diag_msg_retrans": 2,
        "inet_diag_msg_socket_source_port": 8080,
        "inet_diag_msg_socket_destination_port": 443,
        "inet_diag_msg_socket_source": "::ffff:10.0.0.1",
        "inet_diag_msg_socket_destination": "2001:db8::1",
        "inet_diag_msg_socket_interface": 4,
        "inet_diag_msg_socket_cookie": 0x1234_5678_9abc_def0u64,
        "inet_diag_msg_expires": 200,
        "inet_diag_msg_rqueue": 5,
        "inet_diag_msg_wqueue": 6,
        "inet_diag_msg_uid": 1000,
        "inet_diag_msg_inode": 77,
        "mem_info_rmem": 100,
        "mem_info_wmem": 101,
        "mem_info_fmem": 102,
        "mem_info_tmem": 103,
        "congestion_algorithm_string": "cubic",
        "congestion_algorithm_enum": 1,
        "type_of_service": 8,
        "traffic_class": 9,
        "sk_mem_info_rmem_alloc": 300,
        "sk_mem_info_rcv_buf": 301,
        "sk_mem_info_wmem_alloc": 302,
        "sk_mem_info_snd_buf": 303,
        "sk_mem_info_fwd_alloc": 304,
        "sk_mem_info_wmem_queued": 305,
        "sk_mem_info_optmem": 306,
        "sk_mem_info_backlog": 307,
        "sk_mem_info_drops": 308,
        "shutdown_state": 3,
        "vegas_info_enabled": 200,
        "vegas_info_rtt_cnt": 201,
        "vegas_info_rtt": 202,
        "vegas_info_min_rtt": 203,
        "dctcp_info_enabled": 400,
        "dctcp_info_ce_state": 401,
        "dctcp_info_alpha": 402,
        "dctcp_info_ab_ecn": 403,
        "dctcp_info_ab_tot": 404,
        "bbr_info_bw_lo": 500,
        "bbr_info_bw_hi": 501,
        "bbr_info_min_rtt": 502,
        "bbr_info_pacing_gain": 503,
        "bbr_info_cwnd_gain": 504,
        "class_id": 21,
        "sock_opt": 0x0103,
        "c_group": 22,
        "record_kind": 1,
        "boottime_ns": 42,
        "attributes": 0x1_006b_8bff_u64,
        "mark": 0xdead,
        "ipv6_only": 1,
        "ulp_name": "tls",
        "tls_version": 0x0304,
        "tls_cipher": 52,
        "tls_tx_conf": 2,
        "tls_rx_conf": 3,
        "tcp_info_state": 1,
        "tcp_info_ca_state": 2,
        "tcp_info_retransmits": 3,
        "tcp_info_probes": 4,
        "tcp_info_backoff": 5,
        "tcp_info_options": 6,
        "tcp_info_send_scale": 7,
        "tcp_info_rcv_scale": 9,
        "tcp_info_delivery_rate_app_limited": 1,
        "tcp_info_fast_open_client_failed": 2,
        "tcp_info_rto": 9,
        "tcp_info_ato": 10,
        "tcp_info_snd_mss": 11,
        "tcp_info_rcv_mss": 12,
        "tcp_info_unacked": 13,
        "tcp_info_sacked": 14,
        "tcp_info_lost": 15,
        "tcp_info_retrans": 16,
        "tcp_info_fackets": 17,
        "tcp_info_last_data_sent": 18,
        "tcp_info_last_ack_sent": 19,
        "tcp_info_last_data_recv": 20,
        "tcp_info_last_ack_recv": 21,
        "tcp_info_pmtu": 22,
        "tcp_info_rcv_ssthresh": 23,
        "tcp_info_rtt": 24,
        "tcp_info_rtt_var": 25,
        "tcp_info_snd_ssthresh": 26,
        "tcp_info_snd_cwnd": 27,
        "tcp_info_adv_mss": 28,
        "tcp_info_reordering": 29,
        "tcp_info_rcv_rtt": 30,
        "tcp_info_rcv_space": 31,
        "tcp_info_total_retrans": 32,
        "tcp_info_pacing_rate": 33,
        "tcp_info_max_pacing_rate": 34,
        "tcp_info_bytes_acked": 9_007_199_254_740_993u64,
        "tcp_info_bytes_received": 36,
        "tcp_info_segs_out": 37,
        "tcp_info_segs_in": 38,
        "tcp_info_not_sent_bytes": 39,
        "tcp_info_min_rtt": 40,
        "tcp_info_data_segs_in": 41,
        "tcp_info_data_segs_out": 42,
        "tcp_info_delivery_rate": 43,
        "tcp_info_busy_time": 44,
        "tcp_info_rwnd_limited": 45,
        "tcp_info_sndbuf_limited": 46,
        "tcp_info_delivered": 47,
        "tcp_info_delivered_ce": 48,
        "tcp_info_bytes_sent": 49,
        "tcp_info_bytes_retrans": 50,
        "tcp_info_dsack_dups": 51,
        "tcp_info_reord_seen": 52,
        "tcp_info_rcv_ooopack": 53,
        "tcp_info_snd_wnd": 54,
        "tcp_info_rcv_wnd": 55,
        "tcp_info_rehash": 56,
        "tcp_info_total_rto": 57,
        "tcp_info_total_rto_recoveries": 58,
        "tcp_info_total_rto_time": 59,
        "tcp_info_length": 280,
        "tcp_info_received_ce": 60,
        "tcp_info_delivered_e1_bytes": 61,
        "tcp_info_delivered_e0_bytes": 62,
        "tcp_info_delivered_ce_bytes": 63,
        "tcp_info_received_e1_bytes": 64,
        "tcp_info_received_e0_bytes": 65,
        "tcp_info_received_ce_bytes": 66,
        "tcp_info_accecn_word": 67,
    });
    row.as_object().unwrap().clone()
}

#[test]
fn an_mptcp_subflow_has_the_keys_of_one_and_none_of_tls() {
    let words: Vec<u64> = (1..=MptcpInfo::FIELDS as u64).collect();
    let socket =
        Socket { ulp: Some(Ulp::Mptcp(MptcpInfo::from_words(&words))), ..Socket::default() };
    let mut row = object(&Dump::default(), socket, None);
    row.retain(|key, _| ["ulp_", "tls_", "mptcp_"].iter().any(|prefix| key.starts_with(prefix)));
    let expected = json!({
        "ulp_name": "mptcp",
        "mptcp_token_rem": 1,
        "mptcp_token_loc": 2,
        "mptcp_relwrite_seq": 3,
        "mptcp_map_seq": 4,
        "mptcp_map_sfseq": 5,
        "mptcp_ssn_offset": 6,
        "mptcp_map_datalen": 7,
        "mptcp_flags": 8,
        "mptcp_id_rem": 9,
        "mptcp_id_loc": 10,
    });
    assert_eq!(Value::Object(row), expected);
}
