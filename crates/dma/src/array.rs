//! Equal entries of 32-bit words in DMA memory: what queue rings and descriptor lists are made of.
#![allow(
    unsafe_code,
    reason = "ring entries are written and polled for every I/O, with the bounds check done on the index"
)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::memory::AccessError;
use crate::region::RegionId;
use crate::segment::Segment;

/// Entries of `WORDS` little-endian 32-bit words each, which a device reads or writes at any time.
///
/// Every access copies. An entry that the device is writing may be read torn; the protocol's phase bit or doorbell
/// says when it is whole, and [`Self::load_word`] and the fence of a doorbell write order the rest.
#[derive(Debug)]
pub struct DmaArray<const WORDS: usize> {
    first: NonNull<[AtomicU32; WORDS]>,
    entries: u32,
    segment: Segment,
}

// SAFETY: `first` points into the chunk that `segment` keeps taken; all accesses go through atomics.
unsafe impl<const WORDS: usize> Send for DmaArray<WORDS> {}
// SAFETY: as for Send.
unsafe impl<const WORDS: usize> Sync for DmaArray<WORDS> {}

impl<const WORDS: usize> DmaArray<WORDS> {
    /// Bytes of an entry.
    pub const ENTRY_BYTES: u32 = {
        assert!(WORDS > 0 && WORDS <= 1024, "an entry is at most a page");
        #[allow(clippy::cast_possible_truncation, reason = "at most 4096, asserted above")]
        let bytes = (WORDS * 4) as u32;
        bytes
    };

    /// As many whole entries as the segment holds, all zeroed. The segment is meant for nothing else from now on.
    pub fn new(segment: Segment) -> Result<Self, AccessError> {
        let bytes = segment.bytes();
        segment.device_fill(0, bytes, 0)?;
        let first = segment.device_address()?.cast::<[AtomicU32; WORDS]>();
        if !first.is_aligned() {
            return Err(AccessError::Misaligned { offset: segment.region_offset() });
        }
        Ok(Self { first, entries: bytes / Self::ENTRY_BYTES, segment })
    }

    /// Number of entries.
    #[inline]
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// The region that the entries are in.
    #[must_use]
    pub fn region(&self) -> RegionId {
        self.segment.region()
    }

    /// The first entry's first byte, counted from the start of the region.
    #[must_use]
    pub fn region_offset(&self) -> u64 {
        self.segment.region_offset()
    }

    /// Writes an entry. Unordered: the doorbell's release makes it visible.
    #[inline]
    pub fn store(&self, index: u32, words: &[u32; WORDS]) {
        for (shared, word) in self.entry(index).iter().zip(words) {
            shared.store(word.to_le(), Ordering::Relaxed);
        }
    }

    /// Reads an entry. Unordered: load the word that says it is whole first.
    #[inline]
    #[must_use]
    pub fn load(&self, index: u32) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        for (word, shared) in words.iter_mut().zip(self.entry(index)) {
            *word = u32::from_le(shared.load(Ordering::Relaxed));
        }
        words
    }

    /// Reads one word of an entry; later loads are not moved before it.
    #[inline]
    #[must_use]
    pub fn load_word(&self, index: u32, word: usize) -> u32 {
        u32::from_le(self.entry(index)[word].load(Ordering::Acquire))
    }

    /// Writes one word of an entry; earlier stores are not moved after it.
    #[inline]
    pub fn store_word(&self, index: u32, word: usize, value: u32) {
        self.entry(index)[word].store(value.to_le(), Ordering::Release);
    }

    /// Sets every entry to zero.
    pub fn clear(&self) {
        for index in 0..self.entries {
            self.store(index, &[0; WORDS]);
        }
    }

    #[inline]
    fn entry(&self, index: u32) -> &[AtomicU32; WORDS] {
        assert!(index < self.entries, "entry {index} of {}", self.entries);
        // SAFETY: `new` checked the alignment and that `entries` entries lie in the chunk, which `segment` keeps taken.
        let entry = unsafe { self.first.add(index as usize) };
        // SAFETY: the entry is inside the chunk, as above. A reference to atomics may be formed to memory that others
        // write: every access through it is a single atomic load or store.
        unsafe { entry.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryOptions, Pool, PoolOptions};

    fn array() -> (DmaArray<4>, Pool) {
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: 100, chunks: 2, memory }).unwrap();
        let mut buffer = pool.take().unwrap();
        buffer.fill(0, 100, 0xff).unwrap();
        (DmaArray::new(buffer.into_segment()).unwrap(), pool)
    }

    #[test]
    fn entries_are_zeroed_whole_and_little_endian() {
        let (array, pool) = array();
        assert_eq!((array.entries(), array.load(5)), (6, [0; 4]));
        array.store(1, &[0x0403_0201, 5, 6, 7]);
        let mut bytes = [0; 5];
        pool.region().memory().read(array.region_offset() + 16, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4, 5]);
        assert_eq!((array.load(1), array.load_word(1, 3)), ([0x0403_0201, 5, 6, 7], 7));
        array.store_word(1, 3, 9);
        assert_eq!(array.load(1)[3], 9);
        array.clear();
        assert_eq!(array.load(1), [0; 4]);
    }

    #[test]
    #[should_panic(expected = "entry 6 of 6")]
    fn an_entry_outside_is_a_broken_invariant() {
        let _ = array().0.load(6);
    }
}
