//! The record that must come of a socket, filled field by field from the same values.

use sockeye_record::v1::XtcpFlatRecord;

use super::socket::{Cut, Known, Socket, TcpInfo, Ulp};
use super::{Dump, Rows};

pub(crate) fn records(dumps: &[Rows]) -> Vec<XtcpFlatRecord> {
    let rows =
        dumps.iter().flat_map(|rows| rows.sockets.iter().map(|socket| record(&rows.dump, socket)));
    rows.collect()
}

pub(crate) fn record(dump: &Dump, socket: &Socket) -> XtcpFlatRecord {
    let mut record = XtcpFlatRecord {
        schema_version: 1,
        daemon_version: "sockeye/test".into(),
        timestamp_ns: dump.timestamp_ns,
        boottime_ns: dump.boottime_ns,
        hostname: dump.hostname.clone(),
        location: dump.location.clone(),
        netns: dump.netns.clone(),
        netns_inode: dump.netns_inode,
        nsid: dump.nsid.unwrap_or(0),
        container_id: dump.container_id.clone(),
        container_runtime: dump.container_runtime.clone(),
        label: dump.label.clone(),
        tag: dump.tag.clone(),
        record_kind: dump.record_kind,
        record_counter: socket.record_counter,
        socket_fd: socket.socket_fd,
        netlinker_id: socket.netlinker_id,
        inet_diag_msg_family: if socket.ipv6 { 10 } else { 2 },
        inet_diag_msg_state: socket.state.into(),
        inet_diag_msg_timer: socket.timer.into(),
        inet_diag_msg_retrans: socket.retrans.into(),
        inet_diag_msg_socket_source_port: socket.sport.into(),
        inet_diag_msg_socket_destination_port: socket.dport.into(),
        inet_diag_msg_socket_source: socket.src[..if socket.ipv6 { 16 } else { 4 }].to_vec(),
        inet_diag_msg_socket_destination: socket.dst[..if socket.ipv6 { 16 } else { 4 }].to_vec(),
        inet_diag_msg_socket_interface: socket.interface,
        inet_diag_msg_socket_cookie: socket.cookie,
        inet_diag_msg_expires: socket.expires,
        inet_diag_msg_rqueue: socket.rqueue,
        inet_diag_msg_wqueue: socket.wqueue,
        inet_diag_msg_uid: owner(dump, socket.uid, known(socket).uid),
        inet_diag_msg_inode: owner(dump, socket.inode, known(socket).inode),
        type_of_service: socket.tos.unwrap_or(0).into(),
        traffic_class: socket.tclass.unwrap_or(0).into(),
        shutdown_state: socket.shutdown.unwrap_or(0).into(),
        class_id: socket.class_id.unwrap_or(0),
        sock_opt: u16::from_le_bytes(socket.sockopt.unwrap_or_default()).into(),
        c_group: socket.cgroup.or(known(socket).cgroup_id).unwrap_or(0),
        mark: socket.mark.unwrap_or(0),
        ipv6_only: socket.v6only.unwrap_or(0).into(),
        attributes: attributes(dump, socket),
        ..Default::default()
    };
    beyond_the_kernel(dump, socket, &mut record);
    algorithm(socket, &mut record);
    companions(socket, &mut record);
    tcp_info(socket, &mut record);
    ulp(socket, &mut record);
    record
}

fn known(socket: &Socket) -> Known {
    socket.known.clone().unwrap_or_default()
}

/// The kernel says 0 of every closed socket, and means nothing.
fn owner(dump: &Dump, told: u32, known: Option<u32>) -> u32 {
    if dump.record_kind == 2 && told == 0 { known.unwrap_or(0) } else { told }
}

fn beyond_the_kernel(dump: &Dump, socket: &Socket, record: &mut XtcpFlatRecord) {
    let known = known(socket);
    let closed = dump.record_kind == 2;
    let joined = [
        (1, socket.cong.is_none() && known.cong.is_some()),
        (2, socket.cgroup.is_none() && known.cgroup_id.is_some()),
        (4, closed && socket.uid == 0 && known.uid.is_some()),
        (8, closed && socket.inode == 0 && known.inode.is_some()),
        (16, socket.skmem.is_none() && known.skmem.is_some()),
    ];
    record.joined = joined.into_iter().filter(|(_, joined)| *joined).map(|(bit, _)| bit).sum();
    record.first_seen_ns = known.first_seen_ns.unwrap_or(0);
    if let Some(deltas) = socket.deltas {
        record.delta_flags = deltas.flags + 8;
        record.delta_bytes_sent = deltas.bytes_sent;
        record.delta_bytes_received = deltas.bytes_received;
        record.delta_bytes_retrans = deltas.bytes_retrans;
        record.delta_segs_out = deltas.segs_out;
        record.delta_segs_in = deltas.segs_in;
    }
}

