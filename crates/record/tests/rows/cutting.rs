//! The builder: exact lengths, cuts by rows and bytes, no row lost, doubled or moved, buffers that come back.

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use sockeye_record::decode::Records;
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_record::{
    BufferPool, Builder, CutReason, Encoder, Encoding, Envelope, FORMATS, Format, Limits,
};

use crate::common::expected::records;
use crate::common::socket::Socket;
use crate::common::strategies::{Lengths, dumps};
use crate::common::{Dump, Rows, encode, envelope, of_columns, plain, with_row};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_length_after_every_row_is_that_of_the_envelope_cut_there(dumps in dumps(Lengths::Any)) {
        for (format, ..) in FORMATS {
            for rows in 1..=records(&dumps).len() {
                let prefix = first(&dumps, rows);
                let mut builder = builder(&plain(format), NO_LIMITS);
                push(&mut builder, &prefix, |_| panic!("cut without a limit"));
                let (len, rows_so_far) = (builder.sealed_len(), builder.rows());
                let envelope = builder.finish().unwrap();
                prop_assert_eq!((len, rows_so_far), (envelope.bytes().len(), rows as u64), "{:?}", format);
                prop_assert_eq!((envelope.rows(), envelope.reason()), (rows as u64, CutReason::EndOfPoll));
            }
        }
    }

    #[test]
    fn all_envelopes_together_are_all_rows_in_order(
        dumps in vec(dumps(Lengths::Any), 1..6), max_rows in 1..8u64, max_bytes in prop_oneof![0..4000usize, Just(usize::MAX)]
    ) {
        let dumps = numbered(dumps.concat());
        let limits = Limits { rows: max_rows, bytes: max_bytes };
        for (format, ..) in FORMATS {
            let encoding = plain(format);
            let mut builder = builder(&encoding, limits);
            let mut envelopes = Vec::new();
            push(&mut builder, &dumps, |envelope| envelopes.push(envelope));
            envelopes.extend(builder.finish());
            prop_assert!(builder.finish().is_none());
            check_limits(&envelopes, limits, &encoding)?;
            prop_assert_eq!(envelopes.iter().map(Envelope::rows).sum::<u64>(), records(&dumps).len() as u64);
            match format {
                Format::ProtobufList => {
                    let bytes: Vec<u8> = envelopes.iter().flat_map(|envelope| envelope.bytes().to_vec()).collect();
                    let rows: Vec<XtcpFlatRecord> = Records::new(&bytes[..]).map(Result::unwrap).collect();
                    prop_assert_eq!(rows, records(&dumps));
                }
                Format::ProtoJson => {
                    let rows = envelopes.iter().flat_map(|envelope| json_rows(envelope.bytes()));
                    prop_assert_eq!(rows.collect::<Vec<_>>(), json_rows(&self::envelope(&encoding, &dumps)));
                }
                _ => {
                    let bytes: Vec<u8> = envelopes.iter().flat_map(|envelope| envelope.bytes().to_vec()).collect();
                    prop_assert!(bytes == encode(&encoding, &dumps), "{:?}", format);
                }
            }
        }
    }

    #[test]
    fn every_envelope_says_how_many_rows_it_has(dumps in dumps(Lengths::Any), max_rows in 1..4u64, max_bytes in 0..3000usize) {
        let mut builder = builder(&plain(Format::ProtobufList), Limits { rows: max_rows, bytes: max_bytes });
        let mut envelopes = Vec::new();
        push(&mut builder, &dumps, |envelope| envelopes.push(envelope));
        envelopes.extend(builder.finish());
        for envelope in envelopes {
            let rows = sockeye_record::v1::Envelope::decode_length_delimited(envelope.bytes()).unwrap().row.len();
            prop_assert_eq!(envelope.rows(), rows as u64);
        }
    }
}

