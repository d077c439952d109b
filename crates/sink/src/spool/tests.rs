use std::fs::OpenOptions;

use super::*;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, bytes: u64) -> (Spool, Found) {
        Spool::open(SpoolSettings { dir: self.0.path().join("spool"), bytes }).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let numbers = segment::numbers(&self.0.path().join("spool")).unwrap();
        let path = |number| self.0.path().join(format!("spool/{number:020}.spool"));
        numbers.into_iter().map(path).collect()
    }
}

fn append(spool: &mut Spool, text: &str) -> (Place, u64) {
    let lost = spool.make_room(b"k", text.as_bytes());
    (spool.append(b"k", text.as_bytes(), text.len() as u64).unwrap(), lost)
}

fn done(spool: &mut Spool, place: Place) -> u64 {
    let (rows, outcome) = spool.done(place);
    outcome.unwrap();
    rows
}

/// Changes a byte of the first segment.
fn spoil(dir: &Dir, at: usize) {
    let path = dir.segments().remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(&path, bytes).unwrap();
}

fn read(spool: &mut Spool) -> Vec<String> {
    let mut texts = Vec::new();
    while let Next::Envelope(spooled) = spool.next(|_| false).unwrap() {
        assert_eq!(
            (spooled.key.as_slice(), spooled.rows),
            (&b"k"[..], spooled.envelope.len() as u64)
        );
        texts.push(String::from_utf8(spooled.envelope).unwrap());
    }
    texts
}

#[test]
fn envelopes_come_back_in_order_and_after_a_restart_those_that_are_not_done() {
    let dir = Dir::new();
    let (mut spool, found) = dir.open(MIB);
    assert_eq!(found, Found::default());
    let places: Vec<Place> =
        ["one", "second", "third"].map(|text| append(&mut spool, text).0).into();
    assert!(!spool.is_read());
    assert_eq!(read(&mut spool), ["one", "second", "third"]);
    assert!(spool.is_read());
    assert_eq!(done(&mut spool, places[1]), 6);
    assert_eq!(done(&mut spool, places[1]), 0, "once");
    drop(spool);
    let (mut spool, found) = dir.open(MIB);
    assert_eq!(found, Found { envelopes: 2, rows: 8, ..Found::default() });
    assert_eq!(read(&mut spool), ["one", "third"]);
}

#[test]
fn a_spool_that_is_done_has_no_files() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open(MIB);
    let places = ["one", "second"].map(|text| append(&mut spool, text).0);
    for place in places {
        done(&mut spool, place);
    }
    assert_eq!((dir.segments().len(), spool.bytes(), spool.envelopes()), (0, 0, 0));
    append(&mut spool, "third");
    assert_eq!(read(&mut spool), ["third"]);
}

#[test]
fn what_is_on_its_way_is_passed_over_until_it_has_to_be_read_again() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open(MIB);
    let places = ["one", "second", "third"].map(|text| append(&mut spool, text).0);
    spool.pass_over();
    assert!(spool.is_read());
    append(&mut spool, "fourth");
    spool.read_again(places[1]);
    let next = spool.next(|place| place == places[2]).unwrap();
    assert!(matches!(next, Next::Envelope(spooled) if spooled.place == places[1]));
    let next = spool.next(|place| place == places[2]).unwrap();
    assert!(matches!(next, Next::Envelope(spooled) if spooled.envelope == b"fourth"));
    assert_eq!(spool.next(|_| false).unwrap(), Next::End);
}

#[test]
fn a_torn_end_is_cut_off_and_counted_wherever_it_was_torn() {
    let whole = (frame::HEADER + 1 + 6) as u64;
    for torn in 1..whole {
        let dir = Dir::new();
        let (mut spool, _) = dir.open(MIB);
        append(&mut spool, "first.");
        append(&mut spool, "second");
        drop(spool);
        let path = dir.segments().remove(0);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(whole + torn).unwrap();
        let (mut spool, found) = dir.open(MIB);
        let damaged_rows = if torn < frame::HEADER as u64 { 0 } else { 6 };
        let expected = Found { envelopes: 1, rows: 6, damaged_bytes: torn, damaged_rows };
        assert_eq!(found, expected, "torn at {torn}");
        append(&mut spool, "third.");
        assert_eq!(read(&mut spool), ["first.", "third."]);
    }
}

