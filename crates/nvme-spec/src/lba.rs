//! Logical block addresses, counts and ranges.

use std::fmt;

/// A logical block address: a position in a namespace, in logical blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lba(pub u64);

impl Lba {
    /// The address `blocks` further on, or `None` past the end of the 64-bit address space.
    #[must_use]
    pub const fn checked_add(self, blocks: u64) -> Option<Self> {
        match self.0.checked_add(blocks) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many logical blocks one command touches: 1..=65536.
///
/// On the wire it is the NLB field, 0-based in 16 bits (NVM, NVM Command Set Commands). Holding the wire's
/// value makes every bit pattern a legal count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockCount(u16);

/// A count of logical blocks that no command can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} logical blocks do not fit in one command: 1 to 65536 do")]
pub struct BlockCountError(pub u64);

impl BlockCount {
    /// One logical block.
    pub const ONE: Self = Self(0);
    /// 65536 logical blocks, the most that NLB can say.
    pub const MAX: Self = Self(u16::MAX);

    /// `blocks` logical blocks, or `None` outside 1..=65536.
    #[must_use]
    #[inline]
    pub const fn new(blocks: u32) -> Option<Self> {
        match blocks {
            1..=0x1_0000 => Some(Self((blocks.wrapping_sub(1) & 0xFFFF) as u16)),
            _ => None,
        }
    }

    /// From the wire's 0-based value.
    #[must_use]
    #[inline]
    pub const fn from_zero_based(nlb: u16) -> Self {
        Self(nlb)
    }

    /// The wire's 0-based value.
    #[must_use]
    #[inline]
    pub const fn zero_based(self) -> u16 {
        self.0
    }

    /// The number of blocks, 1..=65536.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u32 {
        self.0 as u32 + 1
    }

    /// The number of data bytes when a logical block has `block_size` bytes.
    #[must_use]
    #[inline]
    pub const fn bytes(self, block_size: u32) -> u64 {
        self.get() as u64 * block_size as u64
    }
}

impl TryFrom<u64> for BlockCount {
    type Error = BlockCountError;

    fn try_from(blocks: u64) -> Result<Self, BlockCountError> {
        u32::try_from(blocks).ok().and_then(Self::new).ok_or(BlockCountError(blocks))
    }
}

impl TryFrom<u32> for BlockCount {
    type Error = BlockCountError;

    fn try_from(blocks: u32) -> Result<Self, BlockCountError> {
        Self::new(blocks).ok_or(BlockCountError(u64::from(blocks)))
    }
}

impl From<BlockCount> for u32 {
    fn from(count: BlockCount) -> Self {
        count.get()
    }
}

impl From<BlockCount> for u64 {
    fn from(count: BlockCount) -> Self {
        Self::from(count.get())
    }
}

impl fmt::Debug for BlockCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockCount({})", self.get())
    }
}

impl fmt::Display for BlockCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// The logical blocks that one command names. Whether they exist is for [`LbaRange::end`] and
/// [`LbaRange::fits`] to say: the bytes of a command can name blocks beyond 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LbaRange {
    /// The first logical block (SLBA).
    pub slba: Lba,
    /// How many follow, it included (NLB).
    pub blocks: BlockCount,
}

impl LbaRange {
    /// A range of `blocks` from `slba` on.
    #[must_use]
    pub const fn new(slba: Lba, blocks: BlockCount) -> Self {
        Self { slba, blocks }
    }

    /// The address after the last block, or `None` when that is beyond 2^64 - 1.
    #[must_use]
    #[inline]
    pub const fn end(self) -> Option<Lba> {
        self.slba.checked_add(self.blocks.get() as u64)
    }

    /// Whether every block exists in a namespace of `nsze` logical blocks.
    #[must_use]
    #[inline]
    pub const fn fits(self, nsze: u64) -> bool {
        match self.end() {
            Some(end) => end.0 <= nsze,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_count_is_zero_based_on_the_wire() {
        assert_eq!(BlockCount::new(1).unwrap().zero_based(), 0);
        assert_eq!(BlockCount::new(65536).unwrap().zero_based(), 0xFFFF);
        assert_eq!(BlockCount::from_zero_based(7).get(), 8);
        assert_eq!(BlockCount::MAX.bytes(4096), 268_435_456);
        assert_eq!((BlockCount::new(0), BlockCount::new(65537)), (None, None));
        assert_eq!(BlockCount::try_from(1_u64 << 32), Err(BlockCountError(1 << 32)));
        assert_eq!(BlockCount::try_from(8_u32).map(u64::from), Ok(8));
    }

    #[test]
    fn a_range_does_not_wrap() {
        let last = LbaRange::new(Lba(u64::MAX), BlockCount::ONE);
        assert_eq!(last.end(), None);
        assert!(!last.fits(u64::MAX));
        assert_eq!(LbaRange::new(Lba(u64::MAX - 1), BlockCount::ONE).end(), Some(Lba(u64::MAX)));
        let range = LbaRange::new(Lba(8), BlockCount::new(8).unwrap());
        assert!(range.fits(16) && !range.fits(15));
    }
}
