//! Several readers of one namespace see each socket once, and number the rows together.

use sockeye_source::sockdiag::Settings;
use sockeye_testkit::netns::{Netns as _, TestNetns};

use crate::eye::{Eye, alone, connections, cookies, settings, ss_cookies};

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
        let mut eye = Eye::new(Settings { netlinkers, max_threads: 4096, ..settings() });
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
            assert_eq!(Some(row.netlinker_id), part);
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
        let mut eye = Eye::new(Settings { netlinkers, max_threads, ..settings() });
        let poll = eye.poll();
        assert_eq!(cookies(&poll.rows_of(&netns)), expected, "{netlinkers} {max_threads}");
        assert_eq!(poll.part(netns.name()).rows, 30);
        assert!(crate::eye::readers().len() <= max_threads.max(1));
    }
}
