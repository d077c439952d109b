//! Files as their readers find them: rotated, torn, moved away, taken.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sockeye_record::decode::Records;
use sockeye_record::table::align;
use sockeye_record::{Encoder, Encoding, Envelope, FORMATS};

use super::*;
use crate::kit::{self, Served, bytes, encoder, envelopes, send};

/// A directory, the names in it, and a clock that only moves when it is told to.
struct Place {
    dir: tempfile::TempDir,
    seconds: Arc<AtomicI64>,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), seconds: Arc::new(AtomicI64::new(NOON)) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn settings(&self, name: &str, format: Format) -> FileSettings {
        FileSettings {
            path: PathPattern::parse(self.path(name).to_str().unwrap()).unwrap(),
            rotate_bytes: None,
            rotate_age: None,
            zstd: false,
            header: encoder(format).header(),
            format,
        }
    }

    fn open(&self, settings: FileSettings) -> FileSink {
        let seconds = Arc::clone(&self.seconds);
        let clock = move || Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap();
        FileSink::open_with_clock(settings, Box::new(clock)).unwrap()
    }

    fn later(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}

/// What a file of this format holds with `count` envelopes, uncompressed.
fn content(format: Format, envelopes: &[Envelope]) -> Vec<u8> {
    [encoder(format).header(), bytes(envelopes)].concat()
}

/// Those whose envelopes stand in a file as they are: tables are aligned before.
fn formats() -> impl Iterator<Item = Format> {
    FORMATS.into_iter().map(|(format, ..)| format).filter(|format| *format != Format::Table)
}

fn lines(bytes: &[u8]) -> usize {
    String::from_utf8_lossy(bytes).lines().count()
}

