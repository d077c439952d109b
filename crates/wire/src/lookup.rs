//! The request for one socket: `inet_diag_req_v2` without `NLM_F_DUMP`, answered without a walk of any table.

use crate::inet_diag::{MSG_BYTES, SOCK_DIAG_BY_FAMILY};
use crate::netlink::HEADER_BYTES;

/// What names one socket to the kernel: its family and `struct inet_diag_sockid` (ports, addresses, interface, cookie),
/// as a reply had them.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey {
    family: u8,
    id: [u8; SOCKID_BYTES],
}

impl SocketKey {
    /// Bytes of one request.
    pub const REQUEST_BYTES: usize = HEADER_BYTES + REQ_V2_BYTES;

    /// The key of the socket that this payload describes; `None` when it is too short to describe one.
    #[inline]
    pub fn of(payload: &[u8]) -> Option<Self> {
        payload.first_chunk().map(Self::of_msg)
    }

    /// The key of the socket that this `struct inet_diag_msg` describes.
    #[inline]
    pub(crate) fn of_msg(msg: &[u8; MSG_BYTES]) -> Self {
        let (_, id) = msg.split_at(SOCKID_AT);
        Self { family: msg[0], id: *id.first_chunk().expect("the message is longer") }
    }

    /// The key of whatever has the same addresses, ports and interface: a connection, what is left of one, or else a
    /// listener that would take it (`inet_diag_find_one_icsk`).
    #[must_use]
    pub fn with_any_cookie(mut self) -> Self {
        if let Some(cookie) = self.id.get_mut(COOKIE_AT..) {
            // INET_DIAG_NOCOOKIE, twice.
            cookie.fill(0xff);
        }
        self
    }

    /// `idiag_cookie`, as [`InetDiag::cookie`](crate::InetDiag::cookie) has it.
    pub fn cookie(&self) -> u64 {
        let word = |at: usize| {
            let bytes = self.id.get(at..).and_then(<[u8]>::first_chunk).copied();
            u64::from(u32::from_ne_bytes(bytes.expect("the cookie is the end of the id")))
        };
        word(COOKIE_AT) | word(COOKIE_AT + 4) << 32
    }

    /// The request with this sequence number for the attributes of `extension_bits`. The kernel answers it with one
    /// message: the socket, or `NLMSG_ERROR` with `ENOENT` (no such connection) or `ESTALE` (another cookie).
    ///
    /// The kernel does not look at states: the socket may be in any, and a mini-socket that it left behind
    /// (`TIME_WAIT`) has its cookie and is found in its place.
    pub fn request(&self, seq: u32, extension_bits: u8) -> [u8; Self::REQUEST_BYTES] {
        let mut bytes = [0; Self::REQUEST_BYTES];
        let len = u32::try_from(Self::REQUEST_BYTES).expect("72");
        bytes[0..4].copy_from_slice(&len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        bytes[8..12].copy_from_slice(&seq.to_ne_bytes());
        bytes[16..19].copy_from_slice(&[self.family, IPPROTO_TCP, extension_bits]);
        bytes[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
        bytes[24..].copy_from_slice(&self.id);
        bytes
    }
}

/// Bytes of `struct inet_diag_sockid`.
const SOCKID_BYTES: usize = 48;
/// Where it lies in `struct inet_diag_msg`.
const SOCKID_AT: usize = 4;
/// Where the cookie lies in it.
const COOKIE_AT: usize = 40;
/// Bytes of `struct inet_diag_req_v2`.
const REQ_V2_BYTES: usize = 8 + SOCKID_BYTES;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttrSet, InetDiag};

    fn payload() -> Vec<u8> {
        let mut payload: Vec<u8> = (0..72).collect();
        payload[0] = 10;
        payload
    }

    #[test]
    fn a_request_names_the_socket_by_its_own_bytes() {
        let bytes = SocketKey::of(&payload()).unwrap().request(7, 0x7e);
        assert_eq!(bytes[0..4], 72u32.to_ne_bytes());
        assert_eq!(bytes[4..8], [20u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat());
        assert_eq!(bytes[8..16], [7u32.to_ne_bytes(), [0; 4]].concat());
        assert_eq!(bytes[16..24], [10, 6, 0x7e, 0, 255, 255, 255, 255]);
        assert!(bytes[24..].iter().copied().eq(4..52));
    }

    #[test]
    fn the_cookie_is_that_of_the_view() {
        let payload = payload();
        let diag = InetDiag::parse(&payload, AttrSet::ALL).unwrap();
        assert_eq!(SocketKey::of(&payload).unwrap().cookie(), diag.cookie());
    }

    #[test]
    fn a_key_with_any_cookie_asks_for_none_and_is_the_same_otherwise() {
        let bytes = SocketKey::of(&payload()).unwrap().with_any_cookie().request(7, 0x7e);
        assert!(bytes[24..64].iter().copied().eq(4..44));
        assert_eq!(bytes[64..], [0xff; 8]);
        let diag = payload();
        let diag = InetDiag::parse(&diag, AttrSet::NONE).unwrap();
        assert_eq!(Some(diag.key()), SocketKey::of(&payload()));
    }

    #[test]
    fn a_payload_that_is_too_short_has_no_key() {
        assert_eq!(SocketKey::of(&[2; 71]), None);
    }
}
