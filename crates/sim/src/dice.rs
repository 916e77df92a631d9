//! Chance by a seed.

/// A generator of numbers (SplitMix64): small, the same everywhere, and good enough to choose what happens next.
#[derive(Clone, Debug)]
pub struct Dice(u64);

/// A chance of one.
const MILLION: u64 = 1_000_000;

impl Dice {
    /// The numbers of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Other dice, whose numbers do not depend on how often these are thrown from now on.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(self.number())
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.number() % end }
    }

    /// An index of something that has `length` entries.
    #[allow(clippy::cast_possible_truncation, reason = "below a usize")]
    pub const fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// Whether something happens that happens so often in a million times.
    pub const fn happens(&mut self, per_million: u32) -> bool {
        self.below(MILLION) < per_million as u64
    }

    /// One of these; there must be some.
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_everywhere() {
        // The first numbers of SplitMix64 for seed 1234567, as published with it.
        let mut dice = Dice::new(1_234_567);
        assert_eq!([dice.number(), dice.number()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn chances_are_kept() {
        let mut dice = Dice::new(1);
        assert!((0..1000).all(|_| !dice.happens(0) && dice.happens(1_000_000)));
        let hits = (0..100_000).filter(|_| dice.happens(100_000)).count();
        assert!((9_000..11_000).contains(&hits), "{hits}");
        assert_eq!(dice.below(0), 0);
        assert!((0..1000).all(|_| dice.index(3) < 3));
    }
}
