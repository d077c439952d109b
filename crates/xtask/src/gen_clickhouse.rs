//! What `ClickHouse` needs: the schema of the messages as its Kafka engine wants it, and the tables.

use std::fmt::Write as _;

use crate::gen_columns::{COLUMNS, Column, ENUM_NAMES};

/// The message of rows inside of `Envelope`, where `ClickHouse` looks for it. The bytes on the wire are the same.
pub(crate) fn proto_file() -> String {
    let mut text = String::from(PROTO_HEAD);
    for column in COLUMNS {
        // A String takes every write, here and below.
        let _ = writeln!(text, "    {} {} = {};", column.kind, column.name, column.number);
    }
    text.push_str("\n    enum CongestionAlgorithm {\n");
    for (number, name) in ENUM_NAMES.iter().enumerate() {
        let _ = writeln!(text, "      {name} = {number};");
    }
    text.push_str("    }\n  }\n\n  repeated XtcpFlatRecord row = 10;\n}\n");
    text
}

/// The tables, their views, and what they are made of.
pub(crate) fn tables() -> String {
    let received = COLUMNS.iter().map(|column| format!("    {} {}", column.name, received(column)));
    let kept = COLUMNS.iter().map(|column| {
        let unit =
            if column.unit.is_empty() { String::new() } else { format!(" [{}]", column.unit) };
        let comment = format!("{}{unit}", column.text).replace('\\', "\\\\").replace('\'', "''");
        format!("    {} {} COMMENT '{comment}'", column.name, kept(column))
    });
    TABLES
        .replace("    RECEIVED", &received.collect::<Vec<_>>().join(",\n"))
        .replace("    KEPT", &kept.collect::<Vec<_>>().join(",\n"))
}

/// The type in which the Kafka engine reads a column.
fn received(column: &Column) -> &'static str {
    match column.kind {
        "uint32" => "UInt32",
        "uint64" => "UInt64",
        "int64" => "Int64",
        "CongestionAlgorithm" => "Int32",
        _ => "String",
    }
}

/// The type in which it is kept. Neighbours are rows of one socket, one poll after the other.
fn kept(column: &Column) -> &'static str {
    match (column.name, column.kind) {
        ("timestamp_ns", _) => "DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1))",
        (_, "bytes") => "IPv6 CODEC(ZSTD(1))",
        (_, "uint32") => "UInt32 CODEC(T64, ZSTD(1))",
        (_, "uint64") => "UInt64 CODEC(T64, ZSTD(1))",
        (_, "int64") => "Int64 CODEC(DoubleDelta, ZSTD(1))",
        (_, "CongestionAlgorithm") => "Int8 CODEC(ZSTD(1))",
        _ => "LowCardinality(String)",
    }
}

const PROTO_HEAD: &str = r#"// Made by `cargo xtask gen` from the table of columns, for ClickHouse's kafka_schema.
//
// The same messages as proto/xtcp_flat_record/v1/xtcp_flat_record.proto, with the row's type inside of Envelope:
// ClickHouse's ProtobufList finds it nowhere else.

syntax = "proto3";

package xtcp_flat_record.v1;

