//! Namespaces, load and states on the running kernel, with `ss` as the judge. As root.
#![expect(clippy::unwrap_used, reason = "what is not there is to fail the test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use sockeye_testkit::brief::{BriefLoad, BriefOptions, End};
use sockeye_testkit::load::{Load, LoadOptions, Role};
use sockeye_testkit::netns::{Netns, TestNetns, inode_of, own_path, require_root};
use sockeye_testkit::netns_anonymous::AnonymousNetns;
use sockeye_testkit::ss::{SsSocket, parse};
use sockeye_testkit::ss_compare::{Tolerance, compare, join};
use sockeye_testkit::veth::{VethEnd, veth_pair};
use sockeye_testkit::{Row, procfs, ss_run, states, states_veth};

const LOOPBACK: &str = "127.0.0.1:0";

fn loopback() -> SocketAddr {
    LOOPBACK.parse().unwrap()
}

fn states_in(netns: &impl Netns) -> BTreeMap<String, usize> {
    let mut states = BTreeMap::new();
    for socket in ss_run::inside(&netns.path()).unwrap() {
        *states.entry(socket.state).or_insert(0) += 1;
    }
    states
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect()
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_named_namespace_is_entered_and_then_gone() {
    require_root();
    let netns = TestNetns::new("named").unwrap();
    let path = netns.path();
    assert!(netns.name().ends_with("-named"));
    let inside = netns.enter(|| inode_of(&own_path()).unwrap()).unwrap();
    assert_eq!(inside, netns.inode().unwrap());
    assert_ne!(inside, inode_of(&own_path()).unwrap());
    // lo is up: something listens and is reached.
    let pair = netns.enter(|| states::established(loopback(), None).unwrap()).unwrap();
    assert_eq!(states_in(&netns), counts(&[("ESTAB", 2), ("LISTEN", 1)]));
    drop(pair);
    drop(netns);
    assert!(!path.exists());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn an_anonymous_namespace_lives_as_long_as_its_process() {
    require_root();
    let netns = AnonymousNetns::new().unwrap();
    let pid = netns.pid();
    let inside = netns.enter(|| inode_of(&own_path()).unwrap()).unwrap();
    assert_eq!(inside, netns.inode().unwrap());
    assert_ne!(inside, inode_of(&own_path()).unwrap());
    assert_eq!(procfs::threads(pid).unwrap(), 1);
    let pair = netns.enter(|| states::established(loopback(), None).unwrap()).unwrap();
    assert_eq!(states_in(&netns), counts(&[("ESTAB", 2), ("LISTEN", 1)]));
    drop(pair);
    drop(netns);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_panic_inside_a_namespace_comes_out_with_its_text() {
    require_root();
    let netns = TestNetns::new("panic").unwrap();
    let panic = std::panic::catch_unwind(|| netns.enter(|| panic!("what went wrong"))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"what went wrong"));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_load_of_500_connections_is_what_ss_sees() {
    require_root();
    let netns = TestNetns::new("load").unwrap();
    let options = LoadOptions {
        netns: Some(netns.path()),
        connections: 500,
        listen: ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"]
            .map(|ip| ip.parse().unwrap())
            .to_vec(),
        ports: vec![0, 0],
        client_addresses: ["127.0.0.9", "::ffff:127.0.0.8"].map(|ip| ip.parse().unwrap()).to_vec(),
        uid: Some(1234),
        congestion: Some("cubic".to_owned()),
        tos: Some(0x10),
        dual_stack: true,
        ..LoadOptions::default()
    };
    let load = Load::spawn(&options).unwrap();
    let truth = load.sockets();
    let ss = ss_run::inside(&netns.path()).unwrap();
    assert_eq!(states_in(&netns), counts(&[("ESTAB", 1000), ("LISTEN", 10)]));

    let by_cookie: BTreeMap<u64, &SsSocket> =
        ss.iter().map(|socket| (socket.cookie().unwrap(), socket)).collect();
    assert_eq!(truth.len(), 1010);
    for socket in truth {
        let ss = by_cookie[&socket.cookie];
        assert_eq!(ss.state, socket.state);
        assert_eq!((ss.inode(), ss.uid()), (Some(socket.inode), 1234));
        assert_eq!((ss.local.port, ss.peer.port), (socket.local_port, socket.peer_port));
        assert_eq!(ss.local.ip.map_or("::".to_owned(), |ip| ip.to_string()), socket.local);
        assert_eq!(ss.token("congestion"), Some("cubic"));
        assert_eq!(ss.token("tos"), Some("0x10"));
        assert_eq!(ss.token("tclass"), (socket.family == 10).then_some("0x10"));
        if socket.role != Role::Listener {
            let syn = u64::from(socket.role == Role::Client);
            assert_eq!(
                ss.token("bytes_acked"),
                Some((socket.bytes_sent + syn).to_string().as_str())
            );
            assert_eq!(
                ss.token("bytes_received"),
                Some(socket.bytes_received.to_string().as_str())
            );
            assert_eq!((ss.recv_q, ss.send_q), (0, 0));
        }
    }
    let sizes: BTreeSet<u64> = truth
        .iter()
        .filter(|socket| socket.role != Role::Listener)
        .map(|socket| socket.bytes_sent)
        .collect();
    assert_eq!(sizes.len(), 1000, "every end sends another number of bytes");
    let mapped = truth.iter().filter(|socket| socket.local.starts_with("::ffff:")).count();
    let mapped_by_ss =
        ss.iter().filter(|ss| ss.local.ip.is_some_and(|ip| ip.to_string().starts_with("::ffff:")));
    assert_eq!(mapped, mapped_by_ss.count());
    assert!(truth.iter().any(|socket| socket.role == Role::Client && socket.local == "127.0.0.9"));
    load.stop().unwrap();
    assert_eq!(states_in(&netns).get("LISTEN"), None);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn several_loads_share_a_namespace_and_end_with_their_owner() {
    require_root();
    let netns = TestNetns::new("loads").unwrap();
    let options =
        LoadOptions { netns: Some(netns.name().into()), connections: 50, ..LoadOptions::default() };
    let loads = Load::spawn_all([&options, &options, &options]).unwrap();
    assert_eq!(states_in(&netns), counts(&[("ESTAB", 300), ("LISTEN", 3)]));
    let pid = loads[0].pid();
    drop(loads);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_load_that_cannot_be_made_says_why() {
    require_root();
    let options = LoadOptions { connections: 1_000_000, ..LoadOptions::default() };
    let error = Load::spawn(&options).unwrap_err();
    assert!(error.to_string().starts_with("sockeye-load ended before it was ready"), "{error}");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn each_state_is_the_one_that_ss_shows() {
    require_root();
    let netns = TestNetns::new("states").unwrap();

    let waiting = netns.enter(|| states::waiting(loopback(), 7, 5).unwrap()).unwrap();
    let ss = ss_run::inside(&netns.path()).unwrap();
    let listener = ss.iter().find(|socket| socket.state == "LISTEN").unwrap();
    assert_eq!((listener.recv_q, listener.send_q), (5, 7));
    assert_eq!(listener.cookie(), Some(waiting.listener.cookie().unwrap()));
    drop(waiting);

    let netns = TestNetns::new("states").unwrap();
    let syn_sent = netns.enter(|| states::syn_sent(loopback()).unwrap()).unwrap();
    assert_eq!(states_in(&netns), counts(&[("ESTAB", 2), ("LISTEN", 1), ("SYN-SENT", 1)]));
    drop(syn_sent);

    let netns = TestNetns::new("states").unwrap();
    let half_closed = netns.enter(|| states::half_closed(loopback()).unwrap()).unwrap();
    assert_eq!(states_in(&netns), counts(&[("CLOSE-WAIT", 1), ("FIN-WAIT-2", 1), ("LISTEN", 1)]));
    let ss = ss_run::inside(&netns.path()).unwrap();
    let arrow = |state: &str| {
        ss.iter().find(|socket| socket.state == state).unwrap().token("shutdown").unwrap()
    };
    assert_eq!((arrow("FIN-WAIT-2"), arrow("CLOSE-WAIT")), ("<--", "-->"));
    drop(half_closed);

    let netns = TestNetns::new("states").unwrap();
    let time_wait = netns.enter(|| states::time_wait(loopback()).unwrap()).unwrap();
    assert_eq!(states_in(&netns), counts(&[("LISTEN", 1), ("TIME-WAIT", 1)]));
    let ss = ss_run::inside(&netns.path()).unwrap();
    let socket = ss.iter().find(|socket| socket.state == "TIME-WAIT").unwrap();
    assert_eq!(socket.local.port, time_wait.local.port());
    assert_eq!(
        (socket.peer.port, socket.cookie()),
        (time_wait.peer.port(), Some(time_wait.cookie))
    );

    let netns = TestNetns::new("states").unwrap();
    let bound = netns.enter(|| states::bound(loopback()).unwrap()).unwrap();
    assert_ne!(states::local(&bound).unwrap().port(), 0);
    assert_eq!(states_in(&netns), counts(&[]));

    let bbr = netns.enter(|| states::established(loopback(), Some("bbr")).unwrap()).unwrap();
    let cubic = netns
        .enter(|| states::established("[::1]:0".parse().unwrap(), Some("cubic")).unwrap())
        .unwrap();
    let ss = ss_run::inside(&netns.path()).unwrap();
    for (pair, name) in [(&bbr, "bbr"), (&cubic, "cubic")] {
        for end in [&pair.client, &pair.server] {
            let cookie = end.cookie().unwrap();
            let socket = ss.iter().find(|socket| socket.cookie() == Some(cookie)).unwrap();
            assert_eq!(socket.token("congestion"), Some(name));
        }
    }
    drop((bbr, cubic));

    let netns = TestNetns::new("states").unwrap();
    let mapped = netns.enter(|| states::mapped().unwrap()).unwrap();
    let ss = ss_run::inside(&netns.path()).unwrap();
    let locals: BTreeSet<String> = ss
        .iter()
        .map(|socket| socket.local.ip.map_or("*".to_owned(), |ip| ip.to_string()))
        .collect();
    assert_eq!(locals, BTreeSet::from(["*", "127.0.0.1", "::ffff:127.0.0.1"].map(str::to_owned)));
    drop(mapped);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn states_over_a_cable_are_the_ones_that_ss_shows() {
    require_root();
    let (server, client) = (TestNetns::new("server").unwrap(), AnonymousNetns::new().unwrap());
    let server_end = VethEnd { interface: "skt-s", addresses: &["10.9.0.1/24", "fe80::1/64"] };
    let client_end = VethEnd { interface: "skt-c", addresses: &["10.9.0.2/24", "fe80::2/64"] };
    veth_pair(&server, server_end, &client, client_end).unwrap();

    let pair =
        states_veth::link_local(&server, ("skt-s", "fe80::1".parse().unwrap()), &client, "skt-c")
            .unwrap();
    let ss = ss_run::inside(&client.path()).unwrap();
    assert_eq!(ss.len(), 1);
    assert_eq!(ss[0].local.ip, Some("fe80::2".parse().unwrap()));
    assert_eq!(ss[0].local.interface.as_deref(), Some("skt-c"));
    let indices = ss_run::interfaces(Some(&client.path())).unwrap();
    assert_eq!(ss[0].local.interface_index, Some(indices["skt-c"]));
    assert_eq!(ss[0].cookie(), Some(pair.client.cookie().unwrap()));
    assert_eq!(states_in(&server), counts(&[("ESTAB", 1), ("LISTEN", 1)]));
    drop(pair);

    let half_open = states_veth::half_open(
        &server,
        ("skt-s", "10.9.0.1:0".parse().unwrap()),
        &client,
        "10.9.0.2",
    )
    .unwrap();
    assert_eq!(states_in(&server).get("SYN-RECV"), Some(&1));
    assert_eq!(states_in(&client).get("SYN-SENT"), Some(&1));
    drop(half_open);
}

/// `ss -D` writes the messages it got, and with `TCPDIAG_FILE` it prints such a file: text and rows of one instant.
fn exact(netns: &TestNetns, family: &str) -> (Vec<SsSocket>, Vec<Row>) {
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("dump");
    let dump = dump.to_str().unwrap();
    let mut arguments = vec![family, "-D", dump];
    arguments.extend(ss_run::ARGUMENTS);
    netns.exec("ss", &arguments).unwrap();
    let file = format!("TCPDIAG_FILE={dump}");
    let mut arguments = vec![file.as_str(), "ss", family];
    arguments.extend(ss_run::ARGUMENTS);
    let text = netns.exec("env", &arguments).unwrap();
    (parse(&text).unwrap(), support::rows_of(&fs::read(dump).unwrap()))
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn on_this_kernel_every_token_of_ss_agrees_with_the_message_it_was_printed_from() {
    require_root();
    let netns = TestNetns::new("exact").unwrap();
    let base = LoadOptions {
        netns: Some(netns.path()),
        connections: 60,
        dual_stack: true,
        ..LoadOptions::default()
    };
    let bbr = LoadOptions {
        congestion: Some("bbr".to_owned()),
        tos: Some(8),
        uid: Some(7),
        ..base.clone()
    };
    let cubic = LoadOptions { congestion: Some("cubic".to_owned()), ..base };
    let _loads = Load::spawn_all([&bbr, &cubic]).unwrap();
    let _states = netns
        .enter(|| {
            (
                states::waiting(loopback(), 3, 3).unwrap(),
                states::syn_sent(loopback()).unwrap(),
                states::half_closed("[::1]:0".parse().unwrap()).unwrap(),
                states::time_wait(loopback()).unwrap(),
                states::mapped().unwrap(),
            )
        })
        .unwrap();

    let mut compared = 0;
    for family in ["-4", "-6"] {
        let (ss, rows) = exact(&netns, family);
        let joined = join(&ss, &rows);
        assert!(joined.is_one_to_one(), "{family}: {joined:#?}");
        for (socket, row) in joined.pairs {
            // Tolerance::Live would look up control groups, which are this host's; Exact is for messages.
            assert_eq!(compare(socket, row, Tolerance::Exact), Vec::<String>::new(), "{socket:#?}");
            compared += 1;
        }
    }
    assert!(compared > 250, "{compared}");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn idle_sockets_read_a_second_apart_agree_but_for_the_time() {
    require_root();
    let netns = TestNetns::new("idle").unwrap();
    let options = LoadOptions {
        netns: Some(netns.path()),
        connections: 200,
        dual_stack: true,
        ..LoadOptions::default()
    };
    let _load = Load::spawn(&options).unwrap();
    let mut rows = exact(&netns, "-4").1;
    rows.extend(exact(&netns, "-6").1);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let ss = ss_run::inside(&netns.path()).unwrap();
    let joined = join(&ss, &rows);
    assert!(joined.is_one_to_one());
    assert_eq!(joined.pairs.len(), 402);
    for (socket, row) in joined.pairs {
        assert_eq!(compare(socket, row, Tolerance::Live), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn brief_connections_are_told_of_with_what_went_over_them() {
    require_root();
    for end in [End::Fin, End::Reset] {
        let netns = TestNetns::new("brief").unwrap();
        let options = BriefOptions {
            netns: Some(netns.path()),
            connections: 50,
            bytes: 1..=20_000,
            parts: 4,
            life_us: 0..=20_000,
            end,
            ..BriefOptions::default()
        };
        let mut load = BriefLoad::spawn(&options).unwrap();
        load.go().unwrap();
        let (all, done) = load.finish().unwrap();
        assert_eq!((all.len(), done.connections), (50, 50));
        assert_eq!(all.iter().filter(|brief| brief.ipv6).count(), 25);
        assert_eq!(all.iter().map(|brief| brief.up).sum::<u64>(), done.up);
        assert_eq!(all.iter().map(|brief| brief.down).sum::<u64>(), done.down);
        let cookies: BTreeSet<u64> =
            all.iter().flat_map(|brief| [brief.client, brief.server]).collect();
        assert_eq!(cookies.len(), 100);
    }
}
