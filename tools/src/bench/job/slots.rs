//! What is in flight, by slot: a request's tag is its slot's number.

use block::{BlockRange, Timestamp};

use crate::bench::verify::history::FlushMark;
use crate::bench::workload::Direction;

/// What a slot's request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// An I/O.
    Io(Direction),
    /// A flush, and what it covers.
    Flush(FlushMark),
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// What it does.
    pub work: Work,
    /// Where.
    pub range: BlockRange,
    /// When it was made.
    pub made: Timestamp,
    /// When it was submitted.
    pub submitted: Timestamp,
}

/// All slots.
#[derive(Debug)]
pub struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

impl Slots {
    /// `count` free slots.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let (made, submitted) = Default::default();
        let slot = Slot { work: Work::Io(Direction::Read), range: BlockRange::default(), made, submitted };
        Self { slots: vec![slot; count], free: (0..count).rev().collect() }
    }

    /// Takes a slot; `None` if all are taken.
    #[inline]
    pub fn take(&mut self, work: Work, range: BlockRange) -> Option<usize> {
        let index = self.free.pop()?;
        self.slots[index].work = work;
        self.slots[index].range = range;
        Some(index)
    }

    /// Whether none is free.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Whether none is taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// A taken slot.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> &mut Slot {
        &mut self.slots[index]
    }

    /// Gives a slot back.
    #[inline]
    pub fn give_back(&mut self, index: usize) -> Slot {
        debug_assert!(!self.free.contains(&index), "a slot completes once");
        self.free.push(index);
        self.slots[index]
    }
}
