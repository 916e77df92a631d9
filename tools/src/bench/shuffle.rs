//! Every position once, in an order that looks random, without memory.

use super::rng::{SplitMix64, mix};

/// A permutation of the numbers below some count: what fio's random map is for, at any size.
///
/// The numbers of the next power of two are permuted by steps that can each be undone (add, multiply by an odd number,
/// fold the upper half into the lower); whoever lands beyond the count takes further steps until inside.
#[derive(Clone, Debug)]
pub struct Shuffle {
    count: u64,
    bits: u32,
    /// For each round, what to add and an odd number to multiply by.
    rounds: [(u64, u64); ROUNDS],
}

/// Fewer show as stripes in a plot of the order.
const ROUNDS: usize = 3;

impl Shuffle {
    /// The permutation number `pass` of a seed, of the numbers below `count`, which is not 0.
    #[must_use]
    pub fn new(count: u64, seed: u64, pass: u64) -> Self {
        let mut rng = SplitMix64::new(seed ^ mix(pass.wrapping_add(1)));
        let rounds = std::array::from_fn(|_| (rng.next_u64(), rng.next_u64() | 1));
        Self { count, bits: (u64::BITS - (count - 1).leading_zeros()).max(1), rounds }
    }

    /// Where `index`, below the count, lands.
    #[inline]
    #[must_use]
    pub fn at(&self, index: u64) -> u64 {
        let mut position = self.step(index);
        // The step is a permutation, so this comes back inside at the latest at `index` itself; half of the numbers are
        // inside, so it takes two steps on average.
        while position >= self.count {
            position = self.step(position);
        }
        position
    }

    #[inline]
    fn step(&self, mut x: u64) -> u64 {
        let mask = u64::MAX >> (u64::BITS - self.bits);
        let fold = self.bits.div_ceil(2);
        for (add, odd) in self.rounds {
            x = x.wrapping_add(add).wrapping_mul(odd) & mask;
            x ^= x >> fold;
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_comes_once() {
        for count in [1u64, 2, 3, 5, 64, 1000, 4097] {
            for pass in 0..3 {
                let shuffle = Shuffle::new(count, 7, pass);
                let mut order: Vec<u64> = (0..count).map(|index| shuffle.at(index)).collect();
                order.sort_unstable();
                assert_eq!(order, (0..count).collect::<Vec<_>>(), "{count} positions, pass {pass}");
            }
        }
    }

    #[test]
    fn the_order_differs_between_passes_and_seeds_and_from_the_sequence() {
        let order = |seed, pass| -> Vec<u64> {
            let shuffle = Shuffle::new(1000, seed, pass);
            (0..1000).map(|index| shuffle.at(index)).collect()
        };
        assert_eq!(order(7, 0), order(7, 0));
        assert_ne!(order(7, 0), order(7, 1));
        assert_ne!(order(7, 0), order(8, 0));
        let followers = order(7, 0).windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!(followers < 20, "{followers} of 999 steps go to the next position");
    }

    #[test]
    fn the_largest_count_has_positions() {
        let shuffle = Shuffle::new(u64::MAX, 1, 0);
        assert!((0..100).all(|index| shuffle.at(index) < u64::MAX));
    }
}
