//! The label of an image file: what the image is, in two copies that are written alternately.
//!
//! | bytes | |
//! |---|---|
//! | 0-7 | magic, `REMORSSD` |
//! | 8-11 | version, 1 |
//! | 12-15 | bytes of a block |
//! | 16-23 | compatible features: unknown bits are kept and do no harm |
//! | 24-31 | incompatible features: an unknown bit forbids to open the image |
//! | 32-39 | sequence number: of two good copies the higher one counts |
//! | 40-47 | number of blocks |
//! | 48-63 | UUID |
//! | 64-79 | NGUID |
//! | 80-99 | serial number, ASCII, padded with spaces |
//! | 100-251 | zero |
//! | 252-255 | CRC-32C of bytes 0 to 251 |
//!
//! Numbers are little-endian. A copy is written whole and made durable before the other one is touched, so a torn write
//! leaves the older copy.

use std::fs::File;
use std::io::{self, Read};

use crc_fast::{CrcAlgorithm, checksum};
use thiserror::Error;
use uuid::Uuid;

/// Bytes of a copy.
pub const LABEL_BYTES: usize = 256;

/// Where the copies are, in bytes: in different blocks of any device.
pub const LABEL_OFFSETS: [u64; 2] = [0, 64 << 10];

/// Where the blocks begin, in bytes. Notes are between the labels and the blocks: [`super::note`].
pub const DATA_OFFSET: u64 = 1 << 20;

const MAGIC: [u8; 8] = *b"REMORSSD";
const VERSION: u32 = 1;
const CRC_AT: usize = LABEL_BYTES - 4;

/// The incompatible features that this version knows: none.
const INCOMPATIBLE_KNOWN: u64 = 0;

/// Why a label cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LabelError {
    /// Neither copy is a label.
    #[error("this is no image of a software SSD, or both copies of its label are damaged")]
    None,
    /// A later version made it.
    #[error("the image has version {version}, and this program knows version {VERSION}")]
    Version {
        /// The image's.
        version: u32,
    },
    /// It has features that must be understood.
    #[error("the image has features {unknown:#x} that this program does not know")]
    Features {
        /// Their bits.
        unknown: u64,
    },
    /// Its shape is none that a medium can have.
    #[error("the image says that it has {blocks} blocks of {block_bytes} bytes")]
    Shape {
        /// Number of blocks.
        blocks: u64,
        /// Bytes of a block.
        block_bytes: u32,
    },
}

/// What a label says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Bytes of a block: 512 or 4096.
    pub block_bytes: u32,
    /// Number of blocks.
    pub blocks: u64,
    /// Compatible features.
    pub compatible: u64,
    /// Counts up with every change.
    pub sequence: u64,
    /// The namespace's UUID.
    pub uuid: Uuid,
    /// The namespace's NGUID.
    pub nguid: [u8; 16],
    /// The controller's serial number.
    pub serial: [u8; 20],
}

