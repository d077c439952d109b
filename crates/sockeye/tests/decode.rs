//! `decode`: what is whole comes out, in any format; what is not is said with its place.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use common::{output, sockeye, text};
use prost::Message;
use sockeye_record::v1::{Envelope, XtcpFlatRecord};

fn record(hostname: &str, port: u32) -> XtcpFlatRecord {
    XtcpFlatRecord {
        hostname: hostname.into(),
        netns: "web".into(),
        timestamp_ns: 1_700_000_000_123_456_789,
        record_counter: 1,
        inet_diag_msg_family: 2,
        inet_diag_msg_state: 10,
        inet_diag_msg_socket_source: vec![127, 0, 0, 1],
        inet_diag_msg_socket_source_port: port,
        inet_diag_msg_socket_destination: vec![0, 0, 0, 0],
        ..XtcpFlatRecord::default()
    }
}

/// Envelopes with these rows, as a protobufList.
fn list(envelopes: &[&[XtcpFlatRecord]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for rows in envelopes {
        Envelope { row: rows.to_vec() }.encode_length_delimited(&mut bytes).unwrap();
    }
    bytes
}

/// Three rows in two envelopes.
fn three() -> Vec<u8> {
    list(&[&[record("a", 80)], &[record("b", 443), record("c", 8080)]])
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, content: &[u8]) -> String {
        let path: PathBuf = self.0.path().join("list");
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

/// What decode makes of these bytes in a file; the file's name in what it says is `FILE`.
fn decode(content: &[u8], arguments: &[&str]) -> (Option<i32>, String, String) {
    let place = Place::new();
    let file = place.file(content);
    let output = output(&[&["decode", &file], arguments].concat());
    (output.status.code(), text(&output.stdout), text(&output.stderr).replace(&file, "FILE"))
}

/// The same of its standard input.
fn decode_stdin(content: &[u8], arguments: &[&str]) -> Output {
    let mut command = sockeye();
    command.arg("decode").args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writer = std::thread::spawn(move || pipe.write_all(&content));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

const NAMES: [&str; 2] = ["--columns", "hostname"];

fn hosts(names: &str) -> String {
    names
        .chars()
        .flat_map(|name| ["{\"hostname\":\"".into(), name.to_string(), "\"}\n".into()])
        .collect()
}

#[test]
fn a_list_comes_back_from_a_file_and_from_standard_input() {
    assert_eq!(decode(&three(), &NAMES), (Some(0), hosts("abc"), String::new()));
    for input in [&[][..], &["-"], &["--", "-"]] {
        let input: Vec<&str> = if input == ["--", "-"] {
            [&NAMES[..], input].concat()
        } else {
            [input, &NAMES].concat()
        };
        let output = decode_stdin(&three(), &input);
        assert_eq!((text(&output.stdout), text(&output.stderr)), (hosts("abc"), String::new()));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn a_list_that_is_cut_anywhere_in_its_last_row_gives_the_rows_before_and_the_offset() {
    let whole = three();
    // Behind the first envelope, the length of the second and its first row.
    let last = record("c", 8080).encoded_len();
    let start = whole.len() - last - 2;
    assert_eq!(whole[start], 0x52, "field 10, length-delimited");
    let place = Place::new();
    for cut in start..whole.len() {
        let file = place.file(&whole[..cut]);
        let output = output(&["decode", &file, "--columns", "hostname"]);
        assert_eq!(text(&output.stdout), hosts("ab"), "{cut}");
        let said = format!(
            "sockeye: {file}: offset {start}: truncated: the row that begins here is not whole\n"
        );
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), said), "{cut}");
    }
}

#[test]
fn a_cut_in_the_length_of_an_envelope_is_told_as_the_envelopes() {
    let first = list(&[&[record("a", 80)]]);
    let long = record(&"n".repeat(200), 80);
    let whole = list(&[&[record("a", 80)], &[long]]);
    let said = format!(
        "sockeye: FILE: offset {}: truncated: the envelope that begins here is not whole\n",
        first.len()
    );
    assert_eq!(decode(&whole[..=first.len()], &NAMES), (Some(1), hosts("a"), said));
    assert_eq!(decode(&whole[..first.len()], &NAMES), (Some(0), hosts("a"), String::new()));
}

#[test]
fn an_empty_file_is_a_list_without_rows() {
    for to in ["jsonl", "tsv", "protobufList", "protoJson", "protoText", "msgpack", "csv", "table"]
    {
        let header = match to {
            "csv" => "hostname,netns\n",
            "tsv" => "hostname\tnetns\n",
            "table" => "hostname  netns\n",
            _ => "",
        };
        let (code, stdout, stderr) = decode(b"", &["--to", to, "--columns", "hostname,netns"]);
        assert_eq!((code, stderr), (Some(0), String::new()), "{to}");
        assert_eq!(stdout.replace("\r\n", "\n"), header, "{to}");
    }
}

#[test]
fn garbage_is_refused_where_it_begins() {
    let said = "sockeye: FILE: offset 0: not a protobufList: a varint of more than 64 bits\n";
    assert_eq!(decode(&[0xff; 64], &NAMES), (Some(1), String::new(), said.into()));
    let behind = [three(), vec![0xff; 64]].concat();
    let said = said.replace("offset 0", &format!("offset {}", three().len()));
    assert_eq!(decode(&behind, &NAMES), (Some(1), hosts("abc"), said));
    // The rows of another format.
    let (code, stdout, stderr) = decode(b"{\"hostname\":\"a\"}\n", &NAMES);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 1));
    assert!(stderr.starts_with("sockeye: FILE: offset "), "{stderr}");
}

