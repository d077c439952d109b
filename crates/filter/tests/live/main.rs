//! Expressions on a kernel: what `ss` answers, what the kernel sends for our program, and what rows say, agree.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what is not there is to fail the test"
)]

mod dump;
mod world;

use std::collections::BTreeMap;

use dump::{Key, Row, dump};
use sockeye_filter::{Filter, InNetns, Resolved, Support, bytecode};
use sockeye_testkit::netns::{Netns as _, TestNetns, require_root};
use sockeye_testkit::veth::{VethEnd, veth_pair};
use sockeye_testkit::{ss_run, states_veth};
use sockeye_wire::bytecode::{Condition, MAX_BYTES, Predicate, assemble};
use sockeye_wire::request::Part;
use world::{CHOSEN, World};

/// Expressions that mean the same to `ss` and to us, and that some socket and not every socket of [`World`] matches.
const EXPRESSIONS: &[&str] = &[
    "dport = :443",
    "dport :443",
    "dport 443",
    "sport = 22",
    "sport = :ssh",
    "sport eq :https",
    "dport != :443",
    "dport ne 443",
    "sport > :1024",
    "sport gt 443",
    "sport >= :443",
    "sport geq 1000",
    "dport < 443",
    "dport lt :443",
    "dport <= :443",
    "dport leq :22",
    "dport = 0x1bb",
    "sport = :0673",
    "src 127.0.0.1",
    "src = 127.0.0.1:443",
    "dst 127.0.0.0/8",
    "dst 127/8",
    "dst 127.0.0.0/30:443",
    "dst 10.9.0.0/255.255.0.0 or sport = :80",
    "src 0.0.0.0/0",
    "src ::/0",
    "src 0.0.0.0",
    "src [::1]",
    "src [::1]:443",
    "dst [::1]:22",
    "src ::1/128",
    "src [::ffff:127.0.0.1]",
    "src ::ffff:0:0/96",
    "not src [::1]",
    "src *:443",
    "src :443",
    "dst :https",
    "src inet:127.0.0.1",
    "dport = inet6::443",
    "dev = lo",
    "dev != lo",
    "dev d0",
    "dev = 1",
    "dev = 0",
    "dev = d0 or dport = :443",
    "fwmark = 5",
    "fwmark = 0x01/0x03",
    "fwmark != 5",
    "fwmark = 7 or not dst 127.0.0.0/8",
    "not ( fwmark = 5 or fwmark = 6 )",
    "autobound",
    "autobound and dst 127.0.0.0/8",
    "dport = :443 and not dst 10.0.0.0/8",
    "dport = :443 or dport = :80 and dst 127.0.0.2",
    "dport = :80 and dst 127.0.0.2 or dport = :443",
    "dport = :443 dst 127.0.0.1",
    "( dport = :443 or sport = :443 ) and src 127.0.0.1",
    "not ( dport = :443 or sport = :443 )",
    "not not dport = :443",
    "! dport = :443 && ! sport = :443",
    "\\( sport = :80 \\) \\| dport = :80",
    "sport >= :1000 sport <= :2000",
    "not ( sport >= :1000 and sport <= :2000 ) and not src [::1]",
    "sport = :22 || ( dport = :22 && not ( src 127.0.0.1 | src [::1] ) )",
    "dst 127.0.0.1 or dst 127.0.0.2 or dst [::1] and not sport = :22 and not dev = lo",
];

/// The namespace as a filter sees it.
struct In(BTreeMap<String, u32>);

impl InNetns for In {
    fn index_of(&mut self, device: &str) -> Option<u32> {
        self.0.get(device).copied()
    }

    fn local_ports(&mut self) -> (u16, u16) {
        CHOSEN
    }
}

fn resolve(netns: &TestNetns, text: &str) -> Resolved {
    let filter: Filter = text.parse().unwrap_or_else(|error| panic!("{error}"));
    filter.resolve(In(ss_run::interfaces(Some(&netns.path())).unwrap()))
}

fn ss(netns: &TestNetns, text: &str) -> Vec<Key> {
    let lines = ss_run::output(Some(&netns.path()), "ss", &["-t", "-n", "-a", "-O", "-H", text]);
    dump::keys_of_ss(&lines.unwrap())
}

