//! Rows as most sockets have them take a shorter way through some encoders: it makes no difference.

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use sockeye_record::v1::Envelope;
use sockeye_record::{Deltas, Encoder, Encoding, FORMATS, Format, SocketRow};
use sockeye_sys::avx512::Avx512;
use sockeye_wire::{AttrSet, InetDiag};

use crate::common::expected::records;
use crate::common::socket::{
    BbrInfo, Cut, KernelStruct, MptcpInfo, SkMemInfo, Socket, TcpInfo, Ulp,
};
use crate::common::strategies::{Lengths, dump, socket};
use crate::common::{Dump, Rows, encode, envelope, plain, with_row};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn all_ways_write_the_same_bytes(
        dump in dump(), sockets in vec(prop_oneof![3 => common_socket(), 1 => socket(Lengths::Any)], 1..4)
    ) {
        for (format, name, _) in FORMATS {
            for humanize in [false, true] {
                let encoding = Encoding { humanize: Some(humanize), ..plain(format) };
                let [eight_wide, short, long] = ways(&encoding).map(|mut encoder| {
                    let mut out = Vec::new();
                    encoder.begin_dump(&dump.context());
                    for socket in &sockets {
                        with_row(socket, |row| encoder.row(row, &mut out));
                    }
                    out
                });
                prop_assert!(short == long, "{} {}", name, humanize);
                prop_assert!(eight_wide == long, "{} {}", name, humanize);
            }
        }
    }

    #[test]
    fn common_rows_make_the_bytes_that_prost_makes(dump in dump(), sockets in vec(common_socket(), 1..4)) {
        let dumps = [Rows { dump, sockets }];
        let expected = Envelope { row: records(&dumps) }.encode_length_delimited_to_vec();
        prop_assert_eq!(envelope(&plain(Format::ProtobufList), &dumps), expected);
    }
}

#[test]
fn each_bit_of_a_message_makes_the_same_difference_in_all_ways() {
    // Without any other bit, and beside bits of all numbers that are not too long for eight at a time.
    for bits in [0, 0x0103_0405_0607] {
        let payload = of_numbers(bits).payload();
        let mut ways = ways(&plain(Format::ProtobufList));
        let diag = InetDiag::parse(&payload, AttrSet::ALL).unwrap();
        let goes = ways.each_ref().map(|way| way.goes_eight_wide(&SocketRow::new(&diag, 1, 3, 0)));
        assert_eq!(goes, [Avx512::detect().is_some(), false, false]);
        for bit in 0..payload.len() * 8 {
            let mut payload = payload.clone();
            payload[bit / 8] ^= 1 << (bit % 8);
            let Ok(diag) = InetDiag::parse(&payload, AttrSet::ALL) else { continue };
            let [eight_wide, short, long] = ways.each_mut().map(|encoder| {
                let mut out = Vec::new();
                encoder.row(&SocketRow::new(&diag, 1, 3, 0), &mut out);
                out
            });
            assert!(eight_wide == long && short == long, "bit {} of byte {}", bit % 8, bit / 8);
        }
    }
}

#[test]
fn numbers_around_what_is_absent_and_what_is_long_are_the_same_in_all_ways() {
    let long = 1 << 42;
    let words = [0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, u64::from(u32::MAX), 1 << 35];
    let longs = [long - 2, long - 1, long, 1 << 62, u64::MAX - 1, u64::MAX];
    let mut ways = ways(&plain(Format::ProtobufList));
    for value in words.into_iter().chain(longs) {
        let with_rates = |all, pacing_rate, max_pacing_rate| {
            let mut socket = of_numbers(all);
            if let Some(Cut { value: info, .. }) = &mut socket.info {
                (info.pacing_rate, info.max_pacing_rate) = (pacing_rate, max_pacing_rate);
            }
            socket
        };
        let sockets = [of_numbers(value), with_rates(5, value, u64::MAX), with_rates(value, 5, 0)];
        for socket in sockets {
            let [eight_wide, short, long] = ways.each_mut().map(|encoder| {
                let mut out = Vec::new();
                with_row(&socket, |row| encoder.row(row, &mut out));
                out
            });
            assert!(eight_wide == long && short == long, "{value:#x}");
        }
    }
}

#[test]
fn the_longest_rows_fit_where_rows_are_written() {
    // Texts at both sides of what is copied as it is.
    for text in [16, 17, 32, 33, 500].map(|len| "x".repeat(len)) {
        for socket in [longest(), common(longest())] {
            let dumps = [Rows { dump: named(&text), sockets: vec![socket.clone(), socket] }];
            let expected = Envelope { row: records(&dumps) }.encode_length_delimited_to_vec();
            assert!(envelope(&plain(Format::ProtobufList), &dumps) == expected, "{}", text.len());
            for line in encode(&plain(Format::Jsonl), &dumps).split_inclusive(|byte| *byte == b'\n')
            {
                let row: serde_json::Value = serde_json::from_slice(line).unwrap();
                assert_eq!(row["hostname"], text);
                assert_eq!(row["tcp_info_rcv_ooopack"], u32::MAX);
                assert_eq!(row["tcp_info_accecn_word"], u32::MAX);
                assert_eq!(row["delta_bytes_sent"], u64::MAX);
                assert_eq!(
                    row["inet_diag_msg_socket_source"],
                    "eeee:eeee:eeee:eeee:eeee:eeee:eeee:eeee"
                );
            }
            for humanize in [false, true] {
                let encoding = Encoding { humanize: Some(humanize), ..plain(Format::Csv) };
                let header = Encoder::new(&encoding).header();
                let cells = header.split(|byte| *byte == b',').count();
                let rows = encode(&encoding, &dumps);
                let lines = rows.split_inclusive(|byte| *byte == b'\n');
                assert!(lines.map(|row| row.split(|byte| *byte == b',').count()).eq([cells; 2]));
            }
        }
    }
}

