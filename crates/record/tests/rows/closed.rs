//! Rows of closed sockets, and what a poll knew of them; rows with deltas. Zero and absent stay apart, also through protobuf.

use serde_json::{Map, Value, json};
use sockeye_record::Deltas;
use sockeye_record::Format::{Csv, Jsonl, ProtobufList};
use sockeye_record::decode::Records;
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_record::{Encoder, Format};

use crate::common::socket::{Known, SkMemInfo, Socket};
use crate::common::{Dump, Rows, encode, envelope, of_columns, of_filled, plain};
use crate::jsonl::everything;

#[test]
fn the_owner_of_a_closed_socket_is_absent_where_no_poll_has_seen_it() {
    let row = direct(closed(), event());
    for name in [
        "inet_diag_msg_uid",
        "inet_diag_msg_inode",
        "joined",
        "first_seen_ns",
        "c_group",
        "congestion_algorithm_string",
        "sk_mem_info_drops",
    ] {
        assert_eq!(row.get(name), None, "{name}");
    }
    // The same message in a dump: it is root's socket, and no file holds it.
    let row = direct(Dump { record_kind: 1, ..closed() }, event());
    assert_eq!((&row["inet_diag_msg_uid"], &row["inet_diag_msg_inode"]), (&json!(0), &json!(0)));
}

#[test]
fn what_a_poll_knew_stands_in_the_columns_that_the_event_lacks_and_is_marked() {
    let row = direct(closed(), Socket { known: Some(known()), ..event() });
    let expected = [
        ("inet_diag_msg_uid", json!(1000)),
        ("inet_diag_msg_inode", json!(77)),
        ("congestion_algorithm_string", json!("bbr")),
        ("congestion_algorithm_enum", json!(5)),
        ("c_group", json!(123)),
        ("sk_mem_info_rcv_buf", json!(9)),
        ("sk_mem_info_drops", json!(0)),
        ("joined", json!(31)),
        ("first_seen_ns", json!(1_700_000_000_000_000_000_i64)),
        ("record_kind", json!(2)),
    ];
    for (name, value) in expected {
        assert_eq!(row.get(name), Some(&value), "{name}");
    }
    // Every column was written, and no attribute came.
    assert_eq!(row["attributes"], 1);
}

#[test]
fn the_kernels_own_word_goes_before_what_a_poll_knew() {
    let socket = Socket { known: Some(known()), ..everything() };
    let row = direct(closed(), socket);
    assert_eq!((row.get("joined"), &row["congestion_algorithm_string"]), (None, &json!("cubic")));
    let mut plain = direct(closed(), everything());
    plain.insert("first_seen_ns".into(), json!(1_700_000_000_000_000_000_i64));
    assert_eq!(row, plain);
}

#[test]
fn a_joined_zero_comes_back_from_protobuf_and_an_absent_one_does_not() {
    let zeros = Known {
        uid: Some(0),
        inode: Some(0),
        cgroup_id: Some(0),
        skmem: Some(SkMemInfo::default()),
        ..Known::default()
    };
    for (known, joined) in [(Some(zeros), true), (None, false)] {
        let socket = Socket { known, ..event() };
        let row = again(closed(), socket.clone());
        for name in ["inet_diag_msg_uid", "inet_diag_msg_inode", "c_group", "sk_mem_info_drops"] {
            assert_eq!(row.get(name), joined.then_some(&json!(0)), "{name}");
        }
        assert_eq!(row, direct(closed(), socket));
    }
}

#[test]
fn each_value_is_marked_by_a_bit_of_its_own() {
    let one = |known: Known| {
        let row = direct(closed(), Socket { known: Some(known), ..event() });
        row.get("joined").and_then(Value::as_u64)
    };
    let all = known();
    assert_eq!(one(Known { cong: all.cong.clone(), ..Known::default() }), Some(1));
    assert_eq!(one(Known { cgroup_id: all.cgroup_id, ..Known::default() }), Some(2));
    assert_eq!(one(Known { uid: all.uid, ..Known::default() }), Some(4));
    assert_eq!(one(Known { inode: all.inode, ..Known::default() }), Some(8));
    assert_eq!(one(Known { skmem: all.skmem, ..Known::default() }), Some(16));
    assert_eq!(one(Known { first_seen_ns: Some(5), ..Known::default() }), None);
}

#[test]
fn a_row_with_deltas_has_all_of_them_and_one_without_has_none() {
    let none = Deltas { flags: Deltas::RESET, ..Deltas::default() };
    for record_kind in [1, 2] {
        let dump = || Dump { record_kind, ..closed() };
        let row = again(dump(), Socket { deltas: Some(none), ..event() });
        for name in DELTAS {
            assert_eq!(row.get(name), Some(&json!(0)), "{name}");
        }
        assert_eq!(row["delta_flags"], 8 + 2);
        let row = again(dump(), event());
        for name in DELTAS.into_iter().chain(["delta_flags"]) {
            assert_eq!(row.get(name), None, "{name}");
        }
    }
}

