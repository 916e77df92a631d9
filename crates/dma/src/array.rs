//! Equal entries of 32-bit or 64-bit words in DMA memory: what queue rings and descriptor lists are made of.
#![allow(
    unsafe_code,
    reason = "ring entries are written and polled for every I/O, with the bounds check done on the index"
)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::memory::AccessError;
use crate::region::RegionId;
use crate::segment::Segment;

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// An integer that is read and written at once: `u32` or `u64`.
pub trait Word: Copy + sealed::Sealed {
    /// The word as it is shared with a device.
    type Shared;
    /// No bit set.
    const ZERO: Self;
    #[doc(hidden)]
    fn get(shared: &Self::Shared, order: Ordering) -> Self;
    #[doc(hidden)]
    fn put(self, shared: &Self::Shared, order: Ordering);
}

macro_rules! word {
    ($word:ty, $shared:ty) => {
        impl Word for $word {
            type Shared = $shared;
            const ZERO: Self = 0;

            #[inline]
            fn get(shared: &$shared, order: Ordering) -> Self {
                Self::from_le(shared.load(order))
            }

            #[inline]
            fn put(self, shared: &$shared, order: Ordering) {
                shared.store(self.to_le(), order);
            }
        }
    };
}
word!(u32, AtomicU32);
word!(u64, AtomicU64);

/// Entries of `N` little-endian words each, which a device reads or writes at any time.
///
/// Every access copies. An entry that the device is writing may be read torn; the protocol's phase bit or doorbell
/// says when it is whole, and [`Self::load_word`] and the fence of a doorbell write order the rest.
#[derive(Debug)]
pub struct DmaArray<W: Word, const N: usize> {
    first: NonNull<[W::Shared; N]>,
    entries: u32,
    segment: Segment,
}

// SAFETY: `first` points into the chunk that `segment` keeps taken; all accesses go through atomics.
unsafe impl<W: Word, const N: usize> Send for DmaArray<W, N> {}
// SAFETY: as for Send.
unsafe impl<W: Word, const N: usize> Sync for DmaArray<W, N> {}

impl<W: Word, const N: usize> DmaArray<W, N> {
    /// Bytes of an entry.
    pub const ENTRY_BYTES: u32 = {
        assert!(N > 0 && N * size_of::<W>() <= 4096, "an entry is at most a page");
        #[allow(clippy::cast_possible_truncation, reason = "at most 4096, asserted above")]
        let bytes = (N * size_of::<W>()) as u32;
        bytes
    };

    /// As many whole entries as the segment holds, all zeroed. The segment is meant for nothing else from now on.
    pub fn new(segment: Segment) -> Result<Self, AccessError> {
        let bytes = segment.bytes();
        segment.device_fill(0, bytes, 0)?;
        let first = segment.device_address()?.cast::<[W::Shared; N]>();
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
    pub fn store(&self, index: u32, words: &[W; N]) {
        for (shared, word) in self.entry(index).iter().zip(words) {
            word.put(shared, Ordering::Relaxed);
        }
    }

    /// Reads an entry. Unordered: load the word that says it is whole first.
    #[inline]
    #[must_use]
    pub fn load(&self, index: u32) -> [W; N] {
        let mut words = [W::ZERO; N];
        for (word, shared) in words.iter_mut().zip(self.entry(index)) {
            *word = W::get(shared, Ordering::Relaxed);
        }
        words
    }

    /// Reads one word of an entry; later loads are not moved before it.
    #[inline]
    #[must_use]
    pub fn load_word(&self, index: u32, word: usize) -> W {
        W::get(&self.entry(index)[word], Ordering::Acquire)
    }

    /// Writes one word of an entry; earlier stores are not moved after it.
    #[inline]
    pub fn store_word(&self, index: u32, word: usize, value: W) {
        value.put(&self.entry(index)[word], Ordering::Release);
    }

    /// Sets every entry to zero.
    pub fn clear(&self) {
        for index in 0..self.entries {
            self.store(index, &[W::ZERO; N]);
        }
    }

    #[inline]
    fn entry(&self, index: u32) -> &[W::Shared; N] {
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

    fn array() -> (DmaArray<u32, 4>, Pool) {
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
    fn wide_words_are_little_endian_too() {
        let (_, pool) = array();
        let array =
            DmaArray::<u64, 2>::new(pool.take().unwrap().into_segment().slice(4, 32).unwrap()).unwrap();
        array.store(1, &[0x0807_0605_0403_0201, 9]);
        let mut bytes = [0; 9];
        pool.region().memory().read(array.region_offset() + 16, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((array.entries(), array.load_word(1, 1)), (2, 9));
    }

    #[test]
    #[should_panic(expected = "entry 6 of 6")]
    fn an_entry_outside_is_a_broken_invariant() {
        let _ = array().0.load(6);
    }
}