fn decompressed(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    zstd::Decoder::new(fs::File::open(path).unwrap()).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_plain_file_is_appended_to_across_runs_with_one_header() {
    for format in formats() {
        let place = Place::new();
        for _ in 0..3 {
            let mut sink = place.open(place.settings("sockets", format));
            assert_eq!(send(&mut sink, envelopes(format, 2)).delivered, 4);
            sink.finish().unwrap();
        }
        let expected = [0; 3].map(|_| bytes(&envelopes(format, 2))).concat();
        assert_eq!(
            place.read("sockets"),
            [encoder(format).header(), expected].concat(),
            "{format:?}"
        );
        assert_eq!(place.names(), ["sockets"]);
    }
}

#[test]
fn a_csv_without_rows_has_its_header_and_a_partial_file_without_content_is_not_kept() {
    let place = Place::new();
    place.open(place.settings("a.csv", Format::Csv)).finish().unwrap();
    place.open(place.settings("b-%Y.csv", Format::Csv)).finish().unwrap();
    place.open(place.settings("c-%Y.jsonl", Format::Jsonl)).finish().unwrap();
    assert_eq!(place.names(), ["a.csv", "b-2024.csv"]);
    assert_eq!(place.read("a.csv"), encoder(Format::Csv).header());
    assert_eq!(place.read("b-2024.csv"), encoder(Format::Csv).header());
}

#[test]
fn a_file_is_rotated_before_it_becomes_too_long_and_never_over_another() {
    let place = Place::new();
    let all = envelopes(Format::Csv, 5);
    let header = encoder(Format::Csv).header();
    let two = (header.len() + bytes(&all[..2]).len()) as u64;
    let mut sink = place
        .open(FileSettings { rotate_bytes: Some(two), ..place.settings("s.csv", Format::Csv) });
    assert_eq!(send(&mut sink, envelopes(Format::Csv, 5)).delivered, 10);
    sink.finish().unwrap();
    assert_eq!(place.names(), ["s.20240203T120000Z-1.csv", "s.20240203T120000Z.csv", "s.csv"]);
    assert_eq!(place.read("s.20240203T120000Z.csv"), content(Format::Csv, &all[..2]));
    assert_eq!(place.read("s.20240203T120000Z-1.csv"), content(Format::Csv, &all[2..4]));
    assert_eq!(place.read("s.csv"), content(Format::Csv, &all[4..]));
}

#[test]
fn an_envelope_longer_than_the_limit_has_a_file_of_its_own() {
    let place = Place::new();
    let settings = FileSettings { rotate_bytes: Some(1), ..place.settings("s", Format::Jsonl) };
    let mut sink = place.open(settings);
    assert_eq!(send(&mut sink, envelopes(Format::Jsonl, 3)).delivered, 6);
    assert_eq!(place.names(), ["s", "s.20240203T120000Z", "s.20240203T120000Z-1"]);
    assert!(place.names().iter().all(|name| lines(&place.read(name)) == 2));
}

#[test]
fn a_file_is_rotated_by_age_with_traffic_and_without_but_not_while_it_is_empty() {
    let place = Place::new();
    let age = Some(Duration::from_mins(1));
    let mut sink =
        place.open(FileSettings { rotate_age: age, ..place.settings("s", Format::Jsonl) });
    place.later(100);
    sink.idle().unwrap();
    assert_eq!(place.names(), ["s"]);
    send(&mut sink, envelopes(Format::Jsonl, 1));
    sink.idle().unwrap();
    assert_eq!(place.names(), ["s", "s.20240203T120000Z"], "it is as old as its opening");
    send(&mut sink, envelopes(Format::Jsonl, 1));
    place.later(59);
    send(&mut sink, envelopes(Format::Jsonl, 1));
    place.later(1);
    send(&mut sink, envelopes(Format::Jsonl, 1));
    assert_eq!(place.names(), ["s", "s.20240203T120000Z", "s.20240203T120140Z"]);
    assert_eq!(place.read("s.20240203T120140Z").len(), 2 * place.read("s").len());
}

#[test]
fn a_pattern_is_written_as_partial_and_completed_when_its_name_changes() {
    let place = Place::new();
    let mut sink = place.open(place.settings("s-%H%M.jsonl", Format::Jsonl));
    send(&mut sink, envelopes(Format::Jsonl, 1));
    assert_eq!(place.names(), ["s-1200.jsonl.partial"]);
    place.later(60);
    sink.idle().unwrap();
    assert_eq!(place.names(), ["s-1200.jsonl", "s-1201.jsonl.partial"]);
    place.later(60);
    send(&mut sink, envelopes(Format::Jsonl, 2));
    assert_eq!(place.names(), ["s-1200.jsonl", "s-1202.jsonl.partial"]);
    sink.finish().unwrap();
    assert_eq!(place.names(), ["s-1200.jsonl", "s-1202.jsonl"]);
    assert_eq!(place.read("s-1202.jsonl"), bytes(&envelopes(Format::Jsonl, 2)));
}

#[test]
fn completing_a_pattern_never_overwrites_a_file() {
    let place = Place::new();
    fs::write(place.path("s-12.jsonl"), "somebody's").unwrap();
    for _ in 0..2 {
        let mut sink = place.open(place.settings("s-%H.jsonl", Format::Jsonl));
        send(&mut sink, envelopes(Format::Jsonl, 1));
        sink.finish().unwrap();
    }
    assert_eq!(place.names(), ["s-12-1.jsonl", "s-12-2.jsonl", "s-12.jsonl"]);
    assert_eq!(place.read("s-12.jsonl"), b"somebody's");
}

#[test]
fn a_partial_file_of_a_crash_is_continued_when_its_name_is_still_the_same() {
    let place = Place::new();
    let settings = || place.settings("s-%H.csv", Format::Csv);
    let mut crashed = place.open(settings());
    send(&mut crashed, envelopes(Format::Csv, 2));
    drop(crashed);
    let whole = place.read("s-12.csv.partial");
    fs::write(place.path("s-12.csv.partial"), &whole[..whole.len() - 1]).unwrap();
    let mut sink = place.open(settings());
    send(&mut sink, envelopes(Format::Csv, 1));
    sink.finish().unwrap();
    assert_eq!(place.names(), ["s-12.csv"]);
    let lines = csv_rows(&place.read("s-12.csv"));
    assert_eq!(lines, ["1", "2", "3", "1", "2"], "row 4 was torn");
}

/// `record_counter` of each row below the header.
fn csv_rows(bytes: &[u8]) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(bytes);
    let column =
        reader.headers().unwrap().iter().position(|name| name == "record_counter").unwrap();
    reader.records().map(|row| row.unwrap()[column].to_owned()).collect()
}

