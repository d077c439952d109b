//! Captures of real kernels: our views against `netlink-packet-sock-diag`, our bytes against prost.

use std::net::IpAddr;

use netlink_packet_core::ParseableParametrized;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::nlas::{Nla, TcpInfo};
use netlink_packet_sock_diag::inet::{InetResponse, Timer};
use prost::Message;
use sockeye_record::v1::{Envelope, XtcpFlatRecord};
use sockeye_record::{BufferPool, Builder, Encoder, Format, Limits, SocketRow};
use sockeye_wire::inet_diag::is_socket;
use sockeye_wire::{Address, AttrSet, InetDiag, Messages};

use crate::common::pcap::{captures, packets};
use crate::common::{Dump, plain};

#[test]
fn every_captured_socket_is_what_another_decoder_says_it_is() {
    for file in captures() {
        let mut sockets = 0;
        for payload in socket_payloads(&file) {
            let diag = InetDiag::parse(&payload, AttrSet::ALL).unwrap();
            let response = oracle(&payload);
            same_header(&diag, &response);
            response.nlas.iter().for_each(|nla| same_attribute(&diag, nla));
            assert_eq!(diag.unknown_attributes(), 0);
            sockets += 1;
        }
        println!("{}: {sockets} sockets", file.display());
        assert!(sockets >= 100, "{}", file.display());
    }
}

#[test]
fn every_captured_socket_is_encoded_as_prost_encodes_what_another_decoder_saw() {
    let dump = Dump {
        timestamp_ns: 5,
        hostname: "host".into(),
        netns: "default".into(),
        ..Dump::default()
    };
    for file in captures() {
        let limits = Limits { rows: u64::MAX, bytes: usize::MAX };
        let mut builder =
            Builder::new(Encoder::new(&plain(Format::ProtobufList)), limits, BufferPool::new(1));
        builder.begin_dump(&dump.context());
        let mut row = Vec::new();
        for (payload, counter) in socket_payloads(&file).iter().zip(1..) {
            let diag = InetDiag::parse(payload, AttrSet::ALL).unwrap();
            builder.push(&SocketRow::new(&diag, counter, 3, 0), |_| panic!("cut without a limit"));
            row.push(record(&dump, counter, payload));
        }
        let envelope = builder.finish().unwrap();
        let ours = Envelope::decode_length_delimited(envelope.bytes()).unwrap().row;
        for (ours, theirs) in ours.iter().zip(&row) {
            assert_eq!(ours, theirs, "{}", file.display());
        }
        assert!(
            envelope.bytes() == Envelope { row }.encode_length_delimited_to_vec(),
            "{}",
            file.display()
        );
    }
}

fn socket_payloads(file: &std::path::Path) -> Vec<Vec<u8>> {
    let packets = packets(file);
    let mut payloads = Vec::new();
    for packet in &packets {
        for message in Messages::new(packet) {
            let message = message.unwrap();
            // Replies are parts of a dump; a request of the same type is not.
            if is_socket(message.kind) && message.flags & 1 == 0 {
                payloads.push(message.payload.to_vec());
            }
        }
    }
    payloads
}

/// The other decoder fails on a `tcp_info` older than 5.4: for it alone, the missing end is filled with zeros.
fn oracle(payload: &[u8]) -> InetResponse {
    let mut padded = payload[..72].to_vec();
    for (number, value) in attributes(payload) {
        let mut value = value.to_vec();
        if number == 2 {
            value.resize(value.len().max(232), 0);
        }
        padded.extend((value.len() as u16 + 4).to_ne_bytes());
        padded.extend(number.to_ne_bytes());
        padded.extend(&value);
        padded.resize(padded.len().next_multiple_of(4), 0);
    }
    match SockDiagMessage::parse_with_param(&padded[..], 20).unwrap() {
        SockDiagMessage::InetResponse(response) => *response,
        other => panic!("{other:?}"),
    }
}

/// Number and value of each attribute, cut without the code under test.
fn attributes(payload: &[u8]) -> Vec<(u16, &[u8])> {
    let (mut at, mut all) = (72, Vec::new());
    while at < payload.len() {
        let word = |at: usize| u16::from_ne_bytes(payload[at..at + 2].try_into().unwrap());
        let len = usize::from(word(at));
        all.push((word(at + 2), &payload[at + 4..at + len]));
        at += len.next_multiple_of(4);
    }
    all
}

