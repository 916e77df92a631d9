//! Which queue pair's time has come: a heap with lazy entries.
//!
//! A queue pair's deadline moves with every acknowledgement, nearly always to later. So only the earliest is entered; an entry
//! that comes out too early is put back at the deadline that holds by then. Each queue pair has at most one entry that counts;
//! when the others become too many, as a peer could make them, they are thrown out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use block::Timestamp;

/// Entries for each slot, those that no longer count among them; most slots have one.
const ENTRIES_EACH_MAX: usize = 8;

/// Deadlines of slots.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// By slot: the moment of the entry that counts.
    entered: Vec<Timestamp>,
}

impl Timers {
    /// Sees to it that the slot comes out at `deadline` or earlier.
    #[inline]
    pub(crate) fn arm(&mut self, slot: u32, deadline: Timestamp) {
        let index = slot as usize;
        if index >= self.entered.len() {
            self.entered.resize(index + 1, Timestamp::NEVER);
        }
        if deadline < self.entered[index] {
            self.entered[index] = deadline;
            self.heap.push(Reverse((deadline, slot)));
            if self.heap.len() > self.entered.len() * ENTRIES_EACH_MAX {
                self.throw_out();
            }
        }
    }

    fn throw_out(&mut self) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|Reverse((deadline, slot))| self.entered[*slot as usize] == *deadline);
        entries.sort_unstable();
        entries.dedup();
        self.heap = entries.into();
    }

    /// The next slot that may be due; it is to be armed again if it was not.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<u32> {
        while let Some(Reverse((deadline, slot))) = self.heap.peek().copied() {
            if deadline > now {
                return None;
            }
            self.heap.pop();
            if self.entered[slot as usize] == deadline {
                self.entered[slot as usize] = Timestamp::NEVER;
                return Some(slot);
            }
        }
        None
    }

    /// When [`Self::pop`] may next have something.
    pub(crate) fn next(&self) -> Timestamp {
        self.heap.peek().map_or(Timestamp::NEVER, |Reverse((deadline, _))| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_ns(ns)
    }

    #[test]
    fn only_the_earliest_entry_of_a_slot_counts() {
        let mut timers = Timers::default();
        timers.arm(3, at(50));
        timers.arm(3, at(70));
        timers.arm(3, at(20));
        timers.arm(1, at(30));
        assert_eq!((timers.next(), timers.pop(at(19))), (at(20), None));
        assert_eq!(timers.pop(at(60)), Some(3));
        assert_eq!(timers.pop(at(60)), Some(1));
        assert_eq!(timers.pop(at(60)), None, "the entry of slot 3 at 50 no longer counts");
        timers.arm(3, at(70));
        assert_eq!((timers.pop(at(69)), timers.pop(at(70))), (None, Some(3)));
        assert_eq!(timers.next(), Timestamp::NEVER);
    }

    #[test]
    fn entries_that_no_longer_count_are_bounded() {
        let mut timers = Timers::default();
        timers.arm(0, at(500));
        for now in 1..10_000 {
            timers.arm(1, at(1_000_000));
            timers.arm(1, at(now));
            assert_eq!(timers.pop(at(now)), Some(u32::from(now != 500)));
            assert!(timers.heap.len() <= 2 * ENTRIES_EACH_MAX, "{}", timers.heap.len());
        }
        timers.arm(1, at(1_000_000));
        while timers.pop(at(999_999)).is_some() {}
        assert_eq!((timers.pop(at(999_999)), timers.pop(at(1_000_000))), (None, Some(1)));
    }
}
