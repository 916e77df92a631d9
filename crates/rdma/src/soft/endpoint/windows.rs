//! Memory that peers may reach: windows with keys, bounds and rights, each for one queue pair.
//!
//! A key names its slot, so that looking one up is an index and a comparison, and carries bits that are drawn anew whenever
//! the slot is used, never the same twice in a row: a key that was unbound, guessed or remembered from before means nothing.
//! Slots that were free for the longest time are used first. The address that the peer is
//! given counts within the region; it tells nothing about this process.

use std::collections::VecDeque;

use dma::Segment;
use rand::Rng;

use crate::soft::rc::{Window, Windows};
use crate::soft::wire::Qpn;
use crate::{BindError, RemoteKey, RemoteMemory, Rights};

/// Most windows of an endpoint at once.
pub(crate) const WINDOWS_MAX: u32 = 1 << SLOT_BITS;

/// Bits of a key that name the slot; the others are random.
const SLOT_BITS: u32 = 16;

/// A slot is used again when so many are free, or when there are no more.
const FREE_MIN: usize = 64;

/// Bits of a peer's address below the region's number.
const OFFSET_BITS: u32 = 48;

/// The windows of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct WindowTable {
    slots: Vec<Slot>,
    /// Free for the longest time first.
    free: VecDeque<u32>,
}

#[derive(Debug)]
struct Slot {
    /// The key that was given last.
    key: RemoteKey,
    bound: Option<Bound>,
}

#[derive(Debug)]
struct Bound {
    queue_pair: Qpn,
    segment: Segment,
    address: u64,
    rights: Rights,
}

impl WindowTable {
    /// Binds a segment for the peer of a queue pair.
    pub(crate) fn bind(
        &mut self,
        queue_pair: Qpn,
        segment: &Segment,
        rights: Rights,
        random: &mut impl Rng,
    ) -> Result<RemoteMemory, BindError> {
        if segment.bytes() == 0 || rights.is_empty() {
            return Err(BindError::Empty);
        }
        let number = self.take_slot(random).ok_or(BindError::TooMany)?;
        let slot = &mut self.slots[number as usize];
        slot.key = another_key(slot.key, random);
        let address = peer_address(segment);
        slot.bound = Some(Bound { queue_pair, segment: segment.clone(), address, rights });
        Ok(RemoteMemory { address, key: slot.key })
    }

    /// Takes a window of a queue pair away. Returns whether it was there.
    pub(crate) fn unbind(&mut self, key: RemoteKey, queue_pair: Qpn) -> bool {
        let there = self.find(key, queue_pair).is_some();
        if there {
            self.clear(key.0 & (WINDOWS_MAX - 1));
        }
        there
    }

    /// Takes all windows of a queue pair away.
    pub(crate) fn unbind_all(&mut self, queue_pair: Qpn) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].bound.as_ref().is_some_and(|bound| bound.queue_pair == queue_pair) {
                self.clear(u32::try_from(slot).unwrap_or(u32::MAX));
            }
        }
    }

    fn find(&self, key: RemoteKey, queue_pair: Qpn) -> Option<&Bound> {
        let slot = self.slots.get((key.0 & (WINDOWS_MAX - 1)) as usize)?;
        let bound = slot.bound.as_ref()?;
        if slot.key == key && bound.queue_pair == queue_pair { Some(bound) } else { None }
    }

    fn take_slot(&mut self, random: &mut impl Rng) -> Option<u32> {
        let unused = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < WINDOWS_MAX);
        match unused {
            Some(slot) if self.free.len() < FREE_MIN => {
                let key = RemoteKey(slot | random.next_u32() << SLOT_BITS);
                self.slots.push(Slot { key, bound: None });
                Some(slot)
            }
            _ => self.free.pop_front(),
        }
    }

    fn clear(&mut self, slot: u32) {
        if self.slots[slot as usize].bound.take().is_some() {
            self.free.push_back(slot);
        }
    }
}

impl Windows for WindowTable {
    #[inline]
    fn window(&self, key: RemoteKey, queue_pair: Qpn) -> Option<Window<'_>> {
        let Bound { segment, address, rights, .. } = self.find(key, queue_pair)?;
        Some(Window { segment, address: *address, rights: *rights })
    }

    fn invalidate(&mut self, key: RemoteKey, queue_pair: Qpn) -> bool {
        self.unbind(key, queue_pair)
    }
}

/// A key of the same slot, of which nothing follows from the one before but that it is another.
fn another_key(key: RemoteKey, random: &mut impl Rng) -> RemoteKey {
    let step = 1 + random.next_u32() % (u32::MAX >> SLOT_BITS);
    RemoteKey(key.0.wrapping_add(step << SLOT_BITS))
}

/// What the peer calls the segment's first byte.
fn peer_address(segment: &Segment) -> u64 {
    let region = segment.region().index() as u64 + 1;
    (region << OFFSET_BITS) | segment.region_offset()
}

#[cfg(test)]
mod tests {
    use dma::{MemoryOptions, Pool, PoolOptions};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    struct Rig {
        table: WindowTable,
        random: StdRng,
        pool: Pool,
    }

    impl Rig {
        fn new() -> Self {
            let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
            let pool = Pool::new(PoolOptions { chunk_bytes: 4096, chunks: 4, memory }).unwrap();
            Self { table: WindowTable::default(), random: StdRng::seed_from_u64(1), pool }
        }

        fn segment(&self) -> Segment {
            self.pool.take().unwrap().into_segment()
        }

