//! Several readers of one namespace see each socket once, and number the rows together.

use sockeye_source::sockdiag::Netlinkers::Fixed;
use std::net::{TcpListener, TcpStream};

use sockeye_source::sockdiag::Settings;
use sockeye_testkit::netns::{Netns as _, TestNetns};
use sockeye_testkit::states;

use crate::eye::{Eye, alone, connections, cookies, loopback, settings, ss_cookies};

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn any_number_of_readers_gives_every_socket_once_and_numbers_without_gaps() {
    let _alone = alone();
    let netns = TestNetns::new("parts").unwrap();
    // The low and the high ports too.
    netns.set_sysctl("ipv4/ip_unprivileged_port_start", "0").unwrap();
    netns.set_sysctl("ipv4/ip_local_port_range", "1 65535").unwrap();
    let _held = connections(&netns, 200);
    let expected = ss_cookies(&netns);
    assert_eq!(expected.len(), 600);
    for netlinkers in [1, 2, 3, 7] {
        let mut eye =
            Eye::new(Settings { netlinkers: Fixed(netlinkers), max_threads: 4096, ..settings() });
        let poll = eye.poll();
        let rows = poll.rows_of(&netns);
        assert_eq!(cookies(&rows), expected, "{netlinkers}");
        let mut numbers: Vec<u64> = rows.iter().map(|row| row.record_counter).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=600).collect::<Vec<_>>(), "{netlinkers}");
        let ports = 0x1_0000u64;
        for row in &rows {
            let part = u64::from(row.inet_diag_msg_socket_source_port);
            let part = (0..u64::from(netlinkers))
                .rev()
                .find(|i| part >= ports * i / u64::from(netlinkers));
            assert_eq!(Some(row.netlinker_id), part, "nothing is known of the ports yet");
        }
        poll.assert_complete(netns.name());
        assert_eq!(poll.part(netns.name()).rows, 600);
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn more_readers_than_threads_or_none_at_all_still_read_everything() {
    let _alone = alone();
    let netns = TestNetns::new("few").unwrap();
    let _held = connections(&netns, 10);
    let expected = ss_cookies(&netns);
    for (netlinkers, max_threads) in [(7, 3), (64, 8), (0, 64), (0, 0)] {
        let mut eye =
            Eye::new(Settings { netlinkers: Fixed(netlinkers), max_threads, ..settings() });
        let poll = eye.poll();
        assert_eq!(cookies(&poll.rows_of(&netns)), expected, "{netlinkers} {max_threads}");
        assert_eq!(poll.part(netns.name()).rows, 30);
        assert!(crate::eye::readers().len() <= max_threads.max(1));
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn later_parts_follow_the_ports_that_the_poll_before_has_seen_and_fill_evenly() {
    let _alone = alone();
    let netns = TestNetns::new("even").unwrap();
    // One port on one side, as a server has it.
    let (listener, clients) = netns.enter(|| one_server(2000)).unwrap();
    let expected = ss_cookies(&netns);
    assert_eq!(expected.len(), 4001);
    let mut eye = Eye::new(Settings { netlinkers: Fixed(4), ..settings() });
    eye.poll();
    for _ in 0..2 {
        let poll = eye.poll();
        let rows = poll.rows_of(&netns);
        assert_eq!(cookies(&rows), expected);
        for part in 0..4 {
            let share = rows.iter().filter(|row| row.netlinker_id == part).count();
            assert!((990..1012).contains(&share), "part {part} has {share} of 4001");
        }
        assert_eq!(poll.part(netns.name()).plan, "parts");
    }
    drop((listener, clients));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn listeners_alone_come_once_from_several_readers() {
    let _alone = alone();
    let netns = TestNetns::new("listen").unwrap();
    let listen = || states::listener(loopback(), 1, None).unwrap();
    let _listeners = netns.enter(|| (0..40).map(|_| listen()).collect::<Vec<_>>()).unwrap();
    let mut eye = Eye::new(Settings { netlinkers: Fixed(3), ..settings() });
    for _ in 0..3 {
        assert_eq!(cookies(&eye.poll().rows_of(&netns)), ss_cookies(&netns));
    }
}

fn one_server(clients: usize) -> (TcpListener, Vec<(TcpStream, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |_| {
        let client = TcpStream::connect(address).unwrap();
        (client, listener.accept().unwrap().0)
    };
    let clients = (0..clients).map(connect).collect();
    (listener, clients)
}
