//! The memory of a job's I/O.

use block::BlockDevice;
use dma::{AccessError, DmaBuf, MemoryOptions, Pool, PoolOptions, ScatterList};

use super::JobError;
use crate::bench::rng::SplitMix64;

/// Buffers begin on pages, as drives like it.
const PAGE_BYTES: u32 = 4096;

/// As many buffers as a job may have I/O in flight.
#[derive(Debug)]
pub struct Buffers {
    pool: Pool,
    io_bytes: u32,
    free: Vec<ScatterList>,
}

impl Buffers {
    /// Buffers of random bytes, known to the device.
    pub fn new(device: &dyn BlockDevice, count: usize, io_bytes: u32, seed: u64) -> Result<Self, JobError> {
        let chunks = u32::try_from(count).unwrap_or(u32::MAX);
        let memory = MemoryOptions { numa_node: device.numa_node(), ordinary_pages: false };
        let pool =
            Pool::new(PoolOptions { chunk_bytes: io_bytes.next_multiple_of(PAGE_BYTES), chunks, memory })?;
        device.attach_memory(pool.region())?;
        let mut buffers = Self { pool, io_bytes, free: Vec::with_capacity(count) };
        let mut rng = SplitMix64::new(seed);
        while let Some(mut buffer) = buffers.pool.take() {
            buffer.truncate(io_bytes);
            fill(&mut buffer, &mut rng)?;
            buffers.free.push(buffer.into_segment().into());
        }
        Ok(buffers)
    }

    /// Whether there is a buffer to take. There is none if all are in flight, or still in the reach of a device that did
    /// not answer in time.
    #[inline]
    pub fn is_ready(&mut self) -> bool {
        if self.free.is_empty() {
            let back = self.take_from_pool();
            self.free.extend(back.map(|buffer| ScatterList::from(buffer.into_segment())));
        }
        !self.free.is_empty()
    }

    /// A buffer with whatever bytes are in it; [`Self::is_ready`] said yes.
    #[inline]
    pub fn take(&mut self) -> Result<ScatterList, JobError> {
        let Some(list) = self.free.pop() else { return Err(JobError::Held) };
        Ok(list)
    }

    /// A buffer to be filled; [`Self::is_ready`] said yes.
    pub fn take_to_fill(&mut self) -> Result<DmaBuf, JobError> {
        let list = self.take()?;
        match list.into_single().map(DmaBuf::from_segment) {
            Ok(Ok(buffer)) => Ok(buffer),
            _ => Err(JobError::Held),
        }
    }

    /// Gives a whole buffer back.
    #[inline]
    pub fn give_back(&mut self, data: ScatterList) {
        self.free.push(data);
    }

    fn take_from_pool(&mut self) -> Option<DmaBuf> {
        let mut buffer = self.pool.take()?;
        buffer.truncate(self.io_bytes);
        Some(buffer)
    }
}

fn fill(buffer: &mut DmaBuf, rng: &mut SplitMix64) -> Result<(), AccessError> {
    let mut page = [0; PAGE_BYTES as usize];
    let mut offset = 0;
    while offset < buffer.bytes() {
        for word in page.as_chunks_mut::<8>().0 {
            *word = rng.next_u64().to_le_bytes();
        }
        let part = (buffer.bytes() - offset).min(PAGE_BYTES);
        buffer.write(offset, &page[..part as usize])?;
        offset += part;
    }
    Ok(())
}
