//! A row: a borrowed view of one socket at one time, until it is encoded.

use sockeye_wire::attrs::nr;
use sockeye_wire::companions::{BbrInfo, DctcpInfo, MemInfo, SkMemInfo, VegasInfo};
use sockeye_wire::inet_diag::{InetDiag, MSG_BYTES};
use sockeye_wire::tcp_info::{KNOWN_BYTES, TcpInfo};
use sockeye_wire::ulp::Ulp;

use crate::algorithm::Algorithm;
use crate::joined::{self, Deltas, HAS_DELTAS, Joined};

/// What is the same for every row of one dump. Encoders turn it into bytes once and copy them.
#[derive(Debug, Clone, Copy)]
pub struct DumpContext<'a> {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// [`DAEMON_VERSION`].
    pub daemon_version: &'a str,
    /// Wall clock when the dump was requested, ns since the epoch.
    pub timestamp_ns: i64,
    /// `CLOCK_BOOTTIME` at the same moment, ns.
    pub boottime_ns: i64,
    /// Empty: left out.
    pub hostname: &'a str,
    /// Empty: left out.
    pub location: &'a str,
    /// Name of the network namespace.
    pub netns: &'a str,
    /// Its inode.
    pub netns_inode: u64,
    /// Its id as seen from the host's namespace.
    pub nsid: Option<u32>,
    /// Empty: left out.
    pub container_id: &'a str,
    /// Empty: left out.
    pub container_runtime: &'a str,
    /// Empty: left out.
    pub label: &'a str,
    /// Empty: left out.
    pub tag: &'a str,
    /// [`POLL`] or [`CLOSED`].
    pub record_kind: u32,
}

/// One socket at one time.
#[derive(Debug, Clone, Copy)]
pub struct SocketRow<'a> {
    pub(crate) polled: Polled<'a>,
    joined: Option<&'a Joined<'a>>,
    pub(crate) deltas: Option<Deltas>,
}

/// What every row has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Polled<'a> {
    /// What the kernel sent.
    socket: &'a InetDiag<'a>,
    record_counter: u64,
    socket_fd: u64,
    netlinker_id: u64,
}

impl<'a> SocketRow<'a> {
    /// A row of `socket`, read by reader `netlinker_id` through the socket `socket_fd`, number `record_counter` of
    /// its namespace and poll.
    #[inline]
    pub fn new(
        socket: &'a InetDiag<'a>,
        record_counter: u64,
        socket_fd: u64,
        netlinker_id: u64,
    ) -> Self {
        let polled = Polled { socket, record_counter, socket_fd, netlinker_id };
        Self { polled, joined: None, deltas: None }
    }

    /// The row with what the last poll knew of the same socket, for the columns that `socket` itself lacks.
    #[must_use]
    pub fn joined(self, joined: &'a Joined<'a>) -> Self {
        Self { joined: Some(joined), ..self }
    }

    /// The row with what happened since the row before of the same socket.
    #[inline]
    #[must_use]
    pub fn deltas(self, deltas: Deltas) -> Self {
        let flags = deltas.flags | HAS_DELTAS;
        Self { deltas: Some(Deltas { flags, ..deltas }), ..self }
    }

    /// The structs of a socket that is as most are: they have the lengths that are known, and none is there that few have.
    #[inline(always)]
    pub(crate) fn common(&self) -> Option<Structs<'a>> {
        if self.joined.is_some() {
            return None;
        }
        let socket = self.polled.socket;
        let (info, skmeminfo) = (socket.info()?.whole()?, socket.skmeminfo()?.whole()?);
        let few = [nr::MEMINFO, nr::VEGASINFO, nr::DCTCPINFO, nr::ULP_INFO];
        socket.has_none_of(few).then_some(Structs { msg: socket.msg(), info, skmeminfo })
    }
}

/// What the columns of a socket are read from: the row with its attributes found.
#[derive(Clone, Copy)]
pub(crate) struct SocketView<'a> {
    pub(crate) socket: &'a InetDiag<'a>,
    pub(crate) info: Option<TcpInfo<'a>>,
    pub(crate) skmeminfo: Option<SkMemInfo<'a>>,
    pub(crate) cong: Option<Algorithm<'a>>,
    pub(crate) bbr: Option<BbrInfo<'a>>,
    pub(crate) meminfo: Option<MemInfo<'a>>,
    pub(crate) vegas: Option<VegasInfo<'a>>,
    pub(crate) dctcp: Option<DctcpInfo<'a>>,
    pub(crate) ulp: Option<Ulp<'a>>,
    /// Whether the row is of a closed socket.
    pub(crate) closed: bool,
    /// What a poll knew.
    pub(crate) known: Option<&'a Joined<'a>>,
    pub(crate) deltas: Option<&'a Deltas>,
    pub(crate) record_counter: u64,
    pub(crate) socket_fd: u64,
    pub(crate) netlinker_id: u64,
    /// [`COMPLETE`] and [`NSID`] of the column `attributes`, from the encoder, which knows its columns and the dump.
    pub(crate) flags: u64,
}

/// The structs of a common row.
#[derive(Clone, Copy)]
pub(crate) struct Structs<'a> {
    pub(crate) msg: &'a [u8; MSG_BYTES],
    pub(crate) info: &'a [u8; KNOWN_BYTES],
    pub(crate) skmeminfo: &'a [u8; SkMemInfo::BYTES],
}