#[test]
fn a_frame_with_a_wrong_checksum_is_passed_over_and_counted_once() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open(MIB);
    let _ = ["one", "second", "third"].map(|text| append(&mut spool, text));
    drop(spool);
    let path = dir.segments().remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|window| window == b"second").unwrap();
    bytes[at] = b'S';
    fs::write(&path, bytes).unwrap();
    let damaged_bytes = (frame::HEADER + 1 + 6) as u64;
    let expected = Found { envelopes: 2, rows: 8, damaged_bytes, damaged_rows: 6 };
    assert_eq!(dir.open(MIB).1, expected);
    let (mut spool, found) = dir.open(MIB);
    assert_eq!(found, Found { envelopes: 2, rows: 8, ..Found::default() });
    assert_eq!(read(&mut spool), ["one", "third"]);
}

#[test]
fn what_spoils_while_the_spool_is_open_is_damaged_and_done_with() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open(MIB);
    let _ = ["one", "second"].map(|text| append(&mut spool, text));
    let path = dir.segments().remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[frame::HEADER + 1] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(spool.next(|_| false).unwrap(), Next::Damaged(3));
    assert_eq!(read(&mut spool), ["second"]);
    assert_eq!(spool.envelopes(), 1);
}

#[test]
fn one_wrong_byte_costs_one_frame_wherever_it_is() {
    let (second, whole) = (frame::HEADER + 1 + 3, frame::HEADER + 1 + 6);
    for at in second..second + whole {
        if at == second + frame::STATE {
            continue;
        }
        let dir = Dir::new();
        let (mut spool, _) = dir.open(MIB);
        let _ = ["one", "second", "third"].map(|text| append(&mut spool, text));
        drop(spool);
        spoil(&dir, at);
        let (mut spool, found) = dir.open(MIB);
        assert_eq!((found.envelopes, found.rows), (2, 8), "byte {at}");
        assert_eq!(found.damaged_bytes, whole as u64, "byte {at}");
        assert!([0, 6].contains(&found.damaged_rows), "byte {at}: {found:?}");
        append(&mut spool, "fourth");
        drop(spool);
        let (mut spool, found) = dir.open(MIB);
        assert_eq!(found, Found { envelopes: 3, rows: 14, ..Found::default() }, "counted once");
        assert_eq!(read(&mut spool), ["one", "third", "fourth"], "byte {at}");
    }
}

#[test]
fn a_header_that_spoils_while_the_spool_is_open_costs_its_rows_and_no_others() {
    let frame = frame::HEADER + 1 + 3;
    for (at, lost, left) in [(0, 3, 2), (frame, 6, 2), (frame + 8, 6, 2), (2 * frame + 3, 5, 2)] {
        let dir = Dir::new();
        let (mut spool, _) = dir.open(MIB);
        let places = ["one", "second", "third"].map(|text| append(&mut spool, text).0);
        spoil(&dir, at);
        let mut lost_rows = 0;
        let mut envelopes = Vec::new();
        loop {
            let under_way = envelopes.clone();
            match spool.next(|place| under_way.contains(&place)).unwrap() {
                Next::Envelope(spooled) => envelopes.push(spooled.place),
                Next::Damaged(rows) => lost_rows += rows,
                Next::End => break,
            }
        }
        assert_eq!((lost_rows, envelopes.len()), (lost, left), "byte {at}");
        append(&mut spool, "fourth");
        assert_eq!(read(&mut spool), ["fourth"], "byte {at}");
        // What is under way and turns out to be lost is not counted a second time when it arrives.
        let rows: u64 = places.iter().map(|place| done(&mut spool, *place)).sum();
        assert_eq!((rows, spool.envelopes()), (14 - lost, 1), "byte {at}");
    }
}

