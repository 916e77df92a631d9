//! A bounded number of equal chunks of one region, each with one owner at a time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_queue::ArrayQueue;
use thiserror::Error;

use crate::memory::{AccessError, Memory, MemoryOptions, NumaNode};
use crate::region::{Region, RegionError, RegionId};
use crate::segment::Segment;

/// Shape of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Bytes of a chunk: not 0, at most 2 GiB. A multiple of 4096 makes every chunk begin on a page.
    pub chunk_bytes: u32,
    /// Number of chunks.
    pub chunks: u32,
    /// What the memory is made of.
    pub memory: MemoryOptions,
}

/// Why there is no pool.
#[derive(Debug, Error)]
pub enum PoolError {
    /// No chunks, chunks of no bytes, or chunks that a 31-bit length cannot say.
    #[error("a pool of {chunks} chunks of {chunk_bytes} bytes cannot be made")]
    Shape {
        /// Bytes asked for each chunk.
        chunk_bytes: u32,
        /// Number of chunks asked for.
        chunks: u32,
    },
    /// There is no region for it.
    #[error(transparent)]
    Region(#[from] RegionError),
}

/// Chunks of one region. A handle; the region lives until the last handle, buffer and segment is gone.
#[derive(Clone, Debug)]
pub struct Pool {
    slab: Arc<Slab>,
}

/// The chunks' state, shared by the pool's handles and by every buffer and segment.
pub(crate) struct Slab {
    region: Region,
    chunk_bytes: u32,
    /// For each chunk, how many buffers and segments hold it.
    holders: Box<[AtomicU32]>,
    free: ArrayQueue<u32>,
}

impl Pool {
    /// Makes a region of `chunks` chunks.
    pub fn new(options: PoolOptions) -> Result<Self, PoolError> {
        let PoolOptions { chunk_bytes, chunks, memory } = options;
        let shape = PoolError::Shape { chunk_bytes, chunks };
        if chunk_bytes == 0 || chunk_bytes > i32::MAX.unsigned_abs() || chunks == 0 {
            return Err(shape);
        }
        let Some(bytes) = usize::try_from(chunks).ok().and_then(|n| n.checked_mul(chunk_bytes as usize))
        else {
            return Err(shape);
        };
        Ok(Self::of_region(Region::new(bytes, memory)?, chunk_bytes, chunks))
    }

    /// One chunk that covers a whole region (of at most 2 GiB), for memory that was not made here, such as a GPU's.
    pub fn single(region: Region) -> Result<Self, PoolError> {
        match u32::try_from(region.memory().bytes()) {
            Ok(chunk_bytes) if chunk_bytes <= i32::MAX.unsigned_abs() => {
                Ok(Self::of_region(region, chunk_bytes, 1))
            }
            _ => Err(PoolError::Shape { chunk_bytes: u32::MAX, chunks: 1 }),
        }
    }

    fn of_region(region: Region, chunk_bytes: u32, chunks: u32) -> Self {
        let free = ArrayQueue::new(chunks as usize);
        for chunk in 0..chunks {
            let full = free.push(chunk).is_err();
            debug_assert!(!full, "the free list has room for every chunk");
        }
        let holders = (0..chunks).map(|_| AtomicU32::new(0)).collect();
        Self { slab: Arc::new(Slab { region, chunk_bytes, holders, free }) }
    }

    /// Takes a chunk, with whatever bytes its last owner left; `None` if all are taken.
    #[must_use]
    pub fn take(&self) -> Option<DmaBuf> {
        let chunk = self.slab.free.pop()?;
        self.slab.holders[chunk as usize].store(1, Ordering::Relaxed);
        let start = u64::from(chunk) * u64::from(self.slab.chunk_bytes);
        let segment = Segment::first(Arc::clone(&self.slab), start, self.slab.chunk_bytes, chunk);
        Some(DmaBuf { segment })
    }

    /// The region that the chunks are parts of; attach it to a device before its buffers go there.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.slab.region
    }

    /// Bytes of a chunk.
    #[must_use]
    pub fn chunk_bytes(&self) -> u32 {
        self.slab.chunk_bytes
    }

    /// Chunks that nobody holds now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.slab.free.len()
    }

    /// The NUMA node of the memory, where the kernel tells.
    #[must_use]
    pub fn numa_node(&self) -> Option<NumaNode> {
        self.slab.region.memory().numa_node()
    }
}

