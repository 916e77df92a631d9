//! What every written block says about itself: which run, which place, which generation; and a checksum over all of it.

use crc_fast::{CrcAlgorithm, checksum};

use crate::bench::rng::mix;

/// First bytes of every block that is written with verification.
pub const MAGIC: [u8; 8] = *b"REMORAv1";

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 48;

/// Who wrote a block, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The run, unlike any other: a block of an earlier run with the same seed is not taken for one of this run.
    pub run: u64,
    /// The logical block address that it was written to.
    pub lba: u64,
    /// Which write of this block.
    pub generation: u32,
    /// The job that wrote it.
    pub job: u32,
}

/// What a block looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All bytes are zero.
    Zeroes,
    /// It does not begin as blocks of ours do.
    Foreign,
    /// A block of ours; `whole` if its checksum is right.
    Stamped {
        /// What it says.
        stamp: Stamp,
        /// The checksum is right.
        whole: bool,
    },
}

/*
 * bytes   0..8   magic
 *         8..12  CRC-32C over everything from byte 12 to the end of the block
 *        12..16  job
 *        16..24  run
 *        24..32  LBA
 *        32..36  generation
 *        36..40  zero
 *        40..48  the payload's seed
 *        48..    payload: word n is mix(seed + n)
 * All numbers little-endian.
 */

impl Stamp {
    /// Fills a block, of at least [`HEADER_BYTES`] bytes and a multiple of 8.
    pub fn write(&self, block: &mut [u8]) {
        let seed = self.seed();
        block[0..8].copy_from_slice(&MAGIC);
        block[12..16].copy_from_slice(&self.job.to_le_bytes());
        block[16..24].copy_from_slice(&self.run.to_le_bytes());
        block[24..32].copy_from_slice(&self.lba.to_le_bytes());
        block[32..36].copy_from_slice(&self.generation.to_le_bytes());
        block[36..40].fill(0);
        block[40..48].copy_from_slice(&seed.to_le_bytes());
        let (words, _) = block[HEADER_BYTES..].as_chunks_mut::<8>();
        for (at, word) in (0u64..).zip(words) {
            *word = mix(seed.wrapping_add(at)).to_le_bytes();
        }
        let crc = crc32c(&block[12..]);
        block[8..12].copy_from_slice(&crc.to_le_bytes());
    }

    fn seed(&self) -> u64 {
        mix(self.run ^ mix(self.lba ^ mix(u64::from(self.generation) << 32 | u64::from(self.job))))
    }
}

impl Content {
    /// Looks at a block of at least [`HEADER_BYTES`] bytes.
    #[must_use]
    pub fn of(block: &[u8]) -> Self {
        if block[0..8] != MAGIC {
            return if block.iter().all(|byte| *byte == 0) { Self::Zeroes } else { Self::Foreign };
        }
        let stamp = Stamp {
            run: u64::from_le_bytes(field(block, 16)),
            lba: u64::from_le_bytes(field(block, 24)),
            generation: u32::from_le_bytes(field(block, 32)),
            job: u32::from_le_bytes(field(block, 12)),
        };
        let whole = u32::from_le_bytes(field(block, 8)) == crc32c(&block[12..]);
        Self::Stamped { stamp, whole }
    }
}

fn field<const BYTES: usize>(block: &[u8], at: usize) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes.copy_from_slice(&block[at..at + BYTES]);
    bytes
}

/// CRC-32C (Castagnoli).
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    // The algorithm's width is 32 bits.
    u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, bytes)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 0x1122_3344_5566_7788, lba: 0x0102_0304, generation: 9, job: 3 };

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of the CRC catalogue, and RFC 3720's B.4 example of 32 zero bytes.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn the_header_is_laid_out_as_said() {
        let mut block = [0xff; 512];
        STAMP.write(&mut block);
        assert_eq!(&block[0..8], b"REMORAv1");
        assert_eq!(block[12..16], [3, 0, 0, 0]);
        assert_eq!(block[16..24], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        assert_eq!(block[24..32], [4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(block[32..40], [9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Content::of(&block), Content::Stamped { stamp: STAMP, whole: true });
    }

    #[test]
    fn every_damaged_byte_is_found() {
        let mut block = vec![0; 512];
        STAMP.write(&mut block);
        for at in 0..block.len() {
            block[at] ^= 0x10;
            let whole = matches!(Content::of(&block), Content::Stamped { whole: true, .. });
            assert!(!whole, "byte {at}");
            block[at] ^= 0x10;
        }
    }

    #[test]
    fn payloads_differ_in_every_word() {
        let (mut a, mut b) = (vec![0; 4096], vec![0; 4096]);
        STAMP.write(&mut a);
        Stamp { generation: 10, ..STAMP }.write(&mut b);
        let (a, b) = (&a[HEADER_BYTES..], &b[HEADER_BYTES..]);
        assert!(a.chunks(8).zip(b.chunks(8)).all(|(x, y)| x != y));
    }

    #[test]
    fn other_content_is_told_apart() {
        assert_eq!(Content::of(&[0; 512]), Content::Zeroes);
        assert_eq!(Content::of(&[7; 512]), Content::Foreign);
    }
}
