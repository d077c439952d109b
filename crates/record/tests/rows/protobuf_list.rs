//! `protobufList`: the bytes are those that prost writes of the same values.

use proptest::prelude::*;
use prost::Message;
use prost_reflect::ReflectMessage;
use sockeye_record::Format::ProtobufList;
use sockeye_record::v1::{Envelope, XtcpFlatRecord};

use crate::common::expected::{attributes_of_a_part, records};
use crate::common::socket::{Cut, Socket, TcpInfo};
use crate::common::strategies::{Lengths, columns, dumps};
use crate::common::{Dump, Rows, descriptor, dynamic, envelope, of_columns, of_filled, plain};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn rows_of_several_dumps_make_the_bytes_that_prost_makes(dumps in dumps(Lengths::Any)) {
        let row = records(&dumps);
        let ours = envelope(&plain(ProtobufList), &dumps);
        prop_assert_eq!(Envelope::decode_length_delimited(&ours[..]).unwrap().row, row.clone());
        prop_assert_eq!(ours, Envelope { row }.encode_length_delimited_to_vec());
    }

    #[test]
    fn chosen_columns_make_the_bytes_that_prost_makes_of_those_fields(dumps in dumps(Lengths::Any), columns in columns()) {
        let row = records(&dumps).iter().map(|record| only(record, &columns)).collect();
        let ours = envelope(&of_columns(ProtobufList, &columns), &dumps);
        prop_assert_eq!(ours, Envelope { row }.encode_length_delimited_to_vec());
    }
}

#[test]
fn rows_of_every_length_get_the_prefix_that_prost_gives_them() {
    for length in (0..140).chain(16_370..16_390).chain([70_000]) {
        let dumps = [rows_with_hostname(length), rows_with_hostname(3)];
        for columns in ["hostname", "hostname,location"] {
            let row = records(&dumps).iter().map(|record| only(record, columns)).collect();
            let ours = envelope(&of_columns(ProtobufList, columns), &dumps);
            assert!(
                ours == Envelope { row }.encode_length_delimited_to_vec(),
                "{length} {columns}"
            );
        }
        let row = records(&dumps);
        assert!(
            envelope(&plain(ProtobufList), &dumps)
                == Envelope { row }.encode_length_delimited_to_vec(),
            "{length}"
        );
    }
}

#[test]
fn naming_every_column_is_the_same_as_naming_none() {
    let dumps = [rows_with_hostname(9)];
    assert_eq!(
        envelope(&of_filled(ProtobufList, None), &dumps),
        envelope(&plain(ProtobufList), &dumps)
    );
}

#[test]
fn the_order_in_which_columns_are_named_does_not_change_a_message() {
    let dumps = [rows_with_hostname(9)];
    let one = envelope(
        &of_columns(ProtobufList, "hostname,tcp_info_rtt,attributes,inet_diag_msg_state"),
        &dumps,
    );
    let other = envelope(
        &of_columns(ProtobufList, "attributes,inet_diag_msg_state,tcp_info_rtt,hostname"),
        &dumps,
    );
    assert_eq!(one, other);
}

#[test]
fn a_dump_that_begins_takes_every_constant_column_of_the_one_before_away() {
    let mut full = rows_with_hostname(5);
    full.dump = Dump {
        timestamp_ns: -1,
        boottime_ns: 2,
        location: "l".into(),
        netns: "n".into(),
        netns_inode: 3,
        nsid: Some(0),
        container_id: "c".into(),
        container_runtime: "r".into(),
        label: "b".into(),
        tag: "t".into(),
        record_kind: 2,
        ..full.dump
    };
    let empty = Rows { sockets: full.sockets.clone(), ..Rows::default() };
    let dumps = [full.clone(), empty, full];
    let records =
        Envelope::decode_length_delimited(&envelope(&plain(ProtobufList), &dumps)[..]).unwrap().row;
    assert_eq!(records, crate::common::expected::records(&dumps));
    assert_eq!((records[2].hostname.as_str(), records[2].attributes), ("", 0b101));
    assert_eq!((records[4].hostname.as_str(), records[4].attributes), ("hhhhh", 1 << 32 | 0b101));
}

fn rows_with_hostname(length: usize) -> Rows {
    let info = TcpInfo { rtt: 77, ..TcpInfo::default() };
    Rows {
        dump: Dump { hostname: "h".repeat(length), ..Dump::default() },
        sockets: vec![Socket { state: 1, info: Some(Cut::whole(info)), ..Socket::default() }; 2],
    }
}

/// The record without the columns that are not named, and without the bit that says that all were written.
pub(crate) fn only(record: &XtcpFlatRecord, columns: &str) -> XtcpFlatRecord {
    let names: Vec<&str> = columns.split(',').collect();
    let mut part = dynamic("XtcpFlatRecord", &record.encode_to_vec());
    for field in descriptor("XtcpFlatRecord").fields() {
        if !names.contains(&field.name()) {
            part.clear_field(&field);
        }
    }
    assert_eq!(part.descriptor().full_name(), "xtcp_flat_record.v1.XtcpFlatRecord");
    let mut part: XtcpFlatRecord = part.transcode_to().unwrap();
    part.attributes = attributes_of_a_part(part.attributes);
    part
}
