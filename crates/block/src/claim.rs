//! One writable owner: who has the right to which blocks of a device.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::request::BlockRange;

/// Most claims on one device at once.
pub const CLAIMS_MAX: usize = 1024;

/// What a claim allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading, beside other readers.
    Read,
    /// Reading and writing, with nobody else on these blocks.
    ReadWrite,
}

/// Why a claim was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// Somebody else has a claim that this one would overlap.
    #[error("blocks {}+{} are in use by {owner}", range.start, range.blocks)]
    InUse {
        /// The other claim's blocks.
        range: BlockRange,
        /// The other claim's owner.
        owner: String,
    },
    /// Too many claims.
    #[error("the device has {CLAIMS_MAX} claims already")]
    TooMany,
}

/// The claims on one device.
#[derive(Clone, Debug, Default)]
pub struct ClaimTable {
    entries: Arc<Mutex<Vec<Arc<Entry>>>>,
}

#[derive(Debug)]
struct Entry {
    range: BlockRange,
    access: Access,
    owner: String,
}

/// The right to some blocks, until it is dropped.
pub struct Claim {
    table: ClaimTable,
    entry: Arc<Entry>,
}

impl ClaimTable {
    /// Takes the right to `range` for `owner`, a word or two for error messages ("slice 1", "subsystem nqn...").
    pub fn claim(&self, range: BlockRange, access: Access, owner: &str) -> Result<Claim, ClaimError> {
        let mut entries = self.lock();
        let conflicts = |other: &&Arc<Entry>| {
            (access == Access::ReadWrite || other.access == Access::ReadWrite) && other.range.overlaps(&range)
        };
        if let Some(other) = entries.iter().find(conflicts) {
            return Err(ClaimError::InUse { range: other.range, owner: other.owner.clone() });
        }
        if entries.len() >= CLAIMS_MAX {
            return Err(ClaimError::TooMany);
        }
        let entry = Arc::new(Entry { range, access, owner: owner.to_owned() });
        entries.push(Arc::clone(&entry));
        Ok(Claim { table: self.clone(), entry })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        // No invariant spans a panic in the short sections that hold it.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// The blocks.
    #[must_use]
    pub fn range(&self) -> BlockRange {
        self.entry.range
    }

    /// What it allows.
    #[must_use]
    pub fn access(&self) -> Access {
        self.entry.access
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.table.lock().retain(|entry| !Arc::ptr_eq(entry, &self.entry));
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::Lba;

    fn range(start: u64, blocks: u64) -> BlockRange {
        BlockRange::new(Lba(start), blocks)
    }

    #[test]
    fn writers_exclude_everybody_on_their_blocks_only() {
        let table = ClaimTable::default();
        let writer = table.claim(range(0, 10), Access::ReadWrite, "slice 1").unwrap();
        let refused = table.claim(range(9, 2), Access::Read, "slice 2").unwrap_err();
        assert_eq!(refused.to_string(), "blocks 0+10 are in use by slice 1");
        assert!(table.claim(range(10, 2), Access::ReadWrite, "slice 3").is_ok());
        drop(writer);
        assert!(table.claim(range(9, 2), Access::Read, "slice 2").is_ok());
    }

    #[test]
    fn readers_share_and_keep_writers_out() {
        let table = ClaimTable::default();
        let _a = table.claim(range(0, u64::MAX), Access::Read, "a").unwrap();
        let _b = table.claim(range(5, 1), Access::Read, "b").unwrap();
        assert!(table.claim(range(5, 1), Access::ReadWrite, "c").is_err());
    }

    #[test]
    fn claims_are_bounded() {
        let table = ClaimTable::default();
        let claims: Vec<_> = (0..CLAIMS_MAX as u64)
            .map(|at| table.claim(range(at, 1), Access::ReadWrite, "x").unwrap())
            .collect();
        assert_eq!(table.claim(range(u64::MAX - 1, 1), Access::Read, "y").unwrap_err(), ClaimError::TooMany);
        assert_eq!(claims.len(), CLAIMS_MAX);
    }
}
