//! Times and lists of processors as fio writes them.

use std::time::Duration;

use thiserror::Error;

/// Most processors of a list.
pub const CPUS_MAX: usize = 4096;

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no time: write a number with one of us, ms, s, m, h, d, or none for seconds")]
pub struct TimeError {
    text: String,
}

/// Why a text is no list of processors.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CpuListError {
    /// It does not read as one.
    #[error("`{text}` is no list of processors: write 0,2,4-7")]
    Shape {
        /// The text.
        text: String,
    },
    /// Too many or none.
    #[error("a list of 1 to {CPUS_MAX} processors is wanted")]
    Count,
}

/// Reads `10`, `10s`, `500ms`, `2m`.
pub fn parse_time(text: &str) -> Result<Duration, TimeError> {
    let error = || TimeError { text: text.to_owned() };
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let count: u64 = digits.parse().map_err(|_| error())?;
    let unit_us: u64 = match unit.to_ascii_lowercase().as_str() {
        "us" | "usec" => 1,
        "ms" | "msec" => 1_000,
        "" | "s" | "sec" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" | "hour" => 3_600_000_000,
        "d" | "day" => 86_400_000_000,
        _ => return Err(error()),
    };
    count.checked_mul(unit_us).map(Duration::from_micros).ok_or_else(error)
}

/// Reads `0,2,4-7`, in the order given.
pub fn parse_cpu_list(text: &str) -> Result<Vec<usize>, CpuListError> {
    let error = || CpuListError::Shape { text: text.to_owned() };
    let number = |digits: &str| digits.parse::<usize>().map_err(|_| error());
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(error());
        }
        if last - first >= CPUS_MAX - cpus.len() {
            return Err(CpuListError::Count);
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fios_units() {
        for (text, expected_ms) in
            [("10", 10_000), ("10s", 10_000), ("2m", 120_000), ("500ms", 500), ("1h", 3_600_000), ("0", 0)]
        {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(expected_ms)), "{text}");
        }
        assert_eq!(parse_time("7us"), Ok(Duration::from_micros(7)));
        for bad in ["", "s", "-1", "1.5", "10x", "99999999999999999999", "99999999999999d"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_are_numbers_and_ranges() {
        assert_eq!(parse_cpu_list("0,2,4-6"), Ok(vec![0, 2, 4, 5, 6]));
        for bad in ["", "a", "1-", "3-1", "1,,2", "0-4096", "0-18446744073709551615"] {
            assert!(parse_cpu_list(bad).is_err(), "{bad}");
        }
    }
}
