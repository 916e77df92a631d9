//! What is in flight, by slot: a request's tag is its slot's number.

use block::{BlockRange, Timestamp};

use crate::bench::verify::history::FlushMark;
use crate::bench::workload::{Direction, Io};

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
    /// Where; no block once it has been given back.
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
        let slot = self.slots[index];
        self.slots[index].range = BlockRange::default();
        slot
    }

    /// Whether an I/O has blocks in common with one in flight and either changes them. It looks at every slot.
    #[must_use]
    pub fn collides(&self, io: Io) -> bool {
        let changes = |work| work != Work::Io(Direction::Read);
        let meets = |slot: &Slot| slot.range.overlaps(&io.range);
        self.slots.iter().any(|slot| meets(slot) && (changes(slot.work) || changes(Work::Io(io.direction))))
    }
}

#[cfg(test)]
mod tests {
    use block::Lba;

    use super::*;

    fn io(direction: Direction, start: u64) -> Io {
        Io { direction, range: BlockRange::new(Lba(start), 8) }
    }

    #[test]
    fn two_reads_never_collide_and_what_was_given_back_does_not() {
        use Direction::{Read, Trim, Write};
        let mut slots = Slots::new(4);
        assert!(!slots.collides(io(Write, 0)), "a slot that was never taken");
        let read = slots.take(Work::Io(Read), io(Read, 8).range).unwrap();
        let write = slots.take(Work::Io(Write), io(Write, 24).range).unwrap();
        slots.take(Work::Flush(FlushMark::default()), BlockRange::default()).unwrap();
        let collide = |slots: &Slots, direction| {
            (0..=40).step_by(4).filter(|start| slots.collides(io(direction, *start))).collect::<Vec<_>>()
        };
        assert_eq!(collide(&slots, Read), [20, 24, 28]);
        assert_eq!(collide(&slots, Write), [4, 8, 12, 20, 24, 28]);
        assert_eq!(collide(&slots, Trim), [4, 8, 12, 20, 24, 28]);
        slots.give_back(write);
        assert_eq!(collide(&slots, Write), [4, 8, 12]);
        slots.give_back(read);
        assert!(collide(&slots, Write).is_empty());
    }
}
