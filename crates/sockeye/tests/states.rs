//! Single sockets in every state and of every kind, each against `ss`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::net::SocketAddr;

use common::{assert_equals_ss, number, of_netns, snapshot, string};
use sockeye_testkit::netns::{Netns, TestNetns, require_root};
use sockeye_testkit::veth::{VethEnd, veth_pair};
use sockeye_testkit::{Row, ss_run, states, states_veth};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The rows whose state is `state`.
fn in_state(rows: &[Row], state: u64) -> Vec<&Row> {
    rows.iter().filter(|row| number(row, "inet_diag_msg_state") == state).collect()
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn every_state_is_what_ss_says() {
    require_root();
    let netns = TestNetns::new("states").unwrap();
    let held = netns
        .enter(|| {
            (
                states::waiting(address("127.0.0.1:7001"), 5, 3).unwrap(),
                states::half_closed(address("[::1]:7002")).unwrap(),
                states::syn_sent(address("127.0.0.1:7003")).unwrap(),
                states::time_wait(address("127.0.0.1:7004")).unwrap(),
                states::mapped().unwrap(),
                states::established(address("127.0.0.1:7005"), Some("bbr")).unwrap(),
                states::established(address("[::1]:7006"), Some("cubic")).unwrap(),
                states::bound(address("127.0.0.1:7007")).unwrap(),
            )
        })
        .unwrap();
    let inode = netns.inode().unwrap();

    let all = of_netns(&snapshot(&["--states", "all"]), inode);
    let (bound, seen_by_ss): (Vec<Row>, Vec<Row>) =
        all.into_iter().partition(|row| number(row, "inet_diag_msg_socket_source_port") == 7007);
    assert_equals_ss(&ss_run::inside(&netns.path()).unwrap(), &seen_by_ss);
    // This ss is older than the state; the kernel shows a socket that is only bound, without tcp_info.
    assert_eq!(bound.len(), 1);
    // Asked for by bit 13 (TCP_BOUND_INACTIVE), told as TCP_CLOSE.
    assert_eq!(number(&bound[0], "inet_diag_msg_state"), 7);
    assert!(!bound[0].contains_key("tcp_info_rtt"));

    let backlog = in_state(&seen_by_ss, 10)
        .into_iter()
        .find(|row| number(row, "inet_diag_msg_socket_source_port") == 7001)
        .unwrap();
    assert_eq!(
        (number(backlog, "inet_diag_msg_rqueue"), number(backlog, "inet_diag_msg_wqueue")),
        (3, 5)
    );
    for (state, name) in [
        (1, "ESTAB"),
        (2, "SYN-SENT"),
        (5, "FIN-WAIT-2"),
        (6, "TIME-WAIT"),
        (8, "CLOSE-WAIT"),
        (10, "LISTEN"),
    ] {
        assert!(!in_state(&seen_by_ss, state).is_empty(), "no {name}");
    }
    let mapped: Vec<&Row> = seen_by_ss
        .iter()
        .filter(|row| string(row, "inet_diag_msg_socket_source").starts_with("::ffff:127."))
        .collect();
    assert!(!mapped.is_empty());
    assert!(mapped.iter().all(|row| number(row, "inet_diag_msg_family") == 10));
    let algorithms = |name: &str, number_of: u64| {
        let named = seen_by_ss
            .iter()
            .filter(|row| row.get("congestion_algorithm_string").is_some_and(|text| text == name));
        let numbers: Vec<u64> = named.map(|row| number(row, "congestion_algorithm_enum")).collect();
        assert!(
            !numbers.is_empty() && numbers.iter().all(|number| *number == number_of),
            "{name}: {numbers:?}"
        );
    };
    algorithms("bbr", 5);
    algorithms("cubic", 1);
    let bbr = seen_by_ss.iter().find(|row| row.contains_key("bbr_info_pacing_gain"));
    assert!(bbr.is_some_and(|row| string(row, "congestion_algorithm_string") == "bbr"));

    // By default neither time-wait nor syn-recv.
    let default = of_netns(&snapshot(&[]), inode);
    assert!(in_state(&default, 6).is_empty() && in_state(&default, 3).is_empty());
    assert_eq!(
        default.len(),
        seen_by_ss.len() + 1 - in_state(&seen_by_ss, 6).len() - in_state(&seen_by_ss, 3).len()
    );
    let listening = of_netns(&snapshot(&["--states", "listening"]), inode);
    assert_eq!(listening.len(), in_state(&seen_by_ss, 10).len());
    drop(held);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn link_local_connections_carry_their_interface() {
    require_root();
    let (here, there) = (TestNetns::new("here").unwrap(), TestNetns::new("there").unwrap());
    let (near, far) = ("fe80::1", "fe80::2");
    veth_pair(
        &here,
        VethEnd { interface: "vnear", addresses: &[&format!("{near}/64")] },
        &there,
        VethEnd { interface: "vfar", addresses: &[&format!("{far}/64")] },
    )
    .unwrap();
    let _pair =
        states_veth::link_local(&here, ("vnear", near.parse().unwrap()), &there, "vfar").unwrap();
    let all = snapshot(&[]);
    for (netns, interface, local) in [(&here, "vnear", near), (&there, "vfar", far)] {
        let own = of_netns(&all, netns.inode().unwrap());
        assert_equals_ss(&ss_run::inside(&netns.path()).unwrap(), &own);
        let index = u64::from(ss_run::interfaces(Some(&netns.path())).unwrap()[interface]);
        let established = in_state(&own, 1);
        assert_eq!(established.len(), 1);
        assert_eq!(string(established[0], "inet_diag_msg_socket_source"), local);
        assert_eq!(number(established[0], "inet_diag_msg_socket_interface"), index);
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_mark_is_read_by_who_may() {
    require_root();
    let netns = TestNetns::new("mark").unwrap();
    let _socket = netns
        .enter(|| {
            let socket = states::listener(address("127.0.0.1:7100"), 4, None).unwrap();
            socket.set_mark(0x2a).unwrap();
            socket
        })
        .unwrap();
    let own = of_netns(&snapshot(&[]), netns.inode().unwrap());
    assert_eq!(number(&own[0], "mark"), 0x2a);
    let without = of_netns(&snapshot(&["--deserializers", "none"]), netns.inode().unwrap());
    assert!(!without[0].contains_key("mark") && !without[0].contains_key("tcp_info_state"));
    assert_eq!(without.len(), 1);
}
