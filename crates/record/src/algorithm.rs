//! Congestion controls: the kernel's names and the wire format's enum.

/// A congestion control as columns show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Algorithm<'a> {
    /// The number of `CongestionAlgorithm`, where it has one.
    pub(crate) number: Option<i32>,
    /// The kernel's name, unless it is no text.
    pub(crate) text: Option<&'a str>,
}

impl<'a> Algorithm<'a> {
    /// The one that the kernel calls so; `as_sent` with the zero behind the name.
    #[inline(always)]
    pub(crate) fn of(as_sent: &'a [u8]) -> Self {
        // Nearly all rows have one of few: to compare the bytes costs less than to look for their end, and whether they are text.
        // (By `==`, which compares words; patterns compare byte by byte.)
        if as_sent == b"cubic\0" {
            Self::known(1, "cubic")
        } else if as_sent == b"reno\0" {
            Self { number: None, text: Some("reno") }
        } else if as_sent == b"bbr\0" {
            Self::known(5, "bbr")
        } else if as_sent == b"dctcp\0" {
            Self::known(2, "dctcp")
        } else {
            Self::named(as_sent)
        }
    }

    #[inline(never)]
    fn named(as_sent: &'a [u8]) -> Self {
        let name = as_sent.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = std::str::from_utf8(name).ok();
        let known = NAMES.into_iter().find(|(_, known)| Some(*known) == text);
        Self { number: known.map(|(number, _)| number), text }
    }

    #[inline(always)]
    fn known(number: i32, name: &'static str) -> Self {
        Self { number: Some(number), text: Some(name) }
    }
}

/// The names that have a number. The kernel calls version 1 plainly `bbr`.
const NAMES: [(i32, &str); 7] =
    [(1, "cubic"), (2, "dctcp"), (3, "vegas"), (4, "prague"), (5, "bbr"), (6, "bbr2"), (7, "bbr3")];

/// The enum's name for a number, for formats that spell enums out.
#[inline]
pub(crate) fn enum_name(number: i32) -> Option<&'static str> {
    ENUM_NAMES.get(usize::try_from(number).ok()?).copied()
}

/// Values of `XtcpFlatRecord.CongestionAlgorithm`, by number.
pub(crate) const ENUM_NAMES: [&str; 8] = [
    "CONGESTION_ALGORITHM_UNSPECIFIED",
    "CONGESTION_ALGORITHM_CUBIC",
    "CONGESTION_ALGORITHM_DCTCP",
    "CONGESTION_ALGORITHM_VEGAS",
    "CONGESTION_ALGORITHM_PRAGUE",
    "CONGESTION_ALGORITHM_BBR1",
    "CONGESTION_ALGORITHM_BBR2",
    "CONGESTION_ALGORITHM_BBR3",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_names_have_the_numbers_of_the_wire_format() {
        for (number, name) in NAMES {
            let sent = [name.as_bytes(), b"\0"].concat();
            for bytes in [name.as_bytes(), &sent] {
                let algorithm = Algorithm { number: Some(number), text: Some(name) };
                assert_eq!(Algorithm::of(bytes), algorithm);
            }
        }
        assert_eq!(NAMES.map(|(number, _)| number), [1, 2, 3, 4, 5, 6, 7]);
        let text = |bytes| Algorithm::of(bytes).text;
        assert_eq!(Algorithm::of(b"reno\0"), Algorithm { number: None, text: Some("reno") });
        assert_eq!((text(b""), text(b"\0"), text(b"cubi\0\0")), (Some(""), Some(""), Some("cubi")));
        assert_eq!(text(b"\xff"), None);
        assert_eq!(
            (enum_name(5), enum_name(8), enum_name(-1)),
            (Some("CONGESTION_ALGORITHM_BBR1"), None, None)
        );
    }
}
