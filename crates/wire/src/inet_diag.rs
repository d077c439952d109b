//! `struct inet_diag_msg` and its attributes as one borrowed view (`include/uapi/linux/inet_diag.h`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::attrs::{AttrSet, nr};
use crate::bytes::{array, u32_ne, u64_ne};
use crate::companions::{BbrInfo, DctcpInfo, MemInfo, SkMemInfo, VegasInfo};
use crate::layout::Layout;
use crate::lookup::SocketKey;
use crate::tcp_info::TcpInfo;
use crate::ulp::{Ulp, until_zero};

/// `TCPDIAG_GETSOCK`: type of the request for both families, and of its replies.
pub const TCPDIAG_GETSOCK: u16 = 18;
/// `SOCK_DIAG_BY_FAMILY`: type of the request for one family, and of its replies.
pub const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// Whether a message of this `nlmsg_type` describes a socket.
#[inline]
pub const fn is_socket(kind: u16) -> bool {
    matches!(kind, TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY)
}
/// Bytes of `struct inet_diag_msg`.
pub const MSG_BYTES: usize = 72;
/// `AF_INET`.
pub const AF_INET: u8 = 2;
/// `AF_INET6`.
pub const AF_INET6: u8 = 10;

/// One socket as the kernel described it. Attributes outside the wanted set are skipped.
#[derive(Copy, Clone)]
pub struct InetDiag<'a> {
    msg: &'a [u8; MSG_BYTES],
    rest: &'a [u8],
    /// Where the attributes lie in `rest`; what is in them is read when somebody asks.
    layout: Layout,
}

/// Why a message is no socket.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DiagError {
    /// Shorter than `inet_diag_msg`.
    Short,
    /// Neither `AF_INET` nor `AF_INET6`.
    Family(u8),
    /// An attribute's length makes no sense.
    Attribute,
}

/// An address of one of the two families, as bytes in network order.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// Four bytes.
    V4(&'a [u8; 4]),
    /// Sixteen bytes; IPv4-mapped ones stay as they are.
    V6(&'a [u8; 16]),
}

/// Without the bytes of attributes: among them may be a secret key, which nobody reads.
impl fmt::Debug for InetDiag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InetDiag")
            .field("msg", self.msg)
            .field("attributes", &self.attributes())
            .field("unknown_attributes", &self.unknown_attributes())
            .finish_non_exhaustive()
    }
}

impl<'a> InetDiag<'a> {
    /// Views the payload of one message and reads the attributes in `wanted`.
    ///
    /// # Errors
    /// [`DiagError`]: the message makes no sense; nothing of it may be used.
    #[inline]
    pub fn parse(payload: &'a [u8], wanted: AttrSet) -> Result<Self, DiagError> {
        Self::laid_out(payload, |rest| Layout::of(rest, wanted))
    }

    /// Views the payload of one message, whose attributes somebody else finds.
    #[inline(always)]
    pub(crate) fn laid_out(
        payload: &'a [u8],
        layout: impl FnOnce(&[u8]) -> Result<Layout, DiagError>,
    ) -> Result<Self, DiagError> {
        let (msg, rest) = payload.split_first_chunk::<MSG_BYTES>().ok_or(DiagError::Short)?;
        match msg[0] {
            AF_INET | AF_INET6 => Ok(Self { msg, rest, layout: layout(rest)? }),
            family => Err(DiagError::Family(family)),
        }
    }

    /// The wanted attributes that came whole, a bit each at its `INET_DIAG_*` number.
    ///
    /// An old kernel's shorter struct is read as far as it goes and has no bit: with the bit, a field that is missing
    /// later means that it was 0. `INFO`, `CONG` and `ULP_INFO` have no fixed length and always have theirs.
    #[inline]
    pub fn attributes(&self) -> u32 {
        self.layout.whole()
    }

    /// Attributes with numbers beyond those known here.
    #[inline]
    pub fn unknown_attributes(&self) -> u16 {
        self.layout.unknown()
    }

