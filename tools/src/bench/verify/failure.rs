//! What is wrong with a block, in words.

use std::fmt::{self, Write as _};

use block::{BlockSize, Lba};

/// Bytes of a wrong block that are shown.
const HEAD_BYTES: usize = 48;

/// Bytes of a line of them.
const LINE_BYTES: usize = 16;

/// A block that holds what no history of writes explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The job that read it.
    pub job: u32,
    /// Which block.
    pub lba: Lba,
    /// Bytes of a block.
    pub block_size: BlockSize,
    /// What it may hold: generations, ascending, 0 for what was there before the run.
    pub expected: Vec<u32>,
    /// What it holds.
    pub found: Found,
    /// Whether a write of it was in flight during the read.
    pub raced: bool,
    /// Its first bytes.
    pub head: Vec<u8>,
}

/// What a wrong block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An earlier write of the same block.
    Stale {
        /// Which.
        generation: u32,
    },
    /// A write of the same block that was never submitted.
    Unwritten {
        /// Which.
        generation: u32,
    },
    /// A write of another block.
    Misplaced {
        /// Which block.
        lba: Lba,
        /// Which write of it.
        generation: u32,
    },
    /// A block of another run.
    OtherRun,
    /// Zeroes.
    Zeroes,
    /// Nothing that was ever written with verification.
    Foreign,
    /// The beginning of one write, and something else after it.
    Torn {
        /// The write that it begins with.
        generation: u32,
        /// Bytes of it.
        bytes: usize,
        /// What follows.
        rest: Rest,
    },
}

/// What follows the sound part of a torn block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Another write of the same block.
    Generation(u32),
    /// Zeroes.
    Zeroes,
    /// Something else.
    Other,
}

impl Failure {
    /// The block's first byte, counted from the start of the device.
    #[must_use]
    pub fn offset(&self) -> u128 {
        u128::from(self.lba.0) << self.block_size.shift()
    }
}

impl Found {
    /// One word for what is wrong.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale",
            Self::Unwritten { .. } => "never written",
            Self::Misplaced { .. } => "misplaced",
            Self::OtherRun => "stale (another run)",
            Self::Zeroes => "zeroed",
            Self::Foreign => "lost or overwritten",
            Self::Torn { .. } => "torn",
        }
    }

    fn describe(&self, block_bytes: u32) -> String {
        match *self {
            Self::Stale { generation } => {
                format!("generation {generation}, which was replaced before the read")
            }
            Self::Unwritten { generation } => format!("generation {generation}, which was never written"),
            Self::Misplaced { lba, generation } => {
                let offset = u128::from(lba.0) * u128::from(block_bytes);
                format!("generation {generation} of block {} (offset {offset})", lba.0)
            }
            Self::OtherRun => "a block of another run".to_owned(),
            Self::Zeroes => "zeroes".to_owned(),
            Self::Foreign => "bytes that no verified write put there".to_owned(),
            Self::Torn { generation, bytes, rest } => {
                let rest = match rest {
                    Rest::Generation(other) => format!("generation {other}"),
                    Rest::Zeroes => "zeroes".to_owned(),
                    Rest::Other => "other bytes".to_owned(),
                };
                format!("generation {generation} up to byte {bytes} of the block, then {rest}")
            }
        }
    }
}

/// `generation 3`, `generation 3 or 4`, `what was there before the run, or generation 1`.
fn list(expected: &[u32]) -> String {
    let written: Vec<String> =
        expected.iter().filter(|generation| **generation > 0).map(u32::to_string).collect();
    let written = match written.split_last() {
        Some((last, [])) => format!("generation {last}"),
        Some((last, others)) => format!("generation {} or {last}", others.join(", ")),
        None => String::new(),
    };
    match (expected.first(), written.is_empty()) {
        (Some(0), true) => "what was there before the run".to_owned(),
        (Some(0), false) => format!("what was there before the run, or {written}"),
        _ => written,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "verify: offset {}, block {}, job {}: {}: expected {}, found {}",
            self.offset(),
            self.lba.0,
            self.job,
            self.found.kind(),
            list(&self.expected),
            self.found.describe(self.block_size.bytes()),
        )?;
        // The other failures are none that such a write explains.
        if self.raced && matches!(self.found, Found::Torn { .. }) {
            write!(f, ", read while a write of the block was in flight (see --serialize-overlap)")?;
        }
        for (line, bytes) in self.head.chunks(LINE_BYTES).take(HEAD_BYTES / LINE_BYTES).enumerate() {
            let mut hex = String::new();
            for byte in bytes {
                write!(hex, " {byte:02x}")?;
            }
            write!(f, "\n  {:04x} {hex}", line * LINE_BYTES)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_a_sentence() {
        let mut failure = Failure {
            job: 1,
            lba: Lba(2),
            block_size: BlockSize::B4096,
            expected: vec![7, 8],
            found: Found::Stale { generation: 5 },
            raced: true,
            head: (0u8..20).collect(),
        };
        assert_eq!(
            failure.to_string(),
            "verify: offset 8192, block 2, job 1: stale: expected generation 7 or 8, found generation 5, which was \
             replaced before the read\n  0000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f\n  0010  10 11 12 13"
        );
        failure.head.clear();
        failure.expected = vec![0, 1];
        failure.found = Found::Torn { generation: 1, bytes: 512, rest: Rest::Zeroes };
        let torn = "verify: offset 8192, block 2, job 1: torn: expected what was there before the run, or generation 1, \
                    found generation 1 up to byte 512 of the block, then zeroes";
        let raced = ", read while a write of the block was in flight (see --serialize-overlap)";
        assert_eq!(failure.to_string(), format!("{torn}{raced}"));
        failure.raced = false;
        assert_eq!(failure.to_string(), torn);
    }

    #[test]
    fn the_offset_of_the_largest_device_does_not_overflow() {
        let failure = Failure {
            job: 0,
            lba: Lba(u64::MAX),
            block_size: BlockSize::B4096,
            expected: vec![1],
            found: Found::Misplaced { lba: Lba(u64::MAX - 1), generation: 3 },
            raced: false,
            head: Vec::new(),
        };
        assert_eq!(failure.offset(), u128::from(u64::MAX) * 4096);
        assert!(failure.to_string().contains("generation 3 of block 18446744073709551614"));
    }
}
