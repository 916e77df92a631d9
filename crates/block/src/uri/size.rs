//! Sizes in words: `4096`, `4k`, `4KiB`, `1TiB`.

use thiserror::Error;

/// Units from the largest to the smallest, with the power of two that each stands for. As in fio, `k` is 1024.
const UNITS: [(&str, &str, u32); 6] = [
    ("EiB", "e", 60),
    ("PiB", "p", 50),
    ("TiB", "t", 40),
    ("GiB", "g", 30),
    ("MiB", "m", 20),
    ("KiB", "k", 10),
];

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    /// It does not begin with decimal digits.
    #[error("`{text}` does not begin with a decimal number: write one such as 4096, 4k or 4KiB")]
    NoNumber {
        /// The text.
        text: String,
    },
    /// What follows the digits is no unit.
    #[error("`{unit}` in `{text}` is no unit: write k, m, g, t, KiB, MiB, GiB or TiB (1k = 1KiB = 1024)")]
    Unit {
        /// The text.
        text: String,
        /// What follows the digits.
        unit: String,
    },
    /// More than 64 bits of bytes.
    #[error("`{text}` is more than 2^64 - 1 bytes")]
    TooLarge {
        /// The text.
        text: String,
    },
}

/// Bytes that a text such as `4096`, `4k`, `4KiB` or `1t` stands for. All units are powers of 1024, in either case;
/// `kB` and `MB` are refused, since people disagree on what they mean.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let owned = || text.to_owned();
    if digits.is_empty() {
        return Err(SizeError::NoNumber { text: owned() });
    }
    let named = |(long, short, _): &&(&str, &str, u32)| {
        unit.eq_ignore_ascii_case(long) || unit.eq_ignore_ascii_case(short)
    };
    let shift = match UNITS.iter().find(named) {
        Some((_, _, shift)) => *shift,
        None if unit.is_empty() => 0,
        None => return Err(SizeError::Unit { text: owned(), unit: unit.to_owned() }),
    };
    let number: u64 = digits.parse().map_err(|_| SizeError::TooLarge { text: owned() })?;
    number.checked_mul(1 << shift).ok_or_else(|| SizeError::TooLarge { text: owned() })
}

/// A size in the largest unit that says it exactly: what [`parse_size`] reads back.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    match UNITS.iter().find(|(_, _, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift) {
        Some((long, _, shift)) => format!("{}{long}", bytes >> shift),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_powers_of_1024_in_either_case() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4k", 4096),
            ("4K", 4096),
            ("4kib", 4096),
            ("1m", 1_048_576),
            ("3GiB", 3_221_225_472),
            ("2T", 2_199_023_255_552),
            ("1p", 1_125_899_906_842_624),
            ("15EiB", 17_293_822_569_102_704_640),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for text in
            ["", "k", "-1", "+1", " 1", "0x10", "1.5g", "1 k", "1kB", "1MB", "1kk", "1KiBs", "1_000", "¼k"]
        {
            assert!(
                matches!(parse_size(text), Err(SizeError::NoNumber { .. } | SizeError::Unit { .. })),
                "{text}"
            );
        }
        for text in ["18446744073709551616", "16EiB", "18014398509481984k", "99999999999999999999999"] {
            assert!(matches!(parse_size(text), Err(SizeError::TooLarge { .. })), "{text}");
        }
        assert_eq!(
            parse_size("1MB").unwrap_err().to_string(),
            "`MB` in `1MB` is no unit: write k, m, g, t, KiB, MiB, GiB or TiB (1k = 1KiB = 1024)"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = parse_size(&text);
        }

        #[test]
        fn what_is_written_is_read_back(bytes: u64, shift in 0u32..64) {
            prop_assert_eq!(parse_size(&format_size(bytes >> shift << shift)), Ok(bytes >> shift << shift));
        }
    }
}
