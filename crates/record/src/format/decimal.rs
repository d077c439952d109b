//! Integers in decimal, eight digits at a time: three multiplications instead of a division a digit.

/// The digits of a number, and how many they are.
#[inline(always)]
pub(crate) fn digits(value: u64) -> ([u8; MAX_DIGITS], usize) {
    let mut text = [0; MAX_DIGITS];
    if value < 10 {
        #[expect(clippy::cast_possible_truncation, reason = "one digit")]
        let digit = b'0' + value as u8;
        text[0] = digit;
        return (text, 1);
    }
    if value < EIGHT_DIGITS {
        let (digits, len) = short(value);
        text[..8].copy_from_slice(&digits.to_le_bytes());
        return (text, len);
    }
    long(value)
}

/// More than eight digits, up to the twenty of `u64::MAX`.
#[expect(clippy::indexing_slicing, reason = "two times eight digits behind at most eight")]
#[inline(never)]
fn long(value: u64) -> ([u8; MAX_DIGITS], usize) {
    let mut text = [0; MAX_DIGITS];
    let (rest, last) = (value / EIGHT_DIGITS, value % EIGHT_DIGITS);
    let (first, middle) = (rest / EIGHT_DIGITS, rest % EIGHT_DIGITS);
    let mut at = 0;
    if first > 0 {
        let (digits, len) = short(first);
        text[..8].copy_from_slice(&digits.to_le_bytes());
        text[len..len + 8].copy_from_slice(&(eight(middle) | ZEROS).to_le_bytes());
        at += len + 8;
    } else {
        let (digits, len) = short(middle);
        text[..8].copy_from_slice(&digits.to_le_bytes());
        at += len;
    }
    text[at..at + 8].copy_from_slice(&(eight(last) | ZEROS).to_le_bytes());
    (text, at + 8)
}

/// The digits of a number from 1 to 99,999,999, first one lowest, and how many they are.
#[inline(always)]
fn short(value: u64) -> (u64, usize) {
    let digits = eight(value);
    let leading = digits.trailing_zeros() as usize / 8;
    ((digits | ZEROS) >> (leading * 8), 8 - leading)
}

/// Eight digits as numbers from 0 to 9, a byte each, first one lowest: halves, quarters, digits.
#[inline(always)]
fn eight(value: u64) -> u64 {
    let halves = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | ((halves - 100 * hundreds) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((pairs - 10 * tens) << 8)
}

const EIGHT_DIGITS: u64 = 100_000_000;
const ZEROS: u64 = 0x3030_3030_3030_3030;
pub(crate) const MAX_DIGITS: usize = 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same_as_std(value: u64) {
        let (text, len) = digits(value);
        assert_eq!(std::str::from_utf8(&text[..len]).unwrap(), value.to_string());
    }

    #[test]
    fn numbers_at_every_border_have_their_digits() {
        for exponent in 0..20 {
            let power = 10u64.pow(exponent);
            [power - 1, power, power + 1, power.saturating_mul(9)]
                .into_iter()
                .for_each(same_as_std);
        }
        (0..64).for_each(|bits| same_as_std(u64::MAX >> bits));
        (0..20_000).for_each(same_as_std);
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_std_writes_them(value: u64, shift in 0..64u32) {
            same_as_std(value >> shift);
        }
    }
}
