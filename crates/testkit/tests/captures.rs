//! The captures of other kernels: each text of `ss` is parsed whole, and agrees with the messages captured with it.
#![expect(clippy::unwrap_used, reason = "what is not there is to fail the test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use sockeye_testkit::Row;
use sockeye_testkit::pcap::{Direction, PcapReader};
use sockeye_testkit::ss::{SsSocket, parse};
use sockeye_testkit::ss_compare::{Tolerance, compare, join};

/// The captures are not part of the repository. Where they are, they are used; where `SOCKEYE_CAPTURES` says they are,
/// they have to be.
fn captures() -> Option<PathBuf> {
    let directory = std::env::var_os("SOCKEYE_CAPTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"),
        PathBuf::from,
    );
    let present = directory.is_dir();
    assert!(
        present || std::env::var_os("SOCKEYE_CAPTURES").is_none(),
        "no captures in {}",
        directory.display()
    );
    if !present {
        eprintln!("no captures in {}: set SOCKEYE_CAPTURES", directory.display());
    }
    present.then_some(directory)
}

fn sockets(directory: &std::path::Path, text: &str) -> Vec<SsSocket> {
    parse(&fs::read_to_string(directory.join(text)).unwrap()).unwrap()
}

fn states(sockets: &[SsSocket]) -> Vec<(&str, usize)> {
    let mut states = BTreeMap::new();
    for socket in sockets {
        *states.entry(socket.state.as_str()).or_insert(0) += 1;
    }
    states.into_iter().collect()
}

#[test]
fn every_socket_of_every_text_is_parsed() {
    let Some(directory) = captures() else { return };
    let expected: [(&str, &[(&str, usize)]); 4] = [
        ("4.19.319/ss_tcp_100_sockets.txt", &[("ESTAB", 201), ("LISTEN", 102), ("TIME-WAIT", 8)]),
        ("6.6.44/ss_tcp_100_sockets_bbr.txt", &[("ESTAB", 201), ("LISTEN", 102)]),
        (
            "6.6.44/ss_tcp_100_sockets_dctcp.txt",
            &[("ESTAB", 200), ("LISTEN", 102), ("TIME-WAIT", 100)],
        ),
        (
            "6.6.44/ss_tcp_100_sockets_vegas.txt",
            &[("ESTAB", 200), ("LISTEN", 102), ("TIME-WAIT", 100)],
        ),
    ];
    for (text, counts) in expected {
        let sockets = sockets(&directory, text);
        assert_eq!(states(&sockets), counts, "{text}");
        assert!(sockets.iter().all(|socket| socket.cookie().is_some()), "{text}");
    }
}

#[test]
fn one_socket_of_a_text_is_read_to_the_last_token() {
    let Some(directory) = captures() else { return };
    let sockets = sockets(&directory, "6.6.44/ss_tcp_100_sockets_bbr.txt");
    let tokens: Vec<(&str, &str)> =
        sockets[1].tokens.iter().map(|token| (token.key.as_str(), token.value.as_str())).collect();
    let session = "/user.slice/user-1000.slice/session-3.scope";
    assert_eq!(
        tokens,
        [
            ("users", "((\"tcp_client\",pid=2796,fd=11))"),
            ("timer", "(keepalive,2.865ms,0)"),
            ("uid", "1000"),
            ("ino", "204351"),
            ("sk", "6b4a"),
            ("cgroup", session),
            ("shutdown", "<->"),
            ("tos", "0"),
            ("class_id", "0"),
            ("cgroup", session),
            ("skmem", "(r0,rb1000000,t0,tb3939840,f0,w0,o0,bl0,d0)"),
            ("ts", ""),
            ("sack", ""),
            ("ecn", ""),
            ("ecnseen", ""),
            ("congestion", "bbr"),
            ("wscale", "9,9"),
            ("rto", "201"),
            ("rtt", "0.128/0.086"),
            ("ato", "40"),
            ("mss", "32768"),
            ("pmtu", "65535"),
            ("rcvmss", "536"),
            ("advmss", "65483"),
            ("cwnd", "17"),
            ("bytes_sent", "70"),
            ("bytes_acked", "71"),
            ("bytes_received", "70"),
            ("segs_out", "16"),
            ("segs_in", "9"),
            ("data_segs_out", "7"),
            ("data_segs_in", "7"),
            ("bbr", "(bw:13107187496bps,mrtt:0.02,pacing_gain:2.88672,cwnd_gain:2.88672)"),
            ("send", "34816000000bps"),
            ("lastsnd", "130"),
            ("lastrcv", "129"),
            ("lastack", "129"),
            ("pacing_rate", "136208282528bps"),
            ("delivery_rate", "13107200000bps"),
            ("delivered", "8"),
            ("app_limited", ""),
            ("busy", "3ms"),
            ("rcv_space", "65535"),
            ("rcv_ssthresh", "65535"),
            ("minrtt", "0.02"),
            ("snd_wnd", "65536"),
            ("rcv_wnd", "65536"),
        ]
    );
    let address = (sockets[1].local.ip.unwrap().to_string(), sockets[1].local.port);
    assert_eq!(address, ("127.0.0.1".to_owned(), 14885));
}

/// Captures hold more than the dump that the text was printed from: other families, other programs' dumps.
/// So a cookie can have several rows, and one of them has to be the very message that `ss` printed.
#[test]
fn every_socket_of_a_text_agrees_with_a_captured_message() {
    let Some(directory) = captures() else { return };
    let mut compared = Vec::new();
    for (kernel, name) in [
        ("4.19.319", "tcp_100_sockets"),
        ("6.6.44", "tcp_100_sockets_bbr"),
        ("6.6.44", "tcp_100_sockets_dctcp"),
        ("6.6.44", "tcp_100_sockets_vegas"),
    ] {
        let sockets = sockets(&directory, &format!("{kernel}/ss_{name}.txt"));
        let capture = fs::File::open(directory.join(format!("{kernel}/{name}.pcap"))).unwrap();
        let mut rows: Vec<Row> = Vec::new();
        for packet in PcapReader::new(std::io::BufReader::new(capture)).unwrap() {
            let packet = packet.unwrap();
            if packet.netlink_family == Some(4) && packet.direction == Some(Direction::FromKernel) {
                rows.extend(support::rows_of(&packet.payload));
            }
        }
        let joined = join(&sockets, &rows);
        let mut agreed = 0;
        let mut wrong = Vec::new();
        for (socket, first) in &joined.pairs {
            let same_cookie = |row: &&&Row| {
                row["inet_diag_msg_socket_cookie"] == first["inet_diag_msg_socket_cookie"]
            };
            let others = joined.duplicates_in_rows.iter().filter(same_cookie).copied();
            let all: Vec<Vec<String>> = [*first]
                .into_iter()
                .chain(others)
                .map(|row| compare(socket, row, Tolerance::Exact))
                .collect();
            if all.iter().any(Vec::is_empty) {
                agreed += 1;
            } else {
                wrong.push((socket.cookie(), all));
            }
        }
        assert_eq!(
            wrong.len(),
            0,
            "{name}: {agreed} agree; first that does not: {:#?}",
            wrong.first()
        );
        compared.push((name, agreed, joined.only_in_ss.len()));
    }
    assert_eq!(
        compared,
        [
            ("tcp_100_sockets", 311, 0),
            ("tcp_100_sockets_bbr", 303, 0),
            ("tcp_100_sockets_dctcp", 402, 0),
            ("tcp_100_sockets_vegas", 402, 0),
        ]
    );
}