/// Where the last row (or envelope, where that can't be split) of a file begins.
fn last_begins(format: Format, all: &[Envelope]) -> usize {
    let content = content(format, all);
    let last = all.last().unwrap().bytes();
    let behind_first_row = match format {
        Format::ProtobufList | Format::ProtoJson => 0,
        // Both rows of an envelope are of one length.
        _ => last.len() / 2,
    };
    content.len() - last.len() + behind_first_row
}

#[test]
fn a_torn_tail_is_cut_back_to_the_last_whole_row_wherever_it_was_torn() {
    for format in formats() {
        let place = Place::new();
        let path = place.path("s");
        // Counters of one digit: rows of one length.
        let all = envelopes(format, 3);
        let whole = content(format, &all);
        let begin = last_begins(format, &all);
        for cut in begin..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            drop(place.open(place.settings("s", format)));
            let expected = if cut == whole.len() { cut } else { begin };
            assert_eq!(
                fs::metadata(&path).unwrap().len(),
                expected as u64,
                "{format:?} torn at {cut}"
            );
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let mut sink = place.open(place.settings("s", format));
        send(&mut sink, envelopes(format, 1));
        assert!(
            place.read("s") == [&whole[..begin], &bytes(&envelopes(format, 1))].concat(),
            "{format:?}"
        );
        assert_eq!(place.names(), ["s"]);
    }
}

#[test]
fn a_file_with_nothing_but_the_begin_of_a_row_begins_anew() {
    for format in formats() {
        let place = Place::new();
        let whole = content(format, &envelopes(format, 1));
        let shortest = encoder(format).header().len().max(2);
        for cut in 1..shortest {
            fs::write(place.path("s"), &whole[..cut]).unwrap();
            send(&mut place.open(place.settings("s", format)), envelopes(format, 1));
            assert!(place.read("s") == whole, "{format:?} torn at {cut}");
            assert_eq!(place.names(), ["s"], "{format:?} torn at {cut}");
        }
    }
}

#[test]
fn zstd_frames_are_one_stream_and_a_torn_frame_is_cut_off_wherever_it_was_torn() {
    for format in [Format::ProtobufList, Format::Csv] {
        let place = Place::new();
        let settings = || FileSettings { zstd: true, ..place.settings("s", format) };
        let mut sink = place.open(settings());
        send(&mut sink, envelopes(format, 2));
        let begin = place.read("s.zst").len();
        send(&mut sink, envelopes(format, 1));
        drop(sink);
        assert_eq!(decompressed(&place.path("s.zst")), {
            let mut again = envelopes(format, 2);
            again.append(&mut envelopes(format, 1));
            content(format, &again)
        });
        let whole = place.read("s.zst");
        for cut in begin..=whole.len() {
            fs::write(place.path("s.zst"), &whole[..cut]).unwrap();
            drop(place.open(settings()));
            let expected = if cut == whole.len() { cut } else { begin };
            assert_eq!(
                fs::metadata(place.path("s.zst")).unwrap().len(),
                expected as u64,
                "torn at {cut}"
            );
        }
        fs::write(place.path("s.zst"), &whole[..whole.len() - 1]).unwrap();
        send(&mut place.open(settings()), envelopes(format, 1));
        assert_eq!(decompressed(&place.path("s.zst")), decompressed_prefix(&whole));
        // The first frame, torn in its header.
        for cut in 1..=18 {
            fs::write(place.path("s.zst"), &whole[..cut]).unwrap();
            send(&mut place.open(settings()), envelopes(format, 1));
            assert_eq!(
                decompressed(&place.path("s.zst")),
                content(format, &envelopes(format, 1)),
                "torn at {cut}"
            );
        }
        assert_eq!(place.names(), ["s.zst"]);
    }
}

