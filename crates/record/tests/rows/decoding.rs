//! A row that was written as protobuf and read again looks as if it had never been away, and nothing is invented.

use proptest::prelude::*;
use prost::Message;
use serde_json::{Map, Value};
use sockeye_record::Format::{Csv, Jsonl, Msgpack, ProtoJson, ProtoText, ProtobufList, Table, Tsv};
use sockeye_record::decode::Records;
use sockeye_record::v1::{Envelope, XtcpFlatRecord};
use sockeye_record::{BufferPool, Builder, Encoder, Encoding, Limits};

use crate::common::expected::records;
use crate::common::socket::{Cut, SkMemInfo, Socket};
use crate::common::strategies::{Lengths, columns, dumps};
use crate::common::{Dump, Rows, encode, envelope, of_columns, of_filled, plain};
use crate::jsonl::{dump, everything};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_format_of_decoded_rows_is_byte_for_byte_that_of_the_rows(dumps in dumps(Lengths::Whole)) {
        let decoded = decode(&envelope(&plain(ProtobufList), &dumps));
        prop_assert_eq!(&decoded, &records(&dumps));
        for humanize in [None, Some(false), Some(true)] {
            for format in [Jsonl, Msgpack, ProtoJson, ProtoText, ProtobufList, Csv, Tsv, Table] {
                let encoding = Encoding { format, columns: None, humanize };
                prop_assert_eq!(text(&again(&encoding, &decoded)), text(&encode(&encoding, &dumps)), "{:?}", encoding);
            }
            for format in [Jsonl, Csv, Table] {
                let encoding = of_filled(format, humanize);
                prop_assert_eq!(text(&again(&encoding, &decoded)), text(&encode(&encoding, &dumps)), "{:?}", encoding);
            }
        }
    }

    #[test]
    fn decoded_rows_have_the_chosen_columns_that_the_rows_have(dumps in dumps(Lengths::Whole), columns in columns()) {
        let decoded = decode(&envelope(&plain(ProtobufList), &dumps));
        for format in [Jsonl, Msgpack, ProtoJson, ProtoText, ProtobufList, Table, Csv, Tsv] {
            let encoding = of_columns(format, &columns);
            prop_assert_eq!(text(&again(&encoding, &decoded)), text(&encode(&encoding, &dumps)), "{:?}", encoding);
        }
    }

    #[test]
    fn rows_written_with_a_part_of_the_columns_show_no_zero_that_was_not_written(
        dumps in dumps(Lengths::Any), columns in columns()
    ) {
        let written = decode(&envelope(&of_columns(ProtobufList, &columns), &dumps));
        // The same of rows that were decoded with all columns and written again with some.
        let rewritten = decode(&rewrite(&of_columns(ProtobufList, &columns), &decode(&envelope(&plain(ProtobufList), &dumps))));
        prop_assert_eq!(&written, &rewritten);
        let direct = objects(&encode(&of_columns(Jsonl, &columns), &dumps));
        for (row, direct) in objects(&again(&plain(Jsonl), &written)).iter().zip(&direct) {
            for (key, value) in row {
                prop_assert_eq!(Some(value), direct.get(key));
                prop_assert!(value != 0 && value != "", "{} is {}", key, value);
            }
            let lost: Vec<_> = direct.iter().filter(|(key, value)| !row.contains_key(*key) && **value != 0).collect();
            prop_assert!(lost.is_empty(), "{:?}", lost);
        }
    }

    #[test]
    fn rows_of_another_writer_show_what_is_not_zero_and_nothing_else(dumps in dumps(Lengths::Any)) {
        let foreign: Vec<XtcpFlatRecord> = records(&dumps)
            .into_iter()
            .map(|record| XtcpFlatRecord { attributes: 0, tcp_info_length: 0, uplink1_ifname: "eth0".into(), ..record })
            .collect();
        for (row, record) in objects(&again(&plain(Jsonl), &foreign)).iter().zip(&foreign) {
            prop_assert_eq!(&row["uplink1_ifname"], "eth0");
            prop_assert!(row.values().all(|value| value != 0 && value != ""), "{:?}", row);
            let fields = crate::common::dynamic("XtcpFlatRecord", &record.encode_to_vec());
            let mut written: Vec<String> = fields.fields().map(|(field, _)| field.name().to_owned()).collect();
            let mut shown: Vec<String> = row.keys().cloned().collect();
            written.sort();
            shown.sort();
            prop_assert_eq!(shown, written);
        }
    }

    #[test]
    fn attributes_shorter_than_their_struct_lose_zeros_at_the_most(dumps in dumps(Lengths::Any)) {
        let decoded = decode(&envelope(&plain(ProtobufList), &dumps));
        let direct = objects(&encode(&of_filled(Jsonl, None), &dumps));
        for (row, direct) in objects(&again(&plain(Jsonl), &decoded)).iter().zip(&direct) {
            for (key, value) in row {
                prop_assert_eq!(Some(value), direct.get(key), "{}", key);
            }
            let lost: Vec<_> = direct.iter().filter(|(key, value)| !row.contains_key(*key) && **value != 0).collect();
            prop_assert!(lost.is_empty(), "{:?}", lost);
        }
    }

    #[test]
    fn any_bytes_end_with_at_most_one_error_that_is_no_row(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let errors = Records::new(&bytes[..]).filter_map(Result::err).map(|error| error.to_string());
        let fatal = errors.filter(|error| !error.contains("corrupt row")).count();
        prop_assert!(fatal <= 1);
        sockeye_record::decode::whole_prefix(&bytes[..]).unwrap();
    }

    #[test]
    fn a_list_cut_anywhere_gives_the_rows_before_the_cut(dumps in dumps(Lengths::Any), cut in any::<proptest::sample::Index>()) {
        let one = envelope(&plain(ProtobufList), &dumps);
        let bytes = [&one[..], &one].concat();
        let cut = cut.index(bytes.len());
        let expected = [records(&dumps), records(&dumps)].concat();
        let whole: Vec<XtcpFlatRecord> = Records::new(&bytes[..cut]).map_while(Result::ok).collect();
        prop_assert_eq!(&whole[..], &expected[..whole.len()]);
        let prefix = sockeye_record::decode::whole_prefix(&bytes[..cut]).unwrap() as usize;
        prop_assert_eq!(prefix, if cut >= one.len() { one.len() } else { 0 });
        prop_assert!(cut < one.len() || whole.len() >= expected.len() / 2);
    }
}