message Envelope {
  message XtcpFlatRecord {
"#;

const TABLES: &str = r"-- Made by `cargo xtask gen` from the table of columns; README.md beside it says how to use it. ClickHouse 26.3 or later.

CREATE DATABASE IF NOT EXISTS sockeye;

-- What is asked for: one row is one socket at one time.
--
-- In this order one host's last hours are read without the rest, and the rows of one connection lie together; a cookie
-- alone is found by its index. A day is a part that is dropped as a whole. Addresses are all IPv6, IPv4 as ::ffff:1.2.3.4;
-- inet_diag_msg_family tells what the socket is. A column that the kernel did not deliver is 0 or empty:
-- tcp_info_length and attributes tell (docs/COLUMNS.md).
CREATE TABLE IF NOT EXISTS sockeye.sockets
(
    KEPT,
    state LowCardinality(String) ALIAS ['', 'ESTAB', 'SYN-SENT', 'SYN-RECV', 'FIN-WAIT-1', 'FIN-WAIT-2', 'TIME-WAIT', 'UNCONN', 'CLOSE-WAIT', 'LAST-ACK', 'LISTEN', 'CLOSING', 'NEW-SYN-RECV', 'BOUND-INACTIVE'][inet_diag_msg_state + 1] COMMENT 'TCP state, as ss names it.',
    peer_is_ipv4 Bool ALIAS inet_diag_msg_socket_destination BETWEEN toIPv6('::ffff:0.0.0.0') AND toIPv6('::ffff:255.255.255.255') COMMENT 'The peer has an IPv4 address.',
    peer_network IPv6 MATERIALIZED tupleElement(IPv6CIDRToRange(inet_diag_msg_socket_destination, if(inet_diag_msg_socket_destination BETWEEN toIPv6('::ffff:0.0.0.0') AND toIPv6('::ffff:255.255.255.255'), 120, 48)), 1) CODEC(ZSTD(1)) COMMENT 'First address of the /24 of an IPv4 peer, of the /48 of an IPv6 one.',
    INDEX cookies inet_diag_msg_socket_cookie TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX peers inet_diag_msg_socket_destination TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(timestamp_ns)
ORDER BY (hostname, toStartOfHour(timestamp_ns), netns_inode, inet_diag_msg_socket_cookie, timestamp_ns)
TTL toDateTime(timestamp_ns) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

-- Rows of a schema that these tables do not know: which, whose, and where the messages are to be read again.
CREATE TABLE IF NOT EXISTS sockeye.other_schemas
(
    seen DateTime DEFAULT now(),
    schema_version UInt32,
    daemon_version LowCardinality(String),
    hostname LowCardinality(String),
    topic LowCardinality(String),
    partition UInt64,
    offset UInt64,
    rows UInt64
)
ENGINE = MergeTree
ORDER BY (schema_version, daemon_version, hostname, topic, partition, offset)
TTL seen + INTERVAL 30 DAY;

-- Messages that are no envelope.
CREATE TABLE IF NOT EXISTS sockeye.errors
(
    seen DateTime DEFAULT now(),
    topic LowCardinality(String),
    partition UInt64,
    offset UInt64,
    error String CODEC(ZSTD(1)),
    message String CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (topic, partition, offset)
TTL seen + INTERVAL 30 DAY;

-- The topic. kafka_schema is a file in format_schema_path, by default /var/lib/clickhouse/format_schemas.
CREATE TABLE IF NOT EXISTS sockeye.sockets_kafka
(
    RECEIVED
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'xtcp',
    kafka_group_name = 'sockeye',
    kafka_format = 'ProtobufList',
    kafka_schema = 'xtcp_flat_record.proto:XtcpFlatRecord',
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 1,
    kafka_poll_max_batch_size = 64,
    kafka_flush_interval_ms = 1000;

-- From the topic to the tables. As soon as these exist, messages are read.
CREATE MATERIALIZED VIEW IF NOT EXISTS sockeye.errors_mv TO sockeye.errors AS
SELECT _topic AS topic, _partition AS partition, _offset AS offset, _error AS error, _raw_message AS message
FROM sockeye.sockets_kafka
WHERE length(_error) > 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS sockeye.other_schemas_mv TO sockeye.other_schemas AS
SELECT schema_version, daemon_version, hostname, _topic AS topic, _partition AS partition, _offset AS offset, count() AS rows
FROM sockeye.sockets_kafka
WHERE length(_error) = 0 AND schema_version != 1
GROUP BY schema_version, daemon_version, hostname, topic, partition, offset;

CREATE MATERIALIZED VIEW IF NOT EXISTS sockeye.sockets_mv TO sockeye.sockets AS
SELECT * REPLACE (
    fromUnixTimestamp64Nano(timestamp_ns, 'UTC') AS timestamp_ns,
    CAST(toFixedString(multiIf(length(inet_diag_msg_socket_source) = 4, concat(unhex('00000000000000000000FFFF'), inet_diag_msg_socket_source), length(inet_diag_msg_socket_source) = 16, inet_diag_msg_socket_source, ''), 16), 'IPv6') AS inet_diag_msg_socket_source,
    CAST(toFixedString(multiIf(length(inet_diag_msg_socket_destination) = 4, concat(unhex('00000000000000000000FFFF'), inet_diag_msg_socket_destination), length(inet_diag_msg_socket_destination) = 16, inet_diag_msg_socket_destination, ''), 16), 'IPv6') AS inet_diag_msg_socket_destination)
FROM sockeye.sockets_kafka
WHERE length(_error) = 0 AND schema_version = 1;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_clickhouse_has_the_same_numbers_names_and_types() {
        let fields = |text: &str| -> Vec<String> {
            let of_row = text
                .lines()
                .map(str::trim)
                .skip_while(|line| !line.starts_with("message XtcpFlatRecord"));
            let of_row = of_row.take_while(|line| !line.starts_with("repeated"));
            of_row.filter(|line| line.contains(" = ")).map(str::to_owned).collect()
        };
        let ours = include_str!("../../../proto/xtcp_flat_record/v1/xtcp_flat_record.proto");
        assert_eq!(fields(&proto_file()), fields(ours));
        assert!(fields(ours).len() > COLUMNS.len());
    }

    #[test]
    fn every_column_is_received_and_kept_once() {
        let tables = tables();
        let lines_with =
            |begin: &str| tables.lines().filter(|line| line.starts_with(begin)).count();
        for column in COLUMNS {
            let name = column.name;
            assert_eq!(lines_with(&format!("    {name} {} COMMENT '", kept(column))), 1, "{name}");
            let last = format!("    {name} {}", received(column));
            let received = tables.lines().filter(|line| line.trim_end_matches(',') == last).count();
            // One of them may be of the table of other schemas.
            assert!((1..=2).contains(&received), "{name}: {received}");
        }
    }
}
