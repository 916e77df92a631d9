//! Ranges that only one writer, copy or repair may touch at a time, in the order of arrival.

use std::collections::VecDeque;

use block::BlockRange;

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockId(u64);

/// The order. As long as the requests under way, which the caller bounds.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    queue: VecDeque<(LockId, BlockRange)>,
    next: u64,
}

impl Locks {
    /// Takes a place behind everybody.
    pub(crate) fn queue(&mut self, range: BlockRange) -> LockId {
        let id = LockId(self.next);
        self.next += 1;
        self.queue.push_back((id, range));
        id
    }

    /// Whether nobody before it has a block in common with it.
    pub(crate) fn is_granted(&self, id: LockId) -> bool {
        let Some((_, range)) = self.queue.iter().find(|(other, _)| *other == id) else { return false };
        self.queue.iter().take_while(|(other, _)| *other != id).all(|(_, other)| !other.overlaps(range))
    }

    /// Leaves the order.
    pub(crate) fn release(&mut self, id: LockId) {
        self.queue.retain(|(other, _)| *other != id);
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
        let [first, wide, small, apart] = [range(0, 2), range(1, 4), range(4, 1), range(8, 1)].map(|r| locks.queue(r));
        assert_eq!([first, wide, small, apart].map(|id| locks.is_granted(id)), [true, false, false, true]);
        locks.release(first);
        assert_eq!([wide, small].map(|id| locks.is_granted(id)), [true, false]);
        locks.release(wide);
        assert!(locks.is_granted(small) && !locks.is_granted(wide));
    }
}
