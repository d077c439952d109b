//! Rows as most sockets have them take a shorter way through some encoders: it makes no difference.

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use sockeye_record::v1::Envelope;
use sockeye_record::{Deltas, Encoder, Encoding, FORMATS, Format};

use crate::common::expected::records;
use crate::common::socket::{
    BbrInfo, Cut, KernelStruct, MptcpInfo, SkMemInfo, Socket, TcpInfo, Ulp,
};
use crate::common::strategies::{Lengths, dump, socket};
use crate::common::{Dump, Rows, encode, envelope, plain, with_row};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn both_ways_write_the_same_bytes(
        dump in dump(), sockets in vec(prop_oneof![3 => common_socket(), 1 => socket(Lengths::Any)], 1..4)
    ) {
        for (format, name, _) in FORMATS {
            for humanize in [false, true] {
                let encoding = Encoding { humanize: Some(humanize), ..plain(format) };
                let encoder = Encoder::new(&encoding);
                let (mut short, mut long) = (Vec::new(), Vec::new());
                for (mut encoder, out) in [(encoder.clone(), &mut short), (encoder.without_shortcut(), &mut long)] {
                    encoder.begin_dump(&dump.context());
                    for socket in &sockets {
                        with_row(socket, |row| encoder.row(row, out));
                    }
                }
                prop_assert!(short == long, "{} {}", name, humanize);
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

/// Any socket with the structs of a common one.
fn common_socket() -> impl Strategy<Value = Socket> {
    let words = vec(prop_oneof![2 => Just(0), 2 => 0..300u64, 1 => any::<u64>()], TcpInfo::FIELDS);
    (socket(Lengths::Whole), words).prop_map(|(socket, words)| {
        let info = Cut::whole(TcpInfo::from_words(&words));
        let skmem = Cut::whole(SkMemInfo::from_words(&words));
        // Most are not joined: those that are go the long way.
        let known = socket.known.filter(|_| socket.sport % 4 == 0);
        common(Socket { info: Some(info), skmem: Some(skmem), known, ..socket })
    })
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