fn same_header(diag: &InetDiag<'_>, response: &InetResponse) {
    let (header, id) = (&response.header, &response.header.socket_id);
    assert_eq!((diag.family(), diag.state()), (header.family, header.state));
    assert_eq!(
        (diag.source().ip(), diag.destination().ip()),
        (id.source_address, id.destination_address)
    );
    assert_eq!(
        (diag.source_port(), diag.destination_port()),
        (id.source_port, id.destination_port)
    );
    assert_eq!((diag.interface(), diag.cookie()), (id.interface_id, u64::from_le_bytes(id.cookie)));
    assert_eq!((diag.rqueue(), diag.wqueue()), (header.recv_queue, header.send_queue));
    assert_eq!((diag.uid(), diag.inode()), (header.uid, header.inode));
    let ms = |duration: &std::time::Duration| duration.as_millis();
    match &header.timer {
        Some(Timer::Retransmit(expires, retrans)) => {
            assert_eq!(
                (diag.timer(), u128::from(diag.expires()), diag.retrans()),
                (1, ms(expires), *retrans)
            );
        }
        Some(Timer::KeepAlive(expires)) => {
            assert_eq!((diag.timer(), u128::from(diag.expires())), (2, ms(expires)));
        }
        Some(Timer::TimeWait) => assert_eq!(diag.timer(), 3),
        Some(Timer::Probe(expires)) => {
            assert_eq!((diag.timer(), u128::from(diag.expires())), (4, ms(expires)));
        }
        None => assert_eq!(diag.timer(), 0),
    }
}

fn same_attribute(diag: &InetDiag<'_>, nla: &Nla) {
    match nla {
        Nla::LegacyMemInfo(theirs) => {
            let ours = diag.meminfo().unwrap();
            assert_eq!(
                (ours.rmem(), ours.wmem()),
                (Some(theirs.receive_queue), Some(theirs.bottom_send_queue))
            );
            assert_eq!((ours.fmem(), ours.tmem()), (Some(theirs.cache), Some(theirs.send_queue)));
        }
        Nla::TcpInfo(theirs) => {
            let ours = diag.info().unwrap();
            assert_eq!((ours.state(), ours.rtt_us()), (Some(theirs.state), Some(theirs.rtt)));
            assert_eq!(ours.rcv_ooopack().unwrap_or(0), theirs.rcv_ooopack);
        }
        Nla::Congestion(theirs) => assert_eq!(diag.cong(), Some(theirs.as_bytes())),
        Nla::Tos(theirs) => assert_eq!(diag.tos(), Some(*theirs)),
        Nla::Tc(theirs) => assert_eq!(diag.tclass(), Some(*theirs)),
        Nla::MemInfo(theirs) => {
            let ours = diag.skmeminfo().unwrap();
            assert_eq!(
                (ours.drops(), ours.backlog()),
                (Some(theirs.drops), Some(theirs.backlog_queue_length))
            );
        }
        Nla::Shutdown(theirs) => assert_eq!(diag.shutdown(), Some(*theirs)),
        Nla::SkV6Only(theirs) => assert_eq!(diag.ipv6_only(), Some(u8::from(*theirs))),
        Nla::Mark(theirs) => assert_eq!(diag.mark(), Some(*theirs)),
        Nla::ClassId(theirs) => assert_eq!(diag.class_id(), Some(*theirs)),
        _ => {}
    }
}

/// The record of what the other decoder saw; what it does not know is read at the kernel's offsets.
fn record(dump: &Dump, record_counter: u64, payload: &[u8]) -> XtcpFlatRecord {
    let response = oracle(payload);
    let (header, id) = (&response.header, &response.header.socket_id);
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut record = XtcpFlatRecord {
        schema_version: 1,
        daemon_version: "sockeye/test".into(),
        timestamp_ns: dump.timestamp_ns,
        hostname: dump.hostname.clone(),
        netns: dump.netns.clone(),
        record_counter,
        socket_fd: 3,
        inet_diag_msg_family: header.family.into(),
        inet_diag_msg_state: header.state.into(),
        inet_diag_msg_timer: payload[2].into(),
        inet_diag_msg_retrans: payload[3].into(),
        inet_diag_msg_socket_source_port: id.source_port.into(),
        inet_diag_msg_socket_destination_port: id.destination_port.into(),
        inet_diag_msg_socket_source: octets(id.source_address),
        inet_diag_msg_socket_destination: octets(id.destination_address),
        inet_diag_msg_socket_interface: id.interface_id,
        inet_diag_msg_socket_cookie: u64::from_le_bytes(id.cookie),
        inet_diag_msg_expires: u32::from_ne_bytes(payload[52..56].try_into().unwrap()),
        inet_diag_msg_rqueue: header.recv_queue,
        inet_diag_msg_wqueue: header.send_queue,
        inet_diag_msg_uid: header.uid,
        inet_diag_msg_inode: header.inode,
        attributes: 1,
        ..Default::default()
    };
    for nla in &response.nlas {
        put(&mut record, nla);
    }
    for (number, value) in attributes(payload) {
        raw(&mut record, number & 0x3fff, value);
    }
    record
}

