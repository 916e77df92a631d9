//! What users may see: for each block the values that it can have, by what was acknowledged, flushed, read and lost.
//!
//! Writes are named by ascending numbers in the order of their submission, which is the order in which overlapping ones take
//! effect. An epoch begins when a writer begins to serve. Within an epoch what was acknowledged is read, whatever becomes of
//! single legs; a new epoch settles what was under way, and may lose what was not flushed only if power was cut.

use std::collections::BTreeSet;

use block::BlockRange;

use crate::device::Value;

#[derive(Clone, Debug)]
struct Block {
    /// What it may hold, if nothing that is under way has taken effect.
    base: BTreeSet<Value>,
    /// Writes of this epoch under way, or failed.
    open: BTreeSet<Value>,
    /// What it had in this epoch before something newer was acknowledged: for reads that began before that.
    past: BTreeSet<Value>,
    /// What it may fall back to if power is cut: everything since the newest durable value, and that.
    volatile: BTreeSet<Value>,
    /// Power was cut while something was not durable.
    is_fragile: bool,
    /// The newest value that was acknowledged.
    acknowledged: Value,
}

#[derive(Debug)]
pub struct Model {
    blocks: Vec<Block>,
    pub epoch: u64,
    /// The writer whose epoch it is.
    pub process: Option<usize>,
}

/// What a read must respect, fixed when it is submitted.
#[derive(Clone, Debug)]
pub struct ReadFloor {
    epoch: u64,
    acknowledged: Vec<Value>,
}

/// What a flush covers, fixed when it is submitted: by block, the least that is there.
#[derive(Clone, Debug)]
pub struct FlushFloor {
    epoch: u64,
    least: Vec<Value>,
}

fn span(range: BlockRange) -> std::ops::Range<usize> {
    range.start.0 as usize..(range.start.0 + range.blocks) as usize
}

impl Model {
    pub fn new(blocks: u64) -> Self {
        let zero = BTreeSet::from([0]);
        let block = Block {
            base: zero.clone(),
            open: BTreeSet::new(),
            past: BTreeSet::new(),
            volatile: zero,
            is_fragile: false,
            acknowledged: 0,
        };
        Self { blocks: vec![block; blocks as usize], epoch: 0, process: None }
    }

    /// A writer begins to serve.
    pub fn begin_epoch(&mut self, process: usize) {
        self.epoch += 1;
        self.process = Some(process);
        for block in &mut self.blocks {
            let open = std::mem::take(&mut block.open);
            block.base.extend(&open);
            block.past.clear();
            block.volatile.extend(&open);
            if std::mem::take(&mut block.is_fragile) {
                block.base.extend(&block.volatile);
                block.acknowledged = block.base.first().copied().unwrap_or(0);
            }
        }
    }

    pub fn cut_power(&mut self) {
        self.blocks.iter_mut().for_each(|block| block.is_fragile = true);
    }

    /// A write is submitted.
    pub fn write(&mut self, range: BlockRange, value: Value) {
        for block in &mut self.blocks[span(range)] {
            block.open.insert(value);
            block.volatile.insert(value);
        }
    }

    /// A write was acknowledged.
    pub fn written(&mut self, process: usize, range: BlockRange, value: Value, fua: bool) {
        for (index, block) in self.blocks[span(range)].iter_mut().enumerate() {
            let is_known = block.open.contains(&value)
                || block
                    .base
                    .iter()
                    .next_back()
                    .is_some_and(|newest| *newest >= value && block.base.contains(&value))
                || block.acknowledged > value
                || block.base.first().is_some_and(|oldest| *oldest > value);
            assert!(
                is_known,
                "write {value} of writer {process} was acknowledged, and block {} cannot have it: {block:?}",
                range.start.0 + index as u64
            );
            if value > block.acknowledged {
                block.acknowledged = value;
            }
            if block.open.remove(&value) {
                block.past.extend(&block.base);
                block.past.extend(block.open.iter().filter(|open| **open < value));
                block.base = BTreeSet::from([value]);
                block.open.retain(|open| *open > value);
            } else {
                block.base.retain(|base| *base >= value);
            }
            if fua {
                block.volatile.retain(|volatile| *volatile >= value);
            }
        }
    }

    pub fn read(&self, range: BlockRange) -> ReadFloor {
        let acknowledged = self.blocks[span(range)].iter().map(|block| block.acknowledged).collect();
        ReadFloor { epoch: self.epoch, acknowledged }
    }

    /// A read was answered.
    pub fn has_read(
        &mut self,
        process: usize,
        is_overtaken: bool,
        range: BlockRange,
        floor: &ReadFloor,
        values: &[Value],
    ) {
        assert_eq!(values.len() as u64, range.blocks, "a read without data");
        let is_of_this_epoch = floor.epoch == self.epoch && self.process == Some(process);
        for (index, value) in values.iter().enumerate() {
            let at = range.start.0 + index as u64;
            let block = &mut self.blocks[at as usize];
            if is_of_this_epoch {
                let is_base = block.base.contains(value);
                assert!(
                    is_base || block.open.contains(value) || block.past.contains(value),
                    "writer {process} read {value} from block {at}, which can only have {block:?}"
                );
                assert!(
                    *value >= floor.acknowledged[index],
                    "writer {process} read {value} from block {at}, after a newer one was acknowledged: {block:?}"
                );
                // What the legs were made equal to stays.
                if is_base {
                    block.base = BTreeSet::from([*value]);
                }
            } else if is_overtaken && floor.epoch == self.epoch {
                assert!(
                    *value >= floor.acknowledged[index] || block.base.contains(value),
                    "writer {process}, which was taken over, read {value} from block {at}: {block:?}"
                );
            }
        }
    }

    pub fn flush(&self) -> FlushFloor {
        let least = self.blocks.iter().map(|block| block.base.first().copied().unwrap_or(0)).collect();
        FlushFloor { epoch: self.epoch, least }
    }

    pub fn flushed(&mut self, floor: &FlushFloor) {
        if floor.epoch == self.epoch {
            for (block, least) in self.blocks.iter_mut().zip(&floor.least) {
                block.volatile.retain(|value| value >= least);
            }
        }
    }

    /// Whether a block may hold a value when nothing is under way.
    pub fn may_hold(&self, block: u64, value: Value) -> bool {
        let block = &self.blocks[block as usize];
        block.base.contains(&value) || block.open.contains(&value)
    }
}
