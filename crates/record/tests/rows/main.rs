//! Rows in every format, against oracles that share no code with the table of columns: prost, prost-reflect,
//! `serde_json`, `csv`, `rmpv`, `netlink-packet-sock-diag`, and values that the tests put into messages by hand.

#![recursion_limit = "512"]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![expect(clippy::cast_possible_truncation, reason = "random words become fields of every width")]

mod any_bytes;
mod captures;
mod closed;
mod common;
mod common_rows;
mod csv_and_tsv;
mod cutting;
mod decoding;
mod encodings;
mod jsonl;
mod msgpack;
mod proto_json_and_text;
mod protobuf_list;
mod table;
mod table_of_columns;