    /// The struct as it came.
    #[inline(always)]
    pub fn msg(&self) -> &'a [u8; MSG_BYTES] {
        self.msg
    }

    /// `idiag_family`: [`AF_INET`] or [`AF_INET6`].
    #[inline]
    pub fn family(&self) -> u8 {
        self.msg[0]
    }

    /// `idiag_state`.
    #[inline]
    pub fn state(&self) -> u8 {
        self.msg[1]
    }

    /// `idiag_timer`: 0 off, 1 retransmit, 2 keepalive (SYN-ACK for requests), 3 time-wait, 4 zero window probe.
    #[inline]
    pub fn timer(&self) -> u8 {
        self.msg[2]
    }

    /// `idiag_retrans`.
    #[inline]
    pub fn retrans(&self) -> u8 {
        self.msg[3]
    }

    /// `idiag_sport`.
    #[inline]
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes([self.msg[4], self.msg[5]])
    }

    /// `idiag_dport`; 0 for a listener.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes([self.msg[6], self.msg[7]])
    }

    /// `idiag_src`.
    #[inline]
    pub fn source(&self) -> Address<'a> {
        self.address::<8>()
    }

    /// `idiag_dst`.
    #[inline]
    pub fn destination(&self) -> Address<'a> {
        self.address::<24>()
    }

    /// `idiag_if`: the interface that the socket is bound to; 0 is none.
    #[inline]
    pub fn interface(&self) -> u32 {
        self.word::<40>()
    }

    /// `idiag_cookie`: the same for the life of the socket, never given twice since boot. Low word first.
    #[inline]
    pub fn cookie(&self) -> u64 {
        u64::from(self.word::<48>()) << 32 | u64::from(self.word::<44>())
    }

    /// What names it to the kernel.
    #[inline]
    pub fn key(&self) -> SocketKey {
        SocketKey::of_msg(self.msg)
    }

    /// `idiag_expires`, ms.
    #[inline]
    pub fn expires(&self) -> u32 {
        self.word::<52>()
    }

    /// `idiag_rqueue`, bytes; for LISTEN the accept backlog, connections.
    #[inline]
    pub fn rqueue(&self) -> u32 {
        self.word::<56>()
    }

    /// `idiag_wqueue`, bytes; for LISTEN the limit of the accept backlog, connections.
    #[inline]
    pub fn wqueue(&self) -> u32 {
        self.word::<60>()
    }

    /// `idiag_uid`.
    #[inline]
    pub fn uid(&self) -> u32 {
        self.word::<64>()
    }

    /// `idiag_inode`; 0 for sockets that no file holds.
    #[inline]
    pub fn inode(&self) -> u32 {
        self.word::<68>()
    }

    /// `INET_DIAG_INFO`.
    #[inline]
    pub fn info(&self) -> Option<TcpInfo<'a>> {
        self.came::<{ nr::INFO }>().map(TcpInfo::new)
    }

    /// `INET_DIAG_MEMINFO`.
    #[inline]
    pub fn meminfo(&self) -> Option<MemInfo<'a>> {
        self.came::<{ nr::MEMINFO }>().map(MemInfo::new)
    }

    /// `INET_DIAG_SKMEMINFO`.
    #[inline]
    pub fn skmeminfo(&self) -> Option<SkMemInfo<'a>> {
        self.came::<{ nr::SKMEMINFO }>().map(SkMemInfo::new)
    }

    /// `INET_DIAG_CONG`, the congestion control's name without the terminating zero.
    #[inline]
    pub fn cong(&self) -> Option<&'a [u8]> {
        self.cong_as_sent().map(until_zero)
    }

    /// The same with what the kernel sends behind the name: a terminating zero.
    #[inline(always)]
    pub fn cong_as_sent(&self) -> Option<&'a [u8]> {
        self.came::<{ nr::CONG }>()
    }

    /// `INET_DIAG_VEGASINFO`.
    #[inline]
    pub fn vegas(&self) -> Option<VegasInfo<'a>> {
        self.came::<{ nr::VEGASINFO }>().map(VegasInfo::new)
    }

    /// `INET_DIAG_DCTCPINFO`.
    #[inline]
    pub fn dctcp(&self) -> Option<DctcpInfo<'a>> {
        self.came::<{ nr::DCTCPINFO }>().map(DctcpInfo::new)
    }

    /// `INET_DIAG_BBRINFO`.
    #[inline]
    pub fn bbr(&self) -> Option<BbrInfo<'a>> {
        self.came::<{ nr::BBRINFO }>().map(BbrInfo::new)
    }

    /// `INET_DIAG_ULP_INFO`.
    #[inline]
    pub fn ulp(&self) -> Option<Ulp<'a>> {
        self.came::<{ nr::ULP_INFO }>().map(Ulp::new)
    }

    /// `INET_DIAG_TOS`.
    #[inline]
    pub fn tos(&self) -> Option<u8> {
        self.payload::<{ nr::TOS }>().first().copied()
    }

    /// `INET_DIAG_TCLASS`, IPv6.
    #[inline]
    pub fn tclass(&self) -> Option<u8> {
        self.payload::<{ nr::TCLASS }>().first().copied()
    }

    /// `INET_DIAG_SHUTDOWN`: bit 0 receive, bit 1 send.
    #[inline]
    pub fn shutdown(&self) -> Option<u8> {
        self.payload::<{ nr::SHUTDOWN }>().first().copied()
    }

    /// `INET_DIAG_SKV6ONLY`.
    #[inline]
    pub fn ipv6_only(&self) -> Option<u8> {
        self.payload::<{ nr::SKV6ONLY }>().first().copied()
    }

    /// `INET_DIAG_MARK`; needs `CAP_NET_ADMIN`.
    #[inline]
    pub fn mark(&self) -> Option<u32> {
        u32_ne(self.payload::<{ nr::MARK }>(), 0)
    }

    /// `INET_DIAG_CLASS_ID`.
    #[inline]
    pub fn class_id(&self) -> Option<u32> {
        u32_ne(self.payload::<{ nr::CLASS_ID }>(), 0)
    }

    /// `INET_DIAG_CGROUP_ID`: inode of the cgroup v2 directory.
    #[inline]
    pub fn cgroup_id(&self) -> Option<u64> {
        u64_ne(self.payload::<{ nr::CGROUP_ID }>(), 0)
    }

    /// `INET_DIAG_SOCKOPT`: the bit-fields of `struct inet_diag_sockopt`, first byte lowest.
    #[inline]
    pub fn sockopt(&self) -> Option<u16> {
        array(self.payload::<{ nr::SOCKOPT }>(), 0).map(u16::from_le_bytes)
    }

    /// Whether none of these attributes came, whole or not, of those that are wanted.
    #[inline(always)]
    pub fn has_none_of<const N: usize>(&self, numbers: [u16; N]) -> bool {
        let bits = numbers.into_iter().fold(0, |bits, nr| bits | 1 << nr);
        self.layout.came() & bits == 0
    }

    /// The payload of an attribute that came.
    #[inline(always)]
    fn came<const NR: u16>(&self) -> Option<&'a [u8]> {
        self.layout.place(NR).and_then(|place| self.rest.get(place))
    }

    /// The payload of an attribute, empty where it did not come.
    #[inline(always)]
    fn payload<const NR: u16>(&self) -> &'a [u8] {
        self.came::<NR>().unwrap_or_default()
    }

    #[inline(always)]
    fn address<const AT: usize>(&self) -> Address<'a> {
        let (_, rest) = self.msg.split_at(AT);
        if self.family() == AF_INET {
            Address::V4(rest.first_chunk().expect("both addresses lie inside the 72 bytes"))
        } else {
            Address::V6(rest.first_chunk().expect("both addresses lie inside the 72 bytes"))
        }
    }

    #[inline(always)]
    fn word<const AT: usize>(&self) -> u32 {
        u32_ne(self.msg, AT).expect("AT is a constant inside the 72 bytes")
    }
}