/// An encoder that does what this processor can, one for any processor, and one without a shorter way.
fn ways(encoding: &Encoding) -> [Encoder; 3] {
    let encoder = Encoder::new(encoding);
    [encoder.clone(), encoder.clone().without_avx512(), encoder.without_shortcut()]
}

/// Any socket with the structs of a common one.
fn common_socket() -> impl Strategy<Value = Socket> {
    // Numbers of more than 42 bits are few: rows that have one are not written eight columns at a time.
    let words = prop_oneof![
        3 => vec(prop_oneof![2 => Just(0), 2 => 0..300u64, 1 => 0..(1u64 << 42) - 1], TcpInfo::FIELDS),
        1 => vec(prop_oneof![2 => Just(0), 2 => 0..300u64, 1 => any::<u64>()], TcpInfo::FIELDS),
    ];
    (socket(Lengths::Whole), words).prop_map(|(socket, words)| {
        // Most are not joined: those that are go the long way.
        let known = socket.known.filter(|_| socket.sport % 4 == 0);
        let cookie = if socket.sport % 4 == 1 { socket.cookie } else { socket.cookie >> 22 };
        let Socket { info, skmem, .. } = of_words(&words);
        common(Socket { cookie, info, skmem, known, ..socket })
    })
}

/// A common socket whose every number is this one, as far as it goes.
#[expect(clippy::cast_possible_truncation, reason = "as far as it goes")]
fn of_numbers(number: u64) -> Socket {
    let [expires, rqueue, wqueue, uid, inode] = [number as u32; 5];
    common(Socket {
        record_counter: number,
        state: number as u8,
        timer: number as u8,
        retrans: number as u8,
        sport: number as u16,
        dport: number as u16,
        interface: number as u32,
        cookie: number,
        expires,
        rqueue,
        wqueue,
        uid,
        inode,
        ..of_words(&[number; TcpInfo::FIELDS])
    })
}

/// A socket whose structs have these numbers.
fn of_words(words: &[u64]) -> Socket {
    let info = Some(Cut::whole(TcpInfo::from_words(words)));
    let skmem = Some(Cut::whole(SkMemInfo::from_words(words)));
    Socket { info, skmem, ..Socket::default() }
}

/// The same socket without what few have.
fn common(socket: Socket) -> Socket {
    Socket { meminfo: None, vegas: None, dctcp: None, ulp: None, ..socket }
}

/// A socket whose every number is as long as it gets.
fn longest() -> Socket {
    fn most<T: KernelStruct>() -> Cut<T> {
        Cut::whole(T::from_words(&vec![u64::MAX; T::FIELDS]))
    }
    let mut info = most::<TcpInfo>();
    // All ones would mean that they are infinite.
    (info.value.snd_ssthresh, info.value.min_rtt) = (0x7fff_fffe, 0x7fff_fffe);
    (info.value.pacing_rate, info.value.max_pacing_rate) = (u64::MAX - 1, u64::MAX - 1);
    let mut bbr = most::<BbrInfo>();
    bbr.value.min_rtt = 0x7fff_fffe;
    Socket {
        record_counter: u64::MAX,
        socket_fd: u64::MAX,
        netlinker_id: u64::MAX,
        ipv6: true,
        state: u8::MAX,
        timer: u8::MAX,
        retrans: u8::MAX,
        sport: u16::MAX,
        dport: u16::MAX,
        src: [0xee; 16],
        dst: [0xee; 16],
        interface: u32::MAX,
        cookie: u64::MAX,
        expires: u32::MAX,
        rqueue: u32::MAX,
        wqueue: u32::MAX,
        uid: u32::MAX,
        inode: u32::MAX,
        meminfo: Some(most()),
        info: Some(info),
        vegas: Some(most()),
        cong: Some(b"a_name_of_many_characters".to_vec()),
        tos: Some(u8::MAX),
        tclass: Some(u8::MAX),
        skmem: Some(most()),
        shutdown: Some(u8::MAX),
        dctcp: Some(most()),
        v6only: Some(u8::MAX),
        mark: Some(u32::MAX),
        bbr: Some(bbr),
        class_id: Some(u32::MAX),
        ulp: Some(Ulp::Mptcp(MptcpInfo::from_words(&[u64::MAX; MptcpInfo::FIELDS]))),
        cgroup: Some(u64::MAX),
        sockopt: Some([u8::MAX; 2]),
        noise: false,
        known: None,
        deltas: Some(Deltas {
            flags: 7,
            bytes_sent: u64::MAX,
            bytes_received: u64::MAX,
            bytes_retrans: u64::MAX,
            segs_out: u32::MAX,
            segs_in: u32::MAX,
        }),
    }
}

fn named(text: &str) -> Dump {
    Dump {
        timestamp_ns: i64::MIN,
        boottime_ns: i64::MIN,
        hostname: text.into(),
        location: text.into(),
        netns: text.into(),
        netns_inode: u64::MAX,
        nsid: Some(u32::MAX),
        container_id: text.into(),
        container_runtime: text.into(),
        label: text.into(),
        tag: text.into(),
        record_kind: u32::MAX,
    }
}
