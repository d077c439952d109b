//! Sockets and dumps at random, with many zeros, extremes and odd lengths among them.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sockeye_record::{COLUMNS, Deltas};

use super::socket::{Cut, KernelStruct, Known, MptcpInfo, SkMemInfo, Socket, Ulp};
use super::{Dump, Rows};

/// Whether attributes may be shorter than the structs they hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Lengths {
    /// As kernels from 4.7 on send them (a `tcp_info` has any length).
    Whole,
    /// As nobody promised that they never will be.
    Any,
}

/// Several dumps with some sockets each, and at least one row.
pub(crate) fn dumps(lengths: Lengths) -> impl Strategy<Value = Vec<Rows>> {
    let rows =
        (dump(), vec(socket(lengths), 0..4)).prop_map(|(dump, sockets)| Rows { dump, sockets });
    vec(rows, 1..4)
        .prop_filter("no rows", |dumps| dumps.iter().any(|rows| !rows.sockets.is_empty()))
}

/// Some of the columns, by name.
pub(crate) fn columns() -> impl Strategy<Value = String> {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    proptest::sample::subsequence(names, 1..40).prop_shuffle().prop_map(|names| names.join(","))
}

pub(crate) fn dump() -> impl Strategy<Value = Dump> {
    let texts = vec(text(), 7);
    let kind = prop_oneof![word(), Just(2)];
    (any::<i64>(), word(), texts, word(), option::of(word()), kind).prop_map(
        |(timestamp_ns, boottime, mut texts, netns_inode, nsid, record_kind)| {
            let mut text = || texts.pop().unwrap();
            Dump {
                timestamp_ns,
                boottime_ns: boottime.cast_signed(),
                hostname: text(),
                location: text(),
                netns: text(),
                netns_inode,
                nsid: nsid.map(|nsid| nsid as u32),
                container_id: text(),
                container_runtime: text(),
                label: text(),
                tag: text(),
                record_kind: record_kind as u32,
            }
        },
    )
}

pub(crate) fn socket(lengths: Lengths) -> impl Strategy<Value = Socket> {
    let header =
        (vec(word(), 15), any::<[u8; 16]>(), any::<[u8; 16]>(), any::<bool>(), any::<bool>());
    let structs = (
        structs(lengths),
        tcp_info_length().prop_flat_map(|len| {
            vec(word(), <super::socket::TcpInfo as KernelStruct>::FIELDS)
                .prop_map(move |words| Cut { value: KernelStruct::from_words(&words), len })
        }),
        structs(lengths),
        structs(lengths),
        structs(lengths),
        structs(lengths),
        any::<u8>(),
    );
    let values = (option::of(cong()), vec(option::of(word()), 9), option::of(ulp()));
    (header, structs, values, option::of(known()), option::of(deltas())).prop_map(
        |(
            (words, src, dst, ipv6, noise),
            (meminfo, info, skmem, vegas, dctcp, bbr, has_info),
            (cong, values, ulp),
            known,
            deltas,
        )| Socket {
            record_counter: words[0],
            socket_fd: words[1],
            netlinker_id: words[2],
            ipv6,
            state: words[3] as u8,
            timer: words[4] as u8,
            retrans: words[5] as u8,
            sport: words[6] as u16,
            dport: words[7] as u16,
            src,
            dst,
            interface: words[8] as u32,
            cookie: words[9],
            expires: words[10] as u32,
            rqueue: words[11] as u32,
            wqueue: words[12] as u32,
            uid: words[13] as u32,
            inode: words[14] as u32,
            meminfo,
            info: (has_info > 40).then_some(info),
            vegas,
            cong,
            tos: values[0].map(|v| v as u8),
            tclass: values[1].map(|v| v as u8),
            skmem,
            shutdown: values[2].map(|v| v as u8),
            dctcp,
            v6only: values[3].map(|v| v as u8),
            mark: values[4].map(|v| v as u32),
            bbr,
            class_id: values[5].map(|v| v as u32),
            ulp,
            cgroup: values[6],
            sockopt: values[7].map(|v| (v as u16).to_ne_bytes()),
            noise,
            known,
            deltas,
        },
    )
}

