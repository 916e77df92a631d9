//! The memory that data goes through: a bounded amount of it, in chunks of two sizes.

use std::ops::Range;

use block::BlockDevice;
use dma::{AccessError, DmaBuf, MemoryOptions, Pool, PoolOptions, ScatterList};
use smallvec::SmallVec;

use crate::nbd::server::ServerError;

/// Bytes of a small chunk: a command of a page, and a part of a block beside it.
const SMALL_BYTES: u32 = 8 << 10;
/// How many there are: commands of one page that are under way at once, all clients together.
const SMALL_CHUNKS: u32 = 1024;
/// Bytes of a large chunk.
const LARGE_BYTES: u32 = 128 << 10;
/// How many there are: twice the largest command of all, with its parts of blocks.
const LARGE_CHUNKS: u32 = 520;

/// The pools.
#[derive(Debug)]
pub(super) struct Buffers {
    small: Pool,
    large: Pool,
}

/// Buffers that count as one.
#[derive(Debug, Default)]
pub(in crate::nbd::server) struct BufferList(SmallVec<[DmaBuf; 1]>);

impl Buffers {
    /// Makes them, and makes them known to a device.
    pub(super) fn new(device: &dyn BlockDevice) -> Result<Self, ServerError> {
        let memory = MemoryOptions { numa_node: device.numa_node(), ..MemoryOptions::default() };
        let pool = |chunk_bytes, chunks| Pool::new(PoolOptions { chunk_bytes, chunks, memory });
        let buffers =
            Self { small: pool(SMALL_BYTES, SMALL_CHUNKS)?, large: pool(LARGE_BYTES, LARGE_CHUNKS)? };
        device.attach_memory(buffers.small.region())?;
        device.attach_memory(buffers.large.region())?;
        Ok(buffers)
    }

    /// One buffer, of at most a large chunk.
    #[inline]
    fn take_one(&self, bytes: u32) -> Option<DmaBuf> {
        let small = if bytes <= SMALL_BYTES { self.small.take() } else { None };
        let mut buffer = small.or_else(|| self.large.take())?;
        buffer.truncate(bytes);
        Some(buffer)
    }

    /// So many bytes, or nothing at all if there are not as many now.
    #[inline]
    pub(super) fn take(&self, bytes: u64) -> Option<BufferList> {
        let mut list = BufferList::default();
        let mut left = bytes;
        while left > 0 {
            let now = u32::try_from(left).map_or(LARGE_BYTES, |left| left.min(LARGE_BYTES));
            list.0.push(self.take_one(now)?);
            left -= u64::from(now);
        }
        Some(list)
    }
}

impl BufferList {
    /// The buffers, to be filled.
    #[inline]
    pub(in crate::nbd::server) fn as_mut_slice(&mut self) -> &mut [DmaBuf] {
        &mut self.0
    }

    /// Copies bytes in.
    pub(in crate::nbd::server) fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        self.each_part(offset, from.len() as u64, |buffer, at, range| buffer.write(at, &from[range]))
    }

    /// Sets bytes to zero.
    pub(super) fn zero(&mut self, offset: u64, bytes: u64) -> Result<(), AccessError> {
        self.each_part(offset, bytes, |buffer, at, range| {
            // A part of a buffer, whose length has 32 bits.
            buffer.fill(at, u32::try_from(range.len()).unwrap_or(0), 0)
        })
    }

    /// Calls `act` for each buffer that has some of the bytes: where they begin in it, and which of them it has.
    fn each_part(
        &mut self,
        offset: u64,
        bytes: u64,
        mut act: impl FnMut(&mut DmaBuf, u32, Range<usize>) -> Result<(), AccessError>,
    ) -> Result<(), AccessError> {
        let mut begin = 0;
        for buffer in &mut self.0 {
            let end = begin + u64::from(buffer.bytes());
            let (from, to) = (offset.clamp(begin, end), (offset + bytes).clamp(begin, end));
            if from < to {
                let narrow = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
                // Less than the buffer's length, which has 32 bits.
                let at = u32::try_from(from - begin).unwrap_or(u32::MAX);
                act(buffer, at, narrow(from)..narrow(to))?;
            }
            begin = end;
        }
        Ok(())
    }

    /// What a request is made of.
    #[inline]
    pub(super) fn into_scatter(self) -> ScatterList {
        self.0.into_iter().map(DmaBuf::into_segment).collect()
    }

    /// A request's memory that nobody else holds any more; `None` if somebody does.
    pub(super) fn from_scatter(list: ScatterList) -> Option<Self> {
        let buffers: Result<_, _> = list.into_segments().map(DmaBuf::from_segment).collect();
        buffers.ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use block::{Access, BlockSize, MemDevice};

    use super::*;

    fn buffers() -> Buffers {
        let device = MemDevice::new("m", BlockSize::B512, 1 << 20, Access::ReadWrite).unwrap();
        Buffers::new(&device).unwrap()
    }

    #[test]
    fn small_and_large_ones_make_up_any_length() {
        let buffers = buffers();
        for (bytes, lengths) in [
            (1, vec![1]),
            (8192, vec![8192]),
            (8193, vec![8193]),
            ((256 << 10) + 512, vec![128 << 10, 128 << 10, 512]),
        ] {
            let mut list = buffers.take(bytes).unwrap();
            assert_eq!(list.as_mut_slice().iter().map(DmaBuf::bytes).collect::<Vec<_>>(), lengths);
        }
        assert!(buffers.take(0).unwrap().as_mut_slice().is_empty());
    }

    #[test]
    fn two_of_the_largest_fit_and_a_third_takes_nothing() {
        let buffers = buffers();
        let held = [buffers.take(32 << 20).unwrap(), buffers.take((32 << 20) + 4096).unwrap()];
        let before = buffers.large.available();
        assert!(buffers.take(32 << 20).is_none());
        assert_eq!(buffers.large.available(), before);
        drop(held);
        assert_eq!(buffers.large.available(), LARGE_CHUNKS as usize);
    }

    #[test]
    fn bytes_cross_buffers() {
        let buffers = buffers();
        let mut list = buffers.take((128 << 10) + 512).unwrap();
        list.zero(0, (128 << 10) + 512).unwrap();
        list.write((128 << 10) - 2, b"abcd").unwrap();
        list.zero((128 << 10) - 1, 2).unwrap();
        let scatter = list.into_scatter();
        let mut found = [9; 6];
        scatter.read((128 << 10) - 3, &mut found).unwrap();
        assert_eq!(&found, b"\0a\0\0d\0");
        let shared = scatter.clone();
        assert!(BufferList::from_scatter(scatter).is_none());
        assert!(BufferList::from_scatter(shared).is_some());
    }
}