fn put(record: &mut XtcpFlatRecord, nla: &Nla) {
    match nla {
        Nla::LegacyMemInfo(mem) => {
            record.mem_info_rmem = mem.receive_queue;
            record.mem_info_wmem = mem.bottom_send_queue;
            record.mem_info_fmem = mem.cache;
            record.mem_info_tmem = mem.send_queue;
        }
        Nla::TcpInfo(info) => tcp_info(record, info),
        Nla::Congestion(name) => {
            record.congestion_algorithm_string.clone_from(name);
            let known = ["cubic", "dctcp", "vegas", "prague", "bbr", "bbr2", "bbr3"];
            record.congestion_algorithm_enum = known
                .iter()
                .position(|known| known == name)
                .map_or(0, |i| i32::try_from(i + 1).unwrap());
        }
        Nla::Tos(tos) => record.type_of_service = (*tos).into(),
        Nla::Tc(class) => record.traffic_class = (*class).into(),
        Nla::MemInfo(mem) => {
            record.sk_mem_info_rmem_alloc = mem.receive_queue;
            record.sk_mem_info_rcv_buf = mem.receive_queue_max;
            record.sk_mem_info_wmem_alloc = mem.bottom_send_queues;
            record.sk_mem_info_snd_buf = mem.send_queue_max;
            record.sk_mem_info_fwd_alloc = mem.cache;
            record.sk_mem_info_wmem_queued = mem.send_queue;
            record.sk_mem_info_optmem = mem.options;
            record.sk_mem_info_backlog = mem.backlog_queue_length;
            record.sk_mem_info_drops = mem.drops;
        }
        Nla::Shutdown(state) => record.shutdown_state = (*state).into(),
        Nla::SkV6Only(only) => record.ipv6_only = (*only).into(),
        Nla::Mark(mark) => record.mark = *mark,
        Nla::ClassId(class) => record.class_id = *class,
        _ => {}
    }
}

fn tcp_info(record: &mut XtcpFlatRecord, info: &TcpInfo) {
    record.tcp_info_state = info.state.into();
    record.tcp_info_ca_state = info.ca_state.into();
    record.tcp_info_retransmits = info.retransmits.into();
    record.tcp_info_probes = info.probes.into();
    record.tcp_info_backoff = info.backoff.into();
    record.tcp_info_options = info.options.into();
    record.tcp_info_send_scale = (info.wscale & 15).into();
    record.tcp_info_rcv_scale = (info.wscale >> 4).into();
    record.tcp_info_delivery_rate_app_limited = (info.delivery_rate_app_limited & 1).into();
    record.tcp_info_fast_open_client_failed = (info.delivery_rate_app_limited >> 1 & 3).into();
    record.tcp_info_rto = info.rto;
    record.tcp_info_ato = info.ato;
    record.tcp_info_snd_mss = info.snd_mss;
    record.tcp_info_rcv_mss = info.rcv_mss;
    record.tcp_info_unacked = info.unacked;
    record.tcp_info_sacked = info.sacked;
    record.tcp_info_lost = info.lost;
    record.tcp_info_retrans = info.retrans;
    record.tcp_info_fackets = info.fackets;
    record.tcp_info_last_data_sent = info.last_data_sent;
    record.tcp_info_last_ack_sent = info.last_ack_sent;
    record.tcp_info_last_data_recv = info.last_data_recv;
    record.tcp_info_last_ack_recv = info.last_ack_recv;
    record.tcp_info_pmtu = info.pmtu;
    record.tcp_info_rcv_ssthresh = info.rcv_ssthresh;
    record.tcp_info_rtt = info.rtt;
    record.tcp_info_rtt_var = info.rttvar;
    record.tcp_info_snd_ssthresh =
        if info.snd_ssthresh == 0x7fff_ffff { 0 } else { info.snd_ssthresh };
    record.tcp_info_snd_cwnd = info.snd_cwnd;
    record.tcp_info_adv_mss = info.advmss;
    record.tcp_info_reordering = info.reordering;
    record.tcp_info_rcv_rtt = info.rcv_rtt;
    record.tcp_info_rcv_space = info.rcv_space;
    record.tcp_info_total_retrans = info.total_retrans;
    record.tcp_info_pacing_rate = if info.pacing_rate == u64::MAX { 0 } else { info.pacing_rate };
    record.tcp_info_max_pacing_rate =
        if info.max_pacing_rate == u64::MAX { 0 } else { info.max_pacing_rate };
    record.tcp_info_bytes_acked = info.bytes_acked;
    record.tcp_info_bytes_received = info.bytes_received;
    record.tcp_info_segs_out = info.segs_out;
    record.tcp_info_segs_in = info.segs_in;
    record.tcp_info_not_sent_bytes = info.notsent_bytes;
    record.tcp_info_min_rtt = if info.min_rtt == u32::MAX { 0 } else { info.min_rtt };
    record.tcp_info_data_segs_in = info.data_segs_in;
    record.tcp_info_data_segs_out = info.data_segs_out;
    record.tcp_info_delivery_rate = info.delivery_rate;
    record.tcp_info_busy_time = info.busy_time;
    record.tcp_info_rwnd_limited = info.rwnd_limited;
    record.tcp_info_sndbuf_limited = info.sndbuf_limited;
    record.tcp_info_delivered = info.delivered;
    record.tcp_info_delivered_ce = info.delivered_ce;
    record.tcp_info_bytes_sent = info.bytes_sent;
    record.tcp_info_bytes_retrans = info.bytes_retrans;
    record.tcp_info_dsack_dups = info.dsack_dups;
    record.tcp_info_reord_seen = info.reord_seen;
    record.tcp_info_rcv_ooopack = info.rcv_ooopack;
    record.tcp_info_snd_wnd = info.snd_wnd;
}