fn known() -> impl Strategy<Value = Known> {
    let cong = option::of(prop_oneof![Just("cubic".to_owned()), "[a-z]{0,15}"]);
    let skmem = option::of(vec(word(), SkMemInfo::FIELDS).prop_map(|w| SkMemInfo::from_words(&w)));
    (cong, vec(option::of(word()), 3), skmem, option::of(any::<i64>())).prop_map(
        |(cong, values, skmem, first_seen_ns)| Known {
            cong,
            cgroup_id: values[0],
            uid: values[1].map(|v| v as u32),
            inode: values[2].map(|v| v as u32),
            skmem,
            first_seen_ns,
        },
    )
}

fn deltas() -> impl Strategy<Value = Deltas> {
    (0..8u32, vec(word(), 5)).prop_map(|(flags, words)| Deltas {
        flags,
        bytes_sent: words[0],
        bytes_received: words[1],
        bytes_retrans: words[2],
        segs_out: words[3] as u32,
        segs_in: words[4] as u32,
    })
}

/// A number, often one at an edge of something.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0),
        2 => 0..300u64,
        2 => any::<u32>().prop_map(u64::from),
        1 => any::<u64>(),
        1 => Just(u64::MAX),
        1 => Just(0x7fff_ffff),
        1 => (0..64u32).prop_map(|bits| 1 << bits),
    ]
}

/// What people and container runtimes name things, and what they should not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        2 => "[a-z][a-z0-9.-]{0,30}",
        1 => "\\PC{0,12}",
        1 => any::<String>(),
        1 => "[\"',;\t\r\n\\\\\0\u{7f}\u{9b}é a]{0,8}",
    ]
}

fn tcp_info_length() -> impl Strategy<Value = usize> {
    const HISTORIC: [usize; 13] = [104, 120, 136, 144, 160, 168, 192, 200, 224, 232, 240, 248, 280];
    prop_oneof![4 => proptest::sample::select(&HISTORIC[..]).boxed(), 2 => (100..320usize).boxed(), 1 => (0..104usize).boxed()]
}

fn structs<T: KernelStruct + Debug + Clone>(
    lengths: Lengths,
) -> impl Strategy<Value = Option<Cut<T>>> {
    let whole = T::default().bytes().len();
    let shortest = if lengths == Lengths::Whole { whole } else { 0 };
    let value = (vec(word(), T::FIELDS), shortest..whole + 9);
    option::of(value.prop_map(|(words, len)| Cut { value: T::from_words(&words), len }))
}

fn cong() -> impl Strategy<Value = Vec<u8>> {
    const KNOWN: [&str; 11] =
        ["cubic", "dctcp", "vegas", "prague", "bbr", "bbr2", "bbr3", "reno", "bb", "bbr33", ""];
    prop_oneof![
        4 => proptest::sample::select(&KNOWN[..]).prop_map(|name| format!("{name}\0").into_bytes()),
        1 => proptest::sample::select(&KNOWN[..]).prop_map(|name| name.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..16),
    ]
}

fn ulp() -> impl Strategy<Value = Ulp> {
    let tls = any::<[u16; 4]>().prop_map(|[version, cipher, tx_conf, rx_conf]| Ulp::Tls {
        version,
        cipher,
        tx_conf,
        rx_conf,
    });
    let mptcp =
        vec(word(), MptcpInfo::FIELDS).prop_map(|words| Ulp::Mptcp(MptcpInfo::from_words(&words)));
    prop_oneof![Just(Ulp::Tls { version: 0x0304, cipher: 51, tx_conf: 2, rx_conf: 0 }), tls, mptcp,]
}
