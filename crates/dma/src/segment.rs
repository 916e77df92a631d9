//! A shared view of a chunk: what a request is made of.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::memory::{AccessError, Memory};
use crate::pool::Slab;
use crate::region::RegionId;

/// Some bytes of a chunk. Cloning shares the chunk, which goes back to its pool when the last holder lets go.
///
/// The methods named `device_*` are for whoever plays the device of a request: a read's data is written by them.
pub struct Segment {
    slab: Arc<Slab>,
    /// First byte, counted from the start of the region.
    start: u64,
    bytes: u32,
    chunk: u32,
}

impl Segment {
    /// The pool counts this first holder.
    pub(crate) fn first(slab: Arc<Slab>, start: u64, bytes: u32, chunk: u32) -> Self {
        Self { slab, start, bytes, chunk }
    }

    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.slab.has_one_holder(self.chunk)
    }

    pub(crate) fn truncate(&mut self, bytes: u32) {
        self.bytes = self.bytes.min(bytes);
    }

    /// Number of bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The region that the bytes are in: the key into a device's [`crate::AddressTable`].
    #[inline]
    #[must_use]
    pub fn region(&self) -> RegionId {
        self.slab.region().id()
    }

    /// The first byte, counted from the start of the region.
    #[inline]
    #[must_use]
    pub fn region_offset(&self) -> u64 {
        self.start
    }

    /// The memory that the bytes are in; they begin at [`Self::region_offset`].
    #[inline]
    #[must_use]
    pub fn memory(&self) -> &Memory {
        self.slab.region().memory()
    }

    /// A view of `bytes` bytes from `offset`; `None` if they are not all inside.
    #[must_use]
    pub fn slice(&self, offset: u32, bytes: u32) -> Option<Self> {
        if offset.checked_add(bytes)? > self.bytes {
            return None;
        }
        let mut part = self.clone();
        part.start += u64::from(offset);
        part.bytes = bytes;
        Some(part)
    }

    /// Copies bytes out.
    #[inline]
    pub fn read(&self, offset: u32, into: &mut [u8]) -> Result<(), AccessError> {
        self.check(offset, into.len())?;
        self.memory().read(self.start + u64::from(offset), into)
    }

    /// Copies bytes in, for a device that answers a read.
    #[inline]
    pub fn device_write(&self, offset: u32, from: &[u8]) -> Result<(), AccessError> {
        self.check(offset, from.len())?;
        self.memory().write(self.start + u64::from(offset), from)
    }

    /// Sets bytes, for a device that answers a read.
    pub fn device_fill(&self, offset: u32, bytes: u32, value: u8) -> Result<(), AccessError> {
        self.check(offset, bytes as usize)?;
        self.memory().fill(self.start + u64::from(offset), bytes as usize, value)
    }

    /// Where the bytes are, for system calls; no reference may be formed to them.
    pub fn device_address(&self) -> Result<NonNull<u8>, AccessError> {
        self.memory().address(self.start, self.bytes as usize)
    }

    #[inline]
    fn check(&self, offset: u32, bytes: usize) -> Result<(), AccessError> {
        let outside =
            AccessError::OutOfBounds { offset: u64::from(offset), bytes, memory_bytes: self.bytes as usize };
        match (offset as usize).checked_add(bytes) {
            Some(end) if end <= self.bytes as usize => Ok(()),
            _ => Err(outside),
        }
    }
}

impl Clone for Segment {
    fn clone(&self) -> Self {
        self.slab.hold(self.chunk);
        Self { slab: Arc::clone(&self.slab), start: self.start, bytes: self.bytes, chunk: self.chunk }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.slab.let_go(self.chunk);
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({:?} + {}, {} bytes)", self.region(), self.start, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::{AccessError, MemoryOptions, Pool, PoolOptions, Segment};

    fn segment() -> Segment {
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: 4096, chunks: 2, memory }).unwrap();
        let first = pool.take().unwrap();
        let second = pool.take().unwrap();
        drop(first);
        second.into_segment()
    }

    #[test]
    fn a_slice_reads_and_writes_its_own_bytes() {
        let whole = segment();
        let part = whole.slice(1000, 8).unwrap();
        part.device_write(2, b"abc").unwrap();
        let mut bytes = [0; 6];
        whole.read(1000, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0\0abc\0");
        assert_eq!((part.region_offset(), part.bytes()), (4096 + 1000, 8));
    }

    #[test]
    fn nothing_outside_the_view_is_reached_though_the_memory_goes_on() {
        let part = segment().slice(1000, 8).unwrap();
        assert!(matches!(part.device_write(8, &[1]), Err(AccessError::OutOfBounds { .. })));
        assert!(matches!(part.read(u32::MAX, &mut [0; 2]), Err(AccessError::OutOfBounds { .. })));
        assert!(part.slice(4, 5).is_none() && part.slice(u32::MAX, 2).is_none());
        assert!(part.slice(8, 0).is_some());
    }
}
