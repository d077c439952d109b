//! Ids that one network namespace has for others: requests and news of rtnetlink (`include/uapi/linux/net_namespace.h`).

use crate::attrs::Attrs;
use crate::bytes::array;
use crate::netlink::{HEADER_BYTES, Message};

/// `RTM_NEWNSID`: an id was given, or a reply.
pub const RTM_NEWNSID: u16 = 88;
/// `RTM_DELNSID`: the namespace with the id is gone.
pub const RTM_DELNSID: u16 = 89;
/// `RTM_GETNSID`.
pub const RTM_GETNSID: u16 = 90;
/// Bytes of a request.
pub const REQUEST_BYTES: usize = HEADER_BYTES + 4 + 8 + 8;

/// Asks for the id of the namespace behind this file descriptor. The reply is [`RTM_NEWNSID`], with no id where none was
/// given yet.
pub fn ask(seq: u32, fd: u32) -> [u8; REQUEST_BYTES] {
    request(RTM_GETNSID, NLM_F_REQUEST, seq, fd)
}

/// Gives the namespace behind this file descriptor an id of the kernel's choice. The reply is `NLMSG_ERROR`: 0 is
/// success, `EEXIST` that it has one.
pub fn assign(seq: u32, fd: u32) -> [u8; REQUEST_BYTES] {
    request(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, seq, fd)
}

/// The id that a reply or a piece of news is about; `None`: there is none.
pub fn nsid_of(message: &Message<'_>) -> Option<u32> {
    let attrs = message.payload.get(GENMSG_BYTES..)?;
    let mut attrs = Attrs::new(attrs).filter_map(Result::ok);
    let nsid = attrs.find(|attr| attr.nr == NETNSA_NSID)?;
    array(nsid.payload, 0).map(i32::from_ne_bytes)?.try_into().ok()
}

fn request(kind: u16, flags: u16, seq: u32, fd: u32) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0; REQUEST_BYTES];
    let len = u32::try_from(REQUEST_BYTES).expect("36");
    bytes[0..4].copy_from_slice(&len.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&seq.to_ne_bytes());
    // `rtgenmsg` of no family at 16.
    bytes[20..22].copy_from_slice(&ATTR_BYTES.to_ne_bytes());
    bytes[22..24].copy_from_slice(&NETNSA_FD.to_ne_bytes());
    bytes[24..28].copy_from_slice(&fd.to_ne_bytes());
    bytes[28..30].copy_from_slice(&ATTR_BYTES.to_ne_bytes());
    bytes[30..32].copy_from_slice(&NETNSA_NSID.to_ne_bytes());
    bytes[32..36].copy_from_slice(&NETNSA_NSID_NOT_ASSIGNED.to_ne_bytes());
    bytes
}

/// `struct rtgenmsg`, padded.
const GENMSG_BYTES: usize = 4;
const ATTR_BYTES: u16 = 8;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const NETNSA_NSID_NOT_ASSIGNED: i32 = -1;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn news(payload: &[u8]) -> Message<'_> {
        Message { kind: RTM_NEWNSID, flags: 0, seq: 0, port_id: 0, payload }
    }

    #[test]
    fn an_id_is_read_from_its_attribute_and_minus_one_is_none() {
        let with = |nsid: i32| {
            let mut payload = vec![0; 4];
            payload.extend([8, 0, 5, 0, 9, 9, 9, 9]);
            payload.extend([8, 0, 1, 0]);
            payload.extend(nsid.to_ne_bytes());
            payload
        };
        assert_eq!(nsid_of(&news(&with(0))), Some(0));
        assert_eq!(nsid_of(&news(&with(i32::MAX))), Some(0x7fff_ffff));
        assert_eq!(nsid_of(&news(&with(-1))), None);
        for payload in
            [&[][..], &[0; 4], &[0, 0, 0, 0, 6, 0, 1, 0, 7, 7], &[0, 0, 0, 0, 1, 0, 1, 0]]
        {
            assert_eq!(nsid_of(&news(payload)), None);
        }
    }

    #[test]
    fn a_request_names_the_file_descriptor() {
        let (ask, assign) = (ask(7, 5), assign(8, 5));
        assert_eq!(u32::from_ne_bytes(ask[0..4].try_into().unwrap()), 36);
        assert_eq!((ask[4], ask[6], ask[8]), (90, 1, 7));
        assert_eq!((assign[4], assign[6], assign[8]), (88, 5, 8));
        assert_eq!(&ask[20..36], [8, 0, 3, 0, 5, 0, 0, 0, 8, 0, 1, 0, 255, 255, 255, 255]);
    }
}
