//! The server's memory, made as clients come.

use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions};
use rdma::Device;

use super::BYTES_MAX;
use crate::rdma::error::RdmaError;
use crate::rdma::reactor::Reactor;

/// Bytes of a pool, unless a single chunk needs more.
const POOL_BYTES: u32 = 4 << 20;

/// Most chunks of a pool.
const CHUNKS_MAX: u32 = 1024;

/// Pools of whatever sizes were asked for.
#[derive(Default)]
pub(super) struct Memory {
    pools: Vec<(Pool, u32)>,
}

impl Memory {
    /// A chunk of that size; `None` if there is not so much memory.
    pub(super) fn take<D: Device>(
        &mut self,
        reactor: &Reactor<D>,
        chunk_bytes: u32,
    ) -> Result<Option<DmaBuf>, RdmaError> {
        let fitting = self.pools.iter().filter(|(pool, _)| pool.chunk_bytes() == chunk_bytes);
        if let Some(buffer) = fitting.filter_map(|(pool, _)| pool.take()).next() {
            return Ok(Some(buffer));
        }
        // Sizes that nobody wants any more make room.
        self.pools.retain(|(pool, chunks)| pool.available() < *chunks as usize);
        let chunks = (POOL_BYTES / chunk_bytes).clamp(1, CHUNKS_MAX);
        let held: u64 = self.pools.iter().map(|(pool, chunks)| bytes(pool.chunk_bytes(), *chunks)).sum();
        if held + bytes(chunk_bytes, chunks) > BYTES_MAX {
            return Ok(None);
        }
        let pool = Pool::new(PoolOptions { chunk_bytes, chunks, memory: MemoryOptions::default() })?;
        reactor.attach(&pool)?;
        let buffer = pool.take();
        self.pools.push((pool, chunks));
        Ok(buffer)
    }
}

fn bytes(chunk_bytes: u32, chunks: u32) -> u64 {
    u64::from(chunk_bytes) * u64::from(chunks)
}
