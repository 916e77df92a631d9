//! A job's verification: stamps what is written, remembers what is in flight, judges what is read.

use block::{BlockRange, BlockSize, Event, Lba, WriteCache};
use dma::{AccessError, DmaBuf, ScatterList};

use super::failure::{Failure, Found, Rest};
use super::generation::WINDOW;
use super::history::{FlushMark, History, Mark, SavedBlock, WriteEnd};
use super::stamp::{Content, HEADER_BYTES, Stamp};

/// Most failures that are kept in full; more are counted.
pub const FAILURES_KEPT_MAX: usize = 16;

/// Most writes that timed out while the device could still carry them out, before the job gives up.
pub const LIMBO_MAX: usize = 1024;

/// Bytes of a wrong block that are kept.
const HEAD_BYTES: usize = HEADER_BYTES;

/// What a checker is for.
#[derive(Clone, Copy, Debug)]
pub struct CheckerShape {
    /// The job's blocks: nobody else writes them.
    pub area: BlockRange,
    /// Bytes of a block.
    pub block_size: BlockSize,
    /// Blocks of each I/O.
    pub io_blocks: usize,
    /// Most I/O at once.
    pub slots: usize,
    /// Whether a power cut can undo what no flush covers.
    pub write_cache: WriteCache,
    /// The run's number, unlike any other run's.
    pub run: u64,
    /// The job's number.
    pub job: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Checker {
    shape: CheckerShape,
    history: History,
    /// For each slot, one mark a block.
    marks: Vec<Mark>,
    /// For each slot, the era at its submit.
    eras: Vec<u32>,
    limbo: Vec<Limbo>,
    /// The bytes of one I/O.
    bytes: Vec<u8>,
    failures: Vec<Failure>,
    failed_blocks: u64,
    checked_blocks: u64,
}

/// A write that was given back as timed out while the device could still carry it out: in flight until a reset.
#[derive(Debug)]
struct Limbo {
    first: usize,
    marks: Vec<Mark>,
    era: u32,
}

impl Checker {
    /// A checker of blocks that were never written.
    #[must_use]
    pub fn new(shape: CheckerShape) -> Self {
        let blocks = index_of(shape.area.blocks);
        Self {
            history: History::new(blocks, shape.write_cache),
            marks: vec![Mark::default(); shape.slots * shape.io_blocks],
            eras: vec![0; shape.slots],
            limbo: Vec::new(),
            bytes: vec![0; shape.io_blocks * shape.block_size.bytes() as usize],
            failures: Vec::new(),
            failed_blocks: 0,
            checked_blocks: 0,
            shape,
        }
    }

    /// The job's blocks.
    #[must_use]
    pub fn area(&self) -> BlockRange {
        self.shape.area
    }

    /// Failures found, the first few of them.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Blocks found wrong.
    #[must_use]
    pub fn failed_blocks(&self) -> u64 {
        self.failed_blocks
    }

    /// Blocks whose content was judged.
    #[must_use]
    pub fn checked_blocks(&self) -> u64 {
        self.checked_blocks
    }

    /// Whether too many writes are in limbo to go on.
    #[must_use]
    pub fn is_overwhelmed(&self) -> bool {
        self.limbo.len() >= LIMBO_MAX
    }

    /// Whether all these blocks can be written now.
    #[must_use]
    pub fn may_write(&self, range: BlockRange) -> bool {
        let first = self.index(range.start);
        (first..first + index_of(range.blocks)).all(|index| self.history.may_write(index))
    }

    /// Stamps the data of a write that is about to be submitted.
    pub fn begin_write(
        &mut self,
        slot: usize,
        range: BlockRange,
        into: &mut DmaBuf,
    ) -> Result<(), AccessError> {
        let first = self.index(range.start);
        let block_bytes = self.shape.block_size.bytes() as usize;
        let blocks = index_of(range.blocks);
        for (at, block) in self.bytes.chunks_exact_mut(block_bytes).take(blocks).enumerate() {
            let mark = self.history.begin_write(first + at);
            let lba = range.start.0 + at as u64;
            let CheckerShape { run, job, .. } = self.shape;
            Stamp { run, lba, generation: mark.generation, job }.write(block);
            self.marks[slot * self.shape.io_blocks + at] = mark;
        }
        self.eras[slot] = self.history.era();
        into.write(0, &self.bytes[..blocks * block_bytes])
    }

    /// A write has ended.
    pub fn end_write(&mut self, slot: usize, range: BlockRange, end: WriteEnd) {
        let first = self.index(range.start);
        let marks = slot * self.shape.io_blocks;
        for at in 0..index_of(range.blocks) {
            self.history.end_write(first + at, self.marks[marks + at], self.eras[slot], end);
        }
    }

    /// A write was given back while the device can still carry it out.
    pub fn abandon_write(&mut self, slot: usize, range: BlockRange) {
        let marks = slot * self.shape.io_blocks;
        let marks = self.marks[marks..marks + index_of(range.blocks)].to_vec();
        self.limbo.push(Limbo { first: self.index(range.start), marks, era: self.eras[slot] });
    }

    /// A read is about to be submitted.
    pub fn begin_read(&mut self, slot: usize, range: BlockRange) {
        let first = self.index(range.start);
        for at in 0..index_of(range.blocks) {
            self.marks[slot * self.shape.io_blocks + at] = self.history.begin_read(first + at);
        }
        self.eras[slot] = self.history.era();
    }

