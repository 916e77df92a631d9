//! Numbers as fio writes them: three digits and a unit.

/// Decimal units.
const DECIMAL: [&str; 6] = ["", "k", "M", "G", "T", "P"];

/// A plain number: `950`, `2048`, `38.3k`, `1.2M`.
#[must_use]
pub fn short(value: f64) -> String {
    if value < 9999.5 { format!("{value:.0}") } else { scaled(value, 1000.0, &DECIMAL) }
}

/// Bytes in powers of 1024: `150MiB`.
#[must_use]
pub fn bytes_binary(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// Bytes in powers of 1000: `157MB`.
#[must_use]
pub fn bytes_decimal(bytes: f64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// Bytes a second in powers of 1024.
#[must_use]
pub fn bytes_per_s(rate: f64) -> String {
    format!("{}/s", bytes_binary(rate))
}

/// A bandwidth both ways: `150MiB/s (157MB/s)`.
#[must_use]
pub fn bandwidth(rate: f64) -> String {
    format!("{} ({}/s)", bytes_per_s(rate), bytes_decimal(rate))
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut at = 0;
    // 999.5 is written 1000, which is one of the next unit.
    while value >= base - 0.5 && at + 1 < units.len() {
        value /= base;
        at += 1;
    }
    let unit = units[at];
    match value {
        _ if at == 0 => format!("{value:.0}{unit}"),
        _ if value < 9.995 => format!("{value:.2}{unit}"),
        _ if value < 99.95 => format!("{value:.1}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}

/// The unit that latencies of some size are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
}

impl TimeUnit {
    /// The largest in which `min_ns` is at least 2 and `max_ns` at least 100.
    #[must_use]
    pub fn for_range(min_ns: u64, max_ns: u64) -> Self {
        match (min_ns, max_ns) {
            (2_000_000.., 100_000_000..) => Self::Ms,
            (2_000.., 100_000..) => Self::Us,
            _ => Self::Ns,
        }
    }

    /// fio's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ns => "nsec",
            Self::Us => "usec",
            Self::Ms => "msec",
        }
    }

    /// Nanoseconds in this unit.
    #[must_use]
    pub fn of(self, ns: f64) -> f64 {
        match self {
            Self::Ns => ns,
            Self::Us => ns / 1e3,
            Self::Ms => ns / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        for (value, text) in [
            (0.0, "0"),
            (950.4, "950"),
            (9999.0, "9999"),
            (38_345.0, "38.3k"),
            (1.2e6, "1.20M"),
            (999_600.0, "1.00M"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(bytes_binary(1023.0), "1023B");
        assert_eq!(bandwidth(157_286_400.0), "150MiB/s (157MB/s)");
        assert_eq!(bytes_binary(f64::from(1 << 20)), "1.00MiB");
    }

    #[test]
    fn units_fit_the_range() {
        assert_eq!(TimeUnit::for_range(991, 1_256_400), TimeUnit::Ns);
        assert_eq!(TimeUnit::for_range(3_000, 12_706_000), TimeUnit::Us);
        assert_eq!(TimeUnit::for_range(2_000_000, 100_000_000), TimeUnit::Ms);
        assert_eq!(TimeUnit::Us.of(1500.0), 1.5);
    }
}
