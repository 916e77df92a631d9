//! Percent-encoding (RFC 3986, clause 2.1) of what people may put into paths and values.

use std::fmt::Write as _;

/// A `%` that two hexadecimal digits do not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadEscape;

/// The bytes that a text stands for.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, BadEscape> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = rest.next().and_then(hex_digit).ok_or(BadEscape)?;
            let low = rest.next().and_then(hex_digit).ok_or(BadEscape)?;
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    Ok(bytes)
}

/// A text that stands for the bytes and holds no `%`, control character, or any of `reserved` as itself.
pub(super) fn encode(bytes: &[u8], reserved: &str) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() || letter == '%' || reserved.contains(letter) {
                let mut buffer = [0; 4];
                escape(letter.encode_utf8(&mut buffer).as_bytes(), &mut text);
            } else {
                text.push(letter);
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "%{byte:02X}");
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_two_hexadecimal_digits() {
        assert_eq!(decode("a%3F%2fb%c3%A4ä"), Ok("a?/bää".as_bytes().to_vec()));
        for bad in ["%", "%4", "%4g", "a%%"] {
            assert_eq!(decode(bad), Err(BadEscape), "{bad}");
        }
    }

    #[test]
    fn only_what_would_be_misread_is_escaped() {
        assert_eq!(encode("/a b/ä?%\n".as_bytes(), "?"), "/a b/ä%3F%25%0A");
        assert_eq!(encode(b"\xffx", ""), "%FFx");
    }
}
