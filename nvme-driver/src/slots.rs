//! Commands that the controller may still answer, by command identifier.

use nvme_spec::CommandId;

/// Most commands of a queue in flight at once: leaves four bits of a command identifier for a generation.
pub(crate) const SLOTS_MAX: u32 = 4096;

#[derive(Debug)]
struct Slot<T> {
    generation: u16,
    command: Option<T>,
}

/// Command slots. A command identifier is a slot's number with a generation above it, so that a completion or an abort
/// that comes late or twice does not hit the slot's next command.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Box<[Slot<T>]>,
    free: Vec<u16>,
    slot_bits: u32,
    generation_max: u16,
}

impl<T> Slots<T> {
    /// `depth` slots, 1 to [`SLOTS_MAX`].
    pub(crate) fn new(depth: u16) -> Self {
        assert!(depth > 0 && u32::from(depth) <= SLOTS_MAX, "a depth within the maximum");
        let slots = (0..depth).map(|_| Slot { generation: 0, command: None }).collect();
        let slot_bits = u16::BITS - (depth - 1).leading_zeros();
        // The greatest generation is left out: an identifier of all ones means "no command" in the error log.
        let generation_max = (u16::MAX >> slot_bits).saturating_sub(1);
        Self { slots, free: (0..depth).rev().collect(), slot_bits, generation_max }
    }

    /// Slots that are taken.
    #[inline]
    pub(crate) fn occupied(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The slot that the next command gets, with its identifier.
    #[inline]
    pub(crate) fn next_free(&self) -> Option<(u16, CommandId)> {
        let slot = *self.free.last()?;
        let generation = self.slots[usize::from(slot)].generation;
        Some((slot, CommandId(generation << self.slot_bits | slot)))
    }

    /// Puts a command into the slot of [`Self::next_free`].
    #[inline]
    pub(crate) fn occupy(&mut self, command: T) {
        let slot = self.free.pop().unwrap_or_else(|| unreachable!("next_free was asked first"));
        self.slots[usize::from(slot)].command = Some(command);
    }

    /// Takes out the command with this identifier; `None` if there is no such command (any more).
    #[inline]
    pub(crate) fn release(&mut self, id: CommandId) -> Option<T> {
        let number = id.0 & ((1 << self.slot_bits) - 1);
        let slot = self.slots.get_mut(usize::from(number))?;
        if id.0 >> self.slot_bits != slot.generation || slot.command.is_none() {
            return None;
        }
        slot.generation = if slot.generation >= self.generation_max { 0 } else { slot.generation + 1 };
        self.free.push(number);
        slot.command.take()
    }

    /// Keeps the slot that was freed last from being used, until [`Self::free_again`].
    pub(crate) fn take_last_free(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// Lets slots be used again.
    pub(crate) fn free_again(&mut self, slots: &mut Vec<u16>) {
        self.free.append(slots);
    }

    /// The commands, with their identifiers.
    pub(crate) fn commands(&mut self) -> impl Iterator<Item = (CommandId, &mut T)> {
        let bits = self.slot_bits;
        (0u16..).zip(&mut self.slots).filter_map(move |(number, slot)| {
            let id = CommandId(slot.generation << bits | number);
            slot.command.as_mut().map(|command| (id, command))
        })
    }

    /// Takes out all commands.
    pub(crate) fn release_all(&mut self) -> Vec<T> {
        let ids: Vec<_> = self.commands().map(|(id, _)| id).collect();
        ids.into_iter().filter_map(|id| self.release(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupy(slots: &mut Slots<()>) -> CommandId {
        let (_, id) = slots.next_free().unwrap();
        slots.occupy(());
        id
    }

    #[test]
    fn an_identifier_completes_one_command_once() {
        let mut slots = Slots::new(4);
        let first = occupy(&mut slots);
        assert!(slots.release(first).is_some());
        assert!(slots.release(first).is_none(), "twice");
        let second = occupy(&mut slots);
        assert_ne!(first, second, "the same slot with another generation");
        assert!(slots.release(first).is_none(), "late");
        assert!(slots.release(CommandId(0xffff)).is_none(), "never given");
        assert_eq!(slots.occupied(), 1);
    }

    #[test]
    fn slots_are_bounded_and_identifiers_distinct() {
        for depth in [1u16, 2, 3, 64, 4096] {
            let mut slots = Slots::new(depth);
            let mut ids: Vec<_> = (0..depth).map(|_| occupy(&mut slots)).collect();
            assert!(slots.next_free().is_none());
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), usize::from(depth));
            assert_eq!(slots.release_all().len(), usize::from(depth));
            assert_eq!(slots.occupied(), 0);
        }
    }

    #[test]
    fn no_identifier_is_all_ones() {
        for depth in [1u16, 4096] {
            let mut slots = Slots::new(depth);
            for _ in 0..200_000 {
                let id = occupy(&mut slots);
                assert_ne!(id, CommandId(0xffff));
                slots.release(id);
            }
        }
    }
}
