//! Any bytes at all through every view: nothing panics, nothing loops, and nothing reads what is not there.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::collection::vec;
use proptest::prelude::*;
use sockeye_wire::attrs::{Attrs, nr};
use sockeye_wire::companions::{BbrInfo, DctcpInfo, MemInfo, SkMemInfo, VegasInfo};
use sockeye_wire::inet_diag::MSG_BYTES;
use sockeye_wire::tcp_info::{FIELDS, KNOWN_BYTES};
use sockeye_wire::ulp::Ulp;
use sockeye_wire::{AttrSet, FrameError, InetDiag, Layouts, Messages, TcpInfo};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn messages_end_and_lie_inside_the_chunk_one_behind_the_other(chunk in chunk()) {
        let all: Vec<_> = Messages::new(&chunk).collect();
        prop_assert!(all.len() <= chunk.len() / 16 + 1);
        let mut end = 0;
        for (i, message) in all.iter().enumerate() {
            match message {
                Ok(message) => {
                    let start = message.payload.as_ptr() as usize - chunk.as_ptr() as usize;
                    prop_assert_eq!(start, end + 16);
                    prop_assert!(start + message.payload.len() <= chunk.len());
                    end = (start + message.payload.len()).next_multiple_of(4);
                }
                Err(FrameError::Header { offset } | FrameError::Short { offset, .. } | FrameError::Long { offset, .. }) => {
                    prop_assert_eq!((*offset, i), (end, all.len() - 1));
                }
            }
        }
        if all.iter().all(Result::is_ok) {
            prop_assert!(end >= chunk.len());
        }
        all.iter().flatten().for_each(|message| {
            print(&(message.errno(), message.interrupted()));
            every_view(message.payload);
        });
    }

    #[test]
    fn noise_is_read_or_refused_by_every_view(bytes in vec(any::<u8>(), 0..400)) {
        every_view(&bytes);
    }

    #[test]
    fn a_socket_with_noise_for_attributes_is_read_or_refused(mut bytes in vec(any::<u8>(), 72..400), ipv6: bool) {
        bytes[0] = if ipv6 { 10 } else { 2 };
        every_view(&bytes);
        prop_assert!(InetDiag::parse(&bytes[..MSG_BYTES], AttrSet::ALL).is_ok());
    }

    #[test]
    fn attributes_end_and_lie_inside_the_bytes_one_behind_the_other(bytes in attributes()) {
        let all: Vec<_> = Attrs::new(&bytes).collect();
        let mut end = 0;
        for (i, attr) in all.iter().enumerate() {
            let Ok(attr) = attr else {
                prop_assert_eq!(i, all.len() - 1);
                break;
            };
            prop_assert_eq!(attr.payload.as_ptr() as usize - bytes.as_ptr() as usize, end + 4);
            prop_assert!(attr.nr < 0x4000);
            end = (end + 4 + attr.payload.len()).next_multiple_of(4);
        }
        prop_assert!(end >= bytes.len() || matches!(all.last(), Some(Err(_))));
    }

    #[test]
    fn tcp_info_of_any_length_has_the_fields_that_lie_wholly_inside(bytes in vec(any::<u8>(), 0..300)) {
        let info = TcpInfo::new(&bytes);
        prop_assert_eq!((info.delivered_bytes(), info.unknown_bytes()), (bytes.len(), bytes.len().saturating_sub(KNOWN_BYTES)));
        let four = |at: usize| bytes.get(at..at + 4).map(|four| u32::from_ne_bytes(four.try_into().unwrap()));
        let eight = |at: usize| bytes.get(at..at + 8).map(|eight| u64::from_ne_bytes(eight.try_into().unwrap()));
        prop_assert_eq!((info.rtt_us(), info.total_retrans(), info.accecn_word()), (four(68), four(100), four(276)));
        prop_assert_eq!((info.pacing_rate(), info.bytes_retrans()), (eight(104), eight(208)));
        prop_assert_eq!(info.state(), bytes.first().copied());
        prop_assert_eq!(info.delivery_rate_app_limited().is_some(), bytes.len() >= 168);
        prop_assert_eq!(info.fastopen_client_fail().is_some(), bytes.len() >= 228);
    }

    #[test]
    fn what_was_read_before_changes_nothing(tails in vec(attributes(), 1..4), turns in vec((0..4usize, any::<u8>(), 0..80usize), 1..40)) {
        let mut layouts = Layouts::new(AttrSet::DEFAULT);
        for (turn, value, at) in turns {
            let mut bytes = vec![2; 72];
            bytes.extend(&tails[turn % tails.len()]);
            // A byte that differs: mostly in a payload, sometimes in a header.
            if let Some(byte) = bytes.get_mut(72 + at) {
                *byte = value;
            }
            let (again, alone) = (layouts.parse(&bytes), InetDiag::parse(&bytes, AttrSet::DEFAULT));
            prop_assert_eq!(again.is_ok(), alone.is_ok());
            if let (Ok(again), Ok(alone)) = (again, alone) {
                let all = |socket: &InetDiag<'_>| (socket.attributes(), socket.unknown_attributes(), socket.mark(), socket.tos());
                prop_assert_eq!(all(&again), all(&alone));
                let bytes = |socket: &InetDiag<'_>| format!("{:?} {:?} {:?} {:?}", socket.info(), socket.cong(), socket.skmeminfo(), socket.ulp());
                prop_assert_eq!(bytes(&again), bytes(&alone));
            }
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_there(mut bytes in vec(any::<u8>(), 72..80), tail in attributes(), wanted in any::<u32>()) {
        bytes.truncate(72);
        bytes[0] = 2;
        bytes.extend(tail);
        let wanted = (0..31).filter(|bit| wanted >> bit & 1 != 0).fold(AttrSet::NONE, |set, bit| set.union(AttrSet::of(bit)));
        if let Ok(socket) = InetDiag::parse(&bytes, wanted) {
            for bit in 0..32 {
                let came = socket.attributes() >> bit & 1 != 0;
                prop_assert!(!came || wanted.contains(bit) || bit == nr::SKV6ONLY);
            }
            prop_assert_eq!(socket.info().is_some(), socket.attributes() >> nr::INFO & 1 != 0);
            prop_assert_eq!(socket.mark().is_some(), socket.attributes() >> nr::MARK & 1 != 0);
            prop_assert_eq!(socket.attributes() & (1 << nr::MD5SIG | 1 << nr::PAD | 1), 0);
        }
    }
}

/// Bytes that are messages now and then.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let message = (
        prop_oneof![3 => Just(0i32), 1 => -20..20i32, 1 => any::<i32>()],
        any::<[u8; 12]>(),
        vec(any::<u8>(), 0..200),
    );
    let message = message.prop_map(|(lie, rest, payload)| {
        let mut payload = payload;
        if let [first, ..] = &mut payload[..] {
            *first = 2 + 8 * (*first % 2);
        }
        let len = i32::try_from(16 + payload.len()).unwrap().wrapping_add(lie);
        let mut bytes = [&len.to_ne_bytes()[..], &rest, &payload].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    });
    (vec(message, 0..6), vec(any::<u8>(), 0..20), 0..4usize).prop_map(|(messages, tail, cut)| {
        let mut bytes = messages.concat();
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        bytes.extend(tail);
        bytes
    })
}