/// What a row without all of its columns says instead.
pub(crate) fn attributes_of_a_part(attributes: u64) -> u64 {
    attributes & 0xffff_fffe
}

fn attributes(dump: &Dump, socket: &Socket) -> u64 {
    let came = [
        (0, true),
        (1, socket.meminfo.as_ref().is_some_and(super::socket::Cut::is_whole)),
        (2, socket.info.is_some()),
        (3, socket.vegas.as_ref().is_some_and(super::socket::Cut::is_whole)),
        (4, socket.cong.is_some()),
        (5, socket.tos.is_some()),
        (6, socket.tclass.is_some()),
        (7, socket.skmem.as_ref().is_some_and(super::socket::Cut::is_whole)),
        (8, socket.shutdown.is_some()),
        (9, socket.dctcp.as_ref().is_some_and(super::socket::Cut::is_whole)),
        (11, socket.v6only.is_some()),
        (15, socket.mark.is_some()),
        (16, socket.bbr.as_ref().is_some_and(super::socket::Cut::is_whole)),
        (17, socket.class_id.is_some()),
        (19, socket.ulp.is_some()),
        (21, socket.cgroup.is_some()),
        (22, socket.sockopt.is_some()),
        (32, dump.nsid.is_some()),
    ];
    came.into_iter().filter(|(_, came)| *came).map(|(bit, _)| 1u64 << bit).sum()
}

fn algorithm(socket: &Socket, record: &mut XtcpFlatRecord) {
    let known = known(socket).cong.map(String::into_bytes);
    let name = socket.cong.clone().or(known).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap();
    record.congestion_algorithm_string = String::from_utf8(name.to_vec()).unwrap_or_default();
    record.congestion_algorithm_enum = match name {
        b"cubic" => 1,
        b"dctcp" => 2,
        b"vegas" => 3,
        b"prague" => 4,
        b"bbr" => 5,
        b"bbr2" => 6,
        b"bbr3" => 7,
        _ => 0,
    };
}

fn companions(socket: &Socket, record: &mut XtcpFlatRecord) {
    if let Some(cut) = &socket.meminfo {
        record.mem_info_rmem = cut.field(4, cut.value.rmem);
        record.mem_info_wmem = cut.field(8, cut.value.wmem);
        record.mem_info_fmem = cut.field(12, cut.value.fmem);
        record.mem_info_tmem = cut.field(16, cut.value.tmem);
    }
    let known = known(socket).skmem.map(Cut::whole);
    if let Some(cut) = socket.skmem.as_ref().or(known.as_ref()) {
        record.sk_mem_info_rmem_alloc = cut.field(4, cut.value.rmem_alloc);
        record.sk_mem_info_rcv_buf = cut.field(8, cut.value.rcvbuf);
        record.sk_mem_info_wmem_alloc = cut.field(12, cut.value.wmem_alloc);
        record.sk_mem_info_snd_buf = cut.field(16, cut.value.sndbuf);
        record.sk_mem_info_fwd_alloc = cut.field(20, cut.value.fwd_alloc);
        record.sk_mem_info_wmem_queued = cut.field(24, cut.value.wmem_queued);
        record.sk_mem_info_optmem = cut.field(28, cut.value.optmem);
        record.sk_mem_info_backlog = cut.field(32, cut.value.backlog);
        record.sk_mem_info_drops = cut.field(36, cut.value.drops);
    }
    if let Some(cut) = &socket.vegas {
        record.vegas_info_enabled = cut.field(4, cut.value.enabled);
        record.vegas_info_rtt_cnt = cut.field(8, cut.value.rttcnt);
        record.vegas_info_rtt = cut.field(12, sampled(cut.value.rtt));
        record.vegas_info_min_rtt = cut.field(16, sampled(cut.value.minrtt));
    }
    if let Some(cut) = &socket.dctcp {
        record.dctcp_info_enabled = cut.field(2, cut.value.enabled).into();
        record.dctcp_info_ce_state = cut.field(4, cut.value.ce_state).into();
        record.dctcp_info_alpha = cut.field(8, cut.value.alpha);
        record.dctcp_info_ab_ecn = cut.field(12, cut.value.ab_ecn);
        record.dctcp_info_ab_tot = cut.field(16, cut.value.ab_tot);
    }
    if let Some(cut) = &socket.bbr {
        record.bbr_info_bw_lo = cut.field(4, cut.value.bw_lo);
        record.bbr_info_bw_hi = cut.field(8, cut.value.bw_hi);
        record.bbr_info_min_rtt = cut.field(12, sampled(cut.value.min_rtt));
        record.bbr_info_pacing_gain = cut.field(16, cut.value.pacing_gain);
        record.bbr_info_cwnd_gain = cut.field(20, cut.value.cwnd_gain);
    }
}

