//! `gen`: what is made from the table of columns: the `.proto` file, prost's types, docs/COLUMNS.md, docs/clickhouse.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::gen_clickhouse;
use crate::gen_columns::{COLUMNS, ENUM_NAMES};

/// Writes the generated files below `root`; with `check`, fails when one of them differs instead.
pub(crate) fn generate(root: &Path, check: bool) -> Result<()> {
    let proto = proto_file();
    let mut files = vec![
        (PROTO.to_owned(), proto.clone()),
        ("docs/COLUMNS.md".to_owned(), columns_page()),
        ("docs/clickhouse/xtcp_flat_record.proto".to_owned(), gen_clickhouse::proto_file()),
        ("docs/clickhouse/schema.sql".to_owned(), gen_clickhouse::tables()),
    ];
    let scratch = root.join("target/xtask-gen");
    fs::create_dir_all(scratch.join("xtcp_flat_record/v1"))?;
    fs::write(scratch.join(NAME), &proto)?;
    let descriptors = protox::compile([NAME], [&scratch]).context("the generated .proto file")?;
    prost_build::Config::new().out_dir(&scratch).compile_fds(descriptors)?;
    let types = fs::read_to_string(scratch.join("xtcp_flat_record.v1.rs"))?;
    files.push(("crates/record/src/generated/xtcp_flat_record.v1.rs".to_owned(), types));
    for (path, text) in files {
        let place = root.join(&path);
        if fs::read_to_string(&place).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            bail!("{path} is not what `cargo xtask gen` makes; run it and commit the result");
        }
        fs::create_dir_all(place.parent().context("a file has a folder")?)?;
        fs::write(&place, text).with_context(|| path.clone())?;
        println!("wrote {path}");
    }
    Ok(())
}

fn proto_file() -> String {
    let mut text = String::from(HEAD);
    for column in COLUMNS {
        let unit =
            if column.unit.is_empty() { String::new() } else { format!(" [{}]", column.unit) };
        // A String takes every write, here and below.
        let _ = writeln!(
            text,
            "  // {}{unit}\n  {} {} = {};",
            column.text, column.kind, column.name, column.number
        );
    }
    text.push_str("\n  enum CongestionAlgorithm {\n");
    for (number, name) in ENUM_NAMES.iter().enumerate() {
        let _ = writeln!(text, "    {name} = {number};");
    }
    text.push_str("  }\n}\n");
    text
}

fn columns_page() -> String {
    let mut text = String::from(
        "# Columns\n\nMade by `cargo xtask gen` from the table of columns. Names are the keys of every format; numbers are those of the\n\
         [protobuf message](../proto/xtcp_flat_record/v1/xtcp_flat_record.proto). A column that the kernel did not deliver is left\n\
         out of JSON and MessagePack and empty in CSV; protobuf has no way to tell it from 0, but `tcp_info_length` and `attributes`\n\
         say which columns came.\n\n| number | name | type | unit | what it is |\n| ---: | --- | --- | --- | --- |\n",
    );
    for column in COLUMNS.iter().filter(|column| column.filled) {
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {} | {} |",
            column.number, column.name, column.kind, column.unit, column.text
        );
    }
    let reserved: Vec<&str> =
        COLUMNS.iter().filter(|column| !column.filled).map(|column| column.name).collect();
    let _ = writeln!(
        text,
        "\nReserved by the wire format, filled by other writers and shown by `sockeye decode`: `{}`.",
        reserved.join("`, `")
    );
    text
}

const NAME: &str = "xtcp_flat_record/v1/xtcp_flat_record.proto";
const PROTO: &str = "proto/xtcp_flat_record/v1/xtcp_flat_record.proto";

const HEAD: &str = r#"// Made by `cargo xtask gen` from the table of columns, crates/record/src/column_table.rs.
//
// Numbers and names below 3000 are those of xtcp_flat_record.v1 and never change; what Sockeye adds starts at 3000.

syntax = "proto3";

package xtcp_flat_record.v1;

service XTCPFlatRecordService {
  rpc FlatRecords(FlatRecordsRequest) returns (stream FlatRecordsResponse);
  rpc PollFlatRecords(stream PollFlatRecordsRequest) returns (stream PollFlatRecordsResponse);
}

message FlatRecordsRequest {}

message FlatRecordsResponse {
  XtcpFlatRecord xtcp_flat_record = 1;
}

message PollFlatRecordsRequest {}

message PollFlatRecordsResponse {
  XtcpFlatRecord xtcp_flat_record = 1;
}

// One protobufList message is varint(length of Envelope) followed by the Envelope.
message Envelope {
  repeated XtcpFlatRecord row = 10;
}

// One TCP socket at one time.
message XtcpFlatRecord {
"#;
