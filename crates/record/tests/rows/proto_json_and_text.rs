//! `protoJson` and `protoText`: prost-reflect reads them as the message that the bytes are, and writes the same JSON.

use proptest::prelude::*;
use prost::Message;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use sockeye_record::Format::{ProtoJson, ProtoText};
use sockeye_record::v1::Envelope;

use crate::common::expected::records;
use crate::common::socket::{Cut, KernelStruct, Socket, TcpInfo};
use crate::common::strategies::{Lengths, columns, dumps};
use crate::common::{Dump, Rows, descriptor, dynamic, encode, envelope, of_columns, plain};
use crate::protobuf_list::only;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_json_is_the_message_and_the_messages_canonical_json(dumps in dumps(Lengths::Any)) {
        let message = dynamic("Envelope", &Envelope { row: records(&dumps) }.encode_to_vec());
        let ours = envelope(&plain(ProtoJson), &dumps);
        prop_assert_eq!(from_json(&ours), message.clone());
        prop_assert_eq!(serde_json::from_slice::<Value>(&ours).unwrap(), serde_json::to_value(&message).unwrap());
        prop_assert_eq!(ours.iter().position(|byte| *byte == b'\n'), Some(ours.len() - 1), "an envelope is a line");
    }

    #[test]
    fn the_text_is_the_message(dumps in dumps(Lengths::Any)) {
        let message = dynamic("Envelope", &Envelope { row: records(&dumps) }.encode_to_vec());
        let ours = String::from_utf8(envelope(&plain(ProtoText), &dumps)).unwrap();
        prop_assert_eq!(DynamicMessage::parse_text_format(descriptor("Envelope"), &ours).unwrap(), message);
        prop_assert_eq!(ours.lines().count(), records(&dumps).len(), "a row is a line");
    }

    #[test]
    fn chosen_columns_are_the_message_of_those_fields(dumps in dumps(Lengths::Any), columns in columns()) {
        let row = records(&dumps).iter().map(|record| only(record, &columns)).collect();
        let message = dynamic("Envelope", &Envelope { row }.encode_to_vec());
        prop_assert_eq!(from_json(&envelope(&of_columns(ProtoJson, &columns), &dumps)), message.clone());
        let text = String::from_utf8(envelope(&of_columns(ProtoText, &columns), &dumps)).unwrap();
        prop_assert_eq!(DynamicMessage::parse_text_format(descriptor("Envelope"), &text).unwrap(), message);
    }
}

#[test]
fn json_spells_fields_numbers_bytes_and_enums_as_protobuf_does() {
    let line = envelope(&of_columns(ProtoJson, COLUMNS), &[example()]);
    let expected = json!({"row": [{
        "timestampNs": "-5",
        "hostname": "h\"é",
        "inetDiagMsgFamily": 2,
        "inetDiagMsgSocketSource": "fwAAAQ==",
        "inetDiagMsgSocketCookie": "18446744073709551615",
        "tcpInfoDeliveredE1Bytes": 4_294_967_295u32,
        "congestionAlgorithmEnum": "CONGESTION_ALGORITHM_BBR1",
    }]});
    assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), expected);
}

#[test]
fn text_spells_fields_numbers_bytes_and_enums_as_protobuf_does() {
    let line = String::from_utf8(encode(&of_columns(ProtoText, COLUMNS), &[example()])).unwrap();
    assert_eq!(
        line,
        "row { timestamp_ns: -5 hostname: \"h\\\"\\303\\251\" inet_diag_msg_family: 2 inet_diag_msg_socket_source: \
         \"\\177\\000\\000\\001\" inet_diag_msg_socket_cookie: 18446744073709551615 congestion_algorithm_enum: \
         CONGESTION_ALGORITHM_BBR1 tcp_info_delivered_e1_bytes: 4294967295 }\n"
    );
}

const COLUMNS: &str = "timestamp_ns,hostname,location,inet_diag_msg_family,inet_diag_msg_state,inet_diag_msg_socket_source,\
                       inet_diag_msg_socket_cookie,congestion_algorithm_enum,tcp_info_delivered_e1_bytes";

fn example() -> Rows {
    let mut src = [0; 16];
    src[..4].copy_from_slice(&[127, 0, 0, 1]);
    let info = Cut::whole(TcpInfo::from_words(&[u64::MAX; TcpInfo::FIELDS]));
    let socket = Socket {
        src,
        cookie: u64::MAX,
        cong: Some(b"bbr\0".to_vec()),
        info: Some(info),
        ..Socket::default()
    };
    Rows {
        dump: Dump { timestamp_ns: -5, hostname: "h\"é".into(), ..Dump::default() },
        sockets: vec![socket],
    }
}

fn from_json(bytes: &[u8]) -> DynamicMessage {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let message = DynamicMessage::deserialize(descriptor("Envelope"), &mut json).unwrap();
    json.end().unwrap();
    message
}
