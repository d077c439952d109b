//! Messages of sockets for tests.

use sockeye_wire::InetDiag;

/// A message of a socket with a `tcp_info` of these bytes sent and received.
pub(crate) fn message(cookie: u64, sent: u64, received: u64) -> Vec<u8> {
    let mut message = vec![0; 72];
    (message[0], message[1]) = (2, 1);
    message[44..52]
        .copy_from_slice(&[&cookie.to_ne_bytes()[..4], &cookie.to_ne_bytes()[4..]].concat());
    message[64..68].copy_from_slice(&1000u32.to_ne_bytes());
    message[68..72].copy_from_slice(&77u32.to_ne_bytes());
    let mut info = vec![0; 280];
    info[128..136].copy_from_slice(&received.to_ne_bytes());
    info[200..208].copy_from_slice(&sent.to_ne_bytes());
    for (nr, payload) in [(2u16, info), (4, b"cubic\0".to_vec()), (7, vec![9; 36])] {
        let len = u16::try_from(4 + payload.len()).unwrap();
        message.extend(len.to_ne_bytes());
        message.extend(nr.to_ne_bytes());
        message.extend(payload);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    message
}

pub(crate) fn parse(message: &[u8]) -> InetDiag<'_> {
    InetDiag::parse(message, sockeye_wire::AttrSet::ALL).unwrap()
}
