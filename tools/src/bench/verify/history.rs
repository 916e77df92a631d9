//! What each block may hold: the history of its writes, in flight ones included.
//!
//! Every write of a block has a number, its generation, counted from 1; generation 0 is what was there before the run.
//! A generation may be the block's content from its submit on until a write that was submitted after it had ended
//! completes. Writes in flight together have no order, so all of them stay possible; so do writes that failed in a way
//! that says nothing about what they did, and, after the device lost power or was reset, all that no flush covered.

use std::collections::HashMap;

use block::WriteCache;

use super::generation::{Generations, WINDOW};

/// Bytes of the table for each block; the table of a run says so where it is refused.
pub const BLOCK_BYTES: u64 = size_of::<Block>() as u64;

/// One block's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Block {
    /// The newest generation that was submitted.
    issued: u32,
    /// What the content may be.
    alive: Generations,
    /// Submitted and not yet ended.
    in_flight: Generations,
    /// No power cut brings back a generation before this one.
    durable: u32,
    /// What `durable` will be when a flush of `latest_epoch` or later has completed.
    latest: u32,
    latest_epoch: u32,
    /// The same for an earlier epoch, whose flush may still be in flight.
    earlier: u32,
    earlier_epoch: u32,
}

/// A request's memory of one block: for a write its generation, and those that it replaces when it completes; for a
/// read the newest generation when it was submitted, and those that the content could be then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The newest generation at submit, the write's own included.
    pub generation: u32,
    /// Seen from that generation.
    pub set: Generations,
    /// Whether another request's write of the block was in flight at submit.
    pub races: bool,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEnd {
    /// Acknowledged; with `durable` no power cut undoes it.
    Done {
        /// It was forced to the media.
        durable: bool,
    },
    /// It failed, and may have been done or not.
    Maybe,
    /// It failed without effect.
    NotDone,
}

/// Which flush: it covers the writes that had completed in this epoch or before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushMark {
    epoch: u32,
    era: u32,
}

/// Generations that a loss of the device's cache may have brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rewound {
    /// The oldest.
    from: u32,
    /// The newest.
    to: u32,
    /// A generation that had completed then: as long as the content may be this one, it may be any of them, since any
    /// write that replaces the one replaces the others.
    as_long_as: u32,
}

/// A block's history as it is saved: what a later process may find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedBlock {
    /// The newest generation.
    pub issued: u32,
    /// What the content may be.
    pub alive: Generations,
    /// All from this one to the newest besides; `u32::MAX` if none.
    pub all_from: u32,
}

/// The histories of some blocks in a row.
#[derive(Debug)]
pub struct History {
    blocks: Vec<Block>,
    write_cache: WriteCache,
    /// Grows with every flush that is submitted.
    epoch: u32,
    /// The newest epoch that a completed flush covers, plus one.
    durable_epochs: u32,
    /// Grows when the device begins anew.
    era: u32,
    /// By block. Empty before the first reset, and only looked at when the sets say no.
    rewound: HashMap<usize, Rewound>,
}

impl History {
    /// Blocks that were never written.
    #[must_use]
    pub fn new(blocks: usize, write_cache: WriteCache) -> Self {
        let block = Block { alive: Generations::NEWEST, ..Block::default() };
        Self {
            blocks: vec![block; blocks],
            write_cache,
            epoch: 0,
            durable_epochs: 0,
            era: 0,
            rewound: HashMap::new(),
        }
    }

    /// Whether the block can be written now: a generation that never ended must not leave the window.
    #[inline]
    #[must_use]
    pub fn may_write(&self, index: usize) -> bool {
        let block = &self.blocks[index];
        !block.alive.is_full() && block.issued < u32::MAX
    }

    /// How often the device has begun anew.
    #[must_use]
    pub fn era(&self) -> u32 {
        self.era
    }

