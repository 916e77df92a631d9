//! Memory that peers may reach: windows with keys, bounds and rights, each for one queue pair.
//!
//! A key names its slot, so that looking one up is an index and a comparison, and carries bits that are drawn anew whenever
//! the slot is used: a key that was unbound, guessed or remembered from before means nothing. The address that the peer is
//! given counts within the region; it tells nothing about this process.

use dma::Segment;
use rand::Rng;

use crate::soft::rc::{Window, Windows};
use crate::soft::wire::Qpn;
use crate::{BindError, RemoteKey, RemoteMemory, Rights};

/// Most windows of an endpoint at once.
pub(crate) const WINDOWS_MAX: u32 = 1 << SLOT_BITS;

/// Bits of a key that name the slot; the others are random.
const SLOT_BITS: u32 = 16;

/// Bits of a peer's address below the region's number.
const OFFSET_BITS: u32 = 48;

/// The windows of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct WindowTable {
    slots: Vec<Option<Bound>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Bound {
    key: RemoteKey,
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
        let slot = self.take_slot().ok_or(BindError::TooMany)?;
        let key = RemoteKey(slot | (random.next_u32() & !(WINDOWS_MAX - 1)));
        let address = peer_address(segment);
        self.slots[slot as usize] =
            Some(Bound { key, queue_pair, segment: segment.clone(), address, rights });
        Ok(RemoteMemory { address, key })
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
            if self.slots[slot].as_ref().is_some_and(|bound| bound.queue_pair == queue_pair) {
                self.clear(u32::try_from(slot).unwrap_or(u32::MAX));
            }
        }
    }

    fn find(&self, key: RemoteKey, queue_pair: Qpn) -> Option<&Bound> {
        let slot = key.0 & (WINDOWS_MAX - 1);
        let bound = self.slots.get(slot as usize)?.as_ref()?;
        if bound.key == key && bound.queue_pair == queue_pair { Some(bound) } else { None }
    }

    fn take_slot(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let slot = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < WINDOWS_MAX)?;
        self.slots.push(None);
        Some(slot)
    }

    fn clear(&mut self, slot: u32) {
        if self.slots[slot as usize].take().is_some() {
            self.free.push(slot);
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

/// What the peer calls the segment's first byte.
fn peer_address(segment: &Segment) -> u64 {
    let region = segment.region().index() as u64 + 1;
    (region << OFFSET_BITS) | segment.region_offset()
}
