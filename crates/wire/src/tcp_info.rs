//! `struct tcp_info` as one table of offsets (`include/uapi/linux/tcp.h`).
//!
//! The struct grew from 104 to 280 bytes, and distributions back-port its growth: the length that came, never the
//! kernel's version, says which fields exist. A field that is not wholly inside the bytes is absent, not zero.

use crate::bytes::{u16_ne, u32_ne, u64_ne};

/// Bytes of the longest `tcp_info` known here (Linux 6.18). What a newer kernel appends is counted, not read.
pub const KNOWN_BYTES: usize = 280;

/// A borrowed `struct tcp_info` of any length and alignment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TcpInfo<'a>(&'a [u8]);

/// One entry of the table: where a field lies and since when.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Kernel name without the `tcpi_` prefix, with the unit where it has one.
    pub name: &'static str,
    /// Bytes from the start.
    pub offset: usize,
    /// Bytes it takes.
    pub bytes: usize,
    /// First kernel that has it.
    pub since: &'static str,
}

impl<'a> TcpInfo<'a> {
    /// Views the payload of `INET_DIAG_INFO`.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes, where they are exactly those that are known here: then no field is absent.
    #[inline(always)]
    pub fn whole(&self) -> Option<&'a [u8; KNOWN_BYTES]> {
        self.0.try_into().ok()
    }

    /// Bytes that the kernel delivered.
    #[inline]
    pub fn delivered_bytes(&self) -> usize {
        self.0.len()
    }

    /// Bytes at the end that this table does not know.
    #[inline]
    pub fn unknown_bytes(&self) -> usize {
        self.0.len().saturating_sub(KNOWN_BYTES)
    }

    /// Window scale that the peer asked for, `tcpi_snd_wscale:4`.
    #[inline]
    pub fn snd_wscale(&self) -> Option<u8> {
        self.byte(6).map(|byte| if cfg!(target_endian = "little") { byte & 15 } else { byte >> 4 })
    }

    /// Window scale that we asked for, `tcpi_rcv_wscale:4`.
    #[inline]
    pub fn rcv_wscale(&self) -> Option<u8> {
        self.byte(6).map(|byte| if cfg!(target_endian = "little") { byte >> 4 } else { byte & 15 })
    }

    /// `tcpi_delivery_rate_app_limited:1`; came with `delivery_rate` (4.9).
    #[inline]
    pub fn delivery_rate_app_limited(&self) -> Option<u8> {
        self.delivery_rate()?;
        self.byte(7).map(|byte| if cfg!(target_endian = "little") { byte & 1 } else { byte >> 7 })
    }

    /// `tcpi_fastopen_client_fail:2` (5.5); read where `rcv_ooopack` (5.4) exists, 0 is "unspecified" before.
    #[inline]
    pub fn fastopen_client_fail(&self) -> Option<u8> {
        self.rcv_ooopack()?;
        self.byte(7)
            .map(|byte| (if cfg!(target_endian = "little") { byte >> 1 } else { byte >> 5 }) & 3)
    }

    #[inline(always)]
    fn byte(&self, offset: usize) -> Option<u8> {
        self.0.get(offset).copied()
    }
}

macro_rules! read {
    (u8, $info:expr, $offset:literal) => {
        $info.byte($offset)
    };
    (u16, $info:expr, $offset:literal) => {
        u16_ne($info.0, $offset)
    };
    (u32, $info:expr, $offset:literal) => {
        u32_ne($info.0, $offset)
    };
    (u64, $info:expr, $offset:literal) => {
        u64_ne($info.0, $offset)
    };
}

macro_rules! tcp_info {
    ($($since:literal { $($offset:literal $name:ident: $type:tt, $doc:literal;)* })*) => {
        impl TcpInfo<'_> {
            $($(
                #[doc = concat!($doc, " Since Linux ", $since, ".")]
                #[inline(always)]
                pub fn $name(&self) -> Option<$type> { read!($type, self, $offset) }
            )*)*
        }

        /// Every whole-byte field, by offset.
        pub const FIELDS: &[Field] = &[$($(
            Field { name: stringify!($name), offset: $offset, bytes: size_of::<$type>(), since: $since },
        )*)*];
    };
}

