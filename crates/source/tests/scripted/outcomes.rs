//! Every way in which a dump can end.

use std::time::{Duration, Instant};

use crate::script::{
    DONE, ERROR, GETSOCK, MULTI, PORT, SEQ, chunk, done, dump, reply, run, scripted, socket, stats,
};
use nix::errno::Errno;
use nix::libc::{EBUSY, ENOENT, EPERM};
use sockeye_pipeline::{Completeness, Incomplete, Stop};
use sockeye_source::sockdiag::DumpStats;
use sockeye_testkit::scripted::{Step, inet_diag, message};

const OVERRUN: u16 = 4;
const NOOP: u16 = 1;
const DUMP_INTR: u16 = 16;
const SOCKET: usize = 88;
const CONTROL: usize = 20;

fn error(errno: i32) -> Vec<u8> {
    reply(ERROR, &(-errno).to_ne_bytes())
}

#[test]
fn chunks_up_to_a_done_of_0_are_a_complete_dump() {
    let (cookies, seen) =
        run([chunk(&[socket(1), socket(2)]), chunk(&[socket(3)]), chunk(&[done(0)])]);
    assert_eq!(cookies, [1, 2, 3]);
    assert_eq!(seen, stats(3, 3 * SOCKET + CONTROL, 3, None));
}

#[test]
fn a_done_with_an_errno_is_incomplete() {
    let (cookies, seen) = run([chunk(&[socket(1), done(ENOENT)])]);
    assert_eq!(cookies, [1]);
    assert_eq!(seen, stats(1, SOCKET + CONTROL, 1, Some(Incomplete::Ended(ENOENT))));
}

#[test]
fn a_done_without_an_errno_ends_the_dump_and_does_not_say_that_it_was_everything() {
    let (_, seen) = run([chunk(&[socket(1), reply(DONE, &[0, 0])])]);
    let expected = stats(1, SOCKET + CONTROL, 1, Some(Incomplete::Malformed));
    assert_eq!(seen, DumpStats { malformed: 1, ..expected });
}

#[test]
fn what_stands_behind_done_is_not_read() {
    let mut torn = socket(9);
    torn[0] = 0;
    let (cookies, seen) = run([chunk(&[socket(1), done(0), socket(2), torn])]);
    assert_eq!(cookies, [1]);
    assert_eq!(seen, stats(1, 3 * SOCKET + CONTROL, 1, None));
}

#[test]
fn an_error_with_an_errno_ends_the_dump() {
    for errno in [EBUSY, ENOENT, EPERM] {
        let (cookies, seen) = run([chunk(&[socket(1)]), chunk(&[error(errno), socket(2)])]);
        assert_eq!(cookies, [1]);
        assert_eq!(seen, stats(2, 2 * SOCKET + CONTROL, 1, Some(Incomplete::Refused(errno))));
    }
}

#[test]
fn an_error_of_0_is_an_acknowledgement_and_the_dump_goes_on() {
    let (cookies, seen) = run([chunk(&[error(0)]), chunk(&[socket(1), done(0)])]);
    assert_eq!((cookies, seen), (vec![1], stats(2, SOCKET + 2 * CONTROL, 1, None)));
}

#[test]
fn an_error_without_an_errno_is_malformed_and_the_dump_goes_on() {
    let (cookies, seen) = run([chunk(&[reply(ERROR, &[1])]), chunk(&[socket(1), done(0)])]);
    assert_eq!(cookies, [1]);
    let expected = stats(2, SOCKET + 2 * CONTROL, 1, Some(Incomplete::Malformed));
    assert_eq!(seen, DumpStats { malformed: 1, ..expected });
}

