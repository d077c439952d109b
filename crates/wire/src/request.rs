//! The request for a dump of both families: `struct inet_diag_req` with optional bytecode.

use crate::attrs::AttrSet;
use crate::bytecode::{Condition, End, MAX_BYTES, Predicate};
use crate::inet_diag::TCPDIAG_GETSOCK;
use crate::netlink::HEADER_BYTES;
use crate::tcp_state::StateSet;

/// A rectangle of ports, all bounds included: what one of several readers of a namespace dumps.
///
/// A listener's destination port is 0.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// First and last source port.
    pub source: (u16, u16),
    /// First and last destination port.
    pub destination: (u16, u16),
}

impl Part {
    /// Every socket.
    pub const ALL: Self = Self { source: (0, u16::MAX), destination: (0, u16::MAX) };

    /// Part `index` of `count`, alike in source ports: together the parts hold every socket once.
    ///
    /// # Panics
    /// When `index` is not below `count`.
    pub fn equal(index: u16, count: u16) -> Self {
        assert!(index < count, "part {index} of {count}");
        let edge = |i: u32| u16::try_from(0x1_0000 * i / u32::from(count));
        let low = edge(u32::from(index)).expect("index < count");
        let high = edge(u32::from(index) + 1).map_or(u16::MAX, |next| next - 1);
        Self { source: (low, high), ..Self::ALL }
    }

    /// Whether a socket with these ports lies in it.
    #[inline]
    pub fn contains(&self, source_port: u16, destination_port: u16) -> bool {
        (self.source.0..=self.source.1).contains(&source_port)
            && (self.destination.0..=self.destination.1).contains(&destination_port)
    }

    /// The condition that the kernel is given; always true for [`Part::ALL`].
    pub fn predicate(&self) -> Predicate {
        let ports = |end, (low, high)| match (low, high) {
            (0, u16::MAX) => Predicate::ALWAYS,
            _ => Predicate::Is(Condition::Ports(end, low, high)),
        };
        ports(End::Source, self.source).and(ports(End::Destination, self.destination))
    }
}

/// One `NLM_F_DUMP` request of type `TCPDIAG_GETSOCK`: IPv4 and IPv6 in a single walk of the table.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// States asked for.
    pub states: StateSet,
    /// Attributes asked for.
    pub attrs: AttrSet,
    /// What [`assemble`] made: which sockets the kernel sends. Empty: all.
    pub bytecode: &'a [u8],
}

/// The bytes of a [`Request`].
#[derive(Clone, Debug)]
pub struct RequestBytes(Vec<u8>);

impl Request<'_> {
    /// Encodes it with the sequence number that every reply must carry.
    pub fn encode(&self, seq: u32) -> RequestBytes {
        let mut bytes = Vec::new();
        self.encode_into(seq, &mut bytes);
        RequestBytes(bytes)
    }

    /// Appends it to `out` with the sequence number that every reply must carry.
    ///
    /// # Panics
    /// When the bytecode is longer than [`MAX_BYTES`], which [`assemble`] makes none.
    pub fn encode_into(&self, seq: u32, out: &mut Vec<u8>) {
        let bytecode = self.bytecode;
        assert!(bytecode.len() <= MAX_BYTES, "a program of {} bytes", bytecode.len());
        let attribute = if bytecode.is_empty() { 0 } else { ATTRIBUTE_BYTES + bytecode.len() };
        let len = |bytes: usize| u32::try_from(bytes).expect("a request is short");
        let attribute_len = u16::try_from(attribute).expect("MAX_BYTES is less than u16 holds");
        out.reserve(HEADER_BYTES + REQUEST_BYTES + attribute);
        out.extend(len(HEADER_BYTES + REQUEST_BYTES + attribute).to_ne_bytes());
        out.extend(TCPDIAG_GETSOCK.to_ne_bytes());
        out.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        out.extend(seq.to_ne_bytes());
        out.extend([0; 4]);
        out.extend([0, 0, 0, self.attrs.extension_bits()]);
        out.extend([0; SOCKID_BYTES]);
        out.extend(self.states.bits().to_ne_bytes());
        out.extend([0; 4]);
        if !bytecode.is_empty() {
            out.extend(attribute_len.to_ne_bytes());
            out.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
            out.extend(bytecode);
        }
    }
}

impl RequestBytes {
    /// What to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

const SOCKID_BYTES: usize = 48;
/// `struct inet_diag_req`.
const REQUEST_BYTES: usize = 60;
const ATTRIBUTE_BYTES: usize = 4;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_REQ_BYTECODE: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_bytecode_is_a_header_and_inet_diag_req() {
        let request = Request { states: StateSet::DEFAULT, attrs: AttrSet::DEFAULT, bytecode: &[] };
        let bytes = request.encode(77);
        let bytes = bytes.as_bytes();
        assert_eq!(bytes.len(), 76);
        assert_eq!(bytes[0..4], 76u32.to_ne_bytes());
        assert_eq!(bytes[4..6], 18u16.to_ne_bytes());
        assert_eq!(bytes[6..8], 0x301u16.to_ne_bytes());
        assert_eq!(bytes[8..12], 77u32.to_ne_bytes());
        assert_eq!(bytes[19], 0x7e);
        assert_eq!(bytes[68..72], StateSet::DEFAULT.bits().to_ne_bytes());
    }

    #[test]
    fn bytecode_is_one_attribute_behind_the_request() {
        let mut bytes = vec![9];
        let request =
            Request { states: StateSet::ALL, attrs: AttrSet::NONE, bytecode: &[6, 4, 8, 0] };
        request.encode_into(1, &mut bytes);
        assert_eq!((bytes.len(), bytes[0], &bytes[1..5]), (85, 9, &84u32.to_ne_bytes()[..]));
        let attribute = [&8u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), &[6, 4, 8, 0]].concat();
        assert_eq!(bytes[77..], attribute);
    }

    #[test]
    fn equal_parts_hold_every_source_port_exactly_once() {
        for count in 1..=64 {
            let mut next = 0u32;
            for index in 0..count {
                let part = Part::equal(index, count);
                assert_eq!(u32::from(part.source.0), next);
                assert!(part.source.1 >= part.source.0);
                assert_eq!(part.destination, (0, u16::MAX));
                next = u32::from(part.source.1) + 1;
            }
            assert_eq!(next, 0x1_0000);
        }
    }

    #[test]
    fn a_part_asks_only_for_what_it_leaves_out() {
        assert!(Part::ALL.predicate().is_always());
        let ports = |end, low, high| Predicate::Is(Condition::Ports(end, low, high));
        let half = Part { destination: (0, 443), ..Part::ALL };
        assert_eq!(half.predicate(), ports(End::Destination, 0, 443));
        let part = Part { source: (80, 90), ..half };
        let both = vec![ports(End::Source, 80, 90), ports(End::Destination, 0, 443)];
        assert_eq!(part.predicate(), Predicate::All(both));
        let corners = [(80, 0), (90, 443), (79, 0), (91, 0), (80, 444)];
        assert_eq!(corners.map(|(s, d)| part.contains(s, d)), [true, true, false, false, false]);
    }
}
