//! Attributes behind `inet_diag_msg`: their numbers, the cut, and the set of those that somebody wants.

use std::fmt;

use crate::bytes::u16_ne;

/// `INET_DIAG_*` attribute numbers (`include/uapi/linux/inet_diag.h`).
#[expect(missing_docs, reason = "the kernel's names, the kernel's numbers")]
pub mod nr {
    pub const MEMINFO: u16 = 1;
    pub const INFO: u16 = 2;
    pub const VEGASINFO: u16 = 3;
    pub const CONG: u16 = 4;
    pub const TOS: u16 = 5;
    pub const TCLASS: u16 = 6;
    pub const SKMEMINFO: u16 = 7;
    pub const SHUTDOWN: u16 = 8;
    pub const DCTCPINFO: u16 = 9;
    pub const PROTOCOL: u16 = 10;
    pub const SKV6ONLY: u16 = 11;
    pub const LOCALS: u16 = 12;
    pub const PEERS: u16 = 13;
    pub const PAD: u16 = 14;
    pub const MARK: u16 = 15;
    pub const BBRINFO: u16 = 16;
    pub const CLASS_ID: u16 = 17;
    /// Carries the secret key. Recognised so that it is no unknown attribute; never kept.
    pub const MD5SIG: u16 = 18;
    pub const ULP_INFO: u16 = 19;
    pub const SK_BPF_STORAGES: u16 = 20;
    pub const CGROUP_ID: u16 = 21;
    pub const SOCKOPT: u16 = 22;
}

/// One attribute: its number without flag bits, and its payload without padding.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// `nla_type` without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
    pub nr: u16,
    /// What follows the four bytes of header.
    pub payload: &'a [u8],
}

/// The attributes of one message, in order. Ends after a length that makes no sense, which is one `Err`.
#[derive(Clone, Debug)]
pub struct Attrs<'a>(&'a [u8]);

/// `nla_len` is shorter than its header or longer than the message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BadAttr;

impl<'a> Attrs<'a> {
    /// Cuts the bytes behind a fixed header.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next one, and where its payload lies in the `all` bytes that these attributes had when they were new.
    #[inline(always)]
    pub(crate) fn next_at(&mut self, all: usize) -> Option<Result<(usize, Attr<'a>), BadAttr>> {
        let at = all - self.0.len() + HEADER_BYTES;
        self.next().map(|attr| attr.map(|attr| (at, attr)))
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<Attr<'a>, BadAttr>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let all = std::mem::take(&mut self.0);
        let Some((header, _)) = all.split_first_chunk::<HEADER_BYTES>() else {
            return if all.is_empty() { None } else { Some(Err(BadAttr)) };
        };
        let (len, raw_nr) = (u16_ne(header, 0).unwrap_or(0), u16_ne(header, 2).unwrap_or(0));
        let len = usize::from(len);
        let Some(payload) = all.get(HEADER_BYTES..len) else { return Some(Err(BadAttr)) };
        // The next one starts at a multiple of four; the last one's padding may be missing.
        self.0 = all.get(((len + 3) & !3)..).unwrap_or_default();
        Some(Ok(Attr { nr: raw_nr & NLA_TYPE_MASK, payload }))
    }
}

/// Which attributes are asked for and read: what `--deserializers` names.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AttrSet(u32);

impl AttrSet {
    /// All but `meminfo`, whose figures `skmem` has too.
    pub const DEFAULT: Self = Self(Self::ALL.0 & !mask(&[nr::MEMINFO]));
    /// Everything with a name.
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    pub const ALL: Self = {
        let mut bits = 0;
        let mut i = 0;
        while i < NAMES.len() {
            bits |= NAMES[i].1;
            i += 1;
        }
        Self(bits)
    };
    /// Only what `inet_diag_msg` itself carries.
    pub const NONE: Self = Self(0);

    /// The set of one attribute number.
    #[inline]
    pub const fn of(nr: u16) -> Self {
        Self(mask(&[nr]))
    }

    /// Whether the attribute `nr` is in the set; false for numbers that no set can hold.
    #[inline]
    pub fn contains(self, nr: u16) -> bool {
        nr < 32 && self.0 >> nr & 1 != 0
    }

    /// What is in both.
    #[inline]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits for `idiag_ext` that make the kernel send at least these.
    ///
    /// Eight bits for attributes 1 to 8; what lies above is sent always or with one of them: the congestion control's
    /// own struct with `VEGASINFO`, `CLASS_ID` with `TCLASS`, `ULP_INFO` with `INFO` (`net/ipv4/inet_diag.c`).
    pub fn extension_bits(self) -> u8 {
        let mut bits = 0u8;
        for (attrs, extension) in EXTENSIONS {
            if self.0 & attrs != 0 {
                bits |= 1 << (extension - 1);
            }
        }
        bits
    }
}

impl std::str::FromStr for AttrSet {
    type Err = UnknownAttr;

    /// Reads `default`, `all`, `none`, or names separated by commas.
    fn from_str(text: &str) -> Result<Self, UnknownAttr> {
        let mut set = Self::NONE;
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            set = set.union(match word {
                "default" => Self::DEFAULT,
                "all" => Self::ALL,
                "none" => Self::NONE,
                name => {
                    let known = NAMES.iter().find(|(known, _)| *known == name);
                    Self(known.ok_or_else(|| UnknownAttr(name.into()))?.1)
                }
            });
        }
        Ok(set)
    }
}

