//! The request for a dump of both families: `struct inet_diag_req` with an optional port range in bytecode.

use crate::attrs::AttrSet;
use crate::inet_diag::TCPDIAG_GETSOCK;
use crate::netlink::HEADER_BYTES;
use crate::tcp_state::StateSet;

/// Source ports from `low` to `high`, both included: one part of a dump that several sockets share.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

impl PortRange {
    /// Part `index` of `count`: together the parts cover every port once.
    ///
    /// # Panics
    /// When `index` is not below `count`.
    pub fn part(index: u16, count: u16) -> Self {
        assert!(index < count, "part {index} of {count}");
        let edge = |i: u32| u16::try_from(0x1_0000 * i / u32::from(count));
        Self {
            low: edge(u32::from(index)).expect("index < count"),
            high: edge(u32::from(index) + 1).map_or(u16::MAX, |next| next - 1),
        }
    }
}

/// One `NLM_F_DUMP` request of type `TCPDIAG_GETSOCK`: IPv4 and IPv6 in a single walk of the table.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// States asked for.
    pub states: StateSet,
    /// Attributes asked for.
    pub attrs: AttrSet,
    /// `None`: every port.
    pub ports: Option<PortRange>,
}

/// The bytes of a [`Request`].
#[derive(Copy, Clone, Debug)]
pub struct RequestBytes {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl Request {
    /// Encodes it with the sequence number that every reply must carry.
    pub fn encode(&self, seq: u32) -> RequestBytes {
        let mut out = RequestBytes { bytes: [0; MAX_BYTES], len: HEADER_BYTES };
        out.put(&[0, 0, 0, self.attrs.extension_bits()]);
        out.put(&[0; SOCKID_BYTES]);
        out.put(&self.states.bits().to_ne_bytes());
        out.put(&0u32.to_ne_bytes());
        if let Some(range) = self.ports {
            out.put_ports(range);
        }
        let len = u32::try_from(out.len).expect("a request is shorter than MAX_BYTES");
        let mut header = [0u8; HEADER_BYTES];
        header[0..4].copy_from_slice(&len.to_ne_bytes());
        header[4..6].copy_from_slice(&TCPDIAG_GETSOCK.to_ne_bytes());
        header[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        header[8..12].copy_from_slice(&seq.to_ne_bytes());
        out.bytes[..HEADER_BYTES].copy_from_slice(&header);
        out
    }
}

impl RequestBytes {
    /// What to send.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// `INET_DIAG_REQ_BYTECODE` for "source port >= low and <= high".
    ///
    /// An operation is `{ u8 code, u8 yes, u16 no }`; the port stands in the `no` of a second one behind it. A filter
    /// matches by running to its end and fails by jumping four bytes beyond it (`inet_diag_bc_run`).
    fn put_ports(&mut self, range: PortRange) {
        let operations: [(u8, u16); 2] =
            [(INET_DIAG_BC_S_GE, range.low), (INET_DIAG_BC_S_LE, range.high)];
        let total = OPERATION_BYTES * 2 * u16::try_from(operations.len()).expect("two");
        self.put(&(total + 4).to_ne_bytes());
        self.put(&INET_DIAG_REQ_BYTECODE.to_ne_bytes());
        let mut left = total;
        for (code, port) in operations {
            self.put(&[code, 8]);
            self.put(&(left + 4).to_ne_bytes());
            self.put(&[0, 0]);
            self.put(&port.to_ne_bytes());
            left -= OPERATION_BYTES * 2;
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes
            .get_mut(self.len..end)
            .expect("MAX_BYTES holds the longest request")
            .copy_from_slice(bytes);
        self.len = end;
    }
}

const SOCKID_BYTES: usize = 48;
const OPERATION_BYTES: u16 = 4;
const MAX_BYTES: usize = 128;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_BC_S_GE: u8 = 2;
const INET_DIAG_BC_S_LE: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_ports_is_a_header_and_inet_diag_req() {
        let request =
            Request { states: StateSet::DEFAULT, attrs: AttrSet::DEFAULT, ports: None }.encode(77);
        let bytes = request.as_bytes();
        assert_eq!(bytes.len(), 76);
        assert_eq!(bytes[0..4], 76u32.to_ne_bytes());
        assert_eq!(bytes[4..6], 18u16.to_ne_bytes());
        assert_eq!(bytes[6..8], 0x301u16.to_ne_bytes());
        assert_eq!(bytes[8..12], 77u32.to_ne_bytes());
        assert_eq!(bytes[19], 0x7e);
        assert_eq!(bytes[68..72], StateSet::DEFAULT.bits().to_ne_bytes());
    }

    #[test]
    fn a_port_range_is_two_comparisons_whose_failures_jump_past_the_end() {
        let ports = Some(PortRange { low: 1000, high: 2000 });
        let request = Request { states: StateSet::ALL, attrs: AttrSet::NONE, ports }.encode(1);
        let code = &request.as_bytes()[76..];
        let mut expected = Vec::new();
        expected.extend(20u16.to_ne_bytes());
        expected.extend(1u16.to_ne_bytes());
        for (op, no, port) in [(2u8, 20u16, 1000u16), (3, 12, 2000)] {
            expected.extend([op, 8]);
            expected.extend(no.to_ne_bytes());
            expected.extend([0, 0]);
            expected.extend(port.to_ne_bytes());
        }
        assert_eq!(code, expected);
    }

    #[test]
    fn parts_cover_every_port_exactly_once() {
        for count in 1..=64 {
            let mut next = 0u32;
            for index in 0..count {
                let part = PortRange::part(index, count);
                assert_eq!(u32::from(part.low), next);
                assert!(part.high >= part.low);
                next = u32::from(part.high) + 1;
            }
            assert_eq!(next, 0x1_0000);
        }
    }
}
