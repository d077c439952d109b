//! The table of columns: the wire format's numbers, names and types for ever, and presence that is what rows do.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sockeye_record::v1::xtcp_flat_record::CongestionAlgorithm;
use sockeye_record::{COLUMNS, COUNT, Format, Kind, Presence};

use crate::common::socket::{Cut, KernelStruct, Socket, TcpInfo};
use crate::common::{Dump, Rows, descriptor, encode, of_filled, plain};
use crate::jsonl::everything;

/// A copy of the wire format's table, as the consumers of `xtcp_flat_record.v1` have it.
const WIRE_FORMAT: &str = include_str!("../xtcp_flat_record.v1.tsv");

#[test]
fn columns_below_3000_are_those_of_the_wire_format() {
    let ours = COLUMNS.iter().filter(|column| column.number < 3000);
    let ours: Vec<(u32, &str, &str)> =
        ours.map(|column| (column.number, column.name, type_of(column.kind))).collect();
    let theirs: Vec<(u32, &str, &str)> = lines("XtcpFlatRecord")
        .into_iter()
        .map(|(name, kind, number)| (number, name, kind))
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 156);
}

#[test]
fn numbers_strictly_increase_and_places_are_in_order() {
    assert!(COLUMNS.windows(2).all(|pair| pair[0].number < pair[1].number));
    assert!(COLUMNS.iter().enumerate().all(|(place, column)| column.index == place));
    assert_eq!(COLUMNS.len(), COUNT);
    for column in &COLUMNS {
        assert_eq!(column.json_key, format!(",\"{}\":", column.name));
    }
}

#[test]
fn the_proto_file_has_every_column_and_the_other_messages_of_the_wire_format() {
    let fields: BTreeMap<u32, (String, String)> = descriptor("XtcpFlatRecord")
        .fields()
        .map(|field| (field.number(), (field.name().to_owned(), proto_type(&field))))
        .collect();
    let columns =
        COLUMNS.iter().map(|c| (c.number, (c.name.to_owned(), type_of(c.kind).to_owned())));
    assert_eq!(fields, columns.collect());
    for message in ["Envelope", "FlatRecordsResponse", "PollFlatRecordsResponse"] {
        let [(name, kind, number)] = lines(message)[..] else { panic!("{message} has one field") };
        let field = descriptor(message).get_field(number).unwrap();
        assert_eq!((field.name(), kind.ends_with("XtcpFlatRecord")), (name, true));
        assert_eq!(
            (field.is_list(), proto_type(&field)),
            (kind.starts_with("repeated"), "XtcpFlatRecord".into())
        );
    }
    let pool = descriptor("Envelope").parent_pool().clone();
    let service = pool.get_service_by_name("xtcp_flat_record.v1.XTCPFlatRecordService").unwrap();
    let methods: Vec<String> = service
        .methods()
        .map(|m| {
            let stream = |yes| if yes { "stream " } else { "" };
            let (input, output) = (m.input(), m.output());
            format!(
                "rpc {}{} -> {}{}",
                stream(m.is_client_streaming()),
                input.name(),
                stream(m.is_server_streaming()),
                output.name()
            )
        })
        .collect();
    let theirs: Vec<&str> = WIRE_FORMAT
        .lines()
        .filter_map(|line| line.strip_prefix("service XTCPFlatRecordService\t"))
        .collect();
    let theirs: Vec<&str> = theirs.iter().map(|line| line.split('\t').nth(1).unwrap()).collect();
    assert_eq!(methods, theirs);
}

#[test]
fn congestion_controls_have_the_wire_formats_values_and_the_kernels_names() {
    let theirs = lines("XtcpFlatRecord.CongestionAlgorithm");
    assert_eq!(theirs.len(), 8);
    for (name, _, number) in theirs {
        assert_eq!(
            CongestionAlgorithm::from_str_name(name).map(|value| value as u32),
            Some(number),
            "{name}"
        );
    }
    for (kernel, number) in [
        ("cubic", 1),
        ("dctcp", 2),
        ("vegas", 3),
        ("prague", 4),
        ("bbr", 5),
        ("bbr2", 6),
        ("bbr3", 7),
    ] {
        let row =
            row(Socket { cong: Some(format!("{kernel}\0").into_bytes()), ..Socket::default() });
        assert_eq!(
            (&row["congestion_algorithm_string"], &row["congestion_algorithm_enum"]),
            (&kernel.into(), &number.into())
        );
    }
    let row = row(Socket { cong: Some(b"reno\0".to_vec()), ..Socket::default() });
    assert_eq!(
        (&row["congestion_algorithm_string"], row.get("congestion_algorithm_enum")),
        (&"reno".into(), None)
    );
}

#[test]
fn a_column_of_tcp_info_comes_with_the_byte_that_its_presence_names() {
    let info = TcpInfo::from_words(&[0x0101_0101_0101_0101; TcpInfo::FIELDS]);
    let with = |len: u32| {
        row(Socket {
            info: Some(Cut { value: info.clone(), len: len as usize }),
            ..Socket::default()
        })
    };
    let mut columns = 0;
    for column in &COLUMNS {
        let (Presence::Info(end) | Presence::InfoNonZero(end)) = column.presence else { continue };
        let (before, at) = (with(end - 1), with(end));
        assert!(!before.contains_key(column.name), "{} with {}", column.name, end - 1);
        assert!(at.contains_key(column.name), "{} with {end}", column.name);
        columns += 1;
    }
    // 59 columns of tcp_info up to 6.7, and 8 of 6.18.
    assert_eq!(
        columns,
        COLUMNS
            .iter()
            .filter(|c| c.name.starts_with("tcp_info_") && c.name != "tcp_info_length")
            .count()
    );
    assert_eq!(row(Socket::default()).keys().filter(|key| key.starts_with("tcp_info_")).count(), 0);
}

