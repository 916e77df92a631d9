//! Commands that have no answer yet, by command identifier.

use nvme_spec::CommandId;

/// Most commands of a queue in flight at once: leaves four bits of a command identifier for a generation.
pub(super) const SLOTS_MAX: u16 = 4096;

#[derive(Debug)]
struct Place<T> {
    generation: u16,
    command: Option<T>,
}

/// Slots for commands. A command identifier is a slot's number with a generation above it, so that an answer that comes late
/// or twice does not hit the slot's next command.
#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Box<[Place<T>]>,
    free: Vec<u16>,
    number_bits: u32,
    generation_max: u16,
}

impl<T> Slots<T> {
    /// `count` slots, 1 to [`SLOTS_MAX`].
    pub(super) fn new(count: u16) -> Self {
        assert!((1..=SLOTS_MAX).contains(&count), "a number of slots within the maximum");
        let number_bits = u16::BITS - (count - 1).leading_zeros();
        Self {
            places: (0..count).map(|_| Place { generation: 0, command: None }).collect(),
            free: (0..count).rev().collect(),
            number_bits,
            // The greatest generation is left out: an identifier of all ones means "no command" in the error log.
            generation_max: (u16::MAX >> number_bits).saturating_sub(1),
        }
    }

    /// Slots that are taken.
    pub(super) fn occupied(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Puts a command into a free slot; hands it back if there is none.
    pub(super) fn occupy(&mut self, command: T) -> Result<(u16, CommandId), T> {
        let Some(number) = self.free.pop() else { return Err(command) };
        let place = &mut self.places[usize::from(number)];
        place.command = Some(command);
        Ok((number, CommandId(place.generation << self.number_bits | number)))
    }

    /// Takes out the command with this identifier; `None` if there is no such command (any more).
    pub(super) fn release(&mut self, id: CommandId) -> Option<(u16, T)> {
        let number = id.0 & ((1 << self.number_bits) - 1);
        let place = self.places.get_mut(usize::from(number))?;
        if id.0 >> self.number_bits != place.generation {
            return None;
        }
        let command = place.command.take()?;
        place.generation = if place.generation >= self.generation_max { 0 } else { place.generation + 1 };
        self.free.push(number);
        Some((number, command))
    }

    /// The commands, with their slots' numbers and identifiers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, CommandId, &T)> {
        (0u16..).zip(&self.places).filter_map(|(number, place)| {
            let id = CommandId(place.generation << self.number_bits | number);
            place.command.as_ref().map(|command| (number, id, command))
        })
    }

    /// Takes out all commands.
    pub(super) fn release_all(&mut self) -> Vec<(u16, T)> {
        let ids: Vec<_> = self.iter().map(|(_, id, _)| id).collect();
        ids.into_iter().filter_map(|id| self.release(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_completes_one_command_once() {
        let mut slots = Slots::new(4);
        let (number, first) = slots.occupy('a').unwrap();
        assert_eq!(slots.release(first), Some((number, 'a')));
        assert_eq!(slots.release(first), None, "twice");
        let (again, second) = slots.occupy('b').unwrap();
        assert_eq!(again, number);
        assert_ne!(first, second, "the same slot with another generation");
        assert_eq!(slots.release(first), None, "late");
        assert_eq!(slots.release(CommandId(0xffff)), None, "never given");
        assert_eq!(slots.occupied(), 1);
    }

    #[test]
    fn slots_are_bounded_and_identifiers_distinct() {
        for count in [1u16, 2, 3, 64, SLOTS_MAX] {
            let mut slots = Slots::new(count);
            let mut ids: Vec<_> = (0..count).map(|_| slots.occupy(()).unwrap().1).collect();
            assert!(slots.occupy(()).is_err());
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), usize::from(count));
            assert_eq!(slots.release_all().len(), usize::from(count));
            assert_eq!(slots.occupied(), 0);
        }
    }

    #[test]
    fn no_identifier_is_all_ones() {
        for count in [1u16, SLOTS_MAX] {
            let mut slots = Slots::new(count);
            for _ in 0..100_000 {
                let (_, id) = slots.occupy(()).unwrap();
                assert_ne!(id, CommandId(0xffff));
                assert!(slots.release(id).is_some());
            }
        }
    }
}
