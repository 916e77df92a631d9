//! A unit of the map: 512 bytes, the least that every device writes whole.
//!
//! | bytes | |
//! |---|---|
//! | 0-3 | CRC-32C of bytes 4 to 511 |
//! | 4-7 | index of the unit |
//! | 8-23 | UUID of the mirror |
//! | 24-511 | 976 regions of 4 bits, the lower half of a byte first |
//!
//! Of a region's bits, bit 3 is the write intent; bits 0 to 2 say that leg 0, 1 or 2 lacks what is in the region. Both are in
//! one unit, so that one write clears an intent and keeps, for legs that are away, that they lack the region.
//!
//! A unit that cannot be read, or whose checksum is wrong, says the worst: every bit is set. That is always safe: an intent
//! too many costs a comparison by copying, a lack too many costs a copy.

use uuid::Uuid;

use super::{crc, take};
use crate::ids::HolderSet;

/// Bytes of a unit.
pub const UNIT_BYTES: usize = 512;

/// Regions of a unit.
pub const UNIT_REGIONS: usize = (UNIT_BYTES - BITS_AT) * 2;

const BITS_AT: usize = 24;
const INTENT: u8 = 8;
const LACKS: u8 = 7;

/// What the map says of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionBits {
    /// It may have been written since the last flush.
    pub intent: bool,
    /// The legs that lack what is in it.
    pub lacks: HolderSet,
}

impl RegionBits {
    /// A write intent.
    pub const INTENT: Self = Self { intent: true, lacks: HolderSet::EMPTY };

    /// What is assumed if nothing is known.
    pub const WORST: Self = match HolderSet::from_bits(LACKS) {
        Some(lacks) => Self { intent: true, lacks },
        None => Self { intent: true, lacks: HolderSet::EMPTY },
    };

    const fn code(self) -> u8 {
        (if self.intent { INTENT } else { 0 }) | (self.lacks.bits() & LACKS)
    }

    fn from_code(code: u8) -> Self {
        let lacks = HolderSet::from_bits(code & LACKS).unwrap_or_default();
        Self { intent: code & INTENT != 0, lacks }
    }
}

/// A unit as it is stored. `bits` are what the map says of regions, by their place in the unit; what is said of one place
/// adds up, and of a place that does not exist goes nowhere.
#[must_use]
pub fn encode(
    mirror: Uuid,
    index: u32,
    bits: impl IntoIterator<Item = (usize, RegionBits)>,
) -> Box<[u8; UNIT_BYTES]> {
    let mut bytes = Box::new([0; UNIT_BYTES]);
    bytes[4..8].copy_from_slice(&index.to_le_bytes());
    bytes[8..24].copy_from_slice(mirror.as_bytes());
    for (place, bits) in bits {
        if let Some(byte) = bytes.get_mut(BITS_AT + place / 2) {
            *byte |= bits.code() << if place % 2 == 0 { 0 } else { 4 };
        }
    }
    let sum = crc(&bytes[4..]);
    bytes[..4].copy_from_slice(&sum);
    bytes
}

/// What a unit says of its regions: those that have a bit, by their place. `None` if it is damaged or not this unit of this
/// mirror.
#[must_use]
pub fn decode(mirror: Uuid, index: u32, bytes: &[u8; UNIT_BYTES]) -> Option<Vec<(usize, RegionBits)>> {
    let is_good = bytes[..4] == crc(&bytes[4..])
        && u32::from_le_bytes(take(bytes, 4)) == index
        && bytes[8..24] == *mirror.as_bytes();
    let marked = bytes[BITS_AT..].iter().enumerate().filter(|(_, byte)| **byte != 0);
    let halves = |(place, byte): (usize, &u8)| {
        [(place * 2, RegionBits::from_code(*byte)), (place * 2 + 1, RegionBits::from_code(*byte >> 4))]
    };
    let has_bit = |(_, bits): &(usize, RegionBits)| *bits != RegionBits::default();
    is_good.then(|| marked.flat_map(halves).filter(has_bit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HolderId;

    const MIRROR: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

    fn bits() -> [(usize, RegionBits); 3] {
        let leg = |index| HolderSet::EMPTY.with(HolderId::new(index).unwrap());
        [
            (0, RegionBits { intent: true, lacks: HolderSet::EMPTY }),
            (3, RegionBits { intent: false, lacks: leg(1) }),
            (975, RegionBits { intent: true, lacks: leg(0).or(leg(2)) }),
        ]
    }

    /// The first version's image, written by hand; its CRC comes from another program.
    fn fixture() -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        bytes[..24].copy_from_slice(&[
            0x00, 0x00, 0x00, 0x00, 7, 0, 0, 0, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99,
            0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
        ]);
        bytes[24] = 0x08;
        bytes[25] = 0x20;
        bytes[511] = 0xd0;
        bytes[..4].copy_from_slice(&FIXTURE_CRC);
        bytes
    }

    const FIXTURE_CRC: [u8; 4] = [0x7b, 0xe2, 0x4c, 0xe0];

    #[test]
    fn the_first_version_is_these_bytes() {
        assert_eq!(*encode(MIRROR, 7, bits()), fixture());
        assert_eq!(decode(MIRROR, 7, &fixture()).unwrap(), bits());
        assert_eq!(UNIT_REGIONS, 976);
    }

    #[test]
    fn what_is_damaged_or_another_units_says_nothing() {
        assert_eq!(decode(MIRROR, 8, &fixture()), None);
        assert_eq!(decode(Uuid::nil(), 7, &fixture()), None);
        for at in [0, 4, 30, 511] {
            let mut bytes = fixture();
            bytes[at] ^= 1;
            assert_eq!(decode(MIRROR, 7, &bytes), None);
        }
    }
}