fn decompressed_prefix(bytes: &[u8]) -> Vec<u8> {
    zstd::decode_all(bytes).unwrap()
}

#[test]
fn compressed_files_are_rotated_by_their_length_on_disk() {
    let place = Place::new();
    let settings = FileSettings {
        zstd: true,
        rotate_bytes: Some(2000),
        ..place.settings("s-%H.zst", Format::Jsonl)
    };
    let mut sink = place.open(settings);
    send(&mut sink, envelopes(Format::Jsonl, 50));
    sink.finish().unwrap();
    let names = place.names();
    assert!(names.len() > 1, "{names:?}");
    assert!(
        names.contains(&"s-12.zst".into()) && names.contains(&"s-12-1.zst".into()),
        "{names:?}"
    );
    let mut rows = 0;
    for name in &names {
        assert!(place.read(name).len() <= 2000, "{name}");
        rows += lines(&decompressed(&place.path(name)));
    }
    assert_eq!(rows, 100);
}

#[test]
fn what_can_not_be_continued_is_set_aside_whole() {
    let cases: [(Format, bool, Vec<u8>); 9] = [
        (Format::Csv, false, b"other,columns\n1,2\n".to_vec()),
        (Format::Csv, false, b"no csv at all".to_vec()),
        (Format::Jsonl, false, content(Format::Csv, &envelopes(Format::Csv, 1))),
        (Format::ProtoText, false, bytes(&envelopes(Format::Jsonl, 1))),
        (Format::ProtobufList, false, bytes(&envelopes(Format::Jsonl, 2))),
        (
            Format::ProtobufList,
            false,
            [bytes(&envelopes(Format::ProtobufList, 2)), b"\x03SSS".to_vec()].concat(),
        ),
        (Format::Msgpack, false, bytes(&envelopes(Format::ProtobufList, 1))),
        (Format::Jsonl, true, bytes(&envelopes(Format::Jsonl, 1))),
        (Format::Csv, true, zstd::encode_all(&b"other,columns\n"[..], 3).unwrap()),
    ];
    for (format, zstd, foreign) in cases {
        let place = Place::new();
        fs::write(place.path("s.zst"), &foreign).unwrap();
        let mut sink = place.open(FileSettings { zstd, ..place.settings("s.zst", format) });
        send(&mut sink, envelopes(format, 1));
        assert_eq!(place.names(), ["s.20240203T120000Z.zst", "s.zst"], "{format:?} {foreign:?}");
        assert_eq!(place.read("s.20240203T120000Z.zst"), foreign);
        let written = if zstd { decompressed(&place.path("s.zst")) } else { place.read("s.zst") };
        assert!(written == content(format, &envelopes(format, 1)), "{format:?}");
    }
}

