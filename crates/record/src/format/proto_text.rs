//! `protoText`: protobuf's text format, a row a line; a whole file is one `Envelope`.

use super::line::Line;
use super::text::{integer, proto_string};
use super::{Part, RowFormat, RowWriter, Settings};
use crate::algorithm::enum_name;
use crate::column::Column;
use crate::visit::Visit;

/// The format.
pub(crate) struct ProtoText;

impl RowFormat for ProtoText {
    type Row<'o> = Row<'o>;

    fn begin<'o>(line: Line<'o>, _: &'o Settings) -> Row<'o> {
        let out = line.into_buffer();
        out.extend_from_slice(b"row {");
        Row { out }
    }

    fn part<'o>(line: Line<'o>, _: &'o Settings, _: usize) -> Row<'o> {
        let out = line.into_buffer();
        Row { out }
    }
}

/// One `row { … }`.
pub(crate) struct Row<'o> {
    out: &'o mut Vec<u8>,
}

impl RowWriter for Row<'_> {
    fn splice(&mut self, part: &Part) {
        self.out.extend_from_slice(part.bytes());
    }

    fn end(self) {
        self.out.extend_from_slice(b" }\n");
    }

    fn end_part(self) -> u32 {
        0
    }
}

impl Visit for Row<'_> {
    fn u32(&mut self, column: &'static Column, value: u32) {
        self.u64(column, u64::from(value));
    }

    fn u64(&mut self, column: &'static Column, value: u64) {
        if value != 0 {
            self.field(column);
            integer(self.out, value);
        }
    }

    fn i64(&mut self, column: &'static Column, value: i64) {
        if value != 0 {
            self.field(column);
            integer(self.out, value);
        }
    }

    fn str(&mut self, column: &'static Column, value: &str) {
        self.bytes(column, value.as_bytes());
    }

    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        if !value.is_empty() {
            self.field(column);
            proto_string(self.out, value);
        }
    }

    fn algorithm(&mut self, column: &'static Column, value: i32) {
        if value != 0 {
            self.field(column);
            match enum_name(value) {
                Some(name) => self.out.extend_from_slice(name.as_bytes()),
                None => integer(self.out, value),
            }
        }
    }
}

impl Row<'_> {
    fn field(&mut self, column: &'static Column) {
        self.out.push(b' ');
        self.out.extend_from_slice(column.name.as_bytes());
        self.out.extend_from_slice(b": ");
    }
}