/// The ends of the fields are those of kernel-facts.md, "`tcp_info` by length".
fn tcp_info(socket: &Socket, record: &mut XtcpFlatRecord) {
    let Some(cut) = &socket.info else { return };
    let info = &cut.value;
    record.tcp_info_length = cut.len as u32;
    record.tcp_info_state = cut.field(1, info.state).into();
    record.tcp_info_ca_state = cut.field(2, info.ca_state).into();
    record.tcp_info_retransmits = cut.field(3, info.retransmits).into();
    record.tcp_info_probes = cut.field(4, info.probes).into();
    record.tcp_info_backoff = cut.field(5, info.backoff).into();
    record.tcp_info_options = cut.field(6, info.options).into();
    record.tcp_info_send_scale = cut.field(7, TcpInfo::bit_field(info.wscales, 0, 4));
    record.tcp_info_rcv_scale = cut.field(7, TcpInfo::bit_field(info.wscales, 4, 4));
    // Bit-fields in a byte that was padding: they came with 4.9 and, nearly, 5.4.
    record.tcp_info_delivery_rate_app_limited = cut.field(168, TcpInfo::bit_field(info.bits, 0, 1));
    record.tcp_info_fast_open_client_failed = cut.field(228, TcpInfo::bit_field(info.bits, 1, 2));
    record.tcp_info_rto = cut.field(12, info.rto);
    record.tcp_info_ato = cut.field(16, info.ato);
    record.tcp_info_snd_mss = cut.field(20, info.snd_mss);
    record.tcp_info_rcv_mss = cut.field(24, info.rcv_mss);
    record.tcp_info_unacked = cut.field(28, info.unacked);
    record.tcp_info_sacked = cut.field(32, info.sacked);
    record.tcp_info_lost = cut.field(36, info.lost);
    record.tcp_info_retrans = cut.field(40, info.retrans);
    record.tcp_info_fackets = cut.field(44, info.fackets);
    record.tcp_info_last_data_sent = cut.field(48, info.last_data_sent);
    record.tcp_info_last_ack_sent = cut.field(52, info.last_ack_sent);
    record.tcp_info_last_data_recv = cut.field(56, info.last_data_recv);
    record.tcp_info_last_ack_recv = cut.field(60, info.last_ack_recv);
    record.tcp_info_pmtu = cut.field(64, info.pmtu);
    record.tcp_info_rcv_ssthresh = cut.field(68, info.rcv_ssthresh);
    record.tcp_info_rtt = cut.field(72, info.rtt);
    record.tcp_info_rtt_var = cut.field(76, info.rttvar);
    let infinite = info.snd_ssthresh >= 0x7fff_ffff;
    record.tcp_info_snd_ssthresh = if infinite { 0 } else { cut.field(80, info.snd_ssthresh) };
    record.tcp_info_snd_cwnd = cut.field(84, info.snd_cwnd);
    record.tcp_info_adv_mss = cut.field(88, info.advmss);
    record.tcp_info_reordering = cut.field(92, info.reordering);
    record.tcp_info_rcv_rtt = cut.field(96, info.rcv_rtt);
    record.tcp_info_rcv_space = cut.field(100, info.rcv_space);
    record.tcp_info_total_retrans = cut.field(104, info.total_retrans);
    let finite = |rate| if rate == u64::MAX { 0 } else { rate };
    record.tcp_info_pacing_rate = cut.field(112, finite(info.pacing_rate));
    record.tcp_info_max_pacing_rate = cut.field(120, finite(info.max_pacing_rate));
    record.tcp_info_bytes_acked = cut.field(128, info.bytes_acked);
    record.tcp_info_bytes_received = cut.field(136, info.bytes_received);
    record.tcp_info_segs_out = cut.field(140, info.segs_out);
    record.tcp_info_segs_in = cut.field(144, info.segs_in);
    record.tcp_info_not_sent_bytes = cut.field(148, info.notsent_bytes);
    record.tcp_info_min_rtt = cut.field(152, sampled(info.min_rtt));
    record.tcp_info_data_segs_in = cut.field(156, info.data_segs_in);
    record.tcp_info_data_segs_out = cut.field(160, info.data_segs_out);
    record.tcp_info_delivery_rate = cut.field(168, info.delivery_rate);
    record.tcp_info_busy_time = cut.field(176, info.busy_time);
    record.tcp_info_rwnd_limited = cut.field(184, info.rwnd_limited);
    record.tcp_info_sndbuf_limited = cut.field(192, info.sndbuf_limited);
    record.tcp_info_delivered = cut.field(196, info.delivered);
    record.tcp_info_delivered_ce = cut.field(200, info.delivered_ce);
    record.tcp_info_bytes_sent = cut.field(208, info.bytes_sent);
    record.tcp_info_bytes_retrans = cut.field(216, info.bytes_retrans);
    record.tcp_info_dsack_dups = cut.field(220, info.dsack_dups);
    record.tcp_info_reord_seen = cut.field(224, info.reord_seen);
    record.tcp_info_rcv_ooopack = cut.field(228, info.rcv_ooopack);
    record.tcp_info_snd_wnd = cut.field(232, info.snd_wnd);
    record.tcp_info_rcv_wnd = cut.field(236, info.rcv_wnd);
    record.tcp_info_rehash = cut.field(240, info.rehash);
    record.tcp_info_total_rto = cut.field(242, info.total_rto).into();
    record.tcp_info_total_rto_recoveries = cut.field(244, info.total_rto_recoveries).into();
    record.tcp_info_total_rto_time = cut.field(248, info.total_rto_time);
    record.tcp_info_received_ce = cut.field(252, info.received_ce);
    record.tcp_info_delivered_e1_bytes = cut.field(256, info.delivered_e1_bytes);
    record.tcp_info_delivered_e0_bytes = cut.field(260, info.delivered_e0_bytes);
    record.tcp_info_delivered_ce_bytes = cut.field(264, info.delivered_ce_bytes);
    record.tcp_info_received_e1_bytes = cut.field(268, info.received_e1_bytes);
    record.tcp_info_received_e0_bytes = cut.field(272, info.received_e0_bytes);
    record.tcp_info_received_ce_bytes = cut.field(276, info.received_ce_bytes);
    record.tcp_info_accecn_word = cut.field(280, info.accecn_word);
}