impl<'a> SocketView<'a> {
    /// The view of any row. `closed`: the dump is one of closed sockets, of which the kernel does not tell the owner.
    #[inline(always)]
    pub(crate) fn new(row: &'a SocketRow<'a>, closed: bool, flags: u64) -> Self {
        let Polled { socket, record_counter, socket_fd, netlinker_id } = row.polled;
        let known = row.joined;
        let skmeminfo = || Some(SkMemInfo::new(known?.skmeminfo.as_ref()?));
        Self {
            socket,
            info: socket.info(),
            skmeminfo: socket.skmeminfo().or_else(skmeminfo),
            cong: socket.cong_as_sent().or_else(|| known?.cong).map(Algorithm::of),
            bbr: socket.bbr(),
            meminfo: socket.meminfo(),
            vegas: socket.vegas(),
            dctcp: socket.dctcp(),
            ulp: socket.ulp(),
            closed,
            known,
            deltas: row.deltas.as_ref(),
            record_counter,
            socket_fd,
            netlinker_id,
            flags,
        }
    }

    /// The view of a common row. The compiler knows which structs it has, and how long they are: it leaves out two tests
    /// for each column where this is inlined.
    #[inline(always)]
    pub(crate) fn common(
        row: &Polled<'a>,
        deltas: Option<&'a Deltas>,
        Structs { info, skmeminfo, .. }: Structs<'a>,
        flags: u64,
    ) -> Self {
        let Polled { socket, record_counter, socket_fd, netlinker_id } = *row;
        Self {
            socket,
            info: Some(TcpInfo::new(info)),
            skmeminfo: Some(SkMemInfo::new(skmeminfo)),
            cong: socket.cong_as_sent().map(Algorithm::of),
            bbr: socket.bbr(),
            meminfo: None,
            vegas: None,
            dctcp: None,
            ulp: None,
            closed: false,
            known: None,
            deltas,
            record_counter,
            socket_fd,
            netlinker_id,
            flags,
        }
    }

    /// What the kernel or else a poll says of the owner; of a closed socket the kernel's 0 means nothing.
    #[inline(always)]
    pub(crate) fn owner(
        &self,
        told: u32,
        known: impl FnOnce(&Joined<'a>) -> Option<u32>,
    ) -> Option<u32> {
        if self.closed && told == 0 { known(self.known?) } else { Some(told) }
    }

    /// Whether there is anything beyond what the kernel sent.
    #[inline(always)]
    pub(crate) fn is_tracked(&self) -> bool {
        self.deltas.is_some() || self.known.is_some()
    }

    /// The bits of the column `joined`.
    #[inline(always)]
    pub(crate) fn joined(&self) -> Option<u32> {
        let (known, socket) = (self.known?, self.socket);
        let nobody = |told: u32| self.closed && told == 0;
        let joined = [
            (joined::CONG, known.cong.is_some() && socket.cong().is_none()),
            (joined::CGROUP, known.cgroup_id.is_some() && socket.cgroup_id().is_none()),
            (joined::UID, known.uid.is_some() && nobody(socket.uid())),
            (joined::INODE, known.inode.is_some() && nobody(socket.inode())),
            (joined::SKMEM, known.skmeminfo.is_some() && socket.skmeminfo().is_none()),
        ];
        Some(joined.into_iter().map(|(bit, joined)| if joined { bit } else { 0 }).sum())
    }
}

/// Version of the schema that rows follow.
pub const SCHEMA_VERSION: u32 = 1;
/// What `daemon_version` says.
pub const DAEMON_VERSION: &str = concat!("sockeye/", env!("CARGO_PKG_VERSION"));
/// `record_kind` of a socket that a poll saw.
pub const POLL: u32 = 1;
/// `record_kind` of a socket that the kernel reported closed.
pub const CLOSED: u32 = 2;

/// Bit 0 of `attributes`: the writer had every column enabled, so what is missing was 0 where the row says that it came.
pub(crate) const COMPLETE: u64 = 1;
/// Bit 32 of `attributes`, beyond the kernel's numbers and only beside [`COMPLETE`]: the namespace has an nsid, and a
/// missing one is 0.
pub(crate) const NSID: u64 = 1 << 32;

/// `TCP_INFINITE_SSTHRESH` is no number of segments. (Nor is 0, what LISTEN has; the column's presence says so.)
pub(crate) fn finite_ssthresh(segments: u32) -> Option<u32> {
    (segments < NEVER).then_some(segments)
}

/// All ones is "unlimited". (0 is "not set"; the column's presence says so.)
pub(crate) fn finite_rate(bytes_per_second: u64) -> Option<u64> {
    (bytes_per_second != UNLIMITED).then_some(bytes_per_second)
}

/// A lowest round trip time begins at all ones (`tcp_min_rtt`, BBR) or at 0x7fffffff (Vegas): no sample yet.
pub(crate) fn sampled(us: u32) -> Option<u32> {
    (us < NEVER).then_some(us)
}

/// From here on a threshold is infinite, and a lowest round trip time has no sample.
pub(crate) const NEVER: u32 = 0x7fff_ffff;
/// A rate without a limit.
pub(crate) const UNLIMITED: u64 = u64::MAX;

/// A name out of the kernel; they are ASCII, and anything else would break every format that holds text.
pub(crate) fn kernel_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