#[test]
fn a_length_that_spoils_after_its_envelope_is_done_leads_nobody_astray() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open(MIB);
    let places = ["one", "second", "third"].map(|text| append(&mut spool, text).0);
    done(&mut spool, places[0]);
    spoil(&dir, 8);
    assert_eq!(spool.next(|_| false).unwrap(), Next::Damaged(0));
    assert_eq!(read(&mut spool), ["second", "third"]);
    assert_eq!(spool.envelopes(), 2);
}

#[test]
fn what_a_disk_does_not_mark_as_done_is_done_all_the_same() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open(MIB);
    let places = ["one", "second"].map(|text| append(&mut spool, text).0);
    spool.segments[0].make_read_only();
    let (rows, outcome) = spool.done(places[0]);
    assert_eq!((rows, outcome.is_err(), spool.envelopes()), (3, true, 1));
    assert_eq!(done(&mut spool, places[0]), 0, "once");
    spool.read_again(places[0]);
    assert_eq!(read(&mut spool), ["second"]);
}

#[test]
fn a_file_that_can_not_be_deleted_costs_no_count() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open(MIB);
    let (place, _) = append(&mut spool, "one");
    fs::remove_file(dir.segments().remove(0)).unwrap();
    let (rows, outcome) = spool.done(place);
    assert_eq!((rows, outcome.unwrap_err().kind()), (3, io::ErrorKind::NotFound));
}

#[test]
fn a_segment_that_can_not_be_made_does_not_stop_the_next_one() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open(MIB);
    fs::write(dir.0.path().join("spool/00000000000000000000.spool"), "").unwrap();
    let error = spool.append(b"k", b"one", 3).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    append(&mut spool, "second");
    assert_eq!(read(&mut spool), ["second"]);
}

#[test]
fn a_full_spool_loses_its_oldest_segment_and_says_how_many_rows() {
    let dir = Dir::new();
    let text = |number: u64| format!("{number:0979}");
    let (mut spool, _) = dir.open(16_000);
    let lost: Vec<u64> = (0..18).map(|number| append(&mut spool, &text(number)).1).collect();
    assert_eq!(&lost[..16], [0; 16]);
    assert_eq!(&lost[16..], [979, 979]);
    assert!(spool.bytes() <= 16_000);
    assert_eq!(read(&mut spool), (2..18).map(text).collect::<Vec<_>>());
    let too_long = vec![0; 16_000];
    assert_eq!(spool.make_room(b"", &too_long), 0, "nothing goes for what has no place anyway");
    assert_eq!(spool.append(b"", &too_long, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn what_was_lost_for_want_of_room_can_not_be_done_as_well() {
    let dir = Dir::new();
    let text = "x".repeat(979);
    let (mut spool, _) = dir.open(16_000);
    let (first, _) = append(&mut spool, &text);
    (0..16).for_each(|_| assert_eq!(append(&mut spool, &text).1 % 979, 0));
    assert_eq!(done(&mut spool, first), 0);
}

#[test]
fn a_spool_has_one_owner() {
    let dir = Dir::new();
    let (_spool, _) = dir.open(MIB);
    let settings = SpoolSettings { dir: dir.0.path().join("spool"), bytes: MIB };
    assert_eq!(Spool::open(settings).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn files_of_others_in_the_directory_are_left_alone() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open(MIB);
    let (place, _) = append(&mut spool, "one");
    let foreign = dir.0.path().join("spool/1.spool");
    fs::write(&foreign, "somebody's").unwrap();
    drop(spool);
    let (mut spool, found) = dir.open(MIB);
    assert_eq!(found.envelopes, 1);
    done(&mut spool, place);
    assert_eq!(fs::read(&foreign).unwrap(), b"somebody's");
}

const MIB: u64 = 1 << 20;