#[test]
fn what_a_crash_left_under_other_names_of_a_pattern_is_cut_and_completed_at_the_next_start() {
    for zstd in [false, true] {
        let place = Place::new();
        let suffix = if zstd { ".zst" } else { "" };
        let name = |name: &str| format!("{name}{suffix}");
        let settings = || FileSettings { zstd, ..place.settings("s-%H.jsonl", Format::Jsonl) };
        for _ in 0..2 {
            let mut crashed = place.open(settings());
            send(&mut crashed, envelopes(Format::Jsonl, 2));
            drop(crashed);
            place.later(-3600);
        }
        // The second start has completed the first's file; this one is torn, and its name is taken.
        assert_eq!(place.names(), [name("s-11.jsonl") + ".partial", name("s-12.jsonl")]);
        let torn = place.read(&(name("s-11.jsonl") + ".partial"));
        fs::write(place.path(&(name("s-11.jsonl") + ".partial")), &torn[..torn.len() - 1]).unwrap();
        fs::write(place.path(&name("s-11.jsonl")), "somebody's").unwrap();
        fs::write(place.path(&(name("s-01.jsonl") + ".partial")), "").unwrap();
        fs::write(place.path(&(name("s-02.jsonl") + ".partial")), "notes").unwrap();
        fs::write(place.path(&(name("s-x.jsonl") + ".partial")), "").unwrap();
        fs::write(place.path("s-03.csv.partial"), "").unwrap();
        fs::create_dir(place.path(&(name("s-04.jsonl") + ".partial"))).unwrap();
        place.later(3 * 3600);
        let other = place.open(settings());
        place.later(3600);
        let last = place.open(settings());
        drop((other, last));
        let mut expected = vec![
            name("s-02.jsonl") + ".partial",
            "s-03.csv.partial".into(),
            name("s-04.jsonl") + ".partial",
            name("s-11.jsonl"),
            name("s-11-1.jsonl"),
            name("s-12.jsonl"),
            name("s-13.jsonl") + ".partial",
            name("s-14.jsonl") + ".partial",
            name("s-x.jsonl") + ".partial",
        ];
        expected.sort();
        assert_eq!(place.names(), expected, "the locked one is left");
        assert_eq!(place.read(&name("s-11.jsonl")), b"somebody's");
        assert_eq!(place.read(&(name("s-02.jsonl") + ".partial")), b"notes");
        let completed = place.path(&(name("s-11-1.jsonl")));
        let rows = if zstd { decompressed(&completed) } else { fs::read(completed).unwrap() };
        // The last row, or frame, was torn.
        assert_eq!(lines(&rows), if zstd { 2 } else { 3 });
    }
}

/// Opens `foreign` as a file of these settings; it must be found whole beside an empty one.
fn assert_set_aside(format: Format, zstd: bool, foreign: &[u8]) {
    let place = Place::new();
    fs::write(place.path("s.zst"), foreign).unwrap();
    drop(place.open(FileSettings { zstd, ..place.settings("s.zst", format) }));
    let shown = foreign.escape_ascii();
    assert_eq!(place.names(), ["s.20240203T120000Z.zst", "s.zst"], "{format:?} {zstd} {shown}");
    assert_eq!(place.read("s.20240203T120000Z.zst"), foreign);
    assert_eq!(place.read("s.zst"), b"");
}

/// Opens `ours` as a file of these settings; it must stay in place, this long.
fn assert_cut_to(format: Format, ours: &[u8], len: usize) {
    let place = Place::new();
    fs::write(place.path("s"), ours).unwrap();
    drop(place.open(place.settings("s", format)));
    let shown = ours.escape_ascii();
    assert_eq!(place.names(), ["s"], "{format:?} {shown}");
    assert_eq!(place.read("s"), ours[..len], "{format:?} {shown}");
}

#[test]
fn a_torn_tail_that_is_not_the_begin_of_a_row_of_ours_is_never_cut() {
    let jsonl = bytes(&envelopes(Format::Jsonl, 1));
    let behind = |rows: &[u8], tail: &[u8]| [rows, tail].concat();
    let list = bytes(&envelopes(Format::ProtobufList, 1));
    let cases: [(Format, Vec<u8>); 22] = [
        (Format::Jsonl, b"{\"precious\":1}".to_vec()),
        (Format::Jsonl, b"{\"precious\":1}\n".to_vec()),
        (Format::Jsonl, b"{\"hostnam\":1}".to_vec()),
        (Format::Jsonl, b"{}".to_vec()),
        (Format::Jsonl, b"{\"row\":[".to_vec()),
        (Format::Jsonl, behind(&jsonl, b"{\"precious\":1}")),
        (Format::Jsonl, behind(&jsonl, b"my notes")),
        (Format::Jsonl, behind(&jsonl, &[0; 100])),
        (Format::ProtoJson, b"{\"rows\":[1,".to_vec()),
        (Format::ProtoJson, jsonl.clone()),
        (Format::ProtoJson, behind(&bytes(&envelopes(Format::ProtoJson, 1)), b"{\"hostname\":")),
        (Format::ProtoText, b"rows of trees".to_vec()),
        (Format::ProtoText, behind(&bytes(&envelopes(Format::ProtoText, 1)), b"row by row")),
        (Format::ProtobufList, b"hello\n".to_vec()),
        (Format::ProtobufList, b"\x05hello".to_vec()),
        (Format::ProtobufList, vec![0; 10]),
        (Format::ProtobufList, vec![0xff; 10]),
        (Format::ProtobufList, vec![0x03, 0x52, 0x05]),
        // A field that we don't know, behind the rows and in the torn envelope.
        (Format::ProtobufList, behind(&list, &[0x20, 0x58, 1])),
        (Format::ProtobufList, behind(&list, &[0x20, 0x52, 0, 0x5a, 9])),
        (Format::Table, b"line one\nlast line no newline".to_vec()),
        (Format::Table, b"NETNS of mine".to_vec()),
    ];
    for (format, foreign) in cases {
        assert_set_aside(format, false, &foreign);
    }
}