#[test]
fn the_first_nsid_survives_although_protobuf_does_not_write_it() {
    for nsid in [None, Some(0), Some(1)] {
        let rows =
            [Rows { dump: Dump { nsid, ..Dump::default() }, sockets: vec![Socket::default()] }];
        let row =
            &objects(&again(&plain(Jsonl), &decode(&envelope(&plain(ProtobufList), &rows))))[0];
        assert_eq!(row.get("nsid").and_then(Value::as_u64), nsid.map(u64::from));
    }
}

#[test]
fn a_kernel_without_drops_does_not_get_a_zero_there() {
    let skmem = Cut { value: SkMemInfo { rcvbuf: 5, ..SkMemInfo::default() }, len: 32 };
    let rows =
        [Rows { dump: dump(), sockets: vec![Socket { skmem: Some(skmem), ..Socket::default() }] }];
    let row = &objects(&again(&plain(Jsonl), &decode(&envelope(&plain(ProtobufList), &rows))))[0];
    assert_eq!(row.get("sk_mem_info_drops"), None);
    assert_eq!(row["sk_mem_info_rcv_buf"], 5);
}

#[test]
fn a_table_of_another_writers_rows_has_blanks_and_not_the_cells_of_the_row_before() {
    let full = XtcpFlatRecord {
        netns: "n".into(),
        inet_diag_msg_state: 1,
        inet_diag_msg_rqueue: 7,
        inet_diag_msg_wqueue: 8,
        inet_diag_msg_socket_source: vec![10, 0, 0, 1],
        inet_diag_msg_socket_source_port: 22,
        inet_diag_msg_socket_destination: vec![10, 0, 0, 2],
        tcp_info_rtt: 1500,
        tcp_info_snd_cwnd: 10,
        tcp_info_total_retrans: 2,
        tcp_info_delivery_rate: 125,
        tcp_info_pacing_rate: 1_250_000,
        congestion_algorithm_string: "cubic".into(),
        ..Default::default()
    };
    let text =
        text(&again(&plain(Table), &[full, XtcpFlatRecord::default()])).replace('\u{1f}', "|");
    assert_eq!(
        text,
        "n|ESTAB|7|8|10.0.0.1:22|10.0.0.2:*|1.500ms|10|2|1.0Kbps|10.0Mbps|cubic\n|||||||||||\n"
    );
}