    /// The newest generation of a block.
    #[must_use]
    pub fn issued(&self, index: usize) -> u32 {
        self.blocks[index].issued
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// A write is about to be submitted; [`Self::may_write`] said yes.
    #[inline]
    pub fn begin_write(&mut self, index: usize) -> Mark {
        let block = &mut self.blocks[index];
        let races = block.in_flight != Generations::NONE;
        assert!(!block.alive.is_full() && block.issued < u32::MAX, "may_write was asked");
        block.issued += 1;
        block.alive = block.alive.aged(1);
        block.in_flight = block.in_flight.aged(1);
        let replaces = block.alive.without(block.in_flight);
        block.alive = block.alive.and(Generations::NEWEST);
        block.in_flight = block.in_flight.and(Generations::NEWEST);
        Mark { generation: block.issued, set: replaces, races }
    }

    /// A write has ended. `era` is [`Self::era`] at its submit.
    #[inline]
    pub fn end_write(&mut self, index: usize, mark: Mark, era: u32, end: WriteEnd) {
        let block = &mut self.blocks[index];
        let age = block.issued - mark.generation;
        block.in_flight = block.in_flight.without_age(age);
        match end {
            WriteEnd::Done { durable } => {
                let durable = durable || self.write_cache == WriteCache::Through;
                // Acknowledged before the device began anew, perhaps, and then lost.
                if durable || era == self.era {
                    block.alive = block.alive.without(mark.set.aged(age));
                    block.completed(durable, self.epoch, self.durable_epochs);
                }
            }
            WriteEnd::Maybe => {}
            WriteEnd::NotDone => block.alive = block.alive.without_age(age),
        }
    }

    /// A read is about to be submitted.
    #[inline]
    #[must_use]
    pub fn begin_read(&self, index: usize) -> Mark {
        let block = &self.blocks[index];
        Mark { generation: block.issued, set: block.alive, races: block.in_flight != Generations::NONE }
    }

    /// Whether a write of the block was in flight at any time during a read that began with `mark` and ends now.
    #[must_use]
    pub fn raced(&self, index: usize, mark: Mark) -> bool {
        mark.races || self.issued(index) > mark.generation
    }

    /// Whether a read that began with `mark` in `era` and ends now may have found `generation`.
    #[inline]
    #[must_use]
    pub fn allows(&self, index: usize, mark: Mark, era: u32, generation: u32) -> bool {
        self.is_alive(index, mark, era, generation)
            || self.rewound.get(&index).is_some_and(|rewound| {
                (rewound.from..=rewound.to).contains(&generation)
                    && self.is_alive(index, mark, era, rewound.as_long_as)
            })
    }

    #[inline]
    fn is_alive(&self, index: usize, mark: Mark, era: u32, generation: u32) -> bool {
        let block = &self.blocks[index];
        if generation > mark.generation {
            // Submitted while the read was in flight.
            return generation <= block.issued;
        }
        mark.set.contains(mark.generation - generation)
            || (era != self.era && block.alive.contains(block.issued - generation))
    }

    /// The newest of the generations that [`Self::allows`], ascending, for people.
    #[must_use]
    pub fn legal(&self, index: usize, mark: Mark, era: u32) -> Vec<u32> {
        let newest = self.blocks[index].issued;
        let oldest = mark.generation.saturating_sub(WINDOW).max(newest.saturating_sub(2 * WINDOW));
        (oldest..=newest).filter(|generation| self.allows(index, mark, era, *generation)).collect()
    }

    /// A flush is about to be submitted.
    pub fn begin_flush(&mut self) -> FlushMark {
        let mark = FlushMark { epoch: self.epoch, era: self.era };
        self.epoch = self.epoch.saturating_add(1);
        mark
    }

    /// A flush has completed well.
    pub fn end_flush(&mut self, mark: FlushMark) {
        if mark.era == self.era {
            self.durable_epochs = self.durable_epochs.max(mark.epoch.saturating_add(1));
        }
    }

    /// The device began anew: what no flush covered may be gone.
    pub fn rewind(&mut self) {
        self.era += 1;
        if self.write_cache == WriteCache::Through {
            return;
        }
        for (index, block) in self.blocks.iter_mut().enumerate().filter(|(_, block)| block.issued > 0) {
            block.settle(self.durable_epochs);
            // A flush from now on makes durable what came back, and nobody knows what that is.
            (block.latest, block.earlier) = (block.durable, block.durable);
            if block.durable < block.issued {
                self.rewound.insert(index, block.rewound_from(block.durable));
            }
        }
    }

    /// What is to be saved of a block, after all its writes have ended.
    #[must_use]
    pub fn save(&self, index: usize) -> SavedBlock {
        let block = &self.blocks[index];
        let now = self.begin_read(index);
        let rewound = self
            .rewound
            .get(&index)
            .filter(|rewound| self.is_alive(index, now, self.era, rewound.as_long_as));
        SavedBlock {
            issued: block.issued,
            alive: block.alive,
            all_from: rewound.map_or(u32::MAX, |rewound| rewound.from),
        }
    }

    /// Takes a block's history over from an earlier process.
    pub fn restore(&mut self, index: usize, saved: SavedBlock) {
        let SavedBlock { issued, alive, all_from } = saved;
        let mut block = Block { issued, alive, ..Block::default() };
        let durable = block.oldest().min(all_from);
        (block.durable, block.latest, block.earlier) = (durable, durable, durable);
        self.blocks[index] = block;
        if all_from != u32::MAX {
            self.rewound.insert(index, block.rewound_from(all_from));
        }
    }
}

impl Block {
    /// The oldest generation that the content may be.
    fn oldest(&self) -> u32 {
        self.issued - self.alive.oldest_age().min(self.issued)
    }

    /// All generations from `from` on may be back.
    fn rewound_from(&self, from: u32) -> Rewound {
        // There is always one: what a write replaces goes only when that write has completed.
        let as_long_as = self.issued - self.alive.without(self.in_flight).oldest_age();
        Rewound { from, to: self.issued, as_long_as }
    }

    /// A write of this block was acknowledged in `epoch`.
    fn completed(&mut self, durable: bool, epoch: u32, durable_epochs: u32) {
        let oldest = self.oldest();
        if durable {
            (self.durable, self.latest, self.earlier) = (oldest, oldest, oldest);
            return;
        }
        self.settle(durable_epochs);
        if self.latest_epoch != epoch {
            // One flush in flight is remembered; while several are, the older is, so a block can count as undone by a
            // power cut for one flush longer than need be, never shorter.
            if self.earlier <= self.durable {
                (self.earlier, self.earlier_epoch) = (self.latest, self.latest_epoch);
            }
            self.latest_epoch = epoch;
        }
        self.latest = oldest;
    }

    /// Notes what the completed flushes made durable.
    fn settle(&mut self, durable_epochs: u32) {
        if self.latest_epoch < durable_epochs {
            self.durable = self.durable.max(self.latest);
        }
        if self.earlier_epoch < durable_epochs {
            self.durable = self.durable.max(self.earlier);
        }
    }
}

#[cfg(test)]
mod tests;
