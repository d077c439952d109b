//! One socket as `ss` printed it against the row of the same socket: every word is checked, or is excused by name.
//!
//! It works both ways. A token of `ss` that the row does not account for is a mismatch, and so is a token that `ss`
//! would have printed of this row and did not. A word that is new to this crate is therefore a mismatch too.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;

use crate::Row;
use crate::ss::{SsAddress, SsSocket, SsToken};
use crate::ss_expect::{Expected, expect, number};

pub use crate::ss_join::{Joined, join};

/// How much time may lie between `ss` and the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// None: both are from the same netlink message, of another host (a capture). Control group paths, which only that
    /// host can resolve, are checked for presence.
    Exact,
    /// Both were read on this host, one after the other, while the socket was idle: [`MOVES_WHILE_IDLE`] is excused.
    Live,
}

/// What moves on a socket that does nothing, and why. All else has to be equal to the last digit.
///
/// Of the timer only the remaining time is excused: kind and number of probes are compared.
pub const MOVES_WHILE_IDLE: [(&str, &str); 4] = [
    ("timer", "idiag_expires is the time that remains"),
    ("lastsnd", "tcpi_last_data_sent is the time since then"),
    ("lastrcv", "tcpi_last_data_recv is the time since then"),
    ("lastack", "tcpi_last_ack_recv is the time since then"),
];

/// What `ss` prints that no row carries, and why.
pub const NOT_IN_A_ROW: [(&str, &str); 2] = [
    (
        "users",
        "the processes that hold the socket: found by ss in /proc/<pid>/fd, not by sock_diag",
    ),
    ("md5keys", "INET_DIAG_MD5SIG is the secret key itself: never exported"),
];

/// What `ss` prints of the upper layer protocol beyond its name, which is all that a row carries.
/// Excused only on sockets for which it printed `tcp-ulp-…`.
pub const NOT_IN_A_ROW_OF_AN_ULP: [&str; 13] = [
    // TLS_INFO_*
    "version",
    "cipher",
    "rxconf",
    "txconf",
    "zc_ro_tx",
    "no_pad_rx",
    // MPTCP_SUBFLOW_ATTR_*
    "flags",
    "token",
    "seq",
    "sfseq",
    "ssnoff",
    "maplen",
    "id",
];

/// Compares all that `ss` printed of a socket with its row.
///
/// Each mismatch names the token or column, what `ss` printed, and what the row amounts to. Empty when they agree.
pub fn compare(ss: &SsSocket, row: &Row, tolerance: Tolerance) -> Vec<String> {
    let mut mismatches = Vec::new();
    check_columns(ss, row, &mut mismatches);
    check_address("local", &ss.local, row, SOURCE, &mut mismatches);
    check_address("peer", &ss.peer, row, DESTINATION, &mut mismatches);

    let expected = expect(row);
    let has_ulp = ss.tokens.iter().any(|token| token.key.starts_with("tcp-ulp-"));
    for token in &ss.tokens {
        if token.key == "cgroup" {
            mismatches.extend(check_cgroup(&token.value, row, tolerance));
        } else if !is_excused(token, has_ulp, tolerance) {
            mismatches.extend(check_token(token, &expected, tolerance));
        }
    }
    for expected in expected
        .iter()
        .filter(|expected| expected.always_printed && !moves(&expected.key, tolerance))
    {
        if ss.token(&expected.key).is_none() {
            mismatches.push(format!(
                "{}: ss printed nothing, row gives {}",
                expected.key,
                accepted(expected)
            ));
        }
    }
    for (at, token) in ss.tokens.iter().enumerate() {
        // Only the control group is printed twice: by -e and by --cgroup.
        if token.key != "cgroup"
            && ss.tokens.iter().take(at).any(|earlier| earlier.key == token.key)
        {
            mismatches
                .push(format!("{}: ss printed it twice, again as `{}`", token.key, token.value));
        }
    }
    mismatches
}

