//! Count, extremes, mean and standard deviation, exactly.

/// Of whole numbers. The sums are exact, so that parts can be added up in any order: 2^32 values of an hour in
/// nanoseconds each do not overflow them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    count: u64,
    sum: u128,
    squares: u128,
    min: u64,
    max: u64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, sum: 0, squares: 0, min: u64::MAX, max: 0 }
    }
}

impl Moments {
    /// Notes a value that came `count` times.
    #[inline]
    pub fn record(&mut self, value: u64, count: u64) {
        self.count += count;
        self.sum += u128::from(value) * u128::from(count);
        self.squares += u128::from(value) * u128::from(value) * u128::from(count);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds another's values.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest; 0 if there is none.
    #[must_use]
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// The largest; 0 if there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean; 0 if there are none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The standard deviation of a sample; 0 of fewer than two.
    #[must_use]
    pub fn stddev(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        // In whole numbers until the last step: the squares are nearly equal when the deviation is small.
        let count = u128::from(self.count);
        let whole = self.sum / count;
        let rest = self.sum % count;
        // sum((x - mean)^2) = squares - sum^2 / count, with sum = whole * count + rest.
        let product = self.sum.saturating_mul(whole);
        let fraction = self.sum as f64 * rest as f64 / count as f64;
        let deviation = (self.squares.saturating_sub(product)) as f64 - fraction;
        (deviation.max(0.0) / (count - 1) as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|value| moments.record(*value, 1));
        moments
    }

    #[test]
    fn a_textbook_sample() {
        let moments = of(&[2, 4, 4, 4, 5, 5, 7, 9]);
        assert_eq!((moments.min(), moments.max(), moments.count(), moments.mean()), (2, 9, 8, 5.0));
        assert!((moments.stddev() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn small_deviations_of_large_values_are_not_lost() {
        let base = 3_600_000_000_000;
        let moments = of(&[base, base + 1, base + 2]);
        assert!((moments.stddev() - 1.0).abs() < 1e-3, "{}", moments.stddev());
    }

    #[test]
    fn parts_add_up() {
        let (mut a, b) = (of(&[1, 2, 3]), of(&[10, 20]));
        a.add(&b);
        assert_eq!(a, of(&[1, 2, 3, 10, 20]));
        let mut many = Moments::default();
        many.record(7, 3);
        assert_eq!(many, of(&[7, 7, 7]));
        assert_eq!((Moments::default().min(), Moments::default().stddev(), of(&[5]).stddev()), (0, 0.0, 0.0));
    }
}