#[test]
fn what_we_may_have_begun_is_cut_however_short_it_is() {
    for begun in ["{", "{\"", "{\"host", "{\"hostname\":", "{\"hostname\":\"a\",\"x"] {
        assert_cut_to(Format::Jsonl, begun.as_bytes(), 0);
        assert_cut_to(Format::Jsonl, format!("{{}}\n{begun}").as_bytes(), 3);
    }
    for begun in ["{", "{\"row\":", "{\"row\":[{\"a"] {
        assert_cut_to(Format::ProtoJson, begun.as_bytes(), 0);
    }
    for begun in ["r", "row {", "row { hostname: "] {
        assert_cut_to(Format::ProtoText, begun.as_bytes(), 0);
    }
    for begun in [&[0x85][..], &[5], &[5, 0x52], &[5, 0x52, 3], &[5, 0x52, 3, 1]] {
        assert_cut_to(Format::ProtobufList, begun, 0);
    }
}

#[test]
fn a_table_is_known_by_its_headings_and_cut_behind_its_last_line() {
    let brief = encoder(Format::Table).table_header();
    let chosen = Encoding {
        format: Format::Table,
        columns: Some("record_counter,hostname".parse().unwrap()),
        humanize: None,
    };
    let chosen = Encoder::new(&chosen).table_header();
    let cells = [b"a\x1fb\n".repeat(2), b"1000000000000000000\x1fb\n".to_vec()].concat();
    for headings in [brief, chosen] {
        let table = align(&headings, &cells);
        let tables = [&b"\n"[..], &table, b"\n", &table].concat();
        for tables in [&tables, &tables[1..]] {
            for cut in 1..=tables.len() {
                let torn = &tables[..cut];
                let whole = torn.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                assert_cut_to(Format::Table, torn, whole);
            }
        }
    }
    for foreign in ["\n\nmine", "NETNS\n", "NETNS  hostname\n", "hostname  mine\nx", "   \nx", "CC"]
    {
        assert_set_aside(Format::Table, false, foreign.as_bytes());
    }
}

#[test]
fn a_torn_frame_that_may_be_anybodys_is_never_cut() {
    let rows = bytes(&envelopes(Format::Jsonl, 1));
    let frame = zstd::encode_all(&rows[..], 3).unwrap();
    let foreign = zstd::encode_all(&b"somebody's, and long enough"[..], 3).unwrap();
    let skippable = b"\x50\x2a\x4d\x18\x09\0\0\0mine";
    for foreign in [
        b"a".to_vec(),
        b"\x28\xb5\n".to_vec(),
        foreign[..foreign.len() - 1].to_vec(),
        skippable.to_vec(),
        [&frame[..], b"abc"].concat(),
        [&frame[..], skippable].concat(),
    ] {
        assert_set_aside(Format::Jsonl, true, &foreign);
    }
}

#[test]
fn two_formats_never_stand_in_one_file() {
    for was in formats() {
        for (format, ..) in FORMATS {
            if format == was {
                continue;
            }
            let there = content(was, &envelopes(was, 2));
            assert_set_aside(format, false, &there);
            assert_set_aside(format, true, &there);
            assert_set_aside(format, true, &zstd::encode_all(&there[..], 3).unwrap());
            let frames =
                [&there[..], b"x"].map(|bytes| zstd::encode_all(bytes, 3).unwrap()).concat();
            assert_set_aside(format, true, &frames[..frames.len() - 1]);
        }
    }
}