tcp_info! {
    "2.6" {
        0 state: u8, "`tcpi_state`.";
        1 ca_state: u8, "`tcpi_ca_state`: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss.";
        2 retransmits: u8, "Unanswered RTO retransmits now.";
        3 probes: u8, "Unanswered window probes.";
        4 backoff: u8, "Exponent of the RTO back-off.";
        5 options: u8, "`TCPI_OPT_*` bits.";
        8 rto_us: u32, "Retransmission timeout, us.";
        12 ato_us: u32, "Delayed ACK timeout, us.";
        16 snd_mss: u32, "Send MSS, bytes.";
        20 rcv_mss: u32, "Estimated receive MSS, bytes.";
        24 unacked: u32, "Segments in flight; for LISTEN the accept backlog.";
        28 sacked: u32, "Segments SACKed; for LISTEN the backlog limit.";
        32 lost: u32, "Segments deemed lost.";
        36 retrans: u32, "Retransmitted segments in flight.";
        40 fackets: u32, "Unused since 4.15.";
        44 last_data_sent_ms: u32, "Since data was last sent, ms.";
        48 last_ack_sent_ms: u32, "Not remembered by the kernel: 0.";
        52 last_data_recv_ms: u32, "Since data was last received, ms.";
        56 last_ack_recv_ms: u32, "Since an ACK was last received, ms.";
        60 pmtu: u32, "Path MTU, bytes.";
        64 rcv_ssthresh: u32, "Receive window clamp, bytes.";
        68 rtt_us: u32, "Smoothed RTT, us.";
        72 rttvar_us: u32, "RTT variation, us.";
        76 snd_ssthresh: u32, "Slow start threshold, segments; 0x7fffffff is infinite.";
        80 snd_cwnd: u32, "Congestion window, segments.";
        84 advmss: u32, "Advertised MSS, bytes.";
        88 reordering: u32, "Reordering metric, segments.";
        92 rcv_rtt_us: u32, "Receiver's RTT estimate, us.";
        96 rcv_space: u32, "Receive queue space, bytes.";
        100 total_retrans: u32, "Segments retransmitted in all.";
    }
    "3.15" {
        104 pacing_rate: u64, "Bytes per second; all ones is unlimited.";
        112 max_pacing_rate: u64, "Bytes per second; all ones is unlimited.";
    }
    "4.1" {
        120 bytes_acked: u64, "Bytes acknowledged by the peer.";
        128 bytes_received: u64, "Bytes received and acknowledged.";
    }
    "4.2" {
        136 segs_out: u32, "Segments sent.";
        140 segs_in: u32, "Segments received.";
    }
    "4.6" {
        144 notsent_bytes: u32, "Bytes written and not sent yet.";
        148 min_rtt_us: u32, "Lowest RTT seen in the window, us.";
        152 data_segs_in: u32, "Segments with data received.";
        156 data_segs_out: u32, "Segments with data sent.";
    }
    "4.9" {
        160 delivery_rate: u64, "Bytes per second, most recent sample.";
    }
    "4.10" {
        168 busy_time_us: u64, "Time busy sending, us.";
        176 rwnd_limited_us: u64, "Time limited by the peer's window, us.";
        184 sndbuf_limited_us: u64, "Time limited by the send buffer, us.";
    }
    "4.18" {
        192 delivered: u32, "Segments delivered, retransmits included.";
        196 delivered_ce: u32, "Of those with CE marks.";
    }
    "4.19" {
        200 bytes_sent: u64, "Bytes sent, retransmits included.";
        208 bytes_retrans: u64, "Bytes retransmitted.";
        216 dsack_dups: u32, "Duplicates that DSACK reported.";
        220 reord_seen: u32, "Reordering events.";
    }
    "5.4" {
        224 rcv_ooopack: u32, "Out-of-order segments received.";
        228 snd_wnd: u32, "The peer's window, bytes.";
    }
    "6.2" {
        232 rcv_wnd: u32, "Our window, bytes.";
        236 rehash: u32, "Times that the flow hash was changed.";
    }
    "6.7" {
        240 total_rto: u16, "RTO timeouts in all.";
        242 total_rto_recoveries: u16, "RTO recoveries in all.";
        244 total_rto_time_ms: u32, "Time spent in RTO recovery, ms.";
    }
    "6.18" {
        248 received_ce: u32, "CE-marked segments received.";
        252 delivered_e1_bytes: u32, "AccECN: bytes the peer saw with ECT(1).";
        256 delivered_e0_bytes: u32, "AccECN: bytes the peer saw with ECT(0).";
        260 delivered_ce_bytes: u32, "AccECN: bytes the peer saw with CE.";
        264 received_e1_bytes: u32, "AccECN: bytes received with ECT(1).";
        268 received_e0_bytes: u32, "AccECN: bytes received with ECT(0).";
        272 received_ce_bytes: u32, "AccECN: bytes received with CE.";
        276 accecn_word: u32, "The last word; its meaning differs between 6.18 and 7.0 at the same length.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_leaves_no_gap_but_the_two_bit_field_bytes() {
        let mut end = 0;
        for field in FIELDS {
            assert_eq!(field.offset, if end == 6 { 8 } else { end }, "{}", field.name);
            end = field.offset + field.bytes;
        }
        assert_eq!(end, KNOWN_BYTES);
    }

    #[test]
    fn every_historic_length_is_a_border_of_the_table() {
        for length in [104, 120, 136, 144, 160, 168, 192, 200, 224, 232, 240, 248, 280] {
            assert!(FIELDS.iter().any(|field| field.offset + field.bytes == length), "{length}");
        }
    }

    #[test]
    fn a_short_tcp_info_reports_absent_fields_as_none() {
        let bytes: Vec<u8> = (0..=255).collect();
        let info = TcpInfo::new(&bytes[..104]);
        assert_eq!(info.total_retrans(), Some(u32::from_ne_bytes([100, 101, 102, 103])));
        assert_eq!(
            (info.pacing_rate(), info.rcv_ooopack(), info.delivery_rate_app_limited()),
            (None, None, None)
        );
        assert_eq!(TcpInfo::new(&bytes[..227]).rcv_ooopack(), None);
        assert_eq!(
            TcpInfo::new(&bytes[..228]).rcv_ooopack(),
            Some(u32::from_ne_bytes([224, 225, 226, 227]))
        );
        assert_eq!(TcpInfo::new(&[]).state(), None);
    }

    #[test]
    fn a_longer_tcp_info_is_read_as_far_as_known_and_the_rest_counted() {
        let bytes = [7u8; 296];
        let info = TcpInfo::new(&bytes);
        assert_eq!(info.accecn_word(), Some(0x0707_0707));
        assert_eq!((info.delivered_bytes(), info.unknown_bytes()), (296, 16));
        assert_eq!(TcpInfo::new(&bytes[..280]).unknown_bytes(), 0);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn bit_fields_are_taken_apart() {
        let mut bytes = [0u8; 232];
        bytes[6] = 0x97;
        bytes[7] = 0b101;
        let info = TcpInfo::new(&bytes);
        assert_eq!((info.snd_wscale(), info.rcv_wscale()), (Some(7), Some(9)));
        assert_eq!(
            (info.delivery_rate_app_limited(), info.fastopen_client_fail()),
            (Some(1), Some(2))
        );
        assert_eq!(TcpInfo::new(&bytes[..168]).fastopen_client_fail(), None);
    }
}