/// Bytes that are attributes mostly.
fn attributes() -> impl Strategy<Value = Vec<u8>> {
    let one = (
        prop_oneof![6 => Just(0i16), 1 => -5..5i16, 1 => any::<i16>()],
        0..26u16,
        any::<u8>(),
        vec(any::<u8>(), 0..40),
    );
    let one = one.prop_map(|(lie, number, flags, payload)| {
        let len = i16::try_from(4 + payload.len()).unwrap().wrapping_add(lie);
        let number = number | u16::from(flags & 0xc0) << 8;
        let mut bytes = [&len.to_ne_bytes()[..], &number.to_ne_bytes(), &payload].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    });
    vec(one, 0..8).prop_map(|all| all.concat())
}

/// Debug output goes through every field that is held.
fn print(value: &impl std::fmt::Debug) {
    assert!(!format!("{value:?}").is_empty());
}

fn every_view(bytes: &[u8]) {
    for attr in Attrs::new(bytes) {
        print(&attr);
    }
    every_field_of_tcp_info(bytes);
    every_field_of_the_companions(bytes);
    every_field_of_ulp(bytes);
    for wanted in [AttrSet::ALL, AttrSet::DEFAULT, AttrSet::NONE] {
        match InetDiag::parse(bytes, wanted) {
            Ok(socket) => every_field_of_a_socket(&socket),
            Err(error) => print(&error),
        }
    }
}

