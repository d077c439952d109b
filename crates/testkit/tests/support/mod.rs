//! Rows made from netlink messages by a decoder of this crate's own: short, slow, and independent of Sockeye's.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a malformed capture is to fail the test"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};
use sockeye_testkit::Row;

/// The rows of all `inet_diag` answers in these bytes: netlink messages as one `recv` gives them, or many in a row.
pub(crate) fn rows_of(mut messages: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    while messages.len() >= 16 {
        let length = u32_at(messages, 0) as usize;
        let kind = u16::from_ne_bytes([messages[4], messages[5]]);
        // SOCK_DIAG_BY_FAMILY, long enough for an inet_diag_msg: not the request, which is shorter.
        if kind == 20 && length >= 16 + 72 {
            rows.push(row_of(&messages[16..length]));
        }
        messages = &messages[length.next_multiple_of(4).min(messages.len())..];
    }
    rows
}

fn row_of(message: &[u8]) -> Row {
    let mut row = Row::new();
    let mut set = |column: &str, value: Value| row.insert(column.to_owned(), value);
    for (offset, name) in ["family", "state", "timer", "retrans"].iter().enumerate() {
        set(&format!("inet_diag_msg_{name}"), json!(message[offset]));
    }
    set("inet_diag_msg_socket_source_port", json!(u16::from_be_bytes([message[4], message[5]])));
    set(
        "inet_diag_msg_socket_destination_port",
        json!(u16::from_be_bytes([message[6], message[7]])),
    );
    set("inet_diag_msg_socket_source", json!(ip_at(message, 8)));
    set("inet_diag_msg_socket_destination", json!(ip_at(message, 24)));
    set("inet_diag_msg_socket_interface", json!(u32_at(message, 40)));
    set("inet_diag_msg_socket_cookie", json!(u64_at(message, 44)));
    for (index, name) in ["expires", "rqueue", "wqueue", "uid", "inode"].iter().enumerate() {
        set(&format!("inet_diag_msg_{name}"), json!(u32_at(message, 52 + 4 * index)));
    }
    let mut attributes = &message[72..];
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]) & 0x3fff;
        attribute(&mut row, kind, &attributes[4..length]);
        attributes = &attributes[length.next_multiple_of(4).min(attributes.len())..];
    }
    row
}

fn attribute(row: &mut Row, kind: u16, value: &[u8]) {
    let mut words = |prefix: &str, names: &[&str]| {
        for (index, name) in
            names.iter().enumerate().filter(|(index, _)| value.len() >= 4 * index + 4)
        {
            row.insert(format!("{prefix}{name}"), json!(u32_at(value, 4 * index)));
        }
    };
    match kind {
        1 => words("mem_info_", &["rmem", "wmem", "fmem", "tmem"]),
        2 => tcp_info(row, value),
        3 => words("vegas_info_", &["enabled", "rtt_cnt", "rtt", "min_rtt"]),
        4 => {
            let name: Vec<u8> = value.iter().copied().take_while(|byte| *byte != 0).collect();
            row.insert(
                "congestion_algorithm_string".to_owned(),
                json!(String::from_utf8(name).unwrap()),
            );
        }
        5 => drop(row.insert("type_of_service".to_owned(), json!(value[0]))),
        6 => drop(row.insert("traffic_class".to_owned(), json!(value[0]))),
        7 => words("sk_mem_info_", &SK_MEM_INFO),
        8 => drop(row.insert("shutdown_state".to_owned(), json!(value[0]))),
        9 => {
            words("dctcp_info_", &["", "alpha", "ab_ecn", "ab_tot"]);
            row.remove("dctcp_info_");
            row.insert(
                "dctcp_info_enabled".to_owned(),
                json!(u16::from_ne_bytes([value[0], value[1]])),
            );
            row.insert(
                "dctcp_info_ce_state".to_owned(),
                json!(u16::from_ne_bytes([value[2], value[3]])),
            );
        }
        11 => drop(row.insert("ipv6_only".to_owned(), json!(value[0]))),
        15 => words("", &["mark"]),
        16 => words("bbr_info_", &["bw_lo", "bw_hi", "min_rtt", "pacing_gain", "cwnd_gain"]),
        17 => words("", &["class_id"]),
        21 => drop(row.insert("c_group".to_owned(), json!(u64_at(value, 0)))),
        _ => {}
    }
}

fn tcp_info(row: &mut Row, info: &[u8]) {
    let mut set = |name: &str, value: u64| row.insert(format!("tcp_info_{name}"), json!(value));
    for (offset, name) in
        ["state", "ca_state", "retransmits", "probes", "backoff", "options"].iter().enumerate()
    {
        set(name, u64::from(info[offset]));
    }
    set("send_scale", u64::from(info[6] & 0xf));
    set("rcv_scale", u64::from(info[6] >> 4));
    set("delivery_rate_app_limited", u64::from(info[7] & 1));
    let mut offset = 8;
    for (name, size) in TCP_INFO {
        if offset + size > info.len() {
            break;
        }
        set(name, if size == 8 { u64_at(info, offset) } else { u64::from(u32_at(info, offset)) });
        offset += size;
    }
}

fn ip_at(message: &[u8], offset: usize) -> IpAddr {
    if message[0] == 2 {
        Ipv4Addr::from(<[u8; 4]>::try_from(&message[offset..offset + 4]).unwrap()).into()
    } else {
        Ipv6Addr::from(<[u8; 16]>::try_from(&message[offset..offset + 16]).unwrap()).into()
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

const SK_MEM_INFO: [&str; 9] = [
    "rmem_alloc",
    "rcv_buf",
    "wmem_alloc",
    "snd_buf",
    "fwd_alloc",
    "wmem_queued",
    "optmem",
    "backlog",
    "drops",
];

/// `struct tcp_info` from byte 8 on, as far as `ss` prints it.
const TCP_INFO: [(&str, usize); 48] = [
    ("rto", 4),
    ("ato", 4),
    ("snd_mss", 4),
    ("rcv_mss", 4),
    ("unacked", 4),
    ("sacked", 4),
    ("lost", 4),
    ("retrans", 4),
    ("fackets", 4),
    ("last_data_sent", 4),
    ("last_ack_sent", 4),
    ("last_data_recv", 4),
    ("last_ack_recv", 4),
    ("pmtu", 4),
    ("rcv_ssthresh", 4),
    ("rtt", 4),
    ("rtt_var", 4),
    ("snd_ssthresh", 4),
    ("snd_cwnd", 4),
    ("adv_mss", 4),
    ("reordering", 4),
    ("rcv_rtt", 4),
    ("rcv_space", 4),
    ("total_retrans", 4),
    ("pacing_rate", 8),
    ("max_pacing_rate", 8),
    ("bytes_acked", 8),
    ("bytes_received", 8),
    ("segs_out", 4),
    ("segs_in", 4),
    ("not_sent_bytes", 4),
    ("min_rtt", 4),
    ("data_segs_in", 4),
    ("data_segs_out", 4),
    ("delivery_rate", 8),
    ("busy_time", 8),
    ("rwnd_limited", 8),
    ("sndbuf_limited", 8),
    ("delivered", 4),
    ("delivered_ce", 4),
    ("bytes_sent", 8),
    ("bytes_retrans", 8),
    ("dsack_dups", 4),
    ("reord_seen", 4),
    ("rcv_ooopack", 4),
    ("snd_wnd", 4),
    ("rcv_wnd", 4),
    ("rehash", 4),
];
