//! Ranges that only one writer, copy or repair may touch at a time, in the order of arrival.

use std::collections::VecDeque;

use block::BlockRange;

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockId(u64);

/// Somebody in the order.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: LockId,
    range: BlockRange,
    is_held: bool,
}

/// The order. As long as the requests under way, which the caller bounds.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    queue: VecDeque<Entry>,
    next: u64,
}

impl Locks {
    /// Takes a place behind everybody.
    pub(crate) fn queue(&mut self, range: BlockRange) -> LockId {
        let id = LockId(self.next);
        self.next += 1;
        self.queue.push_back(Entry { id, range, is_held: false });
        id
    }

    /// Whether nobody before it has a block in common with it, nor anybody who holds what it has.
    pub(crate) fn is_granted(&self, id: LockId) -> bool {
        let Some(own) = self.queue.iter().find(|entry| entry.id == id) else { return false };
        let mut is_before = true;
        self.queue.iter().all(|entry| {
            is_before &= entry.id != id;
            entry.id == id || !(is_before || entry.is_held) || !entry.range.overlaps(&own.range)
        })
    }

    /// Whether nobody who holds what it has, has a block in common with it. For copies: a write that waits for room in the
    /// map must not keep off the copy that makes the room.
    pub(crate) fn is_free(&self, id: LockId) -> bool {
        let Some(own) = self.queue.iter().find(|entry| entry.id == id) else { return false };
        self.queue.iter().all(|entry| entry.id == id || !entry.is_held || !entry.range.overlaps(&own.range))
    }

    /// Begins to use what was granted or is free.
    pub(crate) fn hold(&mut self, id: LockId) {
        if let Some(entry) = self.queue.iter_mut().find(|entry| entry.id == id) {
            entry.is_held = true;
        }
    }

    /// Leaves the order.
    pub(crate) fn release(&mut self, id: LockId) {
        self.queue.retain(|entry| entry.id != id);
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::Lba;

    #[test]
    fn who_overlaps_waits_in_order() {
        let mut locks = Locks::default();
        let range = |start, blocks| BlockRange::new(Lba(start), blocks);
        let [first, wide, small, apart] =
            [range(0, 2), range(1, 4), range(4, 1), range(8, 1)].map(|r| locks.queue(r));
        assert_eq!([first, wide, small, apart].map(|id| locks.is_granted(id)), [true, false, false, true]);
        locks.hold(first);
        locks.release(first);
        assert_eq!([wide, small].map(|id| locks.is_granted(id)), [true, false]);
        locks.release(wide);
        assert!(locks.is_granted(small) && !locks.is_granted(wide));
    }
    #[test]
    fn a_copy_overtakes_who_only_waits() {
        let mut locks = Locks::default();
        let [waiting, holding] =
            [BlockRange::new(Lba(0), 4), BlockRange::new(Lba(8), 1)].map(|r| locks.queue(r));
        locks.hold(holding);
        let copy = locks.queue(BlockRange::new(Lba(2), 2));
        assert!(!locks.is_granted(copy) && locks.is_free(copy));
        locks.hold(copy);
        assert!(!locks.is_granted(waiting), "the copy is under way");
        let other = locks.queue(BlockRange::new(Lba(8), 2));
        assert!(!locks.is_free(other));
        locks.release(copy);
        assert!(locks.is_granted(waiting));
    }
}