#[test]
fn the_late_reply_of_an_abandoned_dump_is_passed_over() {
    let payload = inet_diag(2, 9, &[]);
    let late = [
        message(GETSOCK, MULTI, SEQ - 1, PORT, &payload),
        message(DONE, MULTI, SEQ - 1, PORT, &[0; 4]),
    ];
    let elsewhere = [
        message(GETSOCK, MULTI, SEQ, PORT + 1, &payload),
        message(ERROR, 0, SEQ, PORT + 1, &(-EBUSY).to_ne_bytes()),
    ];
    let (cookies, seen) =
        run([chunk(&late), chunk(&elsewhere), chunk(&[socket(1)]), chunk(&[done(0)])]);
    assert_eq!(cookies, [1]);
    let expected = stats(4, 3 * SOCKET + 3 * CONTROL, 1, None);
    assert_eq!(seen, DumpStats { foreign: 4, ..expected });
}

#[test]
fn a_datagram_of_another_process_is_passed_over_whatever_it_says() {
    let lie = Step::Stranger([socket(9), done(0)].concat());
    let (cookies, seen) = run([lie, chunk(&[socket(1), done(0)])]);
    assert_eq!(cookies, [1]);
    let expected = stats(2, 2 * (SOCKET + CONTROL), 1, None);
    assert_eq!(seen, DumpStats { foreign: 1, ..expected });
}

#[test]
fn of_a_truncated_chunk_what_is_whole_counts_and_the_dump_goes_on() {
    let long: Vec<Vec<u8>> = (0..50).map(socket).collect();
    let (cookies, seen) = run([chunk(&long), chunk(&[socket(99), done(0)])]);
    // The buffer has 4096 bytes: 46 sockets and a part of one.
    assert_eq!(cookies, (0..46).chain([99]).collect::<Vec<_>>());
    assert_eq!(seen, stats(2, 4096 + SOCKET + CONTROL, 47, Some(Incomplete::Truncated)));
}

#[test]
fn a_done_in_the_cut_part_of_a_chunk_is_waited_for_and_the_truncation_is_what_went_wrong() {
    let long: Vec<Vec<u8>> = (0..50).map(socket).chain([done(0)]).collect();
    let (cookies, seen) = run([chunk(&long)]);
    assert_eq!(cookies.len(), 46);
    assert_eq!(seen, stats(1, 4096, 46, Some(Incomplete::Truncated)));
}

#[test]
fn after_enobufs_the_dump_goes_on_and_is_not_complete() {
    let (cookies, seen) =
        run([chunk(&[socket(1)]), Step::Fail(Errno::ENOBUFS), chunk(&[socket(2), done(0)])]);
    assert_eq!(cookies, [1, 2]);
    assert_eq!(seen, stats(2, 2 * SOCKET + CONTROL, 2, Some(Incomplete::Lost)));
}

#[test]
fn an_overrun_message_means_loss() {
    let (cookies, seen) = run([chunk(&[reply(OVERRUN, &[]), socket(1), done(0)])]);
    assert_eq!((cookies, seen.completeness), (vec![1], Completeness::Incomplete(Incomplete::Lost)));
    assert_eq!(seen.malformed, 0);
}

#[test]
fn the_flag_of_an_inconsistent_dump_is_seen_on_sockets_and_on_done() {
    let flagged = MULTI | DUMP_INTR;
    let on_socket = message(GETSOCK, flagged, SEQ, PORT, &inet_diag(2, 1, &[]));
    let on_done = message(DONE, flagged, SEQ, PORT, &[0; 4]);
    for messages in [[on_socket, done(0)], [socket(1), on_done]] {
        let (cookies, seen) = run([chunk(&messages)]);
        assert_eq!(cookies, [1]);
        assert_eq!(seen, stats(1, SOCKET + CONTROL, 1, Some(Incomplete::Interrupted)));
    }
}

#[test]
fn a_message_length_of_zero_or_past_the_end_loses_the_rest_of_its_chunk_only() {
    for len in [0u32, 15, 89, u32::MAX] {
        let mut bad = socket(9);
        bad[..4].copy_from_slice(&len.to_ne_bytes());
        let (cookies, seen) = run([chunk(&[socket(1), bad]), chunk(&[socket(2), done(0)])]);
        assert_eq!(cookies, [1, 2], "{len}");
        let expected = stats(2, 3 * SOCKET + CONTROL, 2, Some(Incomplete::Malformed));
        assert_eq!(seen, DumpStats { malformed: 1, ..expected });
    }
}