impl Slab {
    #[inline]
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    #[inline]
    pub(crate) fn hold(&self, chunk: u32) {
        self.holders[chunk as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn let_go(&self, chunk: u32) {
        // The last holder's release makes everybody's accesses happen before the next owner's.
        if self.holders[chunk as usize].fetch_sub(1, Ordering::AcqRel) == 1 {
            let full = self.free.push(chunk).is_err();
            debug_assert!(!full, "a chunk is free once");
        }
    }

    #[inline]
    pub(crate) fn has_one_holder(&self, chunk: u32) -> bool {
        self.holders[chunk as usize].load(Ordering::Acquire) == 1
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab")
            .field("region", &self.region.id())
            .field("chunk_bytes", &self.chunk_bytes)
            .field("chunks", &self.holders.len())
            .field("free", &self.free.len())
            .finish()
    }
}

/// A chunk with one owner, who may write it. Goes back to its pool on drop.
#[derive(Debug)]
pub struct DmaBuf {
    segment: Segment,
}

impl DmaBuf {
    /// The region that it is in: the key into a device's [`crate::AddressTable`].
    #[inline]
    #[must_use]
    pub fn region(&self) -> RegionId {
        self.segment.region()
    }

    /// The memory that the buffer is in; it begins at [`Self::region_offset`].
    #[inline]
    #[must_use]
    pub fn memory(&self) -> &Memory {
        self.segment.memory()
    }

    /// The first byte, counted from the start of the region.
    #[inline]
    #[must_use]
    pub fn region_offset(&self) -> u64 {
        self.segment.region_offset()
    }

    /// Bytes of the buffer.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.segment.bytes()
    }

    /// Copies bytes in.
    pub fn write(&mut self, offset: u32, from: &[u8]) -> Result<(), AccessError> {
        self.segment.device_write(offset, from)
    }

    /// Copies bytes out.
    pub fn read(&self, offset: u32, into: &mut [u8]) -> Result<(), AccessError> {
        self.segment.read(offset, into)
    }

    /// Sets bytes.
    pub fn fill(&mut self, offset: u32, bytes: u32, value: u8) -> Result<(), AccessError> {
        self.segment.device_fill(offset, bytes, value)
    }

    /// Shortens the buffer to its first `bytes` bytes; the chunk stays taken as a whole.
    pub fn truncate(&mut self, bytes: u32) {
        self.segment.truncate(bytes);
    }

    /// Gives up the right to write, for the right to share: what a request is made of.
    #[inline]
    #[must_use]
    pub fn into_segment(self) -> Segment {
        self.segment
    }

    /// Takes back the right to write, if nobody else holds the chunk. The buffer is as long as the segment was.
    #[inline]
    pub fn from_segment(segment: Segment) -> Result<Self, Segment> {
        if segment.is_alone() { Ok(Self { segment }) } else { Err(segment) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(chunks: u32) -> Pool {
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        Pool::new(PoolOptions { chunk_bytes: 4096, chunks, memory }).unwrap()
    }

    #[test]
    fn a_pool_is_bounded_and_chunks_come_back() {
        let pool = pool(2);
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        drop(a);
        assert_eq!(pool.available(), 1);
        drop((pool.take().unwrap(), b));
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn a_chunk_comes_back_when_its_last_segment_goes() {
        let pool = pool(1);
        let whole = pool.take().unwrap().into_segment();
        let tail = whole.slice(4000, 96).unwrap();
        drop(whole);
        assert_eq!(pool.available(), 0);
        drop(tail);
        assert_eq!(pool.available(), 1);
    }

    #[test]
    fn only_the_last_holder_gets_the_right_to_write_back() {
        let pool = pool(1);
        let first = pool.take().unwrap().into_segment();
        let second = first.clone();
        let first = DmaBuf::from_segment(first).unwrap_err();
        drop(second);
        assert!(DmaBuf::from_segment(first).is_ok());
    }

    #[test]
    fn chunks_do_not_overlap() {
        let pool = pool(2);
        let (mut a, mut b) = (pool.take().unwrap(), pool.take().unwrap());
        a.fill(0, 4096, 1).unwrap();
        b.fill(0, 4096, 2).unwrap();
        let mut last = [0];
        a.read(4095, &mut last).unwrap();
        assert_eq!(last, [1]);
        assert!(a.write(4093, &[0; 4]).is_err());
    }

    #[test]
    fn buffers_outlive_the_pool_handle() {
        let mut buffer = pool(1).take().unwrap();
        buffer.write(0, &[1]).unwrap();
    }

    #[test]
    fn impossible_shapes_are_errors() {
        for (chunk_bytes, chunks) in [(0, 1), (1, 0), (u32::MAX, 1)] {
            let options = PoolOptions { chunk_bytes, chunks, memory: MemoryOptions::default() };
            assert!(matches!(Pool::new(options), Err(PoolError::Shape { .. })));
        }
    }
}
