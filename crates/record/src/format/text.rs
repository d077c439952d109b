//! Text that formats share: integers, addresses, escapes.

use super::address;

/// Appends an integer in decimal.
#[inline]
pub(crate) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an address as text; bytes that are no address, from a foreign file, as hexadecimal.
#[inline]
pub(crate) fn address(out: &mut Vec<u8>, bytes: &[u8]) {
    match address::text(bytes) {
        Some((text, len)) => out.extend_from_slice(text.get(..len).unwrap_or_default()),
        None => out.extend(bytes.iter().flat_map(|byte| [hex(byte >> 4), hex(byte & 15)])),
    }
}

/// Appends a JSON string with its quotes (RFC 8259).
pub(crate) fn json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f | 0x7f => {
                out.extend_from_slice(b"\\u00");
                out.extend([hex(byte >> 4), hex(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Appends a quoted string of protobuf's text format: what is not printable ASCII in octal.
pub(crate) fn proto_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            0x20..=0x7e => out.push(*byte),
            _ => out.extend([b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]),
        }
    }
    out.push(b'"');
}

fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_are_written_as_people_know_them() {
        let address_of = |bytes: &[u8]| text(|out| address(out, bytes));
        assert_eq!(address_of(&[192, 168, 0, 255]), "192.168.0.255");
        let mapped: Vec<u8> = [vec![0; 10], vec![255, 255, 10, 0, 0, 1]].concat();
        assert_eq!(address_of(&mapped), "::ffff:10.0.0.1");
        assert_eq!(address_of(&[0; 16]), "::");
        assert_eq!(address_of(&[1, 0xab]), "01ab");
        assert_eq!(address_of(&[]), "");
    }

    #[test]
    fn json_strings_escape_what_json_forbids() {
        let text = text(|out| json_string(out, "a\"b\\c\n\u{1b}é"));
        assert_eq!(text, "\"a\\\"b\\\\c\\n\\u001bé\"");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), "a\"b\\c\n\u{1b}é");
    }

    #[test]
    fn json_strings_of_every_character_come_back() {
        for letter in ('\0'..='\u{ff}').chain(['\u{2028}', '\u{10ffff}']) {
            let text = text(|out| json_string(out, &format!("a{letter}b")));
            assert_eq!(serde_json::from_str::<String>(&text).unwrap(), format!("a{letter}b"));
        }
    }

    #[test]
    fn proto_strings_escape_in_octal() {
        assert_eq!(
            text(|out| proto_string(out, &[127, 0, 0, 1, b'"', b'a', 0xc3])),
            "\"\\177\\000\\000\\001\\\"a\\303\""
        );
    }
}