fn every_field_of_a_socket(socket: &InetDiag<'_>) {
    print(socket);
    print(&(
        socket.family(),
        socket.state(),
        socket.timer(),
        socket.retrans(),
        socket.source_port(),
        socket.destination_port(),
    ));
    print(&(
        socket.source().ip(),
        socket.destination().ip(),
        socket.source().octets(),
        socket.destination().octets(),
    ));
    print(&(
        socket.interface(),
        socket.cookie(),
        socket.expires(),
        socket.rqueue(),
        socket.wqueue(),
        socket.uid(),
        socket.inode(),
    ));
    print(&(
        socket.info(),
        socket.meminfo(),
        socket.skmeminfo(),
        socket.cong(),
        socket.vegas(),
        socket.dctcp(),
        socket.bbr(),
    ));
    print(&(
        socket.ulp(),
        socket.tos(),
        socket.tclass(),
        socket.shutdown(),
        socket.ipv6_only(),
        socket.mark(),
    ));
    print(&(
        socket.class_id(),
        socket.cgroup_id(),
        socket.sockopt(),
        socket.attributes(),
        socket.unknown_attributes(),
    ));
}

fn every_field_of_tcp_info(bytes: &[u8]) {
    let info = TcpInfo::new(bytes);
    print(&(
        info.state(),
        info.ca_state(),
        info.retransmits(),
        info.probes(),
        info.backoff(),
        info.options(),
    ));
    print(&(
        info.snd_wscale(),
        info.rcv_wscale(),
        info.delivery_rate_app_limited(),
        info.fastopen_client_fail(),
    ));
    print(&(
        info.rto_us(),
        info.ato_us(),
        info.snd_mss(),
        info.rcv_mss(),
        info.unacked(),
        info.sacked(),
        info.lost(),
    ));
    print(&(
        info.retrans(),
        info.fackets(),
        info.last_data_sent_ms(),
        info.last_ack_sent_ms(),
        info.last_data_recv_ms(),
    ));
    print(&(
        info.last_ack_recv_ms(),
        info.pmtu(),
        info.rcv_ssthresh(),
        info.rtt_us(),
        info.rttvar_us(),
        info.snd_ssthresh(),
    ));
    print(&(
        info.snd_cwnd(),
        info.advmss(),
        info.reordering(),
        info.rcv_rtt_us(),
        info.rcv_space(),
        info.total_retrans(),
    ));
    print(&(
        info.pacing_rate(),
        info.max_pacing_rate(),
        info.bytes_acked(),
        info.bytes_received(),
        info.segs_out(),
    ));
    print(&(
        info.segs_in(),
        info.notsent_bytes(),
        info.min_rtt_us(),
        info.data_segs_in(),
        info.data_segs_out(),
    ));
    print(&(
        info.delivery_rate(),
        info.busy_time_us(),
        info.rwnd_limited_us(),
        info.sndbuf_limited_us(),
    ));
    print(&(
        info.delivered(),
        info.delivered_ce(),
        info.bytes_sent(),
        info.bytes_retrans(),
        info.dsack_dups(),
    ));
    print(&(
        info.reord_seen(),
        info.rcv_ooopack(),
        info.snd_wnd(),
        info.rcv_wnd(),
        info.rehash(),
        info.total_rto(),
    ));
    print(&(
        info.total_rto_recoveries(),
        info.total_rto_time_ms(),
        info.received_ce(),
        info.delivered_e1_bytes(),
    ));
    print(&(
        info.delivered_e0_bytes(),
        info.delivered_ce_bytes(),
        info.received_e1_bytes(),
        info.received_e0_bytes(),
    ));
    print(&(
        info.received_ce_bytes(),
        info.accecn_word(),
        info.delivered_bytes(),
        info.unknown_bytes(),
    ));
}