#[test]
fn each_delta_stands_in_its_column() {
    let deltas = Deltas {
        flags: Deltas::FIRST | Deltas::FORGOT,
        bytes_sent: 1 << 40,
        bytes_received: 2,
        bytes_retrans: 3,
        segs_out: 4,
        segs_in: 5,
    };
    for socket in [event(), everything()] {
        let row = again(Dump::default(), Socket { deltas: Some(deltas), ..socket });
        let values = DELTAS.map(|name| row[name].as_u64().unwrap());
        assert_eq!((values, &row["delta_flags"]), ([1 << 40, 2, 3, 4, 5], &json!(13)));
    }
}

#[test]
fn deltas_written_with_a_part_of_the_columns_show_no_zero_that_was_not_written() {
    let deltas = Deltas { bytes_received: 7, ..Deltas::default() };
    let rows = [Rows {
        dump: closed(),
        sockets: vec![Socket { deltas: Some(deltas), known: Some(known()), ..event() }],
    }];
    let some = of_columns(ProtobufList, "delta_flags,delta_bytes_received,joined");
    let row = shown(&decode(&envelope(&some, &rows)));
    let keys: Vec<&str> = row.keys().map(String::as_str).collect();
    assert_eq!(keys, ["delta_bytes_received", "delta_flags", "joined"]);
}

#[test]
fn cells_of_what_is_absent_are_empty() {
    let names = "inet_diag_msg_uid,joined,first_seen_ns,delta_segs_in,delta_bytes_sent";
    let cells = |socket: Socket| {
        let rows = [Rows { dump: closed(), sockets: vec![socket] }];
        String::from_utf8(encode(&of_columns(Csv, names), &rows)).unwrap()
    };
    assert_eq!(cells(event()), ",,,,\n");
    let deltas = Some(Deltas::default());
    assert_eq!(
        cells(Socket { known: Some(known()), deltas, ..event() }),
        "1000,31,2023-11-14T22:13:20.000000000Z,0,0\n"
    );
}

#[test]
fn humanize_adds_the_time_of_the_first_sight_under_a_name_of_its_own() {
    let rows = [Rows { dump: closed(), sockets: vec![Socket { known: Some(known()), ..event() }] }];
    let line = encode(&of_filled(Jsonl, Some(true)), &rows);
    let row: Map<String, Value> = serde_json::from_slice(&line).unwrap();
    assert_eq!(row["first_seen"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(row["timestamp"], "1970-01-01T00:00:00.000000000Z");
    assert_eq!(row["record_kind_name"], "closed");
}

/// What the kernel sends of a closed socket: no attribute of those that a poll can know.
fn event() -> Socket {
    Socket { record_counter: 1, state: 7, sport: 80, dport: 40000, cookie: 9, ..Socket::default() }
}

fn closed() -> Dump {
    Dump { record_kind: 2, ..Dump::default() }
}

fn known() -> Known {
    Known {
        cong: Some("bbr".into()),
        cgroup_id: Some(123),
        uid: Some(1000),
        inode: Some(77),
        skmem: Some(SkMemInfo { rcvbuf: 9, ..SkMemInfo::default() }),
        first_seen_ns: Some(1_700_000_000_000_000_000),
    }
}

fn direct(dump: Dump, socket: Socket) -> Map<String, Value> {
    let line = encode(&of_filled(Jsonl, None), &[Rows { dump, sockets: vec![socket] }]);
    serde_json::from_slice(&line).unwrap()
}

/// The row after it was written as protobuf and read again, which must be the row itself.
fn again(dump: Dump, socket: Socket) -> Map<String, Value> {
    let rows = [Rows { dump: dump.clone(), sockets: vec![socket.clone()] }];
    let row = shown(&decode(&envelope(&plain(ProtobufList), &rows)));
    assert_eq!(row, direct(dump, socket));
    row
}

fn decode(bytes: &[u8]) -> XtcpFlatRecord {
    Records::new(bytes).next().unwrap().unwrap()
}

fn shown(record: &XtcpFlatRecord) -> Map<String, Value> {
    let mut line = Vec::new();
    Encoder::for_records(&plain(Format::Jsonl)).record(record, &mut line);
    serde_json::from_slice(&line).unwrap()
}

const DELTAS: [&str; 5] = [
    "delta_bytes_sent",
    "delta_bytes_received",
    "delta_bytes_retrans",
    "delta_segs_out",
    "delta_segs_in",
];
