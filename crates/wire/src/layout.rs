//! Where the attributes of a message lie; and a memory of it, since most sockets of a dump have theirs in the same places.
//!
//! A message is ten attributes. To cut them one by one takes longer than to see that all their headers are those of a message
//! before it: then they lie where they lay there.

use std::ops::Range;

use crate::attrs::{AttrSet, Attrs, nr};
use crate::companions::{BbrInfo, DctcpInfo, MemInfo, SkMemInfo, VegasInfo};
use crate::inet_diag::{DiagError, InetDiag};

/// Reads messages like [`InetDiag::parse`], and remembers how their attributes lay. Belongs to one reader.
#[derive(Clone, Debug)]
pub struct Layouts {
    wanted: AttrSet,
    /// By the length of the attributes; two, since `cubic` and `reno` come in turn and take as many bytes with their padding.
    known: [[Known; 2]; LENGTHS],
}

/// The headers of a message's attributes, and what follows from them.
#[derive(Copy, Clone, Debug)]
struct Known {
    /// Bytes of all attributes; no message has as many as an unused one says.
    len: usize,
    headers: [Header; HEADERS],
    count: usize,
    layout: Layout,
}

/// `nla_len` and `nla_type` as they came, and where they stand, in units of four bytes.
#[derive(Copy, Clone, Debug, Default)]
struct Header {
    at: u32,
    bytes: [u8; HEADER_BYTES],
}

/// Where each wanted attribute's payload lies, by number. To keep one is a store, without a branch on its number. Small, since
/// rows are copied.
#[derive(Copy, Clone, Debug)]
#[repr(align(16))]
pub(crate) struct Layout {
    places: [Place; PLACES],
    came: u32,
    whole: u32,
    unknown: u16,
}

/// Offset of a payload in units of four bytes, and above it the length; 0 is none, since a header comes first.
type Place = u32;

impl Layouts {
    /// Reads the attributes in `wanted`.
    pub fn new(wanted: AttrSet) -> Self {
        let unused = Known {
            len: usize::MAX,
            headers: [Header::default(); HEADERS],
            count: 0,
            layout: NONE,
        };
        Self { wanted, known: [[unused; 2]; LENGTHS] }
    }

    /// Views the payload of one message: the same as [`InetDiag::parse`] says.
    ///
    /// # Errors
    /// [`DiagError`]: the message makes no sense; nothing of it may be used.
    #[inline]
    pub fn parse<'a>(&mut self, payload: &'a [u8]) -> Result<InetDiag<'a>, DiagError> {
        InetDiag::laid_out(payload, |rest| {
            let slot = rest.len() / 4 % LENGTHS;
            let known = self.known.get_mut(slot).expect("a remainder is smaller");
            let [first, _] = &known;
            if first.is_of(rest) { Ok(first.layout) } else { second_look(known, rest, self.wanted) }
        })
    }
}

/// The first one is the one that was seen last.
#[inline(never)]
fn second_look(known: &mut [Known; 2], rest: &[u8], wanted: AttrSet) -> Result<Layout, DiagError> {
    known.swap(0, 1);
    let [first, _] = known;
    if first.is_of(rest) { Ok(first.layout) } else { first.learn(rest, wanted) }
}

impl Known {
    /// Whether every header of these attributes is the one that is known: each says where the next one stands.
    #[inline(always)]
    fn is_of(&self, rest: &[u8]) -> bool {
        let headers = self.headers.get(..self.count).unwrap_or_default();
        let (words, _) = rest.as_chunks();
        self.len == rest.len()
            && headers.iter().all(|header| words.get(header.at as usize) == Some(&header.bytes))
    }