#[test]
fn a_row_that_does_not_fit_starts_the_next_envelope() {
    let lines = |max_bytes| {
        let encoding = of_columns(Format::Jsonl, "hostname");
        let mut builder = builder(&encoding, Limits { rows: 100, bytes: max_bytes });
        let mut envelopes = Vec::new();
        let dumps: Vec<Rows> = ["a", "b", "c", "d", "e"].map(one_row).to_vec();
        push(&mut builder, &dumps, |envelope| envelopes.push(envelope));
        envelopes.extend(builder.finish());
        envelopes.iter().map(|envelope| (envelope.rows(), envelope.reason())).collect::<Vec<_>>()
    };
    // {"hostname":"a"} and a line feed are 17 bytes.
    let (bytes, end) = (CutReason::Bytes, CutReason::EndOfPoll);
    assert_eq!(lines(34), [(2, bytes), (2, bytes), (1, end)]);
    assert_eq!(lines(33), [(1, bytes), (1, bytes), (1, bytes), (1, bytes), (1, end)]);
    assert_eq!(lines(17 * 5), [(5, end)]);
    assert_eq!(lines(17 * 5 - 1), [(4, bytes), (1, end)]);
    assert_eq!(lines(0), [(1, bytes), (1, bytes), (1, bytes), (1, bytes), (1, end)]);
}

#[test]
fn rows_that_wait_to_be_appended_are_in_their_envelope_whatever_length_the_others_have() {
    // Some kilobytes wait at a time. A name of 70 kB is appended at once, behind what waits; a short row has a prefix of
    // its own; and each row brings a dump whose constant columns are made meanwhile.
    let names = |i: usize| "x".repeat(if i % 41 == 40 { 70_000 } else { i * 7 % 900 });
    let dumps: Vec<Rows> = (0..300).map(|i| one_row(&names(i))).collect();
    for columns in ["*", "hostname"] {
        let encoding = of_columns(Format::ProtobufList, columns);
        let mut builder = builder(&encoding, NO_LIMITS);
        push(&mut builder, &dumps, |_| panic!("cut without a limit"));
        let envelope = builder.finish().unwrap();
        let rows: Vec<XtcpFlatRecord> =
            Records::new(envelope.bytes()).map(Result::unwrap).collect();
        let hostnames: Vec<String> = rows.into_iter().map(|row| row.hostname).collect();
        assert_eq!(hostnames, (0..300).map(names).collect::<Vec<_>>(), "{columns}");
    }
}

#[test]
fn rows_are_counted_before_bytes_are() {
    let mut builder =
        builder(&of_columns(Format::Jsonl, "hostname"), Limits { rows: 2, bytes: 34 });
    let mut cuts = Vec::new();
    push(&mut builder, &["a", "b", "c", "d"].map(one_row), |envelope| {
        cuts.push((envelope.rows(), envelope.reason()));
    });
    assert_eq!(cuts, [(2, CutReason::Rows), (2, CutReason::Rows)]);
    assert_eq!((builder.rows(), builder.finish().is_none()), (0, true));
}

#[test]
fn a_row_that_does_not_fit_may_fill_the_next_envelope_at_once() {
    let mut builder = builder(&of_columns(Format::Jsonl, "hostname"), Limits { rows: 1, bytes: 0 });
    let mut cuts = Vec::new();
    push(&mut builder, &["a", "b"].map(one_row), |envelope| {
        cuts.push((envelope.bytes().to_vec(), envelope.reason()));
    });
    assert_eq!(
        cuts,
        [
            (b"{\"hostname\":\"a\"}\n".to_vec(), CutReason::Rows),
            (b"{\"hostname\":\"b\"}\n".to_vec(), CutReason::Rows)
        ]
    );
}

#[test]
fn a_single_row_longer_than_the_cap_travels_alone() {
    let mut builder =
        builder(&of_columns(Format::Jsonl, "hostname"), Limits { rows: 100, bytes: 40 });
    let long = "x".repeat(100);
    let mut cuts = Vec::new();
    push(&mut builder, &["a", &long, "b", "c"].map(one_row), |envelope| {
        cuts.push((envelope.rows(), envelope.bytes().len()));
    });
    cuts.extend(builder.finish().map(|envelope| (envelope.rows(), envelope.bytes().len())));
    assert_eq!(cuts, [(1, 17), (1, 116), (2, 34)]);
}

#[test]
fn nothing_pushed_is_no_envelope() {
    for (format, ..) in FORMATS {
        let mut builder = builder(&plain(format), NO_LIMITS);
        assert!(builder.finish().is_none());
        builder.begin_dump(&Dump::default().context());
        assert!(builder.finish().is_none());
        assert_eq!(builder.rows(), 0);
    }
}

