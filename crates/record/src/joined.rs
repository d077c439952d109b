//! What a row has beyond what the kernel sent: values of the last poll, and differences to the row before.

use sockeye_wire::attrs::nr;
use sockeye_wire::companions::SkMemInfo;

/// What the last poll knew of a socket that is closed now. The kernel's own word goes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Joined<'a> {
    /// Name of the congestion control.
    pub cong: Option<&'a [u8]>,
    /// Inode of the cgroup's directory.
    pub cgroup_id: Option<u64>,
    /// Owner.
    pub uid: Option<u32>,
    /// Inode of the socket's file.
    pub inode: Option<u32>,
    /// `SK_MEMINFO_*`, the attribute's bytes as the kernel sent them.
    pub skmeminfo: Option<[u8; SkMemInfo::BYTES]>,
    /// Wall clock of the first poll that saw the socket.
    pub first_seen_ns: Option<i64>,
}

/// What happened since the row before of the same socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deltas {
    /// [`FIRST`](Self::FIRST), [`RESET`](Self::RESET), [`FORGOT`](Self::FORGOT); the row adds that it has deltas.
    pub flags: u32,
    /// Sent, retransmits included.
    pub bytes_sent: u64,
    /// Received.
    pub bytes_received: u64,
    /// Retransmitted.
    pub bytes_retrans: u64,
    /// Segments sent.
    pub segs_out: u32,
    /// Segments received.
    pub segs_in: u32,
}

impl Deltas {
    /// The first row of this socket: the deltas are everything since the connection began.
    pub const FIRST: u32 = 1;
    /// Counters went backwards (`tcp_disconnect`): the deltas are what came since.
    pub const RESET: u32 = 2;
    /// Sockets of this namespace were forgotten before: a first row may not be the first.
    pub const FORGOT: u32 = 4;
}

/// The bit of `joined` for the columns of this attribute.
pub(crate) fn bit_of(nr: u16) -> u32 {
    match nr {
        nr::CONG => CONG,
        nr::CGROUP_ID => CGROUP,
        nr::SKMEMINFO => SKMEM,
        _ => 0,
    }
}

/// Bit of `delta_flags` in every row that has deltas.
pub(crate) const HAS_DELTAS: u32 = 8;

/// Bits of the column `joined`.
pub(crate) const CONG: u32 = 1;
pub(crate) const CGROUP: u32 = 2;
pub(crate) const UID: u32 = 4;
pub(crate) const INODE: u32 = 8;
pub(crate) const SKMEM: u32 = 16;