fn raw(record: &mut XtcpFlatRecord, number: u16, value: &[u8]) {
    let half = |at: usize| {
        value
            .get(at..at + 2)
            .map_or(0, |bytes| u16::from_ne_bytes(bytes.try_into().unwrap()).into())
    };
    let word = |at: usize| {
        value.get(at..at + 4).map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().unwrap()))
    };
    // PROTOCOL, LOCALS, PEERS, PAD and MD5SIG have no column.
    if !matches!(number, 10 | 12..=14 | 18) {
        record.attributes |= 1 << number;
    }
    match number {
        2 => {
            record.tcp_info_length = value.len() as u32;
            record.tcp_info_rcv_wnd = word(232);
            record.tcp_info_rehash = word(236);
            record.tcp_info_total_rto = half(240);
            record.tcp_info_total_rto_recoveries = half(242);
            record.tcp_info_total_rto_time = word(244);
            record.tcp_info_received_ce = word(248);
            record.tcp_info_delivered_e1_bytes = word(252);
            record.tcp_info_delivered_e0_bytes = word(256);
            record.tcp_info_delivered_ce_bytes = word(260);
            record.tcp_info_received_e1_bytes = word(264);
            record.tcp_info_received_e0_bytes = word(268);
            record.tcp_info_received_ce_bytes = word(272);
            record.tcp_info_accecn_word = word(276);
            assert!(value.len() <= 280, "newer than the captures were when this was written");
        }
        3 => {
            record.vegas_info_enabled = word(0);
            record.vegas_info_rtt_cnt = word(4);
            record.vegas_info_rtt = if word(8) == 0x7fff_ffff { 0 } else { word(8) };
            record.vegas_info_min_rtt = if word(12) == 0x7fff_ffff { 0 } else { word(12) };
        }
        9 => {
            record.dctcp_info_enabled = half(0);
            record.dctcp_info_ce_state = half(2);
            record.dctcp_info_alpha = word(4);
            record.dctcp_info_ab_ecn = word(8);
            record.dctcp_info_ab_tot = word(12);
        }
        16 => {
            record.bbr_info_bw_lo = word(0);
            record.bbr_info_bw_hi = word(4);
            record.bbr_info_min_rtt = if word(8) == u32::MAX { 0 } else { word(8) };
            record.bbr_info_pacing_gain = word(12);
            record.bbr_info_cwnd_gain = word(16);
        }
        19 => panic!("no capture has an upper layer protocol"),
        21 => record.c_group = u64::from(word(0)) | u64::from(word(4)) << 32,
        22 => record.sock_opt = half(0),
        _ => {}
    }
}

#[test]
fn an_address_of_ipv4_in_a_capture_has_four_bytes() {
    for file in captures() {
        for payload in socket_payloads(&file) {
            let diag = InetDiag::parse(&payload, AttrSet::NONE).unwrap();
            assert_eq!(matches!(diag.source(), Address::V4(_)), payload[0] == 2);
            assert_eq!(
                (diag.info(), diag.attributes() & !(1 << 11)),
                (None, 0),
                "nothing was wanted"
            );
        }
    }
}
