//! Namespaces: attached or not, and what their blocks are kept on.

use std::collections::BTreeMap;

use nvme_spec::{LbaRange, Nsid, Status, StatusCode};
use thiserror::Error;

use super::reservations::Reservations;
use crate::media::Media;
use crate::options::NamespaceOptions;

/// The most ranges of blocks that Write Uncorrectable can have marked in a namespace.
const UNCORRECTABLE_RANGES_MAX: usize = 4096;

/// Why a namespace cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NamespaceError {
    /// The identifier is 0, or beyond the controller's number of namespaces.
    #[error("{nsid} is no namespace identifier of a controller with at most {namespaces_max}")]
    Identifier {
        /// What was asked for.
        nsid: Nsid,
        /// The greatest identifier.
        namespaces_max: u32,
    },
    /// There is one already.
    #[error("namespace {0} exists")]
    Exists(Nsid),
}

/// A namespace.
pub(crate) struct Namespace {
    pub(crate) nsid: Nsid,
    pub(crate) options: NamespaceOptions,
    pub(crate) media: Box<dyn Media>,
    pub(crate) attached: bool,
    pub(crate) write_protected: bool,
    pub(crate) uncorrectable: UncorrectableBlocks,
    pub(crate) reservations: Reservations,
}

impl Namespace {
    pub(crate) fn blocks(&self) -> u64 {
        self.media.blocks()
    }

    pub(crate) fn block_bytes(&self) -> u32 {
        self.media.block_bytes()
    }

    /// Of its reservations only what was kept beside the blocks is left.
    pub(crate) fn lose_power(&mut self) {
        self.reservations = Reservations::from_note(&self.media.load_note());
    }
}

/// The namespaces, by identifier.
#[derive(Default)]
pub(crate) struct Namespaces {
    list: Vec<Namespace>,
}

impl Namespaces {
    /// Adds a namespace, attached.
    pub(crate) fn add(
        &mut self,
        namespaces_max: u32,
        nsid: Nsid,
        options: NamespaceOptions,
        media: Box<dyn Media>,
    ) -> Result<(), NamespaceError> {
        if !(1..=namespaces_max).contains(&nsid.0) {
            return Err(NamespaceError::Identifier { nsid, namespaces_max });
        }
        let place = match self.list.binary_search_by_key(&nsid, |namespace| namespace.nsid) {
            Ok(_) => return Err(NamespaceError::Exists(nsid)),
            Err(place) => place,
        };
        let reservations = Reservations::from_note(&media.load_note());
        let namespace = Namespace {
            nsid,
            options,
            media,
            attached: true,
            write_protected: false,
            uncorrectable: UncorrectableBlocks::default(),
            reservations,
        };
        self.list.insert(place, namespace);
        Ok(())
    }

    /// A namespace, attached or not.
    pub(crate) fn find(&mut self, nsid: Nsid) -> Option<&mut Namespace> {
        self.list.iter_mut().find(|namespace| namespace.nsid == nsid)
    }

    /// The attached ones, by identifier.
    pub(crate) fn attached(&self) -> impl Iterator<Item = &Namespace> {
        self.list.iter().filter(|namespace| namespace.attached)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Namespace> {
        self.list.iter_mut()
    }

    /// The namespace that a command is for (Base 3.2.1.5: an invalid identifier, and an inactive namespace).
    #[inline]
    pub(crate) fn of_command(&mut self, namespaces_max: u32, nsid: Nsid) -> Result<&mut Namespace, Status> {
        match self.list.iter_mut().find(|namespace| namespace.nsid == nsid && namespace.attached) {
            Some(namespace) => Ok(namespace),
            None if nsid.0 == 0 || nsid.0 > namespaces_max => {
                Err(Status::permanent(StatusCode::INVALID_NAMESPACE_OR_FORMAT))
            }
            None => Err(Status::permanent(StatusCode::INVALID_FIELD)),
        }
    }
}

/// Blocks that Write Uncorrectable marked, as ranges: first block to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct UncorrectableBlocks {
    ranges: BTreeMap<u64, u64>,
}

impl UncorrectableBlocks {
    /// Whether any block of a range is marked. The range lies in the namespace.
    #[inline]
    pub(crate) fn touches(&self, range: LbaRange) -> bool {
        !self.ranges.is_empty() && self.overlapping(range.slba.0, end_of(range)).next().is_some()
    }

    fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.range(..end).rev().take_while(move |(_, e)| **e > start).map(|(s, e)| (*s, *e))
    }

    /// Marks blocks. Returns whether there was room to remember them.
    pub(crate) fn mark(&mut self, range: LbaRange) -> bool {
        self.clear(range.slba.0, end_of(range));
        let fits = self.ranges.len() < UNCORRECTABLE_RANGES_MAX;
        if fits {
            self.ranges.insert(range.slba.0, end_of(range));
        }
        fits
    }

    /// Blocks that are written again are good again.
    #[inline]
    pub(crate) fn clear(&mut self, start: u64, end: u64) {
        if !self.ranges.is_empty() {
            self.clear_slowly(start, end);
        }
    }

    fn clear_slowly(&mut self, start: u64, end: u64) {
        let cut: Vec<(u64, u64)> = self.overlapping(start, end).collect();
        for (from, to) in cut {
            self.ranges.remove(&from);
            if from < start {
                self.ranges.insert(from, start);
            }
            if to > end {
                self.ranges.insert(end, to);
            }
        }
    }
}

/// The end of a range that was checked to lie in its namespace.
fn end_of(range: LbaRange) -> u64 {
    range.slba.0.saturating_add(u64::from(range.blocks.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::{BlockCount, Lba};

    fn range(slba: u64, blocks: u32) -> LbaRange {
        LbaRange::new(Lba(slba), BlockCount::new(blocks).unwrap())
    }

    #[test]
    fn marks_and_clears_like_a_set_of_blocks() {
        let mut random = crate::faults::SplitMix64(3);
        let (mut ranges, mut oracle) = (UncorrectableBlocks::default(), vec![false; 64]);
        for _ in 0..5000 {
            let start = random.next() % 60;
            let blocks = 1 + random.next() % (64 - start);
            let mark = random.next().is_multiple_of(2);
            let range = range(start, u32::try_from(blocks).unwrap());
            if mark {
                assert!(ranges.mark(range));
            } else {
                ranges.clear(start, start + blocks);
            }
            (start..start + blocks).for_each(|block| oracle[block as usize] = mark);
            for (block, marked) in oracle.iter().enumerate() {
                assert_eq!(ranges.touches(self::range(block as u64, 1)), *marked);
            }
        }
    }
}
