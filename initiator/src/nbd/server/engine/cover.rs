//! Bytes, and the blocks that they touch.

use block::{BlockRange, BlockSize, Lba};

use crate::nbd::command::Span;

/// The blocks that some bytes touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    /// All of them.
    pub(super) range: BlockRange,
    /// Bytes of the first one that come before.
    pub(super) lead: u32,
    /// Bytes of the last one that come behind.
    pub(super) trail: u32,
    block_size: BlockSize,
}

impl Cover {
    /// The blocks of a span inside an export.
    #[inline]
    pub(super) fn new(span: Span, block_size: BlockSize) -> Self {
        let block = u64::from(block_size.bytes());
        let end = span.offset + u64::from(span.bytes);
        let (first, after) = (span.offset >> block_size.shift(), end.div_ceil(block));
        let blocks = if span.bytes == 0 { 0 } else { after - first };
        // Both are less than a block.
        let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(0);
        let (lead, trail) = if blocks == 0 {
            (0, 0)
        } else {
            (narrow(span.offset - first * block), narrow(after * block - end))
        };
        Self { range: BlockRange::new(Lba(first), blocks), lead, trail, block_size }
    }

    /// Bytes of all the blocks.
    #[inline]
    pub(super) fn bytes(&self) -> u64 {
        self.range.blocks << self.block_size.shift()
    }

    /// Whether it is whole blocks.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.lead == 0 && self.trail == 0
    }

    /// The blocks that are covered in part: the first one, and the last one if that is another.
    pub(super) fn edges(&self) -> [Option<Lba>; 2] {
        let is_single = self.range.blocks == 1;
        let first = self.lead > 0 || (is_single && self.trail > 0);
        let last = self.trail > 0 && !is_single;
        let last_block = self.range.start.0 + self.range.blocks.saturating_sub(1);
        [first.then_some(self.range.start), last.then_some(Lba(last_block))]
    }

    /// The blocks that are covered wholly.
    pub(super) fn inner(&self) -> BlockRange {
        let [first, last] = self.edges().map(|edge| u64::from(edge.is_some()));
        BlockRange::new(Lba(self.range.start.0 + first), self.range.blocks - first - last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cover(offset: u64, bytes: u32) -> Cover {
        Cover::new(Span { offset, bytes }, BlockSize::B512)
    }

    fn range(start: u64, blocks: u64) -> BlockRange {
        BlockRange::new(Lba(start), blocks)
    }

    #[test]
    fn edges_are_blocks_covered_in_part() {
        // offset, bytes, blocks, lead, trail, edges, blocks covered wholly
        let cases = [
            (512, 1024, range(1, 2), 0, 0, [None, None], range(1, 2)),
            (513, 1023, range(1, 2), 1, 0, [Some(1), None], range(2, 1)),
            (512, 1023, range(1, 2), 0, 1, [None, Some(2)], range(1, 1)),
            (600, 10, range(1, 1), 88, 414, [Some(1), None], range(2, 0)),
            (512, 10, range(1, 1), 0, 502, [Some(1), None], range(2, 0)),
            (1014, 20, range(1, 2), 502, 502, [Some(1), Some(2)], range(2, 0)),
            (700, 0, range(1, 0), 0, 0, [None, None], range(1, 0)),
        ];
        for (offset, bytes, blocks, lead, trail, edges, inner) in cases {
            let cover = cover(offset, bytes);
            assert_eq!((cover.range, cover.lead, cover.trail), (blocks, lead, trail), "{offset}+{bytes}");
            assert_eq!((cover.edges(), cover.inner()), (edges.map(|edge| edge.map(Lba)), inner));
        }
    }

    #[test]
    fn the_end_of_the_largest_export_does_not_wrap() {
        let cover = cover(i64::MAX.unsigned_abs() - 511, 511);
        assert_eq!((cover.range, cover.lead, cover.trail), (range((1 << 54) - 1, 1), 0, 1));
    }

    proptest! {
        #[test]
        fn lead_span_and_trail_make_up_the_blocks(offset in 0u64..5000, bytes in 1u32..5000) {
            let cover = cover(offset, bytes);
            prop_assert_eq!(cover.bytes(), u64::from(cover.lead) + u64::from(bytes) + u64::from(cover.trail));
            prop_assert_eq!(cover.range.start.0 * 512 + u64::from(cover.lead), offset);
            prop_assert_eq!(cover.is_whole(), cover.edges() == [None, None]);
            prop_assert!(cover.lead < 512 && cover.trail < 512);
        }
    }
}