/// A word that names no deserializer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownAttr(String);

impl fmt::Display for UnknownAttr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown deserializer {:?}; allowed: default, all, none", self.0)?;
        NAMES.iter().try_for_each(|(name, _)| write!(f, ", {name}"))
    }
}

impl std::error::Error for UnknownAttr {}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn mask(numbers: &[u16]) -> u32 {
    let mut bits = 0;
    let mut i = 0;
    while i < numbers.len() {
        bits |= 1 << numbers[i];
        i += 1;
    }
    bits
}

const HEADER_BYTES: usize = 4;
const NLA_TYPE_MASK: u16 = 0x3fff;

const NAMES: [(&str, u32); 15] = [
    ("info", mask(&[nr::INFO])),
    ("cong", mask(&[nr::CONG])),
    ("meminfo", mask(&[nr::MEMINFO])),
    ("skmem", mask(&[nr::SKMEMINFO])),
    ("bbr", mask(&[nr::BBRINFO])),
    ("dctcp", mask(&[nr::DCTCPINFO])),
    ("vegas", mask(&[nr::VEGASINFO])),
    ("tos", mask(&[nr::TOS])),
    ("tc", mask(&[nr::TCLASS])),
    ("shut", mask(&[nr::SHUTDOWN])),
    ("classid", mask(&[nr::CLASS_ID])),
    ("cgroup", mask(&[nr::CGROUP_ID])),
    ("sockopt", mask(&[nr::SOCKOPT])),
    ("mark", mask(&[nr::MARK])),
    ("ulp", mask(&[nr::ULP_INFO])),
];

const EXTENSIONS: [(u32, u16); 7] = [
    (mask(&[nr::MEMINFO]), nr::MEMINFO),
    (mask(&[nr::INFO, nr::ULP_INFO]), nr::INFO),
    (mask(&[nr::VEGASINFO, nr::DCTCPINFO, nr::BBRINFO]), nr::VEGASINFO),
    (mask(&[nr::CONG]), nr::CONG),
    (mask(&[nr::TOS]), nr::TOS),
    (mask(&[nr::TCLASS, nr::CLASS_ID]), nr::TCLASS),
    (mask(&[nr::SKMEMINFO]), nr::SKMEMINFO),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_bits_are_masked_and_padding_is_skipped() {
        let mut bytes = Vec::new();
        bytes.extend(5u16.to_ne_bytes());
        bytes.extend((nr::TOS | 0x8000).to_ne_bytes());
        bytes.extend([9, 0, 0, 0]);
        bytes.extend(6u16.to_ne_bytes());
        bytes.extend(nr::CONG.to_ne_bytes());
        bytes.extend(*b"ab");
        let all: Vec<_> = Attrs::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(
            all,
            [Attr { nr: nr::TOS, payload: &[9] }, Attr { nr: nr::CONG, payload: b"ab" }]
        );
    }

    #[test]
    fn a_length_of_zero_or_past_the_end_is_one_error_and_the_end() {
        for len in [0u16, 3, 9, u16::MAX] {
            let mut bytes = Vec::new();
            bytes.extend(len.to_ne_bytes());
            bytes.extend([0; 6]);
            assert_eq!(Attrs::new(&bytes).collect::<Vec<_>>(), [Err(BadAttr)], "{len}");
        }
        assert_eq!(Attrs::new(&[4, 0, 1]).collect::<Vec<_>>(), [Err(BadAttr)]);
    }

    #[test]
    fn the_default_set_is_all_but_meminfo() {
        let names = "info,cong,skmem,bbr,dctcp,vegas,tos,tc,shut,classid,cgroup,sockopt,mark,ulp";
        assert_eq!(names.parse(), Ok(AttrSet::DEFAULT));
        assert_eq!("default,meminfo".parse(), Ok(AttrSet::ALL));
        assert_eq!("none".parse(), Ok(AttrSet::NONE));
        assert!(!AttrSet::ALL.contains(nr::MD5SIG), "the secret key is never asked for");
        assert!(!AttrSet::ALL.contains(40));
    }

    #[test]
    fn extension_bits_ask_for_what_carries_each_attribute() {
        let bits = |text: &str| text.parse::<AttrSet>().unwrap().extension_bits();
        assert_eq!(bits("meminfo"), 1);
        assert_eq!((bits("info"), bits("ulp")), (2, 2));
        assert_eq!((bits("vegas"), bits("bbr"), bits("dctcp")), (4, 4, 4));
        assert_eq!(
            (bits("cong"), bits("tos"), bits("tc"), bits("classid"), bits("skmem")),
            (8, 16, 32, 32, 64)
        );
        assert_eq!(bits("shut,cgroup,sockopt,mark,none"), 0);
        assert_eq!((bits("default"), bits("all")), (0b0111_1110, 0b0111_1111));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_says_what_is_allowed() {
        let error = "info,foo".parse::<AttrSet>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown deserializer \"foo\"; allowed: default, all, none, info, cong, meminfo, skmem, bbr, \
                           dctcp, vegas, tos, tc, shut, classid, cgroup, sockopt, mark, ulp"
        );
    }
}
