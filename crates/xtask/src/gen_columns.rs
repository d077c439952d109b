//! The table of columns as data, read without the rest of `sockeye-record`: its generated code may not exist yet.

#[allow(dead_code, reason = "only the names of the enum are wanted here")]
#[path = "../../record/src/algorithm.rs"]
mod algorithm;

pub(crate) use algorithm::ENUM_NAMES;

/// One line of the table.
pub(crate) struct Column {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    /// Type on the wire, by protobuf's name.
    pub(crate) kind: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) text: &'static str,
    /// Sockeye fills it.
    pub(crate) filled: bool,
}

macro_rules! kind {
    (u32) => {
        "uint32"
    };
    (u64) => {
        "uint64"
    };
    (i64) => {
        "int64"
    };
    (str) => {
        "string"
    };
    (bytes) => {
        "bytes"
    };
    (algorithm) => {
        "CongestionAlgorithm"
    };
}

macro_rules! columns {
    ($($group:ident { $($number:literal $name:ident: $kind:tt, $presence:expr, $meaning:ident, $unit:literal, $text:literal => $accessor:expr;)* })*) => {
        pub(crate) const COLUMNS: &[Column] = &[$($(Column {
            number: $number,
            name: stringify!($name),
            kind: kind!($kind),
            unit: $unit,
            text: $text,
            filled: !matches!(stringify!($accessor).as_bytes(), b"unfilled"),
        },)*)*];
    };
}

include!("../../record/src/column_table.rs");