#[test]
fn an_attribute_length_of_zero_or_past_the_end_loses_its_socket_only() {
    for len in [0u16, 3, u16::MAX] {
        let mut payload = inet_diag(2, 9, &[(5, &[1])]);
        payload[72..74].copy_from_slice(&len.to_ne_bytes());
        let bad = reply(GETSOCK, &payload);
        let (cookies, seen) = run([chunk(&[socket(1), bad, socket(2), done(0)])]);
        assert_eq!(cookies, [1, 2], "{len}");
        let expected = stats(1, 3 * SOCKET + 8 + CONTROL, 2, Some(Incomplete::Malformed));
        assert_eq!(seen, DumpStats { malformed: 1, ..expected });
    }
}

#[test]
fn an_unknown_type_an_unknown_family_and_a_short_socket_are_no_rows() {
    let unknown = reply(99, &inet_diag(2, 7, &[]));
    let unix = reply(GETSOCK, &inet_diag(1, 8, &[]));
    let short = reply(GETSOCK, &[2; 71]);
    let (cookies, seen) =
        run([chunk(&[unknown, unix, short, reply(NOOP, &[]), socket(1), done(0)])]);
    assert_eq!(cookies, [1]);
    let expected = stats(1, 4 * SOCKET + 16 + CONTROL, 1, Some(Incomplete::Malformed));
    assert_eq!(seen, DumpStats { malformed: 3, ..expected });
}

#[test]
fn both_families_and_both_types_of_reply_are_rows() {
    let v6 = reply(20, &inet_diag(10, 6, &[]));
    let (cookies, seen) = run([chunk(&[socket(4), v6, done(0)])]);
    assert_eq!((cookies, seen), (vec![4, 6], stats(1, 2 * SOCKET + CONTROL, 2, None)));
}

#[test]
fn eintr_and_silence_are_nothing() {
    let script = [
        Step::Fail(Errno::EINTR),
        chunk(&[socket(1)]),
        Step::Silence,
        Step::Fail(Errno::EINTR),
        chunk(&[done(0)]),
    ];
    let (cookies, seen) = run(script);
    assert_eq!((cookies, seen), (vec![1], stats(2, SOCKET + CONTROL, 1, None)));
}

#[test]
fn silence_ends_with_the_timeout_and_not_before_it() {
    let (stop, began) = (Stop::default(), Instant::now());
    let mut kernel = scripted([chunk(&[socket(1)])]);
    let seen = dump(&stop).run(&mut kernel, &mut [0; 4096], || true, |_| ());
    assert!(began.elapsed() >= Duration::from_millis(30) && seen.took >= Duration::from_millis(30));
    assert!(seen.took < Duration::from_secs(1));
    let expected = stats(1, SOCKET, 1, Some(Incomplete::Timeout));
    assert_eq!(DumpStats { took: Duration::ZERO, ..seen }, expected);
}

#[test]
fn a_kernel_that_never_ends_is_left_at_the_timeout() {
    let stop = Stop::default();
    let mut kernel = scripted(vec![chunk(&[socket(1)]); 1_000_000]);
    let seen = dump(&stop).run(&mut kernel, &mut [0; 4096], || true, |_| ());
    assert_eq!(seen.completeness, Completeness::Incomplete(Incomplete::Timeout));
    assert!(seen.sockets > 0 && seen.took < Duration::from_secs(1));
}

#[test]
fn any_other_error_of_a_receive_ends_the_dump() {
    let (cookies, seen) = run([chunk(&[socket(1)]), Step::Fail(Errno::EIO)]);
    let why = Incomplete::Failed(Errno::EIO as i32);
    assert_eq!((cookies, seen), (vec![1], stats(1, SOCKET, 1, Some(why))));
}