#[test]
fn a_corrupt_row_in_the_middle_costs_that_row_alone() {
    let mut bytes = list(&[&[record("a", 80), record("bbbb", 443), record("c", 8080)]]);
    let at = bytes.windows(4).position(|window| window == b"bbbb").unwrap();
    bytes[at] = 0xff;
    let (code, stdout, stderr) = decode(&bytes, &NAMES);
    assert_eq!((code, stdout), (Some(1), hosts("ac")));
    let start =
        bytes.len() - record("c", 1).encoded_len() - record("bbbb", 1).encoded_len() - 4 - 1;
    let offset: usize = stderr
        .strip_prefix("sockeye: FILE: offset ")
        .unwrap()
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(bytes[offset], 0x52, "where a row begins");
    assert!(offset < at && offset >= start - 4, "{stderr}");
    assert!(stderr.contains(": corrupt row: ") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn many_corrupt_rows_are_counted_and_not_all_listed() {
    let mut bytes = list(&[&vec![record("bbbb", 1); 25]]);
    for at in 0..bytes.len() - 4 {
        if &bytes[at..at + 4] == b"bbbb" {
            bytes[at] = 0xff;
        }
    }
    let (code, stdout, stderr) = decode(&bytes, &NAMES);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 11));
    assert_eq!(stderr.lines().last(), Some("sockeye: FILE: 15 more rows are corrupt"));
}

#[test]
fn a_compressed_list_is_seen_to_be_one_and_its_end_may_be_missing() {
    let frame = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let (first, second) =
        (frame(&list(&[&[record("a", 80)]])), frame(&list(&[&[record("b", 443)]])));
    let both = [first.clone(), second.clone()].concat();
    assert_eq!(decode(&both, &NAMES), (Some(0), hosts("ab"), String::new()));
    assert_eq!(text(&decode_stdin(&both, &NAMES).stdout), hosts("ab"));
    for cut in first.len() + 1..both.len() {
        let (code, stdout, stderr) = decode(&both[..cut], &NAMES);
        assert_eq!(code, Some(1), "{cut}");
        assert!(stdout.starts_with(&hosts("a")), "{cut}: {stdout}");
        assert_eq!(stderr.lines().count(), 1, "{cut}: {stderr}");
        assert!(stderr.starts_with("sockeye: FILE: offset "), "{cut}: {stderr}");
        assert!(stderr.ends_with(" (offsets are of the uncompressed bytes)\n"), "{cut}: {stderr}");
    }
}

