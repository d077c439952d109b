//! Congestion controls: the kernel's names and the wire format's enum.

/// The number of `CongestionAlgorithm` for a kernel name, where it has one.
#[inline(always)]
pub(crate) fn number(kernel_name: &[u8]) -> Option<i32> {
    known(kernel_name).map(|(number, _)| number)
}

/// A kernel name as text.
#[inline(always)]
pub(crate) fn text(kernel_name: &[u8]) -> Option<&str> {
    // Nearly all rows have one of few names: to compare it costs less than to look whether it is text.
    known(kernel_name).map(|(_, text)| text).or_else(|| std::str::from_utf8(kernel_name).ok())
}

/// The names that have a number. The kernel calls version 1 plainly `bbr`.
#[inline(always)]
fn known(kernel_name: &[u8]) -> Option<(i32, &'static str)> {
    Some(match kernel_name {
        b"cubic" => (1, "cubic"),
        b"dctcp" => (2, "dctcp"),
        b"vegas" => (3, "vegas"),
        b"prague" => (4, "prague"),
        b"bbr" => (5, "bbr"),
        b"bbr2" => (6, "bbr2"),
        b"bbr3" => (7, "bbr3"),
        _ => return None,
    })
}

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
        let numbers = ["cubic", "dctcp", "vegas", "prague", "bbr", "bbr2", "bbr3"]
            .map(|n| number(n.as_bytes()));
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7].map(Some));
        assert_eq!((number(b"reno"), number(b"")), (None, None));
        let same = ["cubic", "dctcp", "vegas", "prague", "bbr", "bbr2", "bbr3", "reno", ""];
        assert_eq!(same.map(|name| text(name.as_bytes())), same.map(Some));
        assert_eq!(text(b"\xff"), None);
        assert_eq!(
            (enum_name(5), enum_name(8), enum_name(-1)),
            (Some("CONGESTION_ALGORITHM_BBR1"), None, None)
        );
    }
}
