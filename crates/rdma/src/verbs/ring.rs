//! What was posted to a hardware queue, in the order of posting, so that a completion gives it back.

use std::collections::VecDeque;

/// A position in a ring: the low bits of a count of what was ever pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(u32);

/// Bits of a position; a ring holds at most half as many entries as they can count.
pub(super) const POSITION_BITS: u32 = 24;

/// Most entries of a ring.
pub(super) const ENTRIES_MAX: u32 = 1 << (POSITION_BITS - 1);

const MASK: u32 = (1 << POSITION_BITS) - 1;

impl Position {
    /// A position out of its low bits.
    pub(super) fn from_bits(bits: u32) -> Self {
        Self(bits & MASK)
    }

    /// The bits, for the name of a work request.
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

/// A queue parallel to one of the hardware's.
#[derive(Debug)]
pub(super) struct Ring<T> {
    entries: VecDeque<T>,
    /// Position of the first entry.
    first: u32,
    capacity: u32,
}

impl<T> Ring<T> {
    /// Room for `capacity` entries, at most [`ENTRIES_MAX`]; memory is taken as they come.
    pub(super) fn new(capacity: u32) -> Self {
        Self { entries: VecDeque::new(), first: 0, capacity: capacity.min(ENTRIES_MAX) }
    }

    /// Whether nothing is in it.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries that fit now.
    #[inline]
    pub(super) fn room(&self) -> usize {
        (self.capacity as usize).saturating_sub(self.entries.len())
    }

    /// The position that an entry will have if `ahead` others are pushed before it.
    #[inline]
    pub(super) fn position(&self, ahead: usize) -> Position {
        let count = u32::try_from(self.entries.len() + ahead).unwrap_or(0);
        Position(self.first.wrapping_add(count) & MASK)
    }

    /// Adds an entry at the end. The hardware has a place for it, so the ring has.
    #[inline]
    pub(super) fn push(&mut self, entry: T) {
        debug_assert!(self.room() > 0, "the hardware took more work than it was made for");
        self.entries.push_back(entry);
    }

    /// Takes the first entry out, if it is at `position` or before it; says whether it is at it.
    #[inline]
    pub(super) fn pop_through(&mut self, position: Position) -> Option<(T, bool)> {
        let distance = position.0.wrapping_sub(self.first) & MASK;
        if distance as usize >= self.entries.len() {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.first = self.first.wrapping_add(1) & MASK;
        Some((entry, distance == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(ring: &mut Ring<char>, position: Position) -> Vec<(char, bool)> {
        std::iter::from_fn(|| ring.pop_through(position)).collect()
    }

    #[test]
    fn a_completion_gives_back_all_up_to_its_own() {
        let mut ring = Ring::new(4);
        let positions: Vec<_> = (0..3).map(|ahead| ring.position(ahead)).collect();
        ['a', 'b', 'c'].into_iter().for_each(|entry| ring.push(entry));
        assert_eq!(ring.room(), 1);
        assert_eq!(through(&mut ring, positions[1]), [('a', false), ('b', true)]);
        assert_eq!(through(&mut ring, positions[1]), [], "a completion that comes again finds nothing");
        assert_eq!(through(&mut ring, positions[2]), [('c', true)]);
        assert_eq!(ring.room(), 4);
    }

    #[test]
    fn positions_wrap() {
        let mut ring = Ring { entries: VecDeque::new(), first: MASK, capacity: 4 };
        let (last, first) = (ring.position(0), ring.position(1));
        assert_eq!((last.bits(), first.bits()), (0xff_ffff, 0));
        ring.push('a');
        ring.push('b');
        assert_eq!(through(&mut ring, Position::from_bits(0)), [('a', false), ('b', true)]);
        assert_eq!(through(&mut ring, Position::from_bits(5)), [], "never posted");
    }
}
