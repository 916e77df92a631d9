//! Queue pair numbers of one endpoint: `shard | generation | slot`, from the upper bits to the lower.
//!
//! The shard steers packets to the endpoint's socket; the slot makes finding the queue pair an index. The generation begins at
//! random and counts up with each use of the slot, so that the packets of a queue pair that is gone meet nobody for as long
//! as the generations last.

use crate::soft::cm::Shard;
use crate::soft::udp::SHARD_SHIFT;
use crate::soft::wire::Qpn;

/// The most queue pairs of an endpoint: at least 16 generations of each slot are left.
pub(crate) const QUEUE_PAIRS_MAX: u32 = 1 << 14;

/// How the numbers of an endpoint are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    shard: u32,
    slot_bits: u32,
    /// Added to every generation: what makes them begin at random.
    salt: u32,
}

impl Numbers {
    /// For an endpoint with at most `queue_pairs_max` queue pairs.
    pub(crate) fn new(shard: Shard, queue_pairs_max: u32, salt: u32) -> Self {
        let slots = queue_pairs_max.clamp(1, QUEUE_PAIRS_MAX).next_power_of_two();
        Self { shard: u32::from(shard.number()), slot_bits: slots.trailing_zeros(), salt }
    }

    /// The number of a slot in its so many'th use.
    pub(crate) fn number(self, slot: u32, generation: u32) -> Qpn {
        let generations = 1 << (SHARD_SHIFT - self.slot_bits);
        let generation = generation.wrapping_add(self.salt) % generations;
        let number = (self.shard << SHARD_SHIFT) | (generation << self.slot_bits) | slot;
        // The parts have 6, 18 - n and n bits.
        Qpn::try_from(number & 0xff_ffff).unwrap_or(Qpn::CONNECTION_MANAGER)
    }

    /// The slot in a number of this shard.
    #[inline]
    pub(crate) fn slot(self, number: Qpn) -> u32 {
        number.value() & ((1 << self.slot_bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: u8) -> Shard {
        Shard::try_from(number).unwrap()
    }

    #[test]
    fn numbers_lead_back_to_shard_and_slot_and_differ_by_use() {
        let numbers = Numbers::new(shard(3), 1000, 0xffff_fffe);
        let number = numbers.number(999, 0);
        assert_eq!((number.value() >> SHARD_SHIFT, numbers.slot(number)), (3, 999));
        // 1,000 slots take 10 bits, so 256 uses of a slot have numbers of their own, also where the count comes round.
        let mut seen: Vec<_> = (0..256).map(|generation| numbers.number(7, generation).value()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 256);
        assert!(seen.iter().all(|number| number >> 18 == 3 && number & 0x3ff == 7));
    }

    #[test]
    fn the_largest_table_keeps_sixteen_generations() {
        let numbers = Numbers::new(shard(63), QUEUE_PAIRS_MAX, 0);
        assert_eq!(numbers.number(QUEUE_PAIRS_MAX - 1, 15).value(), 0xff_ffff);
        assert_ne!(numbers.number(0, 0), numbers.number(0, 15));
        assert_eq!(numbers.number(0, 0), numbers.number(0, 16));
    }
}
