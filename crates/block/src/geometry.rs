//! Shape and limits of a device.

use thiserror::Error;

/// Bytes of a logical block: a power of two from 512 to 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockSize(u8);

/// A block size that no device here has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a logical block of {0} bytes: powers of two from 512 to 65536 are supported")]
pub struct BlockSizeError(pub u64);

impl BlockSize {
    /// 512 bytes.
    pub const B512: Self = Self(9);
    /// 4096 bytes.
    pub const B4096: Self = Self(12);

    /// Bytes of a block.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> u32 {
        1 << self.0
    }

    /// The power of two.
    #[inline]
    #[must_use]
    pub const fn shift(self) -> u8 {
        self.0
    }

    /// Whole blocks in `bytes`, or `None` if there is a rest.
    #[inline]
    #[must_use]
    pub const fn blocks_in(self, bytes: u64) -> Option<u64> {
        if bytes & (self.bytes() as u64 - 1) == 0 { Some(bytes >> self.0) } else { None }
    }

    /// Bytes of `blocks` blocks, or `None` beyond 64 bits.
    #[inline]
    #[must_use]
    pub const fn bytes_of(self, blocks: u64) -> Option<u64> {
        blocks.checked_mul(self.bytes() as u64)
    }
}

impl TryFrom<u64> for BlockSize {
    type Error = BlockSizeError;

    fn try_from(bytes: u64) -> Result<Self, BlockSizeError> {
        match bytes {
            512..=65536 if bytes.is_power_of_two() => {
                u8::try_from(bytes.trailing_zeros()).map(Self).map_err(|_| BlockSizeError(bytes))
            }
            _ => Err(BlockSizeError(bytes)),
        }
    }
}

/// Whether an acknowledged write can be lost by a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCache {
    /// Acknowledged writes may be lost until a flush or FUA says that they are durable.
    Volatile,
    /// Every acknowledged write is durable.
    Through,
}

/// What one request may be at most. A device that gets more completes the request with an error; see the split wrapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most blocks of a request that moves data; at least 1.
    pub transfer_blocks_max: u32,
    /// Most blocks of a write zeroes; at least 1.
    pub zeroes_blocks_max: u64,
    /// Most blocks of a discard; at least 1.
    pub discard_blocks_max: u64,
    /// Requests that cross a multiple of this many blocks are slower (NVMe's NOIOB); 0 if there is no such boundary.
    pub boundary_blocks: u32,
    /// Most segments of a scatter list; at least 1.
    pub segments_max: u16,
    /// Every segment begins at a multiple of this many bytes of its region; a power of two.
    pub segment_alignment: u32,
    /// Two segments of one request meet only at multiples of this many bytes of their regions (4096 for NVMe's PRPs);
    /// a power of two, 1 if they may meet anywhere.
    pub seam_alignment: u32,
}

impl Limits {
    /// No limits but those of the types.
    pub const NONE: Self = Self {
        transfer_blocks_max: u32::MAX,
        zeroes_blocks_max: u64::MAX,
        discard_blocks_max: u64::MAX,
        boundary_blocks: 0,
        segments_max: u16::MAX,
        segment_alignment: 1,
        seam_alignment: 1,
    };
}

/// Shape of a device. It changes only together with an [`crate::Event::Resized`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block.
    pub block_size: BlockSize,
    /// Number of blocks: up to 2^64 - 1.
    pub blocks: u64,
    /// What one request may be at most.
    pub limits: Limits,
    /// Blocks of an aligned write that a power cut leaves wholly old or wholly new; at least 1.
    pub atomic_blocks: u32,
    /// Whether an acknowledged write can be lost by a power cut.
    pub write_cache: WriteCache,
}

impl Geometry {
    /// Bytes of the device; `u128`, since the largest legal one has more than 2^64.
    #[must_use]
    pub const fn bytes(&self) -> u128 {
        (self.blocks as u128) << self.block_size.shift()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_from_512_to_64k() {
        for good in [512u64, 1024, 2048, 4096, 65536] {
            assert_eq!(u64::from(BlockSize::try_from(good).unwrap().bytes()), good);
        }
        for bad in [0u64, 1, 256, 520, 4224, 131_072, u64::MAX] {
            assert_eq!(BlockSize::try_from(bad), Err(BlockSizeError(bad)));
        }
    }

    #[test]
    fn whole_blocks_only() {
        assert_eq!(BlockSize::B4096.blocks_in(8192), Some(2));
        assert_eq!(BlockSize::B4096.blocks_in(8191), None);
        assert_eq!(BlockSize::B512.bytes_of(u64::MAX), None);
    }

    #[test]
    fn the_largest_device_has_a_size() {
        let geometry = Geometry {
            block_size: BlockSize::B4096,
            blocks: u64::MAX,
            limits: Limits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Through,
        };
        assert_eq!(geometry.bytes(), u128::from(u64::MAX) * 4096);
    }
}