#[test]
fn a_request_that_cannot_be_sent_is_a_failure() {
    let stop = Stop::default();
    let mut kernel = scripted([chunk(&[socket(1)])]);
    kernel.0 = kernel.0.refusing(Errno::EPERM);
    let seen = dump(&stop).run(&mut kernel, &mut [0; 4096], || true, |_| unreachable!());
    let expected = stats(0, 0, 0, Some(Incomplete::Failed(EPERM)));
    assert_eq!(DumpStats { took: Duration::ZERO, ..seen }, expected);
    assert_eq!(kernel.0.steps_left(), 1);
}

#[test]
fn a_stop_in_the_middle_ends_the_dump_after_the_chunk() {
    let stop = Stop::default();
    let mut kernel =
        scripted([chunk(&[socket(1)]), chunk(&[socket(2), socket(3)]), chunk(&[socket(4)])]);
    let row = |row: &sockeye_wire::InetDiag<'_>| {
        if row.cookie() == 2 {
            stop.request();
        }
    };
    let seen = dump(&stop).run(&mut kernel, &mut [0; 4096], || true, row);
    let expected = stats(2, 3 * SOCKET, 3, Some(Incomplete::Stopped));
    assert_eq!(DumpStats { took: Duration::ZERO, ..seen }, expected);
    assert_eq!(kernel.0.steps_left(), 1);
}

#[test]
fn a_long_dump_of_a_namespace_that_dies_lets_go_of_it_within_a_second() {
    let (stop, began) = (Stop::default(), Instant::now());
    let mut kernel = scripted(vec![Step::Silence; 100_000]);
    let dies = Duration::from_millis(500);
    let mut looks = 0;
    let mut dump = dump(&stop);
    dump.timeout = Duration::from_mins(1);
    let alive = || {
        looks += 1;
        began.elapsed() < dies
    };
    let seen = dump.run(&mut kernel, &mut [0; 4096], alive, |_| ());
    assert_eq!(seen.completeness, Completeness::Incomplete(Incomplete::Vanished));
    assert!(seen.took >= dies && seen.took < dies + Duration::from_secs(1), "{:?}", seen.took);
    assert_eq!(looks, 2);
}

#[test]
fn a_short_dump_does_not_look_whether_its_namespace_lives() {
    let stop = Stop::default();
    let mut kernel = scripted([chunk(&[socket(1), done(0)])]);
    let alive = || unreachable!("it costs system calls");
    let seen = dump(&stop).run(&mut kernel, &mut [0; 4096], alive, |_| ());
    assert_eq!(seen.completeness, Completeness::Complete);
}

#[test]
fn a_tcp_info_longer_than_known_is_counted_and_one_of_its_length_is_not() {
    let with = |bytes: usize| reply(GETSOCK, &inet_diag(2, bytes as u64, &[(2, &vec![0; bytes])]));
    let (cookies, seen) = run([chunk(&[with(104), with(280), with(281), with(296), done(0)])]);
    assert_eq!(cookies, [104, 280, 281, 296]);
    assert_eq!((seen.long_tcp_info, seen.malformed), (2, 0));
    assert_eq!(seen.completeness, Completeness::Complete);
}

#[test]
fn attributes_with_unknown_numbers_are_counted_and_harm_nothing() {
    let attributes: [(u16, &[u8]); 4] = [(23, &[1]), (5, &[8]), (999, &[]), (40, &[0; 8])];
    let (cookies, seen) = run([chunk(&[reply(GETSOCK, &inet_diag(2, 5, &attributes)), done(0)])]);
    assert_eq!((cookies, seen.unknown_attributes), (vec![5], 3));
    assert_eq!(seen.completeness, Completeness::Complete);
}

#[test]
fn the_first_thing_that_goes_wrong_is_the_one_reported() {
    let mut torn = socket(9);
    torn[0] = 0;
    let (_, seen) =
        run([Step::Fail(Errno::ENOBUFS), chunk(&[torn]), chunk(&[error(EBUSY), done(ENOENT)])]);
    assert_eq!(seen.completeness, Completeness::Incomplete(Incomplete::Lost));
    assert_eq!(seen.malformed, 1);
}