#[test]
fn a_column_of_an_attribute_comes_with_that_attribute_and_no_other() {
    let every = everything();
    let mut columns = 0;
    for column in &COLUMNS {
        let Presence::Attr(number) = column.presence else { continue };
        assert!(row(only(&every, number)).contains_key(column.name), "{}", column.name);
        assert!(!row(without(&every, number)).contains_key(column.name), "{}", column.name);
        columns += 1;
    }
    assert_eq!(columns, 32);
}

#[test]
fn a_column_that_is_always_there_is_there_without_anything_and_reserved_ones_never() {
    let (bare, full) = (row(Socket::default()), row(everything()));
    for column in &COLUMNS {
        match column.presence {
            Presence::Always | Presence::Owner(_) => {
                assert!(bare.contains_key(column.name), "{}", column.name);
            }
            Presence::Nsid
            | Presence::Attr(_)
            | Presence::Info(_)
            | Presence::InfoNonZero(_)
            | Presence::Deltas => {
                assert!(!bare.contains_key(column.name), "{}", column.name);
            }
            Presence::NonZero => {
                let written = ["daemon_version", "attributes"].contains(&column.name);
                assert_eq!(bare.contains_key(column.name), written, "{}", column.name);
            }
        }
        assert!(column.filled || !full.contains_key(column.name), "{}", column.name);
        assert_eq!(
            column.filled,
            column.text != "Reserved by the wire format; not filled.",
            "{}",
            column.name
        );
    }
}

#[test]
fn formats_have_the_names_that_the_command_line_takes() {
    let names =
        ["protobufList", "protoJson", "protoText", "msgpack", "jsonl", "csv", "tsv", "table"];
    for name in names {
        let format: Format = name.parse().unwrap();
        assert_eq!(format.name(), name);
        assert_eq!(name.to_uppercase().parse(), Ok(format));
    }
    let error = "xml".parse::<Format>().unwrap_err().to_string();
    assert_eq!(error, format!("unknown format \"xml\"; allowed: {}", names.join(", ")));
}

fn row(socket: Socket) -> Map<String, Value> {
    let line = encode(
        &of_filled(Format::Jsonl, None),
        &[Rows { dump: Dump::default(), sockets: vec![socket] }],
    );
    serde_json::from_slice(&line).unwrap()
}

/// The lines of one message: name, type and number.
fn lines(message: &str) -> Vec<(&'static str, &'static str, u32)> {
    let cells = WIRE_FORMAT.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    cells
        .filter(|cells| cells[0] == message)
        .map(|cells| (cells[1], cells[2], cells[3].parse().unwrap()))
        .collect()
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::Int64 => "int64",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Algorithm => "CongestionAlgorithm",
    }
}

fn proto_type(field: &prost_reflect::FieldDescriptor) -> String {
    match field.kind() {
        prost_reflect::Kind::Message(message) => message.name().to_owned(),
        prost_reflect::Kind::Enum(values) => values.name().to_owned(),
        kind => format!("{kind:?}").to_lowercase(),
    }
}

fn only(socket: &Socket, number: u16) -> Socket {
    let bare = Socket::default();
    let all = socket.clone();
    match number {
        1 => Socket { meminfo: all.meminfo, ..bare },
        3 => Socket { vegas: all.vegas, ..bare },
        5 => Socket { tos: all.tos, ..bare },
        6 => Socket { tclass: all.tclass, ..bare },
        7 => Socket { skmem: all.skmem, ..bare },
        8 => Socket { shutdown: all.shutdown, ..bare },
        9 => Socket { dctcp: all.dctcp, ..bare },
        11 => Socket { v6only: all.v6only, ..bare },
        15 => Socket { mark: all.mark, ..bare },
        16 => Socket { bbr: all.bbr, ..bare },
        17 => Socket { class_id: all.class_id, ..bare },
        21 => Socket { cgroup: all.cgroup, ..bare },
        22 => Socket { sockopt: all.sockopt, ..bare },
        other => panic!("no columns of attribute {other}"),
    }
}

fn without(socket: &Socket, number: u16) -> Socket {
    let all = socket.clone();
    match number {
        1 => Socket { meminfo: None, ..all },
        3 => Socket { vegas: None, ..all },
        5 => Socket { tos: None, ..all },
        6 => Socket { tclass: None, ..all },
        7 => Socket { skmem: None, ..all },
        8 => Socket { shutdown: None, ..all },
        9 => Socket { dctcp: None, ..all },
        11 => Socket { v6only: None, ..all },
        15 => Socket { mark: None, ..all },
        16 => Socket { bbr: None, ..all },
        17 => Socket { class_id: None, ..all },
        21 => Socket { cgroup: None, ..all },
        22 => Socket { sockopt: None, ..all },
        other => panic!("no columns of attribute {other}"),
    }
}

#[test]
fn the_kernels_own_formats_have_only_filled_columns() {
    let line = encode(
        &plain(Format::ProtoText),
        &[Rows { dump: Dump::default(), sockets: vec![everything()] }],
    );
    let text = String::from_utf8(line).unwrap();
    assert!(
        COLUMNS.iter().filter(|column| !column.filled).all(|column| !text.contains(column.name))
    );
}