impl<'a> Address<'a> {
    /// The bytes in network order, 4 or 16.
    #[inline]
    pub fn octets(self) -> &'a [u8] {
        match self {
            Address::V4(bytes) => bytes,
            Address::V6(bytes) => bytes,
        }
    }

    /// As the standard library's type, for text.
    pub fn ip(self) -> IpAddr {
        match self {
            Address::V4(bytes) => IpAddr::V4(Ipv4Addr::from(*bytes)),
            Address::V6(bytes) => IpAddr::V6(Ipv6Addr::from(*bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn msg(family: u8) -> Vec<u8> {
        let mut bytes = vec![0u8; MSG_BYTES];
        bytes[0] = family;
        bytes[1] = 1;
        bytes[4..8].copy_from_slice(&[0x1f, 0x90, 0x01, 0xbb]);
        bytes[8..12].copy_from_slice(&[127, 0, 0, 1]);
        bytes[24..28].copy_from_slice(&[10, 0, 0, 9]);
        bytes[44..48].copy_from_slice(&0x1111_2222u32.to_ne_bytes());
        bytes[48..52].copy_from_slice(&0x3333_4444u32.to_ne_bytes());
        bytes
    }

    #[test]
    fn ports_are_big_endian_and_the_cookie_has_its_low_word_first() {
        let bytes = msg(AF_INET);
        let socket = InetDiag::parse(&bytes, AttrSet::ALL).unwrap();
        assert_eq!((socket.source_port(), socket.destination_port()), (8080, 443));
        assert_eq!(socket.cookie(), 0x3333_4444_1111_2222);
        assert_eq!(socket.source().octets(), [127, 0, 0, 1]);
        assert_eq!(socket.destination().ip(), IpAddr::from([10, 0, 0, 9]));
        assert_eq!(socket.attributes(), 0);
    }

    #[test]
    fn an_ipv6_address_has_sixteen_bytes() {
        let bytes = msg(AF_INET6);
        assert_eq!(InetDiag::parse(&bytes, AttrSet::ALL).unwrap().source().octets().len(), 16);
    }

    #[test]
    fn messages_that_are_no_sockets_are_told_apart() {
        assert_eq!(InetDiag::parse(&[2; 71], AttrSet::ALL).unwrap_err(), DiagError::Short);
        assert_eq!(InetDiag::parse(&msg(3), AttrSet::ALL).unwrap_err(), DiagError::Family(3));
        let mut bytes = msg(AF_INET);
        bytes.extend([0, 0, 1, 0]);
        assert_eq!(InetDiag::parse(&bytes, AttrSet::ALL).unwrap_err(), DiagError::Attribute);
    }

    fn with(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = msg(AF_INET);
        for (number, payload) in attributes {
            bytes.extend(u16::try_from(4 + payload.len()).unwrap().to_ne_bytes());
            bytes.extend(number.to_ne_bytes());
            bytes.extend(*payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn a_short_attribute_is_read_as_far_as_it_goes_and_has_no_bit() {
        let bytes = with(&[
            (nr::SKMEMINFO, &[1; 32]),
            (nr::MARK, &[7, 7]),
            (nr::TOS, &[]),
            (nr::CONG, b"\0"),
        ]);
        let socket = InetDiag::parse(&bytes, AttrSet::ALL).unwrap();
        let skmem = socket.skmeminfo().unwrap();
        assert_eq!((skmem.backlog(), skmem.drops()), (Some(0x0101_0101), None));
        assert_eq!((socket.mark(), socket.tos(), socket.cong()), (None, None, Some(&[][..])));
        assert_eq!(socket.attributes(), 1 << nr::CONG);
    }

    #[test]
    fn of_an_attribute_that_comes_twice_the_last_one_counts() {
        let bytes =
            with(&[(nr::MARK, &[7; 4]), (nr::TOS, &[1]), (nr::TOS, &[2]), (nr::MARK, &[7])]);
        let socket = InetDiag::parse(&bytes, AttrSet::ALL).unwrap();
        assert_eq!(
            (socket.mark(), socket.tos(), socket.attributes()),
            (None, Some(2), 1 << nr::TOS)
        );
    }

    #[test]
    fn more_unknown_attributes_than_a_counter_holds_do_not_panic() {
        let mut bytes = msg(AF_INET);
        bytes.extend([4u16.to_ne_bytes(), 60u16.to_ne_bytes()].concat().repeat(0x1_0001));
        assert_eq!(InetDiag::parse(&bytes, AttrSet::ALL).unwrap().unknown_attributes(), u16::MAX);
    }

    #[test]
    fn only_wanted_attributes_are_kept_and_the_md5_key_never() {
        let mut bytes = msg(AF_INET);
        for (number, payload) in [
            (nr::MD5SIG, *b"key!"),
            (nr::MARK, 7u32.to_ne_bytes()),
            (nr::TOS, [8, 0, 0, 0]),
            (63, [0; 4]),
        ] {
            bytes.extend(8u16.to_ne_bytes());
            bytes.extend(number.to_ne_bytes());
            bytes.extend(payload);
        }
        let socket = InetDiag::parse(&bytes, AttrSet::of(nr::MARK)).unwrap();
        assert_eq!((socket.mark(), socket.tos()), (Some(7), None));
        assert_eq!(socket.attributes(), 1 << nr::MARK);
        assert_eq!(socket.unknown_attributes(), 1);
        assert!(
            !format!("{:?}", InetDiag::parse(&bytes, AttrSet::ALL).unwrap())
                .contains("107, 101, 121")
        );
    }
}
