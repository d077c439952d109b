//! The small structs beside `tcp_info`: memory figures and what congestion controls say of themselves.

use crate::bytes::{u16_ne, u32_ne};

macro_rules! view {
    ($(#[$doc:meta])* $view:ident($bytes:literal) { $($offset:literal $name:ident: $type:tt, $field_doc:literal;)* }) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, PartialEq, Eq)]
        pub struct $view<'a>(&'a [u8]);

        impl<'a> $view<'a> {
            /// Bytes of the whole struct.
            pub const BYTES: usize = $bytes;

            /// Views an attribute's payload; what a short one lacks is absent.
            #[inline(always)]
            pub fn new(bytes: &'a [u8]) -> Self { Self(bytes) }

            /// The bytes, where they are exactly the struct: then no field is absent.
            #[inline(always)]
            pub fn whole(&self) -> Option<&'a [u8; $bytes]> { self.0.try_into().ok() }

            $(
                #[doc = $field_doc]
                #[inline(always)]
                pub fn $name(&self) -> Option<$type> { view!(@read $type, self.0, $offset) }
            )*
        }
    };
    (@read u16, $bytes:expr, $offset:literal) => { u16_ne($bytes, $offset) };
    (@read u32, $bytes:expr, $offset:literal) => { u32_ne($bytes, $offset) };
}

view! {
    /// `struct inet_diag_meminfo`, bytes.
    MemInfo(16) {
        0 rmem: u32, "Receive queue.";
        4 wmem: u32, "Write queue.";
        8 fmem: u32, "Forward allocation.";
        12 tmem: u32, "Send queue, in flight.";
    }
}

view! {
    /// `SK_MEMINFO_*` of `sock_diag.h`, bytes; shorter on kernels before 4.7.
    SkMemInfo(36) {
        0 rmem_alloc: u32, "Receive queue.";
        4 rcvbuf: u32, "`SO_RCVBUF`.";
        8 wmem_alloc: u32, "Send queue, in flight.";
        12 sndbuf: u32, "`SO_SNDBUF`.";
        16 fwd_alloc: u32, "Forward allocation.";
        20 wmem_queued: u32, "Send queue.";
        24 optmem: u32, "Options.";
        28 backlog: u32, "Backlog queue.";
        32 drops: u32, "Packets dropped.";
    }
}

view! {
    /// `struct tcpvegas_info`.
    VegasInfo(16) {
        0 enabled: u32, "1 while Vegas decides.";
        4 rtt_cnt: u32, "RTT samples in this round.";
        8 rtt_us: u32, "Last RTT, us.";
        12 min_rtt_us: u32, "Lowest RTT, us.";
    }
}

view! {
    /// `struct tcp_dctcp_info`.
    DctcpInfo(16) {
        0 enabled: u16, "1 while DCTCP decides; 0 after falling back.";
        2 ce_state: u16, "Whether the last segment was CE-marked.";
        4 alpha: u32, "Share of marked bytes, 1024 is all.";
        8 ab_ecn: u32, "Marked bytes acknowledged.";
        12 ab_tot: u32, "Bytes acknowledged.";
    }
}

view! {
    /// `struct tcp_bbr_info`.
    BbrInfo(20) {
        0 bw_lo: u32, "Low word of the bandwidth estimate, bytes per second.";
        4 bw_hi: u32, "High word of it.";
        8 min_rtt_us: u32, "Lowest RTT, us.";
        12 pacing_gain: u32, "Pacing gain, 256 is 1.";
        16 cwnd_gain: u32, "Window gain, 256 is 1.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernels_short_skmeminfo_has_no_drops() {
        let bytes: Vec<u8> = (1..=9u32).flat_map(u32::to_ne_bytes).collect();
        assert_eq!(SkMemInfo::new(&bytes).drops(), Some(9));
        assert_eq!(SkMemInfo::new(&bytes[..32]).drops(), None);
        assert_eq!(SkMemInfo::new(&bytes[..32]).backlog(), Some(8));
    }

    #[test]
    fn dctcp_starts_with_two_short_words() {
        let mut bytes = Vec::new();
        bytes.extend(1u16.to_ne_bytes());
        bytes.extend(2u16.to_ne_bytes());
        bytes.extend((3..=5u32).flat_map(u32::to_ne_bytes));
        let info = DctcpInfo::new(&bytes);
        assert_eq!(
            (info.enabled(), info.ce_state(), info.alpha(), info.ab_ecn(), info.ab_tot()),
            (Some(1), Some(2), Some(3), Some(4), Some(5))
        );
    }
}