fn check_columns(ss: &SsSocket, row: &Row, mismatches: &mut Vec<String>) {
    let columns = [
        ("state", ss.state_number(), "inet_diag_msg_state"),
        ("recv_q", Some(u64::from(ss.recv_q)), "inet_diag_msg_rqueue"),
        ("send_q", Some(u64::from(ss.send_q)), "inet_diag_msg_wqueue"),
    ];
    for (name, printed, column) in columns {
        let in_row = number(row, column);
        if printed.is_none() || printed != in_row {
            mismatches.push(format!("{name}: ss {printed:?}, row's {column} {in_row:?}"));
        }
    }
}

/// The columns of one end: address, port, and interface where this end has one.
type EndColumns = (&'static str, &'static str, Option<&'static str>);

const SOURCE: EndColumns = (
    "inet_diag_msg_socket_source",
    "inet_diag_msg_socket_source_port",
    Some("inet_diag_msg_socket_interface"),
);
const DESTINATION: EndColumns =
    ("inet_diag_msg_socket_destination", "inet_diag_msg_socket_destination_port", None);

fn check_address(
    end: &str,
    ss: &SsAddress,
    row: &Row,
    columns: EndColumns,
    mismatches: &mut Vec<String>,
) {
    let (address, port, interface) = columns;
    let in_row: Option<IpAddr> =
        row.get(address).and_then(Value::as_str).and_then(|text| text.parse().ok());
    // `*` is `::` of a socket that takes IPv4 as well; `[::]` is the one that does not.
    let unspecified = in_row == Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let printed_as_star = unspecified && number(row, "ipv6_only").unwrap_or(0) == 0;
    let expected = if printed_as_star { None } else { in_row };
    if in_row.is_none() || ss.ip != expected {
        mismatches.push(format!("{end} address: ss {:?}, row {:?}", ss.ip, row.get(address)));
    }
    let family = number(row, "inet_diag_msg_family");
    if in_row.is_some_and(|ip| family != Some(if ip.is_ipv4() { AF_INET } else { AF_INET6 })) {
        mismatches
            .push(format!("{end} address: row's family {family:?} is not that of its {in_row:?}"));
    }
    if number(row, port) != Some(u64::from(ss.port)) {
        mismatches.push(format!("{end} port: ss {}, row {:?}", ss.port, row.get(port)));
    }
    let Some(interface) = interface else { return };
    let index = number(row, interface).unwrap_or(0);
    let agrees = match (&ss.interface, ss.interface_index) {
        (None, _) => index == 0,
        (Some(_), Some(known)) => index == u64::from(known),
        // A captured text names an interface of another host; `ifN` is what ss prints when it knows no name.
        (Some(name), None) => match name.strip_prefix("if").map(str::parse::<u64>) {
            Some(Ok(printed)) => index == printed,
            _ => index != 0,
        },
    };
    if !agrees {
        mismatches.push(format!(
            "interface: ss {:?} ({:?}), row {index}",
            ss.interface, ss.interface_index
        ));
    }
}

fn check_token(token: &SsToken, expected: &[Expected], tolerance: Tolerance) -> Option<String> {
    let SsToken { key, value } = token;
    let Some(expected) = expected.iter().find(|expected| expected.key == *key) else {
        return Some(format!(
            "{key}: ss printed `{value}`, row gives nothing (or this word is new)"
        ));
    };
    let agrees = if tolerance == Tolerance::Live && key == "timer" {
        expected.accepted.iter().any(|accepted| without_time(accepted) == without_time(value))
    } else {
        expected.accepted.contains(value)
    };
    (!agrees).then(|| format!("{key}: ss printed `{value}`, row gives {}", accepted(expected)))
}

fn check_cgroup(path: &str, row: &Row, tolerance: Tolerance) -> Option<String> {
    let in_row = number(row, "c_group");
    let agrees = match (path.strip_prefix("unreachable:"), tolerance) {
        (Some(id), _) => in_row.is_some() && u64::from_str_radix(id, 16).ok() == in_row,
        (None, Tolerance::Exact) => in_row.is_some_and(|id| id != 0),
        (None, Tolerance::Live) => match cgroup_mount() {
            // The id of a control group is the inode of its directory.
            Some(mount) => {
                let directory = mount.join(path.trim_start_matches('/'));
                in_row.is_some()
                    && fs::metadata(directory).ok().map(|metadata| metadata.ino()) == in_row
            }
            None => in_row.is_some(),
        },
    };
    (!agrees).then(|| format!("cgroup: ss printed `{path}`, row gives {in_row:?}"))
}

fn is_excused(token: &SsToken, has_ulp: bool, tolerance: Tolerance) -> bool {
    NOT_IN_A_ROW.iter().any(|(key, _)| *key == token.key)
        || has_ulp && NOT_IN_A_ROW_OF_AN_ULP.contains(&token.key.as_str())
        || moves(&token.key, tolerance) && token.key != "timer"
}

fn moves(key: &str, tolerance: Tolerance) -> bool {
    // A timer is there or not, whatever its time.
    tolerance == Tolerance::Live
        && key != "timer"
        && MOVES_WHILE_IDLE.iter().any(|(moving, _)| *moving == key)
}

/// `(keepalive,11sec,0)` as `("(keepalive", "0)")`.
fn without_time(timer: &str) -> Option<(&str, &str)> {
    let (kind, rest) = timer.split_once(',')?;
    Some((kind, rest.split_once(',')?.1))
}

fn accepted(expected: &Expected) -> String {
    let quoted: Vec<String> = expected.accepted.iter().map(|value| format!("`{value}`")).collect();
    quoted.join(" or ")
}

/// Where the unified control group hierarchy is mounted.
fn cgroup_mount() -> Option<&'static PathBuf> {
    static MOUNT: OnceLock<Option<PathBuf>> = OnceLock::new();
    MOUNT
        .get_or_init(|| {
            let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
            let mut fields = mounts.lines().map(|line| line.split(' '));
            fields.find_map(|mut line| {
                let path = line.nth(1)?;
                (line.next() == Some("cgroup2")).then(|| PathBuf::from(path))
            })
        })
        .as_ref()
}

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ss::parse;

    const ESTABLISHED: &str = "ESTAB 3 4 127.0.0.1:41223 127.0.0.1:4065 users:((\"c\",pid=2,fd=7)) \
        timer:(keepalive,11sec,0) uid:1000 ino:29244 sk:1000000016 <-> tos:0 class_id:0x7 \
        skmem:(r0,rb1,t0,tb2,f0,w0,o0,bl0,d5) ts sack ecn cubic wscale:9,8 rto:201 rtt:0.083/0.068 mss:32768 cwnd:10 \
        ssthresh:7 bytes_acked:161 send 31583614458bps lastsnd:1494 pacing_rate 80bps/160bps delivery_rate 8bps \
        app_limited busy:1ms rwnd_limited:0ms(33.3%) retrans:0/2 reordering:5 minrtt:0.008";

    fn established() -> Row {
        let row = r#"{
            "inet_diag_msg_family": 2, "inet_diag_msg_state": 1, "inet_diag_msg_rqueue": 3, "inet_diag_msg_wqueue": 4,
            "inet_diag_msg_socket_source": "127.0.0.1", "inet_diag_msg_socket_source_port": 41223,
            "inet_diag_msg_socket_destination": "127.0.0.1", "inet_diag_msg_socket_destination_port": 4065,
            "inet_diag_msg_socket_interface": 0, "inet_diag_msg_socket_cookie": 68719476758,
            "inet_diag_msg_timer": 2, "inet_diag_msg_expires": 11400, "inet_diag_msg_retrans": 0,
            "inet_diag_msg_uid": 1000, "inet_diag_msg_inode": 29244, "shutdown_state": 0, "mark": 0,
            "type_of_service": 0, "class_id": 7,
            "sk_mem_info_rmem_alloc": 0, "sk_mem_info_rcv_buf": 1, "sk_mem_info_wmem_alloc": 0,
            "sk_mem_info_snd_buf": 2, "sk_mem_info_fwd_alloc": 0, "sk_mem_info_wmem_queued": 0,
            "sk_mem_info_optmem": 0, "sk_mem_info_backlog": 0, "sk_mem_info_drops": 5,
            "tcp_info_state": 1, "tcp_info_options": 15, "tcp_info_send_scale": 9, "tcp_info_rcv_scale": 8,
            "congestion_algorithm_string": "cubic", "tcp_info_rto": 201000, "tcp_info_rtt": 83,
            "tcp_info_rtt_var": 68, "tcp_info_snd_mss": 32768, "tcp_info_snd_cwnd": 10, "tcp_info_snd_ssthresh": 7,
            "tcp_info_bytes_acked": 161, "tcp_info_last_data_sent": 1494, "tcp_info_pacing_rate": 10,
            "tcp_info_max_pacing_rate": 20, "tcp_info_delivery_rate": 1, "tcp_info_delivery_rate_app_limited": 1,
            "tcp_info_busy_time": 1500, "tcp_info_rwnd_limited": 500, "tcp_info_retrans": 0,
            "tcp_info_total_retrans": 2, "tcp_info_reordering": 5, "tcp_info_min_rtt": 8, "tcp_info_rcv_wnd": 65536
        }"#;
        serde_json::from_str(row).unwrap()
    }

    fn one(text: &str) -> SsSocket {
        parse(text).unwrap().remove(0)
    }

    fn with(column: &str, value: Value) -> Vec<String> {
        let mut row = established();
        row.insert(column.to_owned(), value);
        compare(&one(ESTABLISHED), &row, Tolerance::Exact)
    }

    #[test]
    fn a_row_of_the_same_socket_agrees() {
        assert_eq!(
            compare(&one(ESTABLISHED), &established(), Tolerance::Exact),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_column_that_ss_printed_is_looked_at() {
        // Each column set to a value that is not its own makes a mismatch: none is ignored.
        let not_printed = ["mark", "tcp_info_state", "tcp_info_rcv_wnd"];
        let mut row = established();
        row.retain(|column, _| !not_printed.contains(&column.as_str()));
        for column in row.keys() {
            let other = match row.get(column).unwrap() {
                Value::String(_) if column.starts_with("inet") => json!("10.9.8.7"),
                Value::String(_) => json!("reno"),
                // Keeps the kind of a value that is only printed as a word: timer, options, flags, masks.
                value => json!(value.as_u64().unwrap() ^ 0x801),
            };
            if column == "tcp_info_delivery_rate_app_limited" || column == "inet_diag_msg_expires" {
                continue;
            }
            assert_ne!(with(column, other), Vec::<String>::new(), "{column}");
        }
        assert_eq!(
            with("tcp_info_delivery_rate_app_limited", json!(0)),
            ["app_limited: ss printed ``, row gives nothing (or this word is new)"]
        );
        assert_eq!(
            with("inet_diag_msg_expires", json!(12_000)),
            ["timer: ss printed `(keepalive,11sec,0)`, row gives `(keepalive,12sec,0)`"]
        );
    }

    #[test]
    fn a_mismatch_names_the_token_and_both_values() {
        assert_eq!(
            with("tcp_info_rtt_var", json!(69)),
            ["rtt: ss printed `0.083/0.068`, row gives `0.083/0.069`"]
        );
        assert_eq!(
            with("inet_diag_msg_socket_source_port", json!(1)),
            ["local port: ss 41223, row Some(Number(1))"]
        );
    }

    #[test]
    fn what_the_row_has_and_ss_did_not_print_is_a_mismatch() {
        assert_eq!(with("tcp_info_lost", json!(3)), ["lost: ss printed nothing, row gives `3`"]);
        // iproute2 6.1 does not know rehash, so its absence proves nothing.
        assert_eq!(with("tcp_info_rehash", json!(3)), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_word_is_a_mismatch() {
        let text = format!("{ESTABLISHED} brand_new:1 shiny");
        assert_eq!(
            compare(&one(&text), &established(), Tolerance::Live),
            [
                "brand_new: ss printed `1`, row gives nothing (or this word is new)",
                "congestion: ss printed `shiny`, row gives `cubic`",
                "congestion: ss printed it twice, again as `shiny`",
            ]
        );
    }

    #[test]
    fn live_excuses_the_passing_of_time_and_nothing_else() {
        let mut row = established();
        row.insert("inet_diag_msg_expires".to_owned(), json!(9000));
        row.insert("tcp_info_last_data_sent".to_owned(), json!(2000));
        row.insert("tcp_info_last_data_recv".to_owned(), json!(2000));
        assert_eq!(compare(&one(ESTABLISHED), &row, Tolerance::Live), Vec::<String>::new());
        assert_eq!(compare(&one(ESTABLISHED), &row, Tolerance::Exact).len(), 3);
        row.insert("inet_diag_msg_retrans".to_owned(), json!(1));
        assert_eq!(
            compare(&one(ESTABLISHED), &row, Tolerance::Live),
            ["timer: ss printed `(keepalive,11sec,0)`, row gives `(keepalive,9.000ms,1)`"]
                .map(|text| text.replace("9.000ms", "9sec"))
        );
    }

    #[test]
    fn a_star_is_the_ipv6_wildcard_that_takes_ipv4() {
        let text = "LISTEN 0 5 *:80 *:* ino:9 sk:1 v6only:0 <-> tos:0 tclass:0x2";
        let row = |only: u8| {
            let row = json!({
                "inet_diag_msg_family": 10, "inet_diag_msg_state": 10, "inet_diag_msg_rqueue": 0,
                "inet_diag_msg_wqueue": 5, "inet_diag_msg_socket_source": "::", "inet_diag_msg_socket_source_port": 80,
                "inet_diag_msg_socket_destination": "::", "inet_diag_msg_socket_destination_port": 0,
                "inet_diag_msg_socket_cookie": 1, "inet_diag_msg_inode": 9, "ipv6_only": only, "shutdown_state": 0,
                "type_of_service": 0, "traffic_class": 2
            });
            row.as_object().unwrap().clone()
        };
        assert_eq!(compare(&one(text), &row(0), Tolerance::Exact), Vec::<String>::new());
        assert_eq!(compare(&one(text), &row(1), Tolerance::Exact).len(), 3);
        let only = text.replace("*:80 *:*", "[::]:80 [::]:*").replace("v6only:0", "v6only:1");
        assert_eq!(compare(&one(&only), &row(1), Tolerance::Exact), Vec::<String>::new());
        assert_eq!(compare(&one(&only), &row(0), Tolerance::Exact).len(), 3);
    }

    #[test]
    fn an_interface_is_compared_by_its_index() {
        let mut ss = one(ESTABLISHED);
        ss.local.interface = Some("eth0".to_owned());
        ss.local.interface_index = Some(4);
        let mut row = established();
        row.insert("inet_diag_msg_socket_interface".to_owned(), json!(4));
        assert_eq!(compare(&ss, &row, Tolerance::Live), Vec::<String>::new());
        row.insert("inet_diag_msg_socket_interface".to_owned(), json!(5));
        assert_eq!(
            compare(&ss, &row, Tolerance::Live),
            ["interface: ss Some(\"eth0\") (Some(4)), row 5"]
        );
    }

    #[test]
    fn the_details_of_an_upper_layer_are_excused_only_with_its_name() {
        let details = "version: 1.3 cipher: aes-gcm-128 rxconf: sw txconf: none zc_ro_tx";
        let mut row = established();
        row.insert("ulp_name".to_owned(), json!("tls"));
        let with_name = one(&format!("{ESTABLISHED} tcp-ulp-tls {details}"));
        assert_eq!(compare(&with_name, &row, Tolerance::Exact), Vec::<String>::new());
        let without = one(&format!("{ESTABLISHED} {details}"));
        assert_eq!(compare(&without, &established(), Tolerance::Exact).len(), 5);
    }
}