fn take<const N: usize>(bytes: &[u8; LABEL_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = checksum(CrcAlgorithm::Crc32Iscsi, bytes).to_le_bytes();
    [a, b, c, d]
}

impl Label {
    /// A drive that nobody has seen before.
    ///
    /// # Errors
    /// The system's, if it has no random bytes.
    pub fn with_random_identity(block_bytes: u32, blocks: u64) -> io::Result<Self> {
        let mut random = [0; 40];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let (uuid, rest) = random.split_at(16);
        let (nguid, name) = rest.split_at(16);
        let mut uuid_bytes = [0; 16];
        uuid_bytes.copy_from_slice(uuid);
        let mut label = Self {
            block_bytes,
            blocks,
            compatible: 0,
            sequence: 0,
            uuid: uuid::Builder::from_random_bytes(uuid_bytes).into_uuid(),
            nguid: [0; 16],
            serial: [b' '; 20],
        };
        label.nguid.copy_from_slice(nguid);
        let name: String = name.iter().map(|byte| format!("{byte:02X}")).collect();
        label.serial[..2].copy_from_slice(b"RS");
        label.serial[2..18].copy_from_slice(name.as_bytes());
        Ok(label)
    }

    /// The copy's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LABEL_BYTES] {
        let mut bytes = [0; LABEL_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.block_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.compatible.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[48..64].copy_from_slice(self.uuid.as_bytes());
        bytes[64..80].copy_from_slice(&self.nguid);
        bytes[80..100].copy_from_slice(&self.serial);
        let crc = crc(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc);
        bytes
    }

    /// Reads a copy; `None` if it is damaged or none.
    fn from_copy(bytes: &[u8; LABEL_BYTES]) -> Option<Result<Self, LabelError>> {
        if take(bytes, 0) != MAGIC || take(bytes, CRC_AT) != crc(&bytes[..CRC_AT]) {
            return None;
        }
        let version = u32::from_le_bytes(take(bytes, 8));
        if version != VERSION {
            return Some(Err(LabelError::Version { version }));
        }
        let unknown = u64::from_le_bytes(take(bytes, 24)) & !INCOMPATIBLE_KNOWN;
        if unknown != 0 {
            return Some(Err(LabelError::Features { unknown }));
        }
        let label = Self {
            block_bytes: u32::from_le_bytes(take(bytes, 12)),
            compatible: u64::from_le_bytes(take(bytes, 16)),
            sequence: u64::from_le_bytes(take(bytes, 32)),
            blocks: u64::from_le_bytes(take(bytes, 40)),
            uuid: Uuid::from_bytes(take(bytes, 48)),
            nguid: take(bytes, 64),
            serial: take(bytes, 80),
        };
        Some(label.check_shape())
    }

    fn check_shape(self) -> Result<Self, LabelError> {
        let Self { block_bytes, blocks, .. } = self;
        if image_bytes(block_bytes, blocks).is_some() {
            Ok(self)
        } else {
            Err(LabelError::Shape { blocks, block_bytes })
        }
    }

    /// The label that counts, and which copy it is.
    ///
    /// # Errors
    /// [`LabelError`] if there is none, or the one that counts cannot be used.
    pub fn choose(copies: [&[u8; LABEL_BYTES]; 2]) -> Result<(Self, usize), LabelError> {
        let [first, second] = copies.map(Self::from_copy);
        match (first, second) {
            (Some(Ok(first)), Some(Ok(second))) if second.sequence > first.sequence => Ok((second, 1)),
            // A copy that a later version wrote is the newer one, whatever the other says.
            (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error),
            (Some(Ok(first)), _) => Ok((first, 0)),
            (None, Some(Ok(second))) => Ok((second, 1)),
            (None, None) => Err(LabelError::None),
        }
    }
}

/// Bytes of an image; `None` if there can be no such image.
#[must_use]
pub fn image_bytes(block_bytes: u32, blocks: u64) -> Option<u64> {
    if !matches!(block_bytes, 512 | 4096) || blocks == 0 {
        return None;
    }
    let bytes = blocks.checked_mul(u64::from(block_bytes))?.checked_add(DATA_OFFSET)?;
    (bytes <= i64::MAX.unsigned_abs()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first version's image, as it was when the version was made.
    const FIXTURE: &[u8; LABEL_BYTES] = include_bytes!("../../tests/fixtures/image-v1.label");

    fn label(sequence: u64) -> Label {
        Label {
            block_bytes: 4096,
            blocks: 262_144,
            compatible: 0,
            sequence,
            uuid: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            nguid: *b"NGUID of fixture",
            serial: *b"RS0123456789ABCDEF  ",
        }
    }

    fn with(mut bytes: [u8; LABEL_BYTES], at: usize, value: u8) -> [u8; LABEL_BYTES] {
        bytes[at] = value;
        let crc = crc(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc);
        bytes
    }

    #[test]
    fn the_first_version_is_read_for_ever() {
        assert_eq!(Label::choose([FIXTURE, &[0; LABEL_BYTES]]), Ok((label(7), 0)));
        assert_eq!(&label(7).to_bytes(), FIXTURE);
    }

    #[test]
    fn the_newer_good_copy_counts() {
        let (old, new) = (label(3).to_bytes(), label(4).to_bytes());
        assert_eq!(Label::choose([&old, &new]), Ok((label(4), 1)));
        assert_eq!(Label::choose([&new, &old]), Ok((label(4), 0)));
        assert_eq!(Label::choose([&[0; LABEL_BYTES], &old]), Ok((label(3), 1)));
        assert_eq!(Label::choose([&[0; LABEL_BYTES]; 2]), Err(LabelError::None));
    }

    #[test]
    fn a_write_torn_anywhere_leaves_the_older_copy_or_the_newer() {
        let (old, before, new) = (label(4).to_bytes(), label(3).to_bytes(), label(5).to_bytes());
        for torn_at in 0..=LABEL_BYTES {
            let mut torn = before;
            torn[..torn_at].copy_from_slice(&new[..torn_at]);
            let (chosen, _) = Label::choose([&old, &torn]).unwrap();
            let whole = torn == new;
            assert_eq!(chosen.sequence, if whole { 5 } else { 4 }, "torn at {torn_at}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = label(1).to_bytes();
        for bit in 0..LABEL_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Label::choose([&bad, &[0; LABEL_BYTES]]), Err(LabelError::None), "bit {bit}");
        }
    }

    #[test]
    fn what_a_later_version_wrote_is_refused_or_kept() {
        let good = label(1).to_bytes();
        let none = [0; LABEL_BYTES];
        let choose = |bytes| Label::choose([&bytes, &none]).map(|(label, _)| label.compatible);
        assert_eq!(choose(with(good, 8, 2)), Err(LabelError::Version { version: 2 }));
        assert_eq!(choose(with(good, 24, 1)), Err(LabelError::Features { unknown: 1 }));
        assert_eq!(choose(with(good, 16, 5)), Ok(5));
        assert!(matches!(choose(with(good, 13, 0)), Err(LabelError::Shape { .. })));
        // A good older copy does not hide that a later version was here.
        assert_eq!(Label::choose([&good, &with(good, 8, 2)]), Err(LabelError::Version { version: 2 }));
    }

    #[test]
    fn sizes_do_not_overflow() {
        assert_eq!(image_bytes(512, 2), Some((1 << 20) + 1024));
        for (block_bytes, blocks) in [(4096, u64::MAX), (512, 1 << 54), (0, 1), (1024, 1), (512, 0)] {
            assert_eq!(image_bytes(block_bytes, blocks), None, "{blocks} of {block_bytes}");
        }
    }
}
