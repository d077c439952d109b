//! Addresses as text: RFC 5952 for IPv6, as the standard library's `Display` has it, without its formatter.

/// The text of an address of 4 or 16 bytes, and its length; `None` for bytes that are no address.
#[inline(always)]
pub(crate) fn text(bytes: &[u8]) -> Option<([u8; MAX_TEXT], usize)> {
    let mut text = Text { bytes: [0; MAX_TEXT], len: 0 };
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        text.put_v4(v4);
    } else {
        put_v6(&mut text, bytes.try_into().ok()?);
    }
    Some((text.bytes, text.len))
}

#[inline(never)]
fn put_v6(text: &mut Text, bytes: &[u8; 16]) {
    let mut groups = [0u16; 8];
    for (group, pair) in groups.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *group = u16::from_be_bytes(*pair);
    }
    if let [0, 0, 0, 0, 0, 0xffff, ..] = groups
        && let Some(&v4) = bytes.last_chunk::<4>()
    {
        text.put(b"::ffff:");
        text.put_v4(v4);
        return;
    }
    let zeros = longest_zeros(&groups);
    for (i, group) in groups.into_iter().enumerate() {
        if i == zeros.start && !zeros.is_empty() {
            text.put(b"::");
        }
        if zeros.contains(&i) {
            continue;
        }
        if i > 0 && i != zeros.end {
            text.put(b":");
        }
        text.put_hex(group);
    }
}

/// The first of the longest runs of zeros, if it has two or more.
fn longest_zeros(groups: &[u16; 8]) -> std::ops::Range<usize> {
    let (mut longest, mut start) = (0..0, 0);
    for (i, group) in groups.iter().enumerate() {
        if *group != 0 {
            start = i + 1;
        } else if i + 1 - start > longest.len().max(1) {
            longest = start..i + 1;
        }
    }
    longest
}

struct Text {
    bytes: [u8; MAX_TEXT],
    len: usize,
}

impl Text {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + N) {
            place.copy_from_slice(bytes);
            self.len += N;
        }
    }

    #[inline(always)]
    fn put_v4(&mut self, octets: [u8; 4]) {
        for octet in octets {
            let [digits @ .., len] = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
            // Three digits at the most, and a dot; what is too much is overwritten.
            self.put(&[digits[0], digits[1], digits[2], b'.']);
            self.len = self.len - 4 + usize::from(len);
            self.put(b".");
        }
        self.len -= 1;
    }

    #[inline(always)]
    fn put_hex(&mut self, group: u16) {
        let digits = (16 - (group | 1).leading_zeros() as usize).div_ceil(4);
        for digit in (0..digits).rev() {
            let value = usize::from(group >> (digit * 4)) & 15;
            self.put(&[HEX.get(value).copied().unwrap_or_default()]);
        }
    }
}

/// The digits of each octet, and how many they are.
#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated by the compiler; digits are below ten"
)]
static OCTETS: [[u8; 4]; 256] = {
    let mut table = [[0; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let (a, b, c) = (octet / 100, octet / 10 % 10, octet % 10);
        let digits = [b'0' + a as u8, b'0' + b as u8, b'0' + c as u8];
        table[octet] = match octet {
            0..10 => [digits[2], 0, 0, 1],
            10..100 => [digits[1], digits[2], 0, 2],
            _ => [digits[0], digits[1], digits[2], 3],
        };
        octet += 1;
    }
    table
};

static HEX: &[u8; 16] = b"0123456789abcdef";
/// The longest text of an address has 39 characters; a mapped one's is shorter.
pub(crate) const MAX_TEXT: usize = 48;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn text_of(bytes: &[u8]) -> String {
        let (text, len) = text(bytes).unwrap();
        String::from_utf8(text[..len].to_vec()).unwrap()
    }

    #[test]
    fn every_pattern_of_zeros_is_shortened_as_std_shortens_it() {
        for pattern in 0..=255u16 {
            let groups: [u16; 8] = std::array::from_fn(|i| (pattern >> i & 1) * (0xfff >> i));
            let address = Ipv6Addr::from(groups);
            assert_eq!(text_of(&address.octets()), address.to_string());
        }
        assert!(text(&[]).is_none() && text(&[0; 5]).is_none());
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_std_writes_them(v4: [u8; 4], v6: [u16; 8], zeros: u8, mapped: bool) {
            prop_assert_eq!(text_of(&v4), Ipv4Addr::from(v4).to_string());
            let groups = std::array::from_fn(|i| if zeros >> i & 1 != 0 { 0 } else { v6[i] });
            let address = if mapped { Ipv4Addr::from(v4).to_ipv6_mapped() } else { Ipv6Addr::from(groups) };
            prop_assert_eq!(text_of(&address.octets()), address.to_string());
        }
    }
}
