//! The data of a ping, as rping makes it: text, so that any server can send back as much as it has got, up to the zero.

use std::fmt;

/// First and last letter of the pattern.
const LETTERS: std::ops::RangeInclusive<u8> = b'A'..=b'z';

/// Data that came back other than it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The first byte that differs.
    pub offset: usize,
    /// What came back there.
    pub found: u8,
    /// What was sent.
    pub expected: u8,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} is {:#04x}, not {:#04x}", self.offset, self.found, self.expected)
    }
}

/// The bytes of a ping: its name, then letters that count up, from another one in each ping, and a zero at the end and nowhere
/// else.
#[must_use]
pub fn pattern(number: u64, bytes: u32) -> Vec<u8> {
    let count = u64::from(LETTERS.end() - LETTERS.start()) + 1;
    // Below the number of letters.
    let first = usize::try_from(number % count).unwrap_or_default();
    let name = format!("rdma-ping-{number}: ").into_bytes();
    let mut data: Vec<u8> =
        name.into_iter().chain(LETTERS.cycle().skip(first)).take(bytes as usize).collect();
    if let Some(last) = data.last_mut() {
        *last = 0;
    }
    data
}

/// Compares what came back.
pub fn compare(found: &[u8], expected: &[u8]) -> Result<(), Mismatch> {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    match differs {
        None => Ok(()),
        Some(offset) => Err(Mismatch { offset, found: found[offset], expected: expected[offset] }),
    }
}

/// The text of a ping's data, up to its zero, with dots for what is no text.
#[must_use]
pub fn text(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let shown = |byte: &u8| if *byte == b' ' || byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
    data[..end].iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_rpings() {
        let first = b"rdma-ping-0: ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqr\0";
        assert_eq!(pattern(0, 64), first);
        assert_eq!(pattern(1, 20), b"rdma-ping-1: BCDEFG\0");
        // 58 letters: ping 57 begins with the last one, ping 58 with the first again.
        assert_eq!(pattern(57, 18), b"rdma-ping-57: zAB\0");
        assert_eq!(pattern(58, 18), b"rdma-ping-58: ABC\0");
        assert_eq!(pattern(123_456_789, 16), b"rdma-ping-12345\0");
        for size in [1, 16, 64, 4096, 65535] {
            let data = pattern(7, size);
            assert_eq!(data.len(), size as usize);
            assert_eq!(data.iter().position(|byte| *byte == 0), Some(size as usize - 1));
        }
        assert_eq!(text(&pattern(1, 20)), "rdma-ping-1: BCDEFG");
        assert_eq!(text(b"a\\\x1b[2J\xff"), "a\\.[2J.");
    }

    #[test]
    fn one_wrong_byte_is_found() {
        let expected = pattern(3, 64);
        assert_eq!(compare(&expected, &expected), Ok(()));
        for offset in 0..expected.len() {
            let mut found = expected.clone();
            found[offset] ^= 1;
            let mismatch = compare(&found, &expected).unwrap_err();
            assert_eq!((mismatch.offset, mismatch.found), (offset, expected[offset] ^ 1));
        }
        let mismatch = Mismatch { offset: 17, found: 0, expected: 0x45 };
        assert_eq!(mismatch.to_string(), "byte 17 is 0x00, not 0x45");
    }
}
