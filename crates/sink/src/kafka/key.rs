//! The key of a message; and an envelope taken apart by it, where its rows differ in it.

use std::collections::HashMap;

/// What the key of a message says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Key {
    /// Nothing: messages go to whatever partition has the next batch.
    #[default]
    None,
    /// The same for all messages: those of a host stay in order in one partition.
    Fixed(String),
    /// The column `netns`: rows of one message are of namespaces of one name.
    Netns,
}

/// A protobufList envelope of rows with one key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) key: Vec<u8>,
    pub(crate) envelope: Vec<u8>,
    pub(crate) rows: u64,
}

/// The parts of a protobufList envelope by the column `netns`, in the order in which they begin; none when it is no
/// such envelope. Rows are copied as they are.
pub(crate) fn by_netns(envelope: &[u8]) -> Option<Vec<Part>> {
    let mut rest = envelope;
    let len = usize::try_from(varint(&mut rest)?).ok()?;
    if len != rest.len() {
        return None;
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut by_key: HashMap<&[u8], usize> = HashMap::new();
    while !rest.is_empty() {
        let whole = rest;
        let (ROW, Value::Bytes(row)) = field(&mut rest)? else { return None };
        let framed = whole.get(..whole.len() - rest.len())?;
        let key = netns(row)?;
        let index = *by_key.entry(key).or_insert_with(|| {
            parts.push(Part { key: key.into(), envelope: Vec::new(), rows: 0 });
            parts.len() - 1
        });
        let part = parts.get_mut(index)?;
        part.envelope.extend_from_slice(framed);
        part.rows += 1;
    }
    for part in &mut parts {
        let rows = std::mem::take(&mut part.envelope);
        put_varint(rows.len() as u64, &mut part.envelope);
        part.envelope.extend_from_slice(&rows);
    }
    Some(parts)
}

fn netns(mut row: &[u8]) -> Option<&[u8]> {
    while !row.is_empty() {
        if let (NETNS, Value::Bytes(name)) = field(&mut row)? {
            return Some(name);
        }
    }
    Some(&[])
}

enum Value<'a> {
    Bytes(&'a [u8]),
    Other,
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(rest)?;
    let mut bytes = |len: usize| {
        let (bytes, behind) = rest.split_at_checked(len)?;
        *rest = behind;
        Some(bytes)
    };
    let value = match tag & 7 {
        0 => {
            varint(rest)?;
            Value::Other
        }
        1 => bytes(8).map(|_| Value::Other)?,
        5 => bytes(4).map(|_| Value::Other)?,
        2 => {
            let len = usize::try_from(varint(rest)?).ok()?;
            let (bytes, behind) = rest.split_at_checked(len)?;
            *rest = behind;
            Value::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// `Envelope.row`.
const ROW: u64 = 10;
/// `XtcpFlatRecord.netns`.
const NETNS: u64 = 30;

#[cfg(test)]
mod tests {
    use sockeye_record::decode::Records;
    use sockeye_record::v1::XtcpFlatRecord;
    use sockeye_record::{BufferPool, Builder, COLUMNS, Format, Limits};

    use super::*;
    use crate::kit;

    fn envelope(names: &[&str]) -> Vec<u8> {
        let limits = Limits { rows: 1000, bytes: usize::MAX };
        let encoder = kit::encoder(Format::ProtobufList);
        let mut builder = Builder::new(encoder, limits, BufferPool::new(1));
        for (counter, netns) in (1..).zip(names) {
            let record = XtcpFlatRecord {
                netns: (*netns).into(),
                record_counter: counter,
                hostname: "h".repeat(200),
                ..Default::default()
            };
            builder.push_record(&record, |_| panic!("it is not that long"));
        }
        builder.finish().unwrap().bytes().to_vec()
    }

    #[test]
    fn the_number_of_the_column_is_right() {
        let netns = COLUMNS.iter().find(|column| column.name == "netns").unwrap();
        assert_eq!(u64::from(netns.number), NETNS);
    }

    #[test]
    fn every_row_is_in_the_part_of_its_namespace_in_order() {
        let parts = by_netns(&envelope(&["red", "blue", "red", "", "blue", "red"])).unwrap();
        let rows = |part: &Part| -> Vec<(String, u64)> {
            Records::new(part.envelope.as_slice())
                .map(Result::unwrap)
                .map(|row| (row.netns, row.record_counter))
                .collect()
        };
        let found: Vec<_> = parts
            .iter()
            .map(|part| (String::from_utf8(part.key.clone()).unwrap(), part.rows, rows(part)))
            .collect();
        let row = |name: &str, counter| (name.to_owned(), counter);
        assert_eq!(
            found,
            [
                ("red".into(), 3, vec![row("red", 1), row("red", 3), row("red", 6)]),
                ("blue".into(), 2, vec![row("blue", 2), row("blue", 5)]),
                (String::new(), 1, vec![row("", 4)]),
            ]
        );
    }

    #[test]
    fn an_envelope_of_one_namespace_is_as_it_was() {
        let whole = envelope(&["red"; 30]);
        let parts = by_netns(&whole).unwrap();
        assert_eq!(parts, [Part { key: b"red".into(), envelope: whole, rows: 30 }]);
    }

    #[test]
    fn what_is_no_envelope_is_not_taken_apart_and_nothing_panics() {
        let whole = envelope(&["red", "blue"]);
        for len in 0..whole.len() {
            assert_eq!(by_netns(&whole[..len]), None, "{len}");
        }
        assert_eq!(by_netns(&[0]), Some(Vec::new()));
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x47;
            let _ = by_netns(&bad);
        }
    }
}
