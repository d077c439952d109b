//! Congestion controls: the kernel's names and the wire format's enum.

/// The number of `CongestionAlgorithm` for a kernel name, where it has one.
pub(crate) fn number(kernel_name: &[u8]) -> Option<i32> {
    let position = KERNEL_NAMES.iter().position(|name| name.as_bytes() == kernel_name)?;
    i32::try_from(position + 1).ok()
}

/// The enum's name for a number, for formats that spell enums out.
pub(crate) fn enum_name(number: i32) -> Option<&'static str> {
    ENUM_NAMES.get(usize::try_from(number).ok()?).copied()
}

/// Where each name stands at its number minus one. The kernel calls version 1 plainly `bbr`.
const KERNEL_NAMES: [&str; 7] = ["cubic", "dctcp", "vegas", "prague", "bbr", "bbr2", "bbr3"];

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
        assert_eq!(
            (enum_name(5), enum_name(8), enum_name(-1)),
            (Some("CONGESTION_ALGORITHM_BBR1"), None, None)
        );
    }
}