#[test]
fn after_sighup_a_moved_file_is_left_and_the_path_opened_again() {
    let place = Place::new();
    let served = Served::start(place.open(place.settings("s.csv", Format::Csv)));
    served.offer(envelopes(Format::Csv, 1));
    served.wait("the first rows", |ledger| ledger.delivered == 2);
    fs::rename(place.path("s.csv"), place.path("s.csv.1")).unwrap();
    served.offer(envelopes(Format::Csv, 2));
    served.wait("rows into the moved file", |ledger| ledger.delivered == 6);
    served.thread.reopen().request();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !place.path("s.csv").exists() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    served.offer(envelopes(Format::Csv, 1));
    let ledger = served.close();
    assert_eq!((ledger.read, ledger.delivered), (8, 8));
    assert_eq!(place.names(), ["s.csv", "s.csv.1"]);
    assert_eq!(csv_rows(&place.read("s.csv.1")), ["1", "2", "1", "2", "3", "4"]);
    assert_eq!(csv_rows(&place.read("s.csv")), ["1", "2"]);
}

#[test]
fn sighup_without_a_move_goes_on_in_the_same_file_and_completes_a_pattern() {
    let place = Place::new();
    let mut plain = place.open(place.settings("s.csv", Format::Csv));
    let mut pattern = place.open(place.settings("p-%H.csv", Format::Csv));
    for _ in 0..2 {
        send(&mut plain, envelopes(Format::Csv, 1));
        plain.reopen().unwrap();
        send(&mut pattern, envelopes(Format::Csv, 1));
        pattern.reopen().unwrap();
    }
    assert_eq!(place.names(), ["p-12-1.csv", "p-12.csv", "p-12.csv.partial", "s.csv"]);
    assert_eq!(csv_rows(&place.read("s.csv")), ["1", "2", "1", "2"]);
    assert_eq!(csv_rows(&place.read("p-12-1.csv")), ["1", "2"]);
}

#[test]
fn a_file_that_somebody_else_put_there_is_not_renamed_by_a_rotation() {
    let place = Place::new();
    let settings = FileSettings { rotate_bytes: Some(1), ..place.settings("s", Format::Jsonl) };
    let mut sink = place.open(settings);
    send(&mut sink, envelopes(Format::Jsonl, 1));
    fs::rename(place.path("s"), place.path("moved")).unwrap();
    fs::write(place.path("s"), "{}\n").unwrap();
    send(&mut sink, envelopes(Format::Jsonl, 1));
    assert_eq!(place.names(), ["moved", "s"]);
    assert_eq!(place.read("s"), [b"{}\n".to_vec(), bytes(&envelopes(Format::Jsonl, 1))].concat());
}

#[test]
fn a_shortened_file_gets_its_header_again() {
    let place = Place::new();
    let mut sink = place.open(place.settings("s.csv", Format::Csv));
    send(&mut sink, envelopes(Format::Csv, 2));
    // What logrotate's copytruncate does.
    fs::OpenOptions::new().write(true).open(place.path("s.csv")).unwrap().set_len(0).unwrap();
    send(&mut sink, envelopes(Format::Csv, 1));
    assert_eq!(place.read("s.csv"), content(Format::Csv, &envelopes(Format::Csv, 1)));
}