        fn bind(
            &mut self,
            queue_pair: Qpn,
            segment: &Segment,
            rights: Rights,
        ) -> Result<RemoteMemory, BindError> {
            self.table.bind(queue_pair, segment, rights, &mut self.random)
        }
    }

    fn qpn(number: u32) -> Qpn {
        Qpn::try_from(number).unwrap()
    }

    #[test]
    fn a_window_is_found_by_its_key_on_its_queue_pair_only() {
        let mut rig = Rig::new();
        let whole = rig.segment();
        let segment = whole.slice(512, 1024).unwrap();
        let RemoteMemory { address, key } = rig.bind(qpn(7), &segment, Rights::READ).unwrap();
        let window = rig.table.window(key, qpn(7)).unwrap();
        assert_eq!((window.address, window.rights, window.segment.bytes()), (address, Rights::READ, 1024));
        assert_eq!(window.segment.region_offset(), segment.region_offset());
        assert!(rig.table.window(key, qpn(8)).is_none(), "another queue pair");
        assert!(!rig.table.unbind(key, qpn(8)) && !rig.table.invalidate(key, qpn(8)));
        for bit in 0..32 {
            assert!(
                rig.table.window(RemoteKey(key.0 ^ 1 << bit), qpn(7)).is_none(),
                "another key: bit {bit}"
            );
        }
        assert!(rig.table.invalidate(key, qpn(7)));
        assert!(rig.table.window(key, qpn(7)).is_none() && !rig.table.unbind(key, qpn(7)));
    }

    #[test]
    fn nothing_outside_bounds_and_rights_is_located() {
        let mut rig = Rig::new();
        let segment = rig.segment().slice(1024, 1000).unwrap();
        let RemoteMemory { address, key } = rig.bind(qpn(7), &segment, Rights::WRITE).unwrap();
        let window = rig.table.window(key, qpn(7)).unwrap();
        let place = |address, bytes, rights| window.locate(address, bytes, rights).map(|(_, offset)| offset);
        assert_eq!(place(address, 1000, Rights::WRITE), Some(0));
        assert_eq!(place(address + 999, 1, Rights::WRITE), Some(999));
        assert_eq!(place(address + 1000, 1, Rights::WRITE), None);
        assert_eq!(place(address + 1, 1000, Rights::WRITE), None);
        assert_eq!(place(address - 1, 2, Rights::WRITE), None);
        assert_eq!(place(address + (1 << 32), 1, Rights::WRITE), None, "an offset of 33 bits");
        assert_eq!(place(address + 999, u32::MAX, Rights::WRITE), None, "an end of 33 bits");
        assert_eq!(place(u64::MAX, 1, Rights::WRITE), None);
        assert_eq!(place(address, 1, Rights::READ), None);
        assert_eq!(place(address, 1, Rights::all()), None);
    }

    #[test]
    fn a_slot_that_is_used_again_has_another_key() {
        let mut rig = Rig::new();
        let segment = rig.segment();
        let mut keys = Vec::new();
        for turn in 0..200_u32 {
            let key = rig.bind(qpn(7), &segment, Rights::READ).unwrap().key;
            assert_eq!(key.0 & 0xffff, turn % 64, "the slot that was free for the longest time");
            assert!(rig.table.unbind(key, qpn(7)));
            keys.push(key);
        }
        for (before, after) in keys.iter().zip(&keys[64..]) {
            assert_ne!(before, after);
            assert!(rig.table.window(*before, qpn(7)).is_none());
        }
    }

    #[test]
    fn the_key_before_is_not_given_again_whatever_is_drawn() {
        struct Same(u32);
        impl rand::TryRng for Same {
            type Error = std::convert::Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
                Ok(self.0)
            }
            fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
                Ok(self.0.into())
            }
            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
                bytes.fill(0);
                Ok(())
            }
        }
        for drawn in [0, 1, 0xfffe, 0xffff, 0x1_0000, u32::MAX] {
            let key = another_key(RemoteKey(0xabcd_0005), &mut Same(drawn));
            assert_eq!(key.0 & 0xffff, 5);
            assert_ne!(key, RemoteKey(0xabcd_0005), "{drawn:#x}");
        }
    }

    #[test]
    fn empty_windows_are_refused_and_take_no_slot() {
        let mut rig = Rig::new();
        let segment = rig.segment();
        let none = segment.slice(0, 0).unwrap();
        assert_eq!(rig.bind(qpn(7), &none, Rights::READ), Err(BindError::Empty));
        assert_eq!(rig.bind(qpn(7), &segment, Rights::empty()), Err(BindError::Empty));
        assert_eq!(rig.bind(qpn(7), &segment, Rights::READ).unwrap().key.0 & 0xffff, 0);
    }

    #[test]
    fn the_table_is_bounded_and_a_queue_pair_leaves_nothing_behind() {
        let mut rig = Rig::new();
        let segment = rig.segment();
        let keys: Vec<_> = (0..WINDOWS_MAX)
            .map(|index| rig.bind(qpn(2 + index % 2), &segment, Rights::READ).unwrap().key)
            .collect();
        assert_eq!(rig.bind(qpn(2), &segment, Rights::READ), Err(BindError::TooMany));
        rig.table.unbind_all(qpn(2));
        assert!(rig.table.window(keys[0], qpn(2)).is_none() && rig.table.window(keys[1], qpn(3)).is_some());
        for _ in 0..WINDOWS_MAX / 2 {
            rig.bind(qpn(4), &segment, Rights::READ).unwrap();
        }
        assert_eq!(rig.bind(qpn(4), &segment, Rights::READ), Err(BindError::TooMany));
    }
}
