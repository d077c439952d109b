//! The kernel's structs, written down once more from `include/uapi/linux`, and messages made of them.

use sockeye_record::Deltas;

/// A C struct without holes: its fields in order, in the machine's byte order.
pub(crate) trait KernelStruct: Default {
    const FIELDS: usize;
    fn from_words(words: &[u64]) -> Self;
    fn bytes(&self) -> Vec<u8>;
}

macro_rules! kernel_struct {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* }

        impl KernelStruct for $name {
            const FIELDS: usize = [$(stringify!($field)),*].len();

            fn from_words(words: &[u64]) -> Self {
                let mut words = words.iter();
                Self { $($field: *words.next().unwrap() as $type),* }
            }

            fn bytes(&self) -> Vec<u8> {
                [$(&self.$field.to_ne_bytes()[..]),*].concat()
            }
        }
    };
}

kernel_struct!(MemInfo { rmem: u32, wmem: u32, fmem: u32, tmem: u32 });
kernel_struct!(SkMemInfo {
    rmem_alloc: u32,
    rcvbuf: u32,
    wmem_alloc: u32,
    sndbuf: u32,
    fwd_alloc: u32,
    wmem_queued: u32,
    optmem: u32,
    backlog: u32,
    drops: u32,
});
kernel_struct!(VegasInfo { enabled: u32, rttcnt: u32, rtt: u32, minrtt: u32 });
kernel_struct!(DctcpInfo { enabled: u16, ce_state: u16, alpha: u32, ab_ecn: u32, ab_tot: u32 });
kernel_struct!(BbrInfo { bw_lo: u32, bw_hi: u32, min_rtt: u32, pacing_gain: u32, cwnd_gain: u32 });
kernel_struct!(TcpInfo {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    wscales: u8,
    bits: u8,
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
    busy_time: u64,
    rwnd_limited: u64,
    sndbuf_limited: u64,
    delivered: u32,
    delivered_ce: u32,
    bytes_sent: u64,
    bytes_retrans: u64,
    dsack_dups: u32,
    reord_seen: u32,
    rcv_ooopack: u32,
    snd_wnd: u32,
    rcv_wnd: u32,
    rehash: u32,
    total_rto: u16,
    total_rto_recoveries: u16,
    total_rto_time: u32,
    received_ce: u32,
    delivered_e1_bytes: u32,
    delivered_e0_bytes: u32,
    delivered_ce_bytes: u32,
    received_e1_bytes: u32,
    received_e0_bytes: u32,
    received_ce_bytes: u32,
    accecn_word: u32,
});

impl TcpInfo {
    /// A C bit-field of byte 6 or 7: compilers fill a byte from its lowest bit on little-endian machines, from its
    /// highest on big-endian ones.
    pub(crate) fn bit_field(byte: u8, first: u32, bits: u32) -> u32 {
        let first = if cfg!(target_endian = "little") { first } else { 8 - first - bits };
        u32::from(byte) >> first & ((1 << bits) - 1)
    }
}

/// A struct of which the kernel delivers `len` bytes: fewer than there are, or more.
#[derive(Debug, Clone)]
pub(crate) struct Cut<T> {
    pub(crate) value: T,
    pub(crate) len: usize,
}

impl<T: KernelStruct> Cut<T> {
    pub(crate) fn whole(value: T) -> Self {
        let len = value.bytes().len();
        Self { value, len }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.len >= self.value.bytes().len()
    }

    /// `value` of a field that ends at `end`, where zero is what protobuf says of a field that did not come.
    pub(crate) fn field<V: Default>(&self, end: usize, value: V) -> V {
        if self.len >= end { value } else { V::default() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.value.bytes();
        bytes.resize(self.len, 0xee);
        bytes
    }
}

/// `INET_DIAG_ULP_INFO`.
#[derive(Debug, Clone)]
pub(crate) enum Ulp {
    Tls { version: u16, cipher: u16, tx_conf: u16, rx_conf: u16 },
    Mptcp(MptcpInfo),
}

kernel_struct!(MptcpInfo {
    token_rem: u32,
    token_loc: u32,
    relwrite_seq: u32,
    map_seq: u64,
    map_sfseq: u32,
    ssn_offset: u32,
    map_datalen: u16,
    flags: u32,
    id_rem: u8,
    id_loc: u8,
});

/// One socket, and the numbers of its row.
#[expect(clippy::struct_field_names, reason = "socket_fd is the column's name")]
#[derive(Debug, Clone, Default)]
pub(crate) struct Socket {
    pub(crate) record_counter: u64,
    pub(crate) socket_fd: u64,
    pub(crate) netlinker_id: u64,
    pub(crate) ipv6: bool,
    pub(crate) state: u8,
    pub(crate) timer: u8,
    pub(crate) retrans: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) src: [u8; 16],
    pub(crate) dst: [u8; 16],
    pub(crate) interface: u32,
    pub(crate) cookie: u64,
    pub(crate) expires: u32,
    pub(crate) rqueue: u32,
    pub(crate) wqueue: u32,
    pub(crate) uid: u32,
    pub(crate) inode: u32,
    pub(crate) meminfo: Option<Cut<MemInfo>>,
    pub(crate) info: Option<Cut<TcpInfo>>,
    pub(crate) vegas: Option<Cut<VegasInfo>>,
    /// With the terminating zero, where there is one.
    pub(crate) cong: Option<Vec<u8>>,
    pub(crate) tos: Option<u8>,
    pub(crate) tclass: Option<u8>,
    pub(crate) skmem: Option<Cut<SkMemInfo>>,
    pub(crate) shutdown: Option<u8>,
    pub(crate) dctcp: Option<Cut<DctcpInfo>>,
    pub(crate) v6only: Option<u8>,
    pub(crate) mark: Option<u32>,
    pub(crate) bbr: Option<Cut<BbrInfo>>,
    pub(crate) class_id: Option<u32>,
    pub(crate) ulp: Option<Ulp>,
    pub(crate) cgroup: Option<u64>,
    pub(crate) sockopt: Option<[u8; 2]>,
    /// Adds attributes that must change nothing: PROTOCOL, PAD, the MD5 key, and one that nobody knows.
    pub(crate) noise: bool,
    /// What a poll knew of it.
    pub(crate) known: Option<Known>,
    pub(crate) deltas: Option<Deltas>,
}

