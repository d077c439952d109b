//! `protoJson`: an `Envelope` a line in the canonical JSON mapping of proto3.
//!
//! lowerCamelCase names, 64-bit integers as strings, bytes as base64, enums by name, defaults left out
//! (<https://protobuf.dev/programming-guides/json/>).

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::line::Line;
use super::text::{integer, json_string};
use super::{HEADROOM, Part, RowFormat, RowWriter, Settings, json};
use crate::algorithm::enum_name;
use crate::column::Column;
use crate::columns::COLUMNS;
use crate::visit::Visit;

/// The format.
pub(crate) struct ProtoJson;

impl RowFormat for ProtoJson {
    type Row<'o> = Row<'o>;

    fn begin<'o>(line: Line<'o>, _: &'o Settings) -> Row<'o> {
        let out = line.into_buffer();
        let start = out.len();
        Row { out, start }
    }
}

/// One object of the array `row`, and the comma behind it.
pub(crate) struct Row<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl RowWriter for Row<'_> {
    fn splice(&mut self, part: &Part) {
        self.out.extend_from_slice(part.bytes());
    }

    fn end(self) {
        json::close(self.out, self.start);
        self.out.push(b',');
    }

    fn end_part(self) -> u32 {
        0
    }
}

impl Visit for Row<'_> {
    fn u32(&mut self, column: &'static Column, value: u32) {
        if value != 0 {
            self.key(column);
            integer(self.out, value);
        }
    }

    fn u64(&mut self, column: &'static Column, value: u64) {
        if value != 0 {
            self.key(column);
            self.quoted(|out| integer(out, value));
        }
    }

    fn i64(&mut self, column: &'static Column, value: i64) {
        if value != 0 {
            self.key(column);
            self.quoted(|out| integer(out, value));
        }
    }

    fn str(&mut self, column: &'static Column, value: &str) {
        if !value.is_empty() {
            self.key(column);
            json_string(self.out, value);
        }
    }

    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        let mut text = [0; 24];
        if let Ok(len) = STANDARD.encode_slice(value, &mut text) {
            if len > 0 {
                self.key(column);
                self.quoted(|out| out.extend_from_slice(text.get(..len).unwrap_or_default()));
            }
        } else {
            self.key(column);
            json_string(self.out, &STANDARD.encode(value));
        }
    }

    fn algorithm(&mut self, column: &'static Column, value: i32) {
        if value != 0 {
            self.key(column);
            match enum_name(value) {
                Some(name) => json_string(self.out, name),
                None => integer(self.out, value),
            }
        }
    }
}

impl Row<'_> {
    fn key(&mut self, column: &'static Column) {
        self.out.extend_from_slice(KEYS.get(column.index).map_or(&[], Vec::as_slice));
    }

    fn quoted(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }
}

/// Length of the line whose rows, each with a comma, take `body` bytes.
pub(crate) fn sealed_len(body: usize) -> usize {
    OPEN.len() + body.saturating_sub(1) + CLOSE.len()
}

/// Writes what stands before and behind the rows.
pub(crate) fn seal(buffer: &mut Vec<u8>) -> usize {
    let start = HEADROOM - OPEN.len();
    if let Some(place) = buffer.get_mut(start..HEADROOM) {
        place.copy_from_slice(OPEN);
    }
    if buffer.len() > HEADROOM {
        buffer.pop();
    }
    buffer.extend_from_slice(CLOSE);
    start
}

/// `a_b1_c` is `aB1C`: an underscore goes and the letter behind it is raised.
fn camel_case(name: &str) -> String {
    let mut raise = false;
    let mut camel = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter == '_' {
            raise = true;
        } else {
            camel.push(if raise { letter.to_ascii_uppercase() } else { letter });
            raise = false;
        }
    }
    camel
}

const OPEN: &[u8] = b"{\"row\":[";
const CLOSE: &[u8] = b"]}\n";

static KEYS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    COLUMNS.iter().map(|column| format!(",\"{}\":", camel_case(column.name)).into_bytes()).collect()
});
