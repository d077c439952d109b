//! `msgpack` through rmpv: the same keys and values as `jsonl`.

use proptest::prelude::*;
use rmpv::Value;
use serde_json::Value as Json;
use sockeye_record::Format::{Jsonl, Msgpack};
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_record::{Encoder, Format};

use crate::common::strategies::{Lengths, columns, dumps};
use crate::common::{Rows, encode, of_columns, of_filled, plain};
use crate::jsonl::{dump, everything};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn rows_hold_what_json_lines_hold_in_the_same_order(dumps in dumps(Lengths::Any)) {
        prop_assert_eq!(maps(&encode(&plain(Msgpack), &dumps)), objects(&encode(&of_filled(Jsonl, None), &dumps)));
    }

    #[test]
    fn chosen_columns_hold_what_json_lines_hold(dumps in dumps(Lengths::Any), columns in columns()) {
        let json = objects(&encode(&of_columns(Jsonl, &columns), &dumps));
        prop_assert_eq!(maps(&encode(&of_columns(Msgpack, &columns), &dumps)), json);
    }
}

#[test]
fn a_row_is_a_map_with_a_16_bit_count() {
    let rows = Rows { dump: dump(), sockets: vec![everything()] };
    let bytes = encode(
        &of_columns(Msgpack, "hostname,record_kind,tcp_info_rtt,inet_diag_msg_socket_source"),
        &[rows],
    );
    let mut expected =
        b"\xde\0\x04\xa8hostname\xa1h\xbbinet_diag_msg_socket_source\xd9\x0f::ffff:10.0.0.1"
            .to_vec();
    expected.extend(b"\xactcp_info_rtt\x18\xabrecord_kind\x01");
    assert_eq!(bytes, expected);
}

#[test]
fn what_another_writer_calls_an_address_is_hexadecimal_however_long() {
    for length in [0, 1, 5, 64, 65, 300] {
        let record = XtcpFlatRecord {
            inet_diag_msg_socket_source: vec![0xab; length],
            ..Default::default()
        };
        let one = |format: Format| {
            let mut out = Vec::new();
            Encoder::for_records(&plain(format)).record(&record, &mut out);
            out
        };
        assert_eq!(maps(&one(Msgpack)), objects(&one(Jsonl)), "{length}");
        let key = "inet_diag_msg_socket_source";
        let text = maps(&one(Msgpack))[0].get(key).map(|text| text.as_str().unwrap().to_owned());
        assert_eq!(text, (length > 0).then(|| "ab".repeat(length)));
    }
}

fn objects(lines: &[u8]) -> Vec<serde_json::Map<String, Json>> {
    serde_json::Deserializer::from_slice(lines).into_iter().map(Result::unwrap).collect()
}

fn maps(mut bytes: &[u8]) -> Vec<serde_json::Map<String, Json>> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let Value::Map(pairs) = rmpv::decode::read_value(&mut bytes).unwrap() else {
            panic!("a row is no map")
        };
        let count = pairs.len();
        let row: serde_json::Map<String, Json> = pairs
            .into_iter()
            .map(|(key, value)| (key.as_str().unwrap().to_owned(), json(&value)))
            .collect();
        assert_eq!(row.len(), count, "a key comes twice");
        rows.push(row);
    }
    rows
}

fn json(value: &Value) -> Json {
    match value {
        Value::Integer(number) => {
            number.as_u64().map_or_else(|| number.as_i64().unwrap().into(), Json::from)
        }
        Value::String(text) => text.as_str().unwrap().into(),
        other => panic!("a column of {other}"),
    }
}
