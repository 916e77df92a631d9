//! Sets of regions, and which regions a range touches.

use std::collections::BTreeSet;

use block::BlockRange;

use crate::config::Shape;
use crate::ids::Region;

/// A set of regions. Two words a region at most: a mirror has at most [`crate::REGIONS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegionSet(BTreeSet<Region>);

impl RegionSet {
    pub(crate) fn insert(&mut self, region: Region) -> bool {
        self.0.insert(region)
    }

    pub(crate) fn remove(&mut self, region: Region) -> bool {
        self.0.remove(&region)
    }

    pub(crate) fn contains(&self, region: Region) -> bool {
        self.0.contains(&region)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn first(&self) -> Option<Region> {
        self.0.first().copied()
    }

    /// Those from `first` to before `end`.
    pub(crate) fn range(&self, first: Region, end: Region) -> impl Iterator<Item = Region> {
        self.0.range(first..end).copied()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn extend(&mut self, regions: impl IntoIterator<Item = Region>) {
        self.0.extend(regions);
    }
}

/// The regions that a range touches; the range is inside the shape and not empty.
pub(crate) fn touched(shape: &Shape, range: BlockRange) -> impl Iterator<Item = Region> + use<> {
    let size = u64::from(shape.region_blocks);
    let last = range.start.0.saturating_add(range.blocks.saturating_sub(1));
    (range.start.0 / size..=last / size).filter_map(|region| u32::try_from(region).ok()).map(Region)
}

/// The blocks of a region; the last one may be shorter.
pub(crate) fn blocks_of(shape: &Shape, region: Region) -> BlockRange {
    let size = u64::from(shape.region_blocks);
    let start = u64::from(region.0) * size;
    BlockRange::new(nvme_spec::Lba(start), size.min(shape.blocks.saturating_sub(start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::Lba;

    const SHAPE: Shape = Shape { blocks: 10, block_bytes: 512, region_blocks: 4 };

    #[test]
    fn ranges_touch_regions() {
        let regions = |start, blocks| {
            touched(&SHAPE, BlockRange::new(Lba(start), blocks)).map(|region| region.0).collect::<Vec<_>>()
        };
        assert_eq!(regions(0, 4), [0]);
        assert_eq!(regions(3, 2), [0, 1]);
        assert_eq!(regions(0, 10), [0, 1, 2]);
        assert_eq!(blocks_of(&SHAPE, Region(2)), BlockRange::new(Lba(8), 2));
    }
}
