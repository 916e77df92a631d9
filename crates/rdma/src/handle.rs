//! Names for what an endpoint owns. A name that has gone is never given to something else while anyone may still use it:
//! half of it counts how often its slot was used.

use std::collections::VecDeque;

/// A queue pair of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueuePairId(Handle);

/// A shared receive queue of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SharedReceiveQueueId(Handle);

/// A port that an endpoint listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(Handle);

/// A slot and how often it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    slot: u32,
    generation: u32,
}

macro_rules! wraps_a_handle {
    ($($name:ident),*) => {$(
        impl From<Handle> for $name {
            fn from(handle: Handle) -> Self {
                Self(handle)
            }
        }

        impl From<$name> for Handle {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )*};
}

impl Handle {
    /// The slot: below the number of slots, and used again.
    #[inline]
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// The handle of these parts, for those who carry names through hardware; it names nothing unless it was a handle before.
    #[cfg(feature = "verbs")]
    pub(crate) const fn from_parts(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// How often the slot was used before.
    #[inline]
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

wraps_a_handle!(QueuePairId, SharedReceiveQueueId, ListenerId);

/// A slot is used again when so many are free, or when there are no more: what follows from its number rests meanwhile.
const FREE_MIN: usize = 64;

/// Things under handles, in slots that are used again. At most as many as it was made for.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// Free for the longest time first.
    free: VecDeque<u32>,
    slots_max: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    /// Room for `slots_max` things; memory is taken as they come.
    #[must_use]
    pub fn new(slots_max: u32) -> Self {
        Self { slots: Vec::new(), free: VecDeque::new(), slots_max }
    }

    /// Puts a thing into a slot; hands it back if all are taken.
    pub fn insert(&mut self, value: T) -> Result<Handle, T> {
        let Some(slot) = self.free_slot() else { return Err(value) };
        let entry = &mut self.slots[slot as usize];
        entry.value = Some(value);
        Ok(Handle { slot, generation: entry.generation })
    }

    /// Makes a thing that knows its own name; `None` if all slots are taken.
    pub fn insert_with(&mut self, make: impl FnOnce(Handle) -> T) -> Option<Handle> {
        let slot = self.free_slot()?;
        let entry = &mut self.slots[slot as usize];
        let handle = Handle { slot, generation: entry.generation };
        entry.value = Some(make(handle));
        Some(handle)
    }

    fn free_slot(&mut self) -> Option<u32> {
        let unused = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < self.slots_max);
        match unused {
            Some(slot) if self.free.len() < FREE_MIN => {
                self.slots.push(Slot { generation: 0, value: None });
                Some(slot)
            }
            _ => self.free.pop_front(),
        }
    }

    /// The thing in a slot, whatever its name.
    #[inline]
    #[must_use]
    pub fn slot_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.value.as_mut()
    }

    /// The thing of that name.
    #[inline]
    #[must_use]
    pub fn get(&self, handle: Handle) -> Option<&T> {
        let slot = self.slots.get(handle.slot as usize)?;
        if slot.generation == handle.generation { slot.value.as_ref() } else { None }
    }

    /// The thing of that name, to be changed.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let slot = self.slots.get_mut(handle.slot as usize)?;
        if slot.generation == handle.generation { slot.value.as_mut() } else { None }
    }

    /// Takes a thing out; its name means nothing from then on.
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        let slot = self.slots.get_mut(handle.slot as usize)?;
        if slot.generation != handle.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push_back(handle.slot);
        Some(value)
    }

    /// The thing that is in a slot now, with its name.
    #[cfg(feature = "verbs")]
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<(Handle, &mut T)> {
        let entry = self.slots.get_mut(slot as usize)?;
        let generation = entry.generation;
        entry.value.as_mut().map(|value| (Handle { slot, generation }, value))
    }

    /// All things with their names.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, entry)| {
            let slot = u32::try_from(slot).ok()?;
            let generation = entry.generation;
            entry.value.as_mut().map(|value| (Handle { slot, generation }, value))
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_dies_with_its_thing() {
        let mut slots = Slots::new(2);
        let first = slots.insert('a').unwrap();
        let second = slots.insert('b').unwrap();
        assert_eq!(slots.insert('c'), Err('c'));
        assert_eq!(slots.remove(first), Some('a'));
        assert_eq!((slots.remove(first), slots.get(first)), (None, None));
        let third = slots.insert('c').unwrap();
        assert_ne!(first, third, "the slot is the same, the name is not");
        assert_eq!(slots.get_mut(first), None);
        assert_eq!((slots.get(second), slots.get(third)), (Some(&'b'), Some(&'c')));
        assert_eq!(slots.len(), 2);
        assert_eq!(slots.iter_mut().map(|(handle, _)| handle).collect::<Vec<_>>(), [third, second]);
    }

    #[test]
    fn a_slot_rests_while_there_are_others() {
        let mut slots = Slots::new(1000);
        let used: Vec<_> = (0..200)
            .map(|_| {
                let handle = slots.insert(()).unwrap();
                slots.remove(handle);
                handle.slot()
            })
            .collect();
        assert_eq!(used, (0..200).map(|turn| turn % 64).collect::<Vec<_>>());
        assert!(slots.is_empty());
    }
}