fn every_field_of_the_companions(bytes: &[u8]) {
    let (mem, skmem) = (MemInfo::new(bytes), SkMemInfo::new(bytes));
    print(&(
        mem.rmem(),
        mem.wmem(),
        mem.fmem(),
        mem.tmem(),
        skmem.rmem_alloc(),
        skmem.rcvbuf(),
        skmem.wmem_alloc(),
    ));
    print(&(
        skmem.sndbuf(),
        skmem.fwd_alloc(),
        skmem.wmem_queued(),
        skmem.optmem(),
        skmem.backlog(),
        skmem.drops(),
    ));
    let (vegas, dctcp, bbr) = (VegasInfo::new(bytes), DctcpInfo::new(bytes), BbrInfo::new(bytes));
    print(&(vegas.enabled(), vegas.rtt_cnt(), vegas.rtt_us(), vegas.min_rtt_us()));
    print(&(dctcp.enabled(), dctcp.ce_state(), dctcp.alpha(), dctcp.ab_ecn(), dctcp.ab_tot()));
    print(&(bbr.bw_lo(), bbr.bw_hi(), bbr.min_rtt_us(), bbr.pacing_gain(), bbr.cwnd_gain()));
}

fn every_field_of_ulp(bytes: &[u8]) {
    let ulp = Ulp::new(bytes);
    print(&(ulp.name(), ulp.tls_version(), ulp.tls_cipher(), ulp.tls_tx_conf(), ulp.tls_rx_conf()));
    print(&(
        ulp.mptcp_token_rem(),
        ulp.mptcp_token_loc(),
        ulp.mptcp_relwrite_seq(),
        ulp.mptcp_map_seq(),
    ));
    print(&(
        ulp.mptcp_map_sfseq(),
        ulp.mptcp_ssn_offset(),
        ulp.mptcp_map_datalen(),
        ulp.mptcp_flags(),
    ));
    print(&(ulp.mptcp_id_rem(), ulp.mptcp_id_loc()));
}

#[test]
fn the_companions_say_how_long_they_are() {
    assert_eq!(
        (MemInfo::BYTES, SkMemInfo::BYTES, VegasInfo::BYTES, DctcpInfo::BYTES, BbrInfo::BYTES),
        (16, 36, 16, 16, 20)
    );
    let bytes = [1; 36];
    let last = |end: usize| {
        let bytes = &bytes[..end];
        [
            MemInfo::new(bytes).tmem(),
            SkMemInfo::new(bytes).drops(),
            VegasInfo::new(bytes).min_rtt_us(),
            DctcpInfo::new(bytes).ab_tot(),
            BbrInfo::new(bytes).cwnd_gain(),
        ]
    };
    for (i, bytes) in
        [MemInfo::BYTES, SkMemInfo::BYTES, VegasInfo::BYTES, DctcpInfo::BYTES, BbrInfo::BYTES]
            .into_iter()
            .enumerate()
    {
        assert_eq!(
            (last(bytes - 1)[i], last(bytes)[i]),
            (None, Some(0x0101_0101)),
            "the last field ends the struct"
        );
    }
}

#[test]
fn the_table_of_tcp_info_ends_where_the_known_bytes_end() {
    let last = FIELDS.last().unwrap();
    assert_eq!((last.offset + last.bytes, last.since), (KNOWN_BYTES, "6.18"));
}