/// A [`Joined`](sockeye_record::Joined) that owns its text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) cong: Option<String>,
    pub(crate) cgroup_id: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) inode: Option<u32>,
    pub(crate) skmem: Option<SkMemInfo>,
    pub(crate) first_seen_ns: Option<i64>,
}

impl Socket {
    /// `struct inet_diag_msg` and its attributes, as the kernel sends them.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut out = vec![if self.ipv6 { 10 } else { 2 }, self.state, self.timer, self.retrans];
        out.extend(self.sport.to_be_bytes());
        out.extend(self.dport.to_be_bytes());
        out.extend(self.src);
        out.extend(self.dst);
        out.extend(self.interface.to_ne_bytes());
        out.extend((self.cookie as u32).to_ne_bytes());
        out.extend(((self.cookie >> 32) as u32).to_ne_bytes());
        for word in [self.expires, self.rqueue, self.wqueue, self.uid, self.inode] {
            out.extend(word.to_ne_bytes());
        }
        assert_eq!(out.len(), 72);
        let mut put = |number: u16, payload: Option<Vec<u8>>| {
            if let Some(payload) = payload {
                attribute(&mut out, number, &payload);
            }
        };
        put(10, self.noise.then(|| vec![6]));
        put(8, self.shutdown.map(|v| vec![v]));
        put(5, self.tos.map(|v| vec![v]));
        put(0x4006, self.tclass.map(|v| vec![v]));
        put(11, self.v6only.map(|v| vec![v]));
        put(15, self.mark.map(|v| v.to_ne_bytes().to_vec()));
        put(17, self.class_id.map(|v| v.to_ne_bytes().to_vec()));
        put(21, self.cgroup.map(|v| v.to_ne_bytes().to_vec()));
        put(22, self.sockopt.map(|v| v.to_vec()));
        put(1, self.meminfo.as_ref().map(Cut::bytes));
        put(7, self.skmem.as_ref().map(Cut::bytes));
        put(14, self.noise.then(Vec::new));
        put(2, self.info.as_ref().map(Cut::bytes));
        put(4, self.cong.clone());
        put(18, self.noise.then(|| b"secret secret secret".to_vec()));
        put(3, self.vegas.as_ref().map(Cut::bytes));
        put(9, self.dctcp.as_ref().map(Cut::bytes));
        put(16, self.bbr.as_ref().map(Cut::bytes));
        put(0x8013, self.ulp.as_ref().map(Ulp::bytes));
        put(99, self.noise.then(|| vec![1, 2, 3]));
        out
    }
}

impl Ulp {
    fn bytes(&self) -> Vec<u8> {
        let (mut out, mut inner) = (Vec::new(), Vec::new());
        match self {
            Self::Tls { version, cipher, tx_conf, rx_conf } => {
                attribute(&mut out, 1, b"tls\0");
                for (number, value) in [version, cipher, tx_conf, rx_conf].into_iter().enumerate() {
                    attribute(&mut inner, number as u16 + 1, &value.to_ne_bytes());
                }
                attribute(&mut out, 0x8002, &inner);
            }
            Self::Mptcp(m) => {
                attribute(&mut out, 1, b"mptcp\0");
                attribute(&mut inner, 1, &m.token_rem.to_ne_bytes());
                attribute(&mut inner, 2, &m.token_loc.to_ne_bytes());
                attribute(&mut inner, 3, &m.relwrite_seq.to_ne_bytes());
                attribute(&mut inner, 4, &m.map_seq.to_ne_bytes());
                attribute(&mut inner, 5, &m.map_sfseq.to_ne_bytes());
                attribute(&mut inner, 6, &m.ssn_offset.to_ne_bytes());
                attribute(&mut inner, 7, &m.map_datalen.to_ne_bytes());
                attribute(&mut inner, 8, &m.flags.to_ne_bytes());
                attribute(&mut inner, 9, &[m.id_rem]);
                attribute(&mut inner, 10, &[m.id_loc]);
                attribute(&mut out, 0x8003, &inner);
            }
        }
        out
    }
}

fn attribute(out: &mut Vec<u8>, number: u16, payload: &[u8]) {
    out.extend((payload.len() as u16 + 4).to_ne_bytes());
    out.extend(number.to_ne_bytes());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(4), 0);
}