    #[cold]
    fn learn(&mut self, rest: &[u8], wanted: AttrSet) -> Result<Layout, DiagError> {
        let layout = Layout::of(rest, wanted)?;
        (self.len, self.count, self.layout) = (usize::MAX, 0, layout);
        let mut attrs = Attrs::new(rest);
        while let Some(Ok((payload_at, _))) = attrs.next_at(rest.len()) {
            let at = payload_at / HEADER_BYTES - 1;
            let (words, _) = rest.as_chunks();
            // More than a socket has: not worth remembering.
            let (Some(bytes), Some(header), Ok(place)) =
                (words.get(at), self.headers.get_mut(self.count), u32::try_from(at))
            else {
                return Ok(layout);
            };
            *header = Header { at: place, bytes: *bytes };
            self.count += 1;
        }
        self.len = rest.len();
        Ok(layout)
    }
}

impl Layout {
    /// Finds the attributes in `wanted`.
    #[inline]
    pub(crate) fn of(rest: &[u8], wanted: AttrSet) -> Result<Self, DiagError> {
        let wanted = wanted.intersection(AttrSet::ALL).union(AttrSet::of(nr::SKV6ONLY));
        let mut layout = NONE;
        let mut attrs = Attrs::new(rest);
        while let Some(attr) = attrs.next_at(rest.len()) {
            let (at, attr) = attr.map_err(|_| DiagError::Attribute)?;
            if wanted.contains(attr.nr)
                && let Some(place) = layout.places.get_mut(usize::from(attr.nr))
            {
                let at = u16::try_from(at / 4).map_err(|_| DiagError::Attribute)?;
                #[expect(clippy::cast_possible_truncation, reason = "nla_len is u16")]
                let len = attr.payload.len() as u32;
                *place = len << 16 | u32::from(at);
            } else {
                let unknown = u16::from(attr.nr > nr::SOCKOPT);
                layout.unknown = layout.unknown.saturating_add(unknown);
            }
        }
        for (number, (place, least)) in layout.places.iter().zip(&LEAST_PLACES).enumerate() {
            layout.came |= u32::from(*place != 0) << number;
            layout.whole |= u32::from(place >= least) << number;
        }
        Ok(layout)
    }

    /// Where the payload of an attribute lies, if it came.
    #[inline(always)]
    pub(crate) fn place(&self, nr: u16) -> Option<Range<usize>> {
        let place = *self.places.get(usize::from(nr))?;
        let at = (place & 0xffff) as usize * 4;
        (place != 0).then_some(at..at + (place >> 16) as usize)
    }

    /// Those that came, a bit each.
    #[inline(always)]
    pub(crate) fn came(&self) -> u32 {
        self.came
    }

    /// Those that came whole, a bit each.
    #[inline(always)]
    pub(crate) fn whole(&self) -> u32 {
        self.whole
    }

    /// How many have a number that is not known.
    #[inline(always)]
    pub(crate) fn unknown(&self) -> u16 {
        self.unknown
    }
}

/// Numbers up to the last one that is known, and no more: rows are copied.
const PLACES: usize = 24;
const _: () = assert!((nr::SOCKOPT as usize) < PLACES);
const NONE: Layout = Layout { places: [0; PLACES], came: 0, whole: 0, unknown: 0 };
/// Families, congestion controls and upper layers make some; few are in turn.
const LENGTHS: usize = 8;
/// A socket has about ten, and at most one of each number.
const HEADERS: usize = 16;
const HEADER_BYTES: usize = 4;

/// The smallest place of an attribute that came whole.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static LEAST_PLACES: [Place; PLACES] = {
    let mut places = [1; PLACES];
    let mut i = 0;
    while i < LEAST_BYTES.len() {
        let (number, bytes) = LEAST_BYTES[i];
        places[number as usize] = bytes << 16 | 1;
        i += 1;
    }
    places
};

