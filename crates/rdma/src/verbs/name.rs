//! The 64-bit name that a work request carries through the hardware (`wr_id`). A completion with an error says nothing else
//! that can be relied on: not even whether it is of the send or the receive queue.
//!
//! ```text
//! 63 62      40 39       24 23          0
//! kind  slot    generation   position
//! ```

use super::ring::{POSITION_BITS, Position};
use crate::handle::{Handle, Slots};

/// Bits of a slot's number: most queue pairs of an endpoint.
const SLOT_BITS: u32 = 22;

/// Bits of the generation that are told apart: enough, as a queue pair that is destroyed leaves no completion behind.
const GENERATION_BITS: u32 = 16;

const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// Most things under handles that names can tell apart.
pub(super) const SLOTS_MAX: u32 = 1 << SLOT_BITS;

/// Which queue a work request was posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A queue pair's send queue.
    Send,
    /// A queue pair's own receive queue.
    Receive,
    /// A shared receive queue.
    Shared,
}

/// What a work request is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WorkName {
    /// The queue's kind.
    pub(super) kind: Kind,
    /// Slot of the queue pair or of the shared receive queue.
    slot: u32,
    /// Low bits of the handle's generation.
    generation: u32,
    /// Where in the queue.
    pub(super) position: Position,
}

impl WorkName {
    /// The name of the work at a position of a queue.
    #[inline]
    pub(super) fn new(kind: Kind, owner: Handle, position: Position) -> Self {
        Self { kind, slot: owner.slot(), generation: owner.generation() & GENERATION_MASK, position }
    }

    /// The owner and its name, if the slot has not been given to another since.
    #[inline]
    pub(super) fn owner<T>(self, slots: &mut Slots<T>) -> Option<(Handle, &mut T)> {
        let (handle, owner) = slots.at_mut(self.slot)?;
        if handle.generation() & GENERATION_MASK == self.generation { Some((handle, owner)) } else { None }
    }

    /// As the hardware carries it.
    #[inline]
    pub(super) fn to_bits(self) -> u64 {
        let kind = match self.kind {
            Kind::Send => 0,
            Kind::Receive => 1,
            Kind::Shared => 2,
        };
        kind << (SLOT_BITS + GENERATION_BITS + POSITION_BITS)
            | u64::from(self.slot) << (GENERATION_BITS + POSITION_BITS)
            | u64::from(self.generation) << POSITION_BITS
            | u64::from(self.position.bits())
    }

    /// What the hardware carried; `None` if it is none of our names.
    #[inline]
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        let kind = match bits >> (SLOT_BITS + GENERATION_BITS + POSITION_BITS) {
            0 => Kind::Send,
            1 => Kind::Receive,
            2 => Kind::Shared,
            _ => return None,
        };
        let field = |shift: u32, width: u32| u32::try_from((bits >> shift) & ((1 << width) - 1)).unwrap_or(0);
        Some(Self {
            kind,
            slot: field(GENERATION_BITS + POSITION_BITS, SLOT_BITS),
            generation: field(POSITION_BITS, GENERATION_BITS),
            position: Position::from_bits(field(0, POSITION_BITS)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_bits() {
        let mut slots = Slots::new(2);
        let zero = slots.insert(()).unwrap();
        let one = slots.insert(()).unwrap();
        slots.remove(one);
        let one = slots.insert(()).unwrap();
        let first = WorkName::new(Kind::Send, zero, Position::from_bits(0));
        assert_eq!(first.to_bits(), 0);
        let other = WorkName::new(Kind::Shared, one, Position::from_bits(0xab_cdef));
        assert_eq!(other.to_bits(), 0x8000_0100_01ab_cdef);
        assert_eq!(WorkName::from_bits(0x8000_0100_01ab_cdef), Some(other));
        assert_eq!(WorkName::from_bits(u64::MAX), None);
    }

    #[test]
    fn a_slot_that_was_used_again_is_another() {
        let mut slots = Slots::new(1);
        let old = slots.insert('a').unwrap();
        let name = WorkName::new(Kind::Receive, old, Position::from_bits(1));
        assert_eq!(name.owner(&mut slots).map(|(handle, value)| (handle, *value)), Some((old, 'a')));
        slots.remove(old);
        assert_eq!(name.owner(&mut slots), None);
        slots.insert('b').unwrap();
        assert_eq!(name.owner(&mut slots), None);
    }
}