#[test]
fn a_buffer_comes_back_when_its_envelope_goes_and_is_empty_then() {
    let encoding = of_columns(Format::ProtobufList, "hostname,record_counter");
    let pool = BufferPool::new(4);
    let mut builder = Builder::new(Encoder::new(&encoding), NO_LIMITS, pool);
    let mut cut = |name: &str| {
        push(&mut builder, &[one_row(name)], |_| panic!("cut without a limit"));
        builder.finish().unwrap()
    };
    let first = cut("first first first first");
    let (place, expected) = (first.bytes().as_ptr(), first.bytes().to_vec());
    drop(first);
    // The second envelope's buffer was taken while the first was out; the third's is the first's.
    let second = cut("second second second se");
    let third = cut("first first first first");
    assert_eq!(third.bytes().as_ptr(), place);
    assert_ne!(second.bytes().as_ptr(), place);
    assert_eq!(third.bytes(), expected);
}

#[test]
fn a_pool_keeps_as_many_buffers_as_it_was_told_to_and_at_least_one() {
    for size in [0, 1] {
        let encoding = of_columns(Format::Jsonl, "hostname");
        let limits = Limits { rows: 1, bytes: 99 };
        let mut builder = Builder::new(Encoder::new(&encoding), limits, BufferPool::new(size));
        let mut envelopes = Vec::new();
        push(&mut builder, &["a", "b", "c"].map(one_row), |envelope| envelopes.push(envelope));
        let first = envelopes[0].bytes().as_ptr();
        drop(envelopes);
        // The builder filled its own buffer with the first of these and took the one from the pool for the second.
        let mut places = Vec::new();
        push(&mut builder, &["d", "e"].map(one_row), |envelope| {
            places.push(envelope.bytes().as_ptr());
            std::mem::forget(envelope);
        });
        assert_eq!(places[1], first);
    }
}

const NO_LIMITS: Limits = Limits { rows: u64::MAX, bytes: usize::MAX };

fn builder(encoding: &Encoding, limits: Limits) -> Builder {
    Builder::new(Encoder::new(encoding), limits, BufferPool::new(3))
}

fn push(builder: &mut Builder, dumps: &[Rows], mut cut: impl FnMut(Envelope)) {
    for rows in dumps {
        builder.begin_dump(&rows.dump.context());
        for socket in &rows.sockets {
            with_row(socket, |row| builder.push(row, &mut cut));
        }
    }
}

fn check_limits(
    envelopes: &[Envelope],
    limits: Limits,
    encoding: &Encoding,
) -> Result<(), TestCaseError> {
    let (last, full) = envelopes.split_last().unwrap();
    for (i, envelope) in envelopes.iter().enumerate() {
        prop_assert!(envelope.rows() >= 1 && envelope.rows() <= limits.rows);
        prop_assert!(
            envelope.bytes().len() <= limits.bytes || envelope.rows() == 1,
            "{:?} {}",
            encoding,
            i
        );
        prop_assert_eq!(envelope.reason() == CutReason::Rows, envelope.rows() == limits.rows);
    }
    prop_assert!(full.iter().all(|envelope| envelope.reason() != CutReason::EndOfPoll));
    prop_assert!(last.reason() != CutReason::Bytes);
    // No cut by bytes was too early: with the next envelope's first row it would have been too long. Framing of one row
    // more is at most four bytes, and what a frame takes for itself does not shrink.
    for pair in envelopes
        .windows(2)
        .filter(|pair| pair[0].reason() == CutReason::Bytes && pair[1].rows() == 1)
    {
        let frame = if encoding.format == Format::ProtoJson { 8 + 3 - 1 } else { 0 };
        prop_assert!(pair[0].bytes().len() + pair[1].bytes().len() - frame > limits.bytes);
    }
    Ok(())
}

/// The first `rows` rows.
fn first(dumps: &[Rows], mut rows: usize) -> Vec<Rows> {
    let mut first = dumps.to_vec();
    for dump in &mut first {
        dump.sockets.truncate(rows);
        rows -= dump.sockets.len();
    }
    first
}

/// `record_counter` from 1 on, as a reader counts.
fn numbered(mut dumps: Vec<Rows>) -> Vec<Rows> {
    for (socket, number) in dumps.iter_mut().flat_map(|rows| &mut rows.sockets).zip(1..) {
        socket.record_counter = number;
    }
    dumps
}

fn one_row(hostname: &str) -> Rows {
    Rows {
        dump: Dump { hostname: hostname.into(), ..Dump::default() },
        sockets: vec![Socket::default()],
    }
}

fn json_rows(line: &[u8]) -> Vec<serde_json::Value> {
    let envelope: serde_json::Value = serde_json::from_slice(line).unwrap();
    envelope["row"].as_array().unwrap().clone()
}