#[test]
fn memory_for_a_row_is_not_taken_on_the_word_of_its_length() {
    // An envelope of 2 GiB with a row of 16 MiB, of which three bytes are there.
    let mut bytes = vec![0x80, 0x80, 0x80, 0x80, 0x08, 0x52, 0x80, 0x80, 0x80, 0x08];
    bytes.extend([1, 2, 3]);
    let errors: Vec<String> =
        Records::new(&bytes[..]).map(|row| row.unwrap_err().to_string()).collect();
    assert_eq!(errors, ["offset 5: truncated: the row that begins here is not whole"]);
    bytes[9] = 0x09;
    let errors: Vec<String> =
        Records::new(&bytes[..]).map(|row| row.unwrap_err().to_string()).collect();
    assert_eq!(errors, ["offset 5: not a protobufList: a row of 18874368 bytes"]);
    bytes[4] = 0x09;
    let errors: Vec<String> =
        Records::new(&bytes[..]).map(|row| row.unwrap_err().to_string()).collect();
    assert_eq!(errors, ["offset 0: not a protobufList: an envelope of 2415919104 bytes"]);
}

#[test]
fn fields_that_sockeye_does_not_know_are_passed_over() {
    let row = XtcpFlatRecord { hostname: "a".into(), ..Default::default() }.encode_to_vec();
    let mut envelope = vec![0x08, 0x96, 0x01, 0x12, 3, 9, 9, 9, 0x52, row.len() as u8];
    envelope.extend(&row);
    envelope.extend([0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4]);
    let mut bytes = vec![envelope.len() as u8];
    bytes.extend(&envelope);
    assert_eq!(decode(&bytes), Envelope::decode(&envelope[..]).unwrap().row);
    assert_eq!(decode(&bytes)[0].hostname, "a");
}

#[test]
fn records_are_cut_into_envelopes_like_rows() {
    let dumps = [Rows { dump: dump(), sockets: vec![everything(); 3] }];
    let bytes = envelope(&plain(ProtobufList), &dumps);
    assert_eq!(rewrite(&plain(ProtobufList), &decode(&bytes)), bytes);
}

fn decode(bytes: &[u8]) -> Vec<XtcpFlatRecord> {
    Records::new(bytes).map(Result::unwrap).collect()
}

fn again(encoding: &Encoding, records: &[XtcpFlatRecord]) -> Vec<u8> {
    let mut encoder = Encoder::for_records(encoding);
    let mut out = Vec::new();
    for record in records {
        encoder.record(record, &mut out);
    }
    out
}

fn rewrite(encoding: &Encoding, records: &[XtcpFlatRecord]) -> Vec<u8> {
    let limits = Limits { rows: u64::MAX, bytes: usize::MAX };
    let mut builder = Builder::new(Encoder::for_records(encoding), limits, BufferPool::new(1));
    for record in records {
        builder.push_record(record, |_| panic!("cut without a limit"));
    }
    builder.finish().unwrap().bytes().to_vec()
}

fn objects(lines: &[u8]) -> Vec<Map<String, Value>> {
    serde_json::Deserializer::from_slice(lines).into_iter().map(Result::unwrap).collect()
}

/// Of bytes, so that a difference can be read.
fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\x1f", "\u{1f}").replace("\\n", "\n")
}