/// Bytes of the attributes that have a length of their own.
#[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
const LEAST_BYTES: [(u16, u32); 13] = [
    (nr::MEMINFO, MemInfo::BYTES as u32),
    (nr::VEGASINFO, VegasInfo::BYTES as u32),
    (nr::TOS, 1),
    (nr::TCLASS, 1),
    (nr::SKMEMINFO, SkMemInfo::BYTES as u32),
    (nr::SHUTDOWN, 1),
    (nr::DCTCPINFO, DctcpInfo::BYTES as u32),
    (nr::SKV6ONLY, 1),
    (nr::MARK, 4),
    (nr::BBRINFO, BbrInfo::BYTES as u32),
    (nr::CLASS_ID, 4),
    (nr::CGROUP_ID, 8),
    (nr::SOCKOPT, 2),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inet_diag::{AF_INET, MSG_BYTES};

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; MSG_BYTES];
        bytes[0] = AF_INET;
        for (number, payload) in attributes {
            bytes.extend(u16::try_from(4 + payload.len()).unwrap().to_ne_bytes());
            bytes.extend(number.to_ne_bytes());
            bytes.extend(*payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn known(layouts: &Layouts, message: &[u8]) -> bool {
        let rest = &message[MSG_BYTES..];
        layouts.known.iter().flatten().any(|known| known.is_of(rest))
    }

    #[test]
    fn a_message_that_lies_like_one_before_is_not_cut_again_and_says_its_own_bytes() {
        let mut layouts = Layouts::new(AttrSet::ALL);
        let (one, two) = (message(&[(nr::MARK, &[1; 4])]), message(&[(nr::MARK, &[2; 4])]));
        assert!(!known(&layouts, &one));
        assert_eq!(layouts.parse(&one).unwrap().mark(), Some(0x0101_0101));
        assert!(known(&layouts, &two));
        assert_eq!(layouts.parse(&two).unwrap().mark(), Some(0x0202_0202));
        assert!(!known(&layouts, &message(&[(nr::CLASS_ID, &[1; 4])])));
    }

    #[test]
    fn layouts_of_the_same_length_are_told_apart_by_their_headers() {
        let mut layouts = Layouts::new(AttrSet::ALL);
        let cubic = message(&[(nr::CONG, b"cubic\0"), (nr::TOS, &[1])]);
        let reno = message(&[(nr::CONG, b"reno\0"), (nr::TOS, &[2])]);
        let late = message(&[(nr::TOS, &[3]), (nr::CONG, b"vegas\0")]);
        assert_eq!((cubic.len(), cubic.len()), (reno.len(), late.len()));
        for _ in 0..3 {
            for (message, name, tos) in
                [(&cubic, "cubic", 1), (&reno, "reno", 2), (&late, "vegas", 3)]
            {
                let socket = layouts.parse(message).unwrap();
                assert_eq!((socket.cong(), socket.tos()), (Some(name.as_bytes()), Some(tos)));
            }
        }
        assert!(known(&layouts, &reno) && known(&layouts, &late) && !known(&layouts, &cubic));
    }

    #[test]
    fn what_makes_no_sense_is_refused_each_time_and_more_headers_than_a_socket_has_are_read_each_time()
     {
        let mut layouts = Layouts::new(AttrSet::ALL);
        let bad = [&message(&[])[..], &[0, 0, 1, 0]].concat();
        let many = message(&[(nr::TOS, &[5][..]); HEADERS + 1]);
        for _ in 0..2 {
            assert_eq!(layouts.parse(&bad).unwrap_err(), DiagError::Attribute);
            assert_eq!(layouts.parse(&many).unwrap().tos(), Some(5));
            assert!(!known(&layouts, &bad) && !known(&layouts, &many));
        }
    }

    #[test]
    fn the_md5_key_is_in_no_layout_and_unknown_attributes_are_counted_again() {
        let mut layouts = Layouts::new(AttrSet::ALL);
        let bytes = message(&[(nr::MD5SIG, b"key!"), (63, &[1]), (nr::MARK, &[7, 7])]);
        for _ in 0..2 {
            let socket = layouts.parse(&bytes).unwrap();
            assert_eq!(
                (socket.attributes(), socket.unknown_attributes(), socket.mark()),
                (0, 1, None)
            );
            assert!(socket.has_none_of([nr::MD5SIG]) && !socket.has_none_of([nr::TOS, nr::MARK]));
        }
        assert!(known(&layouts, &bytes));
    }
}