    /// A read has completed well. Returns the number of blocks that are wrong.
    pub fn end_read(
        &mut self,
        slot: usize,
        range: BlockRange,
        data: &ScatterList,
    ) -> Result<u64, AccessError> {
        let first = self.index(range.start);
        let block_bytes = self.shape.block_size.bytes() as usize;
        let blocks = index_of(range.blocks);
        let mut bytes = std::mem::take(&mut self.bytes);
        let copied = data.read(0, &mut bytes[..blocks * block_bytes]);
        let failed_before = self.failed_blocks;
        if copied.is_ok() {
            for (at, block) in bytes.chunks_exact(block_bytes).take(blocks).enumerate() {
                self.judge_block(slot, first + at, at, block);
            }
        }
        self.bytes = bytes;
        copied.map(|()| self.failed_blocks - failed_before)
    }

    /// A flush is about to be submitted.
    pub fn begin_flush(&mut self) -> FlushMark {
        self.history.begin_flush()
    }

    /// A flush has completed well.
    pub fn end_flush(&mut self, mark: FlushMark) {
        self.history.end_flush(mark);
    }

    /// Something happened to the device.
    pub fn event(&mut self, event: Event) {
        if let Event::IncarnationChanged(_) = event {
            for Limbo { first, marks, era } in std::mem::take(&mut self.limbo) {
                for (at, mark) in marks.into_iter().enumerate() {
                    self.history.end_write(first + at, mark, era, WriteEnd::Maybe);
                }
            }
            self.history.rewind();
        }
    }

    /// The next blocks from `from` on, at most the blocks of one I/O, that this run wrote; `None` if there are no more.
    #[must_use]
    pub fn next_written(&self, from: Lba) -> Option<BlockRange> {
        let written = |index: &usize| self.history.issued(*index) > 0;
        let first = (self.index(from)..self.history.blocks()).find(written)?;
        let blocks = (first..self.history.blocks()).take(self.shape.io_blocks).take_while(written).count();
        Some(BlockRange::new(Lba(self.shape.area.start.0 + first as u64), blocks as u64))
    }

    /// The blocks' histories, to be saved.
    pub fn saved(&self) -> impl Iterator<Item = SavedBlock> {
        (0..self.history.blocks()).map(|index| self.history.save(index))
    }

    /// Takes over the history of a block of the area from an earlier process.
    pub fn restore(&mut self, lba: Lba, saved: SavedBlock) {
        let index = self.index(lba);
        self.history.restore(index, saved);
    }

    fn index(&self, lba: Lba) -> usize {
        index_of(lba.0 - self.shape.area.start.0)
    }

    fn judge_block(&mut self, slot: usize, index: usize, at: usize, block: &[u8]) {
        let mark = self.marks[slot * self.shape.io_blocks + at];
        let lba = Lba(self.shape.area.start.0 + index as u64);
        self.checked_blocks += u64::from(self.history.issued(index) > 0);
        let Some(found) = self.judge(index, lba, block, mark, self.eras[slot]) else { return };
        self.failed_blocks += 1;
        if self.failures.len() < FAILURES_KEPT_MAX {
            self.failures.push(Failure {
                job: self.shape.job,
                lba,
                block_size: self.shape.block_size,
                expected: self.history.legal(index, mark, self.eras[slot]),
                found,
                raced: self.history.raced(index, mark),
                head: block[..HEAD_BYTES].to_vec(),
            });
        }
    }

    /// What is wrong with a block, if anything.
    fn judge(&self, index: usize, lba: Lba, block: &[u8], mark: Mark, era: u32) -> Option<Found> {
        match Content::of(block) {
            Content::Stamped { stamp, whole } if stamp.run == self.shape.run => {
                let Stamp { generation, .. } = stamp;
                if stamp.lba != lba.0 {
                    Some(Found::Misplaced { lba: Lba(stamp.lba), generation })
                } else if !whole {
                    Some(self.torn(index, block, stamp))
                } else if generation == 0 || generation > self.history.issued(index) {
                    Some(Found::Unwritten { generation })
                } else if self.history.allows(index, mark, era, generation) {
                    None
                } else {
                    Some(Found::Stale { generation })
                }
            }
            // What was there before the run is unknown, so any content will do; but nothing of this run.
            _ if self.history.allows(index, mark, era, 0) => None,
            Content::Stamped { .. } => Some(Found::OtherRun),
            Content::Zeroes => Some(Found::Zeroes),
            Content::Foreign => Some(Found::Foreign),
        }
    }

    /// Finds where a torn block changes, and to what.
    fn torn(&self, index: usize, block: &[u8], stamp: Stamp) -> Found {
        let mut whole = vec![0; block.len()];
        stamp.write(&mut whole);
        // The checksum stands in the header, so a tear behind the header shows there too, if the header is the newer.
        let start = HEADER_BYTES;
        let differs = |(a, b): (&u8, &u8)| a != b;
        let bytes = block[start..].iter().zip(&whole[start..]).position(differs).map_or(0, |at| start + at);
        let newest = self.history.issued(index);
        let mut others = (newest.saturating_sub(2 * WINDOW)..=newest).rev();
        let rest = if block[bytes..].iter().all(|byte| *byte == 0) {
            Rest::Zeroes
        } else {
            let other = others.find(|generation| {
                Stamp { generation: *generation, ..stamp }.write(&mut whole);
                whole[bytes..] == block[bytes..]
            });
            other.map_or(Rest::Other, Rest::Generation)
        };
        Found::Torn { generation: stamp.generation, bytes, rest }
    }
}

/// A number of blocks as an index; the table's size was checked when the run was planned.
fn index_of(blocks: u64) -> usize {
    usize::try_from(blocks).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
