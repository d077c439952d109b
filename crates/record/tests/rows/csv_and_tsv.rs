//! `csv` and `tsv` through the `csv` crate: the header, one field a column, and text that tries to break out of its field.

use csv::{ReaderBuilder, StringRecord};
use proptest::prelude::*;
use serde_json::{Map, Value};
use sockeye_record::Format::{Csv, Jsonl, Tsv};
use sockeye_record::{COLUMNS, Encoder, Encoding, Format, Selection};

use crate::common::socket::Socket;
use crate::common::strategies::{Lengths, columns, dumps};
use crate::common::{Dump, Rows, encode, of_columns, of_filled, plain};
use crate::jsonl::{dump, everything};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn fields_are_the_values_of_the_json_line_in_the_order_asked_for(
        dumps in dumps(Lengths::Any), columns in columns(), tabs: bool
    ) {
        let format = if tabs { Tsv } else { Csv };
        let humanize = Some(false);
        let (header, rows) = read(&Encoding { humanize, ..of_columns(format, &columns) }, &dumps);
        let names: Vec<&str> = columns.split(',').collect();
        prop_assert_eq!(header.iter().collect::<Vec<_>>(), names.clone());
        let json = encode(&of_columns(Jsonl, &columns), &dumps);
        let objects: Vec<Map<String, Value>> =
            serde_json::Deserializer::from_slice(&json).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(rows.len(), objects.len());
        for (row, object) in rows.iter().zip(&objects) {
            let expected: Vec<String> = names.iter().map(|name| cell(object.get(*name))).collect();
            prop_assert_eq!(row.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn humanized_fields_are_the_names_that_the_json_line_adds(dumps in dumps(Lengths::Any), tabs: bool) {
        let format = if tabs { Tsv } else { Csv };
        let (_, rows) = read(&plain(format), &dumps);
        let json = encode(&of_filled(Jsonl, Some(true)), &dumps);
        let objects: Vec<Map<String, Value>> =
            serde_json::Deserializer::from_slice(&json).into_iter().map(Result::unwrap).collect();
        for (row, object) in rows.iter().zip(&objects) {
            let filled = COLUMNS.iter().filter(|column| column.filled);
            let expected = filled.map(|column| {
                let name = object.get(&format!("{}_name", column.name)).filter(|_| column.name != "ulp");
                let times = ["timestamp_ns", "first_seen_ns"].contains(&column.name);
                let time = column.name.strip_suffix("_ns").filter(|_| times).and_then(|name| object.get(name));
                cell(name.or(time).or(object.get(column.name)))
            });
            prop_assert_eq!(row.iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_header_has_the_names_in_the_order_asked_for_and_all_filled_ones_by_default() {
    let header = |encoding: &Encoding| String::from_utf8(Encoder::new(encoding).header()).unwrap();
    assert_eq!(
        header(&of_columns(Csv, "tcp_info_rtt,hostname,netns")),
        "tcp_info_rtt,hostname,netns\n"
    );
    assert_eq!(header(&of_columns(Tsv, "tcp_info_rtt,hostname")), "tcp_info_rtt\thostname\n");
    let filled: Vec<&str> =
        COLUMNS.iter().filter(|column| column.filled).map(|column| column.name).collect();
    assert_eq!(header(&plain(Csv)), filled.join(",") + "\n");
    assert_eq!(Encoder::for_records(&plain(Tsv)).header(), (filled.join("\t") + "\n").into_bytes());
    for format in [
        Format::ProtobufList,
        Format::ProtoJson,
        Format::ProtoText,
        Format::Msgpack,
        Jsonl,
        Format::Table,
    ] {
        assert_eq!(Encoder::new(&plain(format)).header(), b"", "{format:?}");
    }
}

#[test]
fn text_that_would_end_its_field_is_quoted() {
    let rows = [Rows {
        dump: Dump { hostname: "a,\"b\"\r\n\0c".into(), label: "d\te".into(), ..Dump::default() },
        sockets: vec![Socket::default()],
    }];
    let text = |format| {
        String::from_utf8(encode(&of_columns(format, "hostname,label,netns"), &rows)).unwrap()
    };
    assert_eq!(text(Csv), "\"a,\"\"b\"\"\r\n\0c\",d\te,\n");
    assert_eq!(text(Tsv), "\"a,\"\"b\"\"\r\n\0c\"\t\"d\te\"\t\n");
}

#[test]
fn people_get_names_times_and_addresses_and_the_rest_as_it_is() {
    let columns = "timestamp_ns,boottime_ns,inet_diag_msg_family,inet_diag_msg_state,inet_diag_msg_timer,tcp_info_ca_state,\
                   inet_diag_msg_socket_source,congestion_algorithm_enum,record_kind,tcp_info_rtt";
    let rows = [Rows { dump: dump(), sockets: vec![everything()] }];
    let line = |humanize| {
        String::from_utf8(encode(&Encoding { humanize, ..of_columns(Csv, columns) }, &rows))
            .unwrap()
    };
    let people = "2023-11-14T22:13:20.123456789Z,42,inet6,ESTAB,on,cwr,::ffff:10.0.0.1,CONGESTION_ALGORITHM_CUBIC,poll,24\n";
    assert_eq!(line(None), people);
    assert_eq!(line(Some(false)), "1700000000123456789,42,10,1,1,2,::ffff:10.0.0.1,1,1,24\n");
}

#[test]
fn a_row_of_one_empty_field_is_not_an_empty_line() {
    let rows = [Rows {
        sockets: vec![Socket::default(), everything(), Socket::default()],
        ..Rows::default()
    }];
    let encoding = of_columns(Csv, "tcp_info_rtt");
    assert_eq!(encode(&encoding, &rows), b"\"\"\n24\n\"\"\n");
    assert_eq!(read(&encoding, &rows).1.len(), 3);
}

#[test]
fn cells_of_a_row_do_not_stay_in_the_next_one() {
    let rows = [
        Rows { dump: dump(), sockets: vec![everything(), Socket::default()] },
        Rows { sockets: vec![Socket::default()], ..Rows::default() },
    ];
    let text = String::from_utf8(encode(
        &of_columns(Csv, "mark,hostname,tcp_info_rtt,record_kind"),
        &rows,
    ))
    .unwrap();
    assert_eq!(text, "57005,h,24,poll\n,h,,poll\n,,,\n");
}

fn read(encoding: &Encoding, dumps: &[Rows]) -> (StringRecord, Vec<StringRecord>) {
    let mut bytes = Encoder::new(encoding).header();
    bytes.extend(encode(encoding, dumps));
    let delimiter = if encoding.format == Csv { b',' } else { b'\t' };
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).flexible(false).from_reader(&bytes[..]);
    let header = reader.headers().unwrap().clone();
    let columns = encoding
        .columns
        .as_ref()
        .map_or(Selection::filled().order().len(), |columns| columns.order().len());
    assert_eq!(header.len(), columns);
    let rows: Vec<StringRecord> = reader.records().map(Result::unwrap).collect();
    assert!(rows.iter().all(|row| row.len() == columns));
    (header, rows)
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(number) => number.to_string(),
    }
}