fn sent(netns: &TestNetns, program: Option<&[u8]>) -> Vec<Row> {
    let sent = netns.enter(|| dump(program.unwrap_or_default())).unwrap();
    sent.unwrap_or_else(|errno| panic!("the kernel refuses {program:?}: {errno}"))
}

fn keys(rows: &[Row]) -> Vec<Key> {
    let mut keys: Vec<Key> = rows.iter().map(Row::key).collect();
    keys.sort();
    keys
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn ss_the_kernel_and_the_rows_agree_on_every_expression() {
    require_root();
    let world = World::new("filter");
    let all = sent(&world.netns, None);
    assert_eq!(keys(&all), ss(&world.netns, ""));
    for text in EXPRESSIONS {
        let filter = resolve(&world.netns, text);
        let expected = ss(&world.netns, text);
        assert!(!expected.is_empty() && expected.len() < all.len(), "{text}: {expected:?}");
        let program = bytecode(Some(&filter), &[], Support::ALL);
        let by_kernel = sent(&world.netns, program.as_deref());
        assert_eq!(keys(&by_kernel), expected, "{text}: the kernel alone");
        let by_rows: Vec<Row> = all.iter().filter(|row| row.matches(&filter)).cloned().collect();
        if text.contains("autobound") {
            assert!(expected.iter().all(|key| keys(&by_rows).contains(key)), "{text}");
            continue;
        }
        assert_eq!(keys(&by_rows), expected, "{text}: rows alone");
        let least = bytecode(Some(&filter), &[], Support::LEAST);
        let mut rest = sent(&world.netns, least.as_deref());
        rest.retain(|row| row.matches(&filter));
        assert_eq!(keys(&rest), expected, "{text}: a kernel that knows little, and rows");
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn sockets_of_a_link_and_connections_that_are_half_open_are_no_different() {
    require_root();
    let [server, client] = ["server", "client"].map(|label| TestNetns::new(label).unwrap());
    let server_end = VethEnd { interface: "skt-s", addresses: &["10.9.0.1/24", "fe80::1/64"] };
    let client_end = VethEnd { interface: "skt-c", addresses: &["10.9.0.2/24", "fe80::2/64"] };
    veth_pair(&server, server_end, &client, client_end).unwrap();
    let address = "fe80::1".parse().unwrap();
    let _pair = states_veth::link_local(&server, ("skt-s", address), &client, "skt-c").unwrap();
    let listen = ("skt-s", "10.9.0.1:443".parse().unwrap());
    let _half_open = states_veth::half_open(&server, listen, &client, "10.9.0.2").unwrap();
    let all = sent(&server, None);
    assert_eq!(all.iter().filter(|row| row.is_half_open()).count(), 1);
    for (text, count) in [
        ("src fe80::/10", 2),
        ("dev = skt-s", 2),
        ("dev != skt-s", 2),
        ("dst 10.9.0.2", 1),
        ("sport = :443", 2),
        ("fwmark = 0 and sport = :443 and not dev skt-s", 2),
        ("dst [fe80::2]", 1),
    ] {
        let filter = resolve(&server, text);
        let expected = ss(&server, text);
        assert_eq!(expected.len(), count, "{text}");
        let program = bytecode(Some(&filter), &[], Support::ALL);
        assert_eq!(keys(&sent(&server, program.as_deref())), expected, "{text}");
        let by_rows: Vec<Row> = all.iter().filter(|row| row.matches(&filter)).cloned().collect();
        assert_eq!(keys(&by_rows), expected, "{text}");
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn what_is_ours_alone_means_what_ss_says_in_more_words() {
    require_root();
    let world = World::new("ours");
    for (ours, theirs) in [
        ("sport = :1000-2000", "sport >= :1000 sport <= :2000"),
        ("sport != :1000-2000", "not ( sport >= :1000 sport <= :2000 )"),
        ("dst != 127.0.0.0/8:443", "not ( dst 127.0.0.0/8:443 )"),
        ("src ::1", "src [::1]"),
        (
            "!(dport=:443)&&(src=127.0.0.1||src=[::1])",
            "! dport = :443 && ( src 127.0.0.1 || src [::1] )",
        ),
        ("src [::1]/128:443", "src [::1]:443"),
    ] {
        let program = bytecode(Some(&resolve(&world.netns, ours)), &[], Support::ALL);
        assert_eq!(
            keys(&sent(&world.netns, program.as_deref())),
            ss(&world.netns, theirs),
            "{ours}"
        );
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_device_of_another_namespace_matches_nothing() {
    require_root();
    let world = World::new("nowhere");
    let filter = resolve(&world.netns, "dev = d9");
    assert!(filter.is_never());
    let program = bytecode(Some(&filter), &[], Support::ALL);
    assert_eq!(sent(&world.netns, program.as_deref()).len(), 0);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn parts_bring_every_socket_exactly_once_with_and_without_a_filter() {
    require_root();
    let world = World::new("parts");
    let all = sent(&world.netns, None);
    let cut = [
        Part { source: (0, 443), destination: (0, 0) },
        Part { source: (444, u16::MAX), destination: (0, 0) },
        Part { source: (0, 1023), destination: (1, u16::MAX) },
        Part { source: (1024, u16::MAX), destination: (1, 443) },
        Part { source: (1024, u16::MAX), destination: (444, u16::MAX) },
    ];
    let equal: Vec<Part> = (0..3).map(|index| Part::equal(index, 3)).collect();
    let filter = resolve(&world.netns, "not dport = :80");
    for parts in [&cut[..], &equal] {
        for filter in [None, Some(&filter)] {
            let of = |part: &Part| {
                sent(
                    &world.netns,
                    bytecode(filter, std::slice::from_ref(part), Support::ALL).as_deref(),
                )
            };
            let together: Vec<Row> = parts.iter().flat_map(of).collect();
            let wanted = all.iter().filter(|row| filter.is_none_or(|filter| row.matches(filter)));
            assert_eq!(keys(&together), keys(&wanted.cloned().collect::<Vec<_>>()));
        }
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn without_net_admin_a_mark_is_refused_and_the_default_leaves_it_out() {
    require_root();
    let world = World::new("mark");
    let filter = resolve(&world.netns, "fwmark = 5 and sport = :443");
    let programs = [Support::ALL, Support::default()]
        .map(|support| bytecode(Some(&filter), &[], support).unwrap());
    let answers = world.netns.enter(|| {
        caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_NET_ADMIN).unwrap();
        programs.map(|program| dump(&program).map(|rows| keys(&rows)))
    });
    let [all, default] = answers.unwrap();
    assert_eq!(all, Err(1), "EPERM");
    assert_eq!(default, Ok(ss(&world.netns, "sport = :443")));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn the_kernel_takes_the_longest_program_that_is_made() {
    require_root();
    let world = World::new("long");
    let mut program = Vec::new();
    let nowhere = (0..MAX_BYTES / 12)
        .map(|i| Predicate::Is(Condition::Device(1_000_000 + u32::try_from(i).unwrap())));
    assemble(&Predicate::Any(nowhere.collect()), &mut program).unwrap();
    assert!(program.len() > MAX_BYTES - 12, "{}", program.len());
    assert_eq!(sent(&world.netns, Some(&program)).len(), 0);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_cgroup_is_found_by_its_path() {
    require_root();
    let world = World::new("cgroup");
    let Some(inside) = world::in_cgroup(&world) else {
        // Without a hierarchy of version 2 there is nothing to find, and that is what is said.
        let error = "cgroup = /".parse::<Filter>().unwrap_err().to_string();
        assert!(error.contains("no cgroup v2 hierarchy is mounted here"), "{error}");
        return;
    };
    for text in [
        format!("cgroup = {}", inside.path),
        format!("cgroup != {}", inside.path),
        format!("cgroup = {} or sport = :443", inside.path),
        format!("not cgroup {}", inside.mount.display()),
    ] {
        let filter = resolve(&world.netns, &text);
        let expected = ss(&world.netns, &text);
        let program = bytecode(Some(&filter), &[], Support::ALL);
        assert_eq!(keys(&sent(&world.netns, program.as_deref())), expected, "{text}");
        let mut all = sent(&world.netns, None);
        all.retain(|row| row.matches(&filter));
        assert_eq!(keys(&all), expected, "{text}");
        assert!(!expected.is_empty(), "{text}");
    }
    let alone = ss(&world.netns, &format!("cgroup = {}", inside.path));
    assert_eq!(alone.len(), 1, "{alone:?}");
}