fn ulp(socket: &Socket, record: &mut XtcpFlatRecord) {
    match &socket.ulp {
        None => {}
        Some(Ulp::Tls { version, cipher, tx_conf, rx_conf }) => {
            record.ulp_name = "tls".into();
            record.tls_version = (*version).into();
            record.tls_cipher = (*cipher).into();
            record.tls_tx_conf = (*tx_conf).into();
            record.tls_rx_conf = (*rx_conf).into();
        }
        Some(Ulp::Mptcp(mptcp)) => {
            record.ulp_name = "mptcp".into();
            record.mptcp_token_rem = mptcp.token_rem;
            record.mptcp_token_loc = mptcp.token_loc;
            record.mptcp_relwrite_seq = mptcp.relwrite_seq;
            record.mptcp_map_seq = mptcp.map_seq;
            record.mptcp_map_sfseq = mptcp.map_sfseq;
            record.mptcp_ssn_offset = mptcp.ssn_offset;
            record.mptcp_map_datalen = mptcp.map_datalen.into();
            record.mptcp_flags = mptcp.flags;
            record.mptcp_id_rem = mptcp.id_rem.into();
            record.mptcp_id_loc = mptcp.id_loc.into();
        }
    }
}

/// Before the first sample a lowest round trip time is all ones, of Vegas 0x7fffffff.
fn sampled(us: u32) -> u32 {
    if us >= 0x7fff_ffff { 0 } else { us }
}
