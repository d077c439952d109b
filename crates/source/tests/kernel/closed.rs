//! Connections that close between polls: each is a row, of its own namespace, with its final counters.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use sockeye_netns::ScanOptions;
use sockeye_pipeline::{Completeness, Incomplete, Source as _};
use sockeye_source::closed::{Closed, Scope, Settings as ClosedSettings};
use sockeye_source::sockdiag::{Settings, SockDiag};
use sockeye_testkit::netns::{Netns, TestNetns};
use sockeye_testkit::netns_anonymous::AnonymousNetns;
use sockeye_testkit::veth::{VethEnd, veth_pair};

use crate::ear::{Ear, closed_settings, short_lived, tracking};
use crate::eye::{Eye, alone, connections, cookies, settings, within};
use crate::unprivileged::{as_nobody, child};

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn every_connection_of_every_namespace_is_two_rows_with_what_it_sent() {
    let _alone = alone();
    let (blue, red) = (TestNetns::new("blue").unwrap(), TestNetns::new("red").unwrap());
    let anonymous = AnonymousNetns::new().unwrap();
    let mut ear = Ear::new(tracking(), closed_settings());
    assert_eq!(ear.closed.shortfalls(), [""; 0]);
    ear.rows();
    short_lived(&blue, "127.0.0.1", 300, 1000, 20_000);
    short_lived(&blue, "::1", 200, 1000, 20_000);
    short_lived(&red, "127.0.0.1", 400, 7, 0);
    short_lived(&anonymous, "::1", 100, 0, 1);
    let rows = ear.rows();
    cookies(&rows);
    let unnamed = format!("netns:[{}]", anonymous.inode().unwrap());
    let expected = [
        (blue.inode().unwrap(), blue.name(), 1000, 1000, 20_000),
        (red.inode().unwrap(), red.name(), 800, 7, 0),
        (anonymous.inode().unwrap(), unnamed.as_str(), 200, 0, 1),
    ];
    for (inode, name, count, up, down) in expected {
        let rows: Vec<_> = rows.iter().filter(|row| row.netns_inode == inode).collect();
        assert_eq!(rows.len(), count, "{name}");
        let mut sent = BTreeMap::new();
        for row in &rows {
            assert_eq!((row.netns.as_str(), row.hostname.as_str()), (name, "here"));
            *sent.entry(row.tcp_info_bytes_sent).or_insert(0) += 1;
            // The end of a stream counts as a byte received, if it came.
            let other = up + down - row.tcp_info_bytes_sent;
            assert!((other..=other + 1).contains(&row.tcp_info_bytes_received), "{row:?}");
            assert_eq!((row.first_seen_ns, row.joined), (0, 0), "no poll has seen it");
            assert_eq!(row.delta_bytes_sent, row.tcp_info_bytes_sent);
            assert_eq!(row.delta_flags, 9, "first, and all");
        }
        assert_eq!(sent, BTreeMap::from([(up, count / 2), (down, count / 2)]), "{name}");
    }
    let ids: std::collections::BTreeSet<u32> = rows.iter().map(|row| row.nsid).collect();
    assert!(ids.len() >= 3, "{ids:?}");
    let totals = ear.closed.counters().totals();
    assert_eq!((totals.unknown_netns, totals.malformed, totals.lost), (0, 0, 0), "{totals:?}");
    assert!(totals.unconnected >= 4, "listeners: {totals:?}");
    assert_eq!(totals.events, totals.rows + totals.unconnected, "{totals:?}");
    assert_eq!(ear.report.as_ref().unwrap().completeness, Completeness::Complete);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn the_last_connections_of_a_namespace_that_is_deleted_are_rows_of_it_with_what_polls_knew() {
    let _alone = alone();
    let goes = TestNetns::new("goes").unwrap();
    let held = connections(&goes, 50);
    let (name, inode) = (goes.name().to_owned(), goes.inode().unwrap());
    let mut ear = Ear::new(tracking(), closed_settings());
    let polled = ear.eye.poll();
    let polled = cookies(&polled.rows_of(&goes));
    assert_eq!(polled.len(), 150);
    let before = ear.eye.source.track_totals().unwrap();
    drop(goes);
    thread::sleep(Duration::from_millis(200));
    ear.eye.poll();
    drop(held);
    let rows = ear.rows();
    let rows: Vec<_> = rows.into_iter().filter(|row| row.netns_inode == inode).collect();
    assert_eq!(rows.len(), 100);
    for row in &rows {
        assert!(polled.contains(&row.inet_diag_msg_socket_cookie));
        assert_eq!((&row.netns, row.joined), (&name, 1 | 2 | 4 | 8 | 16), "{row:?}");
        assert!(row.first_seen_ns > 0 && row.inet_diag_msg_inode > 0);
        assert!(!row.congestion_algorithm_string.is_empty());
        assert!(row.sk_mem_info_rcv_buf > 0);
    }
    let totals = ear.closed.counters().totals();
    assert!(totals.joined >= 100 && totals.unknown_netns == 0, "{totals:?}");
    within(Duration::from_secs(5), "its sockets are forgotten", || {
        ear.rows();
        ear.eye.source.track_totals().unwrap().entries + 100 <= before.entries
    });
    assert_eq!(ear.eye.source.track_totals().unwrap().netns_gone, 0);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_namespace_that_dies_while_it_is_listened_to_is_gone_within_a_second() {
    const CABLE: &str = "skt-cable";
    let _alone = alone();
    let (stays, goes) = (TestNetns::new("stays").unwrap(), TestNetns::new("goes").unwrap());
    let end = |interface| VethEnd { interface, addresses: &[] };
    let there = || stays.exec("ip", &["-o", "link", "show"]).unwrap().contains(CABLE);
    let mut ear = Ear::new(tracking(), closed_settings());
    for netns in [goes, TestNetns::new("later").unwrap()] {
        veth_pair(&stays, end(CABLE), &netns, end("far")).unwrap();
        within(Duration::from_secs(3), "it is listened to", || {
            short_lived(&netns, "127.0.0.1", 1, 1, 1);
            !ear.rows_of(&netns).is_empty()
        });
        ear.eye.poll();
        assert!(there());
        drop(netns);
        within(Duration::from_secs(1), "the peer vanishes", || !there());
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn an_id_that_is_used_again_labels_nobody_elses_connections() {
    let _alone = alone();
    let mut ear = Ear::new(tracking(), closed_settings());
    let (mut names, mut ids, mut all) = (BTreeMap::new(), Vec::new(), 0);
    let mut last = None;
    for turn in 0..30usize {
        let netns = TestNetns::new("turn").unwrap();
        // Each turn has a length of its own, so that a row tells whose it is.
        let sent = 100 + turn as u64;
        names.insert(sent, netns.name().to_owned());
        let looks = turn % 3 == 0;
        if looks {
            within(Duration::from_secs(3), "it is listened to", || {
                short_lived(&netns, "127.0.0.1", 1, 100 + turn, 100 + turn);
                let rows = ear.rows();
                all += check(&rows, &names, &mut ids);
                rows.iter().any(|row| row.tcp_info_bytes_sent == sent)
            });
        }
        short_lived(&netns, "127.0.0.1", 40, 100 + turn, 100 + turn);
        // The one before is there until now, or is gone before the next begins.
        last = (turn % 2 == 0).then_some(netns);
    }
    drop(last);
    all += check(&ear.rows(), &names, &mut ids);
    assert!(all >= 800, "{all}");
    ids.sort_unstable();
    ids.dedup_by_key(|(nsid, _)| *nsid);
    let totals = ear.closed.counters().totals();
    assert_eq!(totals.notices_lost, 0);
    println!("{all} rows, {} ids, {totals:?}", ids.len());
}

/// Every row is of the namespace that has sent so many bytes.
fn check(
    rows: &[sockeye_record::v1::XtcpFlatRecord],
    names: &BTreeMap<u64, String>,
    ids: &mut Vec<(u32, String)>,
) -> usize {
    let own = format!("skt-{}-", std::process::id());
    let mine = rows.iter().filter(|row| row.netns.starts_with(&own));
    mine.inspect(|row| {
        assert_eq!(Some(&row.netns), names.get(&row.tcp_info_bytes_sent), "{row:?}");
        ids.push((row.nsid, row.netns.clone()));
    })
    .count()
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn what_a_buffer_has_no_room_for_is_counted() {
    let _alone = alone();
    let blue = TestNetns::new("blue").unwrap();
    let small = ClosedSettings { buffer_bytes: 16 << 10, ..closed_settings() };
    let mut ear = Ear::new(tracking(), small);
    ear.rows();
    let held = connections(&blue, 1000);
    let before = ear.closed.counters().totals();
    // All at once: nobody reads as fast.
    drop(held);
    let since = |ear: &Ear| {
        let totals = ear.closed.counters().totals();
        (totals.events - before.events, totals.lost - before.lost)
    };
    let mut reports = Vec::new();
    within(Duration::from_secs(10), "all are told of or lost", || {
        ear.rows();
        reports.push(ear.report.as_ref().unwrap().completeness);
        let (told, lost) = since(&ear);
        told + lost >= 3000
    });
    let (told, lost) = since(&ear);
    assert!(lost > 0 && ear.closed.counters().totals().enobufs > 0, "{told} {lost}");
    assert!(reports.contains(&Completeness::Incomplete(Incomplete::Lost)), "{reports:?}");
    // A thousand listeners and two thousand connections, and what others on this host have closed.
    assert!((3000..=3030).contains(&(told + lost)), "{told} {lost}");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn connections_that_vanish_without_an_event_are_estimated_from_polls() {
    let _alone = alone();
    let blue = TestNetns::new("blue").unwrap();
    let held = connections(&blue, 1000);
    let listen = || {
        // From inside, so that the sockets of others are not counted.
        let scan = ScanOptions { own_only: true, ..ScanOptions::default() };
        let small = ClosedSettings { buffer_bytes: 8 << 10, ..closed_settings() };
        let mut ear = Ear::new(Settings { scan, ..tracking() }, small);
        assert_eq!(ear.eye.poll().rows().len(), 3000);
        drop(held);
        let mut rows = 0;
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(400));
            rows += ear.rows().len() as u64;
            ear.eye.poll();
        }
        assert!(rows < 2000);
        let totals = ear.eye.source.track_totals().unwrap();
        assert_eq!(totals.estimated_lost(), 2000 - rows, "{totals:?}");
        assert!(!totals.estimate_is_upper_bound);
    };
    blue.enter(listen).unwrap();
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_filter_and_a_sample_are_for_closed_connections_too() {
    let _alone = alone();
    let blue = TestNetns::new("blue").unwrap();
    let filter = Some("dev lo or dst 127.0.0.1 and not sport = :1".parse().unwrap());
    let mut ear = Ear::new(Settings { filter, ..tracking() }, closed_settings());
    ear.rows();
    short_lived(&blue, "127.0.0.1", 10, 1, 1);
    short_lived(&blue, "::1", 10, 1, 1);
    assert_eq!(ear.rows_of(&blue).len(), 20);
    let totals = ear.closed.counters().totals();
    assert!(totals.filtered >= 20, "{totals:?}");
    drop(ear);
    let modulus = sockeye_source::sockdiag::Modulus::one_in(4);
    let mut ear = Ear::new(Settings { modulus, ..tracking() }, closed_settings());
    ear.rows();
    short_lived(&blue, "127.0.0.1", 200, 1, 1);
    let rows = ear.rows_of(&blue).len();
    assert!((50..150).contains(&rows), "{rows}");
    assert!(ear.closed.counters().totals().sampled_out >= 250);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn rows_that_were_sent_behind_the_last_report_are_reported_by_whoever_goes_on() {
    let _alone = alone();
    let blue = TestNetns::new("blue").unwrap();
    let mut ear = Ear::new(tracking(), closed_settings());
    ear.rows();
    short_lived(&blue, "127.0.0.1", 20, 1, 1);
    thread::sleep(Duration::from_millis(50));
    let handover = ear.closed.handover();
    ear.closed.finish(&ear.eye.outlet);
    ear.closed = Closed::after(&handover, &ear.eye.source);
    ear.closed.start(&ear.eye.outlet, &ear.eye.stop);
    assert_eq!(ear.rows_of(&blue).len(), 40);
    assert!(ear.report.as_ref().unwrap().rows >= 40);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn nobody_listens_to_its_own_namespace_and_is_told_so() {
    as_nobody("closed::child_listens");
}

#[test]
fn child_listens() {
    let Some(_) = child() else { return };
    let eye = Eye::new(settings());
    let closed = Closed::new(&eye.source, closed_settings()).unwrap();
    assert_eq!(
        closed.shortfalls().first().map(String::as_str),
        Some("closed sockets of our own network namespace only: CAP_NET_BROADCAST is missing")
    );
    let scan = ScanOptions { own_only: true, ..ScanOptions::default() };
    let own = Settings { scan, ..settings() };
    let source = SockDiag::new(own.clone()).unwrap();
    let small = ClosedSettings { scope: Scope::Own, buffer_bytes: 1 << 20, ..closed_settings() };
    assert_eq!(Closed::new(&source, small).unwrap().shortfalls(), [""; 0]);
    let mut ear = Ear::new(own, small);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    drop((client, listener.accept().unwrap()));
    let rows = ear.rows();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.netns_inode == rows[0].netns_inode && row.nsid == 0));
}