#[test]
fn a_rotation_that_can_not_open_the_next_file_is_tried_again_and_loses_nothing() {
    let place = Place::new();
    let mut sink = place.open(place.settings("s-%M.jsonl", Format::Jsonl));
    send(&mut sink, envelopes(Format::Jsonl, 1));
    let obstacle = place.path("s-01.jsonl.partial");
    fs::create_dir(&obstacle).unwrap();
    place.later(60);
    let queue = kit::queue();
    let Err(SendError::Retry(delivery, error)) =
        sink.send(kit::delivery(&queue, envelopes(Format::Jsonl, 1).remove(0)))
    else {
        panic!("there is a directory of that name");
    };
    assert_eq!(
        error.to_string(),
        format!("{} is a directory, not a file: name another path", obstacle.display())
    );
    assert_eq!(place.read("s-00.jsonl"), bytes(&envelopes(Format::Jsonl, 1)));
    fs::remove_dir(obstacle).unwrap();
    sink.send(delivery).unwrap();
    sink.finish().unwrap();
    assert_eq!(queue.ledger().delivered, 2);
    assert_eq!(place.read("s-01.jsonl"), bytes(&envelopes(Format::Jsonl, 1)));
}

#[test]
fn a_bad_path_is_refused_when_it_is_opened_with_what_to_do() {
    let place = Place::new();
    let error = |name: &str| FileSink::open(place.settings(name, Format::Jsonl)).unwrap_err();
    assert!(
        matches!(error("none/s"), OpenError::NoDirectory { directory } if directory == place.path("none"))
    );
    fs::create_dir(place.path("dir")).unwrap();
    assert!(matches!(error("dir"), OpenError::NotAFile { what: "a directory", .. }));
    nix::unistd::mkfifo(&place.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(error("fifo"), OpenError::NotAFile { what: "a pipe", .. }));
    fs::write(place.path("file"), "").unwrap();
    assert!(matches!(error("file/s"), OpenError::Refused { .. }));
    let _first = place.open(place.settings("s", Format::Jsonl));
    assert!(matches!(error("s"), OpenError::Busy { .. }));
}

#[test]
fn a_device_is_neither_cut_nor_renamed() {
    let place = Place::new();
    let device = |path: &str| FileSettings {
        path: PathPattern::parse(path).unwrap(),
        rotate_bytes: Some(1),
        ..place.settings("s", Format::Csv)
    };
    let mut null = place.open(device("/dev/null"));
    assert_eq!(send(&mut null, envelopes(Format::Csv, 3)).delivered, 6);
    null.reopen().unwrap();
    null.finish().unwrap();
    let mut full = place.open(device("/dev/full"));
    let queue = kit::queue();
    let refused = full.send(kit::delivery(&queue, envelopes(Format::Csv, 1).remove(0)));
    assert!(
        matches!(refused, Err(SendError::Retry(_, error)) if error.kind() == io::ErrorKind::StorageFull)
    );
}

#[test]
fn behind_a_symbolic_link_the_file_is_rotated_and_not_the_link() {
    let place = Place::new();
    fs::create_dir(place.path("data")).unwrap();
    fs::write(place.path("data/s"), "").unwrap();
    std::os::unix::fs::symlink(place.path("data/s"), place.path("link")).unwrap();
    let mut sink =
        place.open(FileSettings { rotate_bytes: Some(1), ..place.settings("link", Format::Jsonl) });
    send(&mut sink, envelopes(Format::Jsonl, 2));
    assert_eq!(place.names(), ["data", "link"]);
    assert!(place.path("data/s.20240203T120000Z").exists());
    assert_eq!(place.read("link"), place.read("data/s"));
}

#[test]
fn every_row_that_was_delivered_can_be_read_back() {
    let place = Place::new();
    let settings = FileSettings {
        rotate_bytes: Some(4000),
        zstd: true,
        ..place.settings("s", Format::ProtobufList)
    };
    let served = Served::start(place.open(settings));
    served.offer(envelopes(Format::ProtobufList, 500));
    let ledger = served.close();
    assert_eq!((ledger.read, ledger.delivered), (1000, 1000));
    let mut rows: Vec<u64> = Vec::new();
    for name in place.names() {
        let bytes = decompressed(&place.path(&name));
        rows.extend(Records::new(bytes.as_slice()).map(|record| record.unwrap().record_counter));
    }
    rows.sort_unstable();
    assert_eq!(rows, (1..=1000).collect::<Vec<u64>>());
}

/// 2024-02-03 12:00:00 UTC.
const NOON: i64 = 1_706_961_600;