#[test]
fn every_format_shows_the_same_rows() {
    let columns = [
        "--columns",
        "hostname,inet_diag_msg_socket_source,inet_diag_msg_socket_source_port,inet_diag_msg_state",
    ];
    let to = |format: &str, more: &[&str]| {
        let (code, stdout, stderr) =
            decode(&three(), &[&["--to", format], &columns[..], more].concat());
        assert_eq!((code, stderr), (Some(0), String::new()), "{format}");
        stdout.replace("\r\n", "\n")
    };
    let names = "hostname,inet_diag_msg_socket_source,inet_diag_msg_socket_source_port,inet_diag_msg_state\n";
    let rows = "a,127.0.0.1,80,LISTEN\nb,127.0.0.1,443,LISTEN\nc,127.0.0.1,8080,LISTEN\n";
    assert_eq!(to("csv", &[]), format!("{names}{rows}"));
    assert_eq!(to("tsv", &[]), format!("{names}{rows}").replace(',', "\t"));
    assert_eq!(to("csv", &["--humanize=false"]), format!("{names}{rows}").replace("LISTEN", "10"));
    let table = to("table", &[]);
    let words: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(
        words[4..],
        rows.split([',', '\n']).filter(|word| !word.is_empty()).collect::<Vec<_>>(),
        "{table}"
    );
    let first = to("jsonl", &[]).lines().next().unwrap().to_owned();
    let value: serde_json::Value = serde_json::from_str(&first).unwrap();
    let expected = serde_json::json!({
        "hostname": "a",
        "inet_diag_msg_state": 10,
        "inet_diag_msg_socket_source_port": 80,
        "inet_diag_msg_socket_source": "127.0.0.1",
    });
    assert_eq!(value, expected);
    let humanized = to("jsonl", &["--humanize"]).lines().next().unwrap().to_owned();
    assert!(
        humanized.contains("\"LISTEN\"") && humanized.contains("\"inet_diag_msg_state\":10"),
        "{humanized}"
    );
    let proto_json: serde_json::Value =
        serde_json::from_str(to("protoJson", &[]).lines().next().unwrap()).unwrap();
    assert!(proto_json.to_string().contains("\"hostname\":\"a\""), "{proto_json}");
    assert!(to("protoText", &[]).contains("hostname: \"a\""));
}

#[test]
fn binary_formats_come_back_whole() {
    let place = Place::new();
    let file = place.file(&three());
    let again = common::stdout(&["decode", &file, "--to", "protobufList"]);
    let mut rest = again.as_slice();
    let mut rows = Vec::new();
    while !rest.is_empty() {
        rows.extend(Envelope::decode_length_delimited(&mut rest).unwrap().row);
    }
    assert_eq!(rows, [record("a", 80), record("b", 443), record("c", 8080)]);
    let packed = common::stdout(&["decode", &file, "--to", "msgpack"]);
    let mut rest = packed.as_slice();
    let mut ports = Vec::new();
    while !rest.is_empty() {
        let row = rmpv::decode::read_value(&mut rest).unwrap();
        let port = row
            .as_map()
            .unwrap()
            .iter()
            .find(|(key, _)| key.as_str() == Some("inet_diag_msg_socket_source_port"));
        ports.push(port.unwrap().1.as_u64().unwrap());
    }
    assert_eq!(ports, [80, 443, 8080]);
}

#[test]
fn a_table_is_aligned_over_all_envelopes_and_ends_with_what_is_whole() {
    let long = record("a-rather-long-name", 80);
    let whole = list(&[&[record("a", 80)], &[long, record("c", 8080)]]);
    let columns = ["--to", "table", "--columns", "hostname,netns"];
    let expected = "hostname            netns\na                   web\na-rather-long-name  web\n";
    let (code, stdout, stderr) = decode(&whole[..whole.len() - 1], &columns);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), expected, 1), "{stderr}");
}
