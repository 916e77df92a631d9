//! Which changes must wait for which.
//!
//! A change of whole blocks needs nobody's leave. A change of a part of a block is a read, and a write of what was read: if
//! another change of that block came between, its acknowledged data would be undone. So it has its blocks alone, and
//! whoever wants them meanwhile waits in order.

use std::collections::VecDeque;

use block::BlockRange;

/// Most changes of the line that are looked at when one ends: those behind wait for the next one. What it bounds is the
/// time that one client's odd requests cost the others.
const LOOKED_AT_MAX: usize = 64;

/// How a change uses its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It writes whole blocks, beside others that do.
    Whole,
    /// It reads and writes: alone.
    Alone,
}

#[derive(Clone, Copy, Debug)]
struct Change<I> {
    id: I,
    range: BlockRange,
    usage: Use,
}

impl<I> Change<I> {
    fn conflicts(&self, other: &Self) -> bool {
        (self.usage == Use::Alone || other.usage == Use::Alone) && self.range.overlaps(&other.range)
    }
}

/// The changes under way, and those that wait.
#[derive(Debug)]
pub struct Ranges<I> {
    active: Vec<Change<I>>,
    waiting: VecDeque<Change<I>>,
    /// Those among the active that are alone.
    alone: usize,
}

impl<I> Default for Ranges<I> {
    fn default() -> Self {
        Self { active: Vec::new(), waiting: VecDeque::new(), alone: 0 }
    }
}

impl<I: Copy + PartialEq> Ranges<I> {
    /// Begins a change. `false` if it has to wait: [`Self::end`] names it when it may go.
    #[must_use]
    pub fn begin(&mut self, id: I, range: BlockRange, usage: Use) -> bool {
        let change = Change { id, range, usage };
        if self.is_free(&change, self.waiting.len()) {
            self.activate(change);
            true
        } else {
            self.waiting.push_back(change);
            false
        }
    }

    /// Ends a change that has begun; adds those that begin now.
    pub fn end(&mut self, id: I, ready: &mut Vec<I>) {
        let Some(at) = self.active.iter().position(|change| change.id == id) else { return };
        let ended = self.active.swap_remove(at);
        self.alone -= usize::from(ended.usage == Use::Alone);
        let mut at = 0;
        while at < self.waiting.len().min(LOOKED_AT_MAX) {
            let change = self.waiting[at];
            if self.is_free(&change, at) {
                self.waiting.remove(at);
                self.activate(change);
                ready.push(change.id);
            } else {
                at += 1;
            }
        }
    }

    /// Whether nothing that is under way, nor any of the first `ahead` that wait, is in the way.
    fn is_free(&self, change: &Change<I>, ahead: usize) -> bool {
        let is_alone = change.usage == Use::Alone;
        if !is_alone && self.alone == 0 && self.waiting.is_empty() {
            return true;
        }
        let waiting = self.waiting.iter().take(ahead);
        !self.active.iter().chain(waiting).any(|other| change.conflicts(other))
    }

    fn activate(&mut self, change: Change<I>) {
        self.alone += usize::from(change.usage == Use::Alone);
        self.active.push(change);
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use block::Lba;
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, blocks: u64) -> BlockRange {
        BlockRange::new(Lba(start), blocks)
    }

    fn end(ranges: &mut Ranges<u32>, id: u32) -> Vec<u32> {
        let mut ready = Vec::new();
        ranges.end(id, &mut ready);
        ready
    }

    #[test]
    fn whole_blocks_wait_for_nobody_but_the_lonely() {
        let mut ranges = Ranges::default();
        assert!(ranges.begin(1, range(0, 4), Use::Whole) && ranges.begin(2, range(0, 4), Use::Whole));
        assert!(!ranges.begin(3, range(3, 1), Use::Alone));
        assert!(ranges.begin(4, range(4, 4), Use::Whole));
        assert!(!ranges.begin(5, range(3, 2), Use::Whole));
        assert_eq!(end(&mut ranges, 1), []);
        assert_eq!(end(&mut ranges, 2), [3]);
        assert_eq!(end(&mut ranges, 4), []);
        assert_eq!(end(&mut ranges, 3), [5]);
        assert_eq!(end(&mut ranges, 5), []);
        assert!(ranges.is_idle());
    }

    #[test]
    fn nobody_overtakes_who_waits_for_the_same_blocks() {
        let mut ranges = Ranges::default();
        assert!(ranges.begin(1, range(0, 1), Use::Alone));
        assert!(!ranges.begin(2, range(0, 2), Use::Alone));
        assert!(!ranges.begin(3, range(1, 1), Use::Whole));
        assert!(ranges.begin(4, range(2, 1), Use::Whole));
        assert_eq!(end(&mut ranges, 1), [2]);
        assert_eq!(end(&mut ranges, 2), [3]);
    }

    #[test]
    fn the_line_behind_what_is_looked_at_is_not_forgotten() {
        let mut ranges = Ranges::default();
        assert!(ranges.begin(0, range(0, 1), Use::Alone));
        for id in 1..200 {
            assert!(!ranges.begin(id, range(0, 1), Use::Alone));
        }
        for id in 0..199 {
            assert_eq!(end(&mut ranges, id), [id + 1]);
        }
    }

    proptest! {
        /// No two that conflict are under way at once, each begins once, and all end.
        #[test]
        fn it_is_a_lock(changes in proptest::collection::vec((0u64..8, 1u64..4, any::<bool>(), 0usize..8), 1..150)) {
            let mut ranges = Ranges::default();
            let mut active: Vec<u32> = Vec::new();
            let usage = |id: u32| {
                let (start, blocks, alone, _) = changes[id as usize];
                (range(start, blocks), if alone { Use::Alone } else { Use::Whole })
            };
            let check = |active: &[u32]| {
                for (at, first) in active.iter().enumerate() {
                    for second in &active[at + 1..] {
                        let ((a, one), (b, other)) = (usage(*first), usage(*second));
                        let alone = one == Use::Alone || other == Use::Alone;
                        prop_assert!(first != second && !(alone && a.overlaps(&b)));
                    }
                }
                Ok(())
            };
            let mut begun = 0;
            for id in 0..u32::try_from(changes.len()).unwrap() {
                let (blocks, kind) = usage(id);
                if ranges.begin(id, blocks, kind) {
                    active.push(id);
                    begun += 1;
                }
                check(&active)?;
                for _ in 0..changes[id as usize].3.min(active.len()).min(1) {
                    let ready = end(&mut ranges, active.remove(0));
                    begun += ready.len();
                    active.extend(ready);
                    check(&active)?;
                }
            }
            while !active.is_empty() {
                let ready = end(&mut ranges, active.remove(0));
                begun += ready.len();
                active.extend(ready);
                check(&active)?;
            }
            prop_assert_eq!(begun, changes.len());
        }
    }
}
