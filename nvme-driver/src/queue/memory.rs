//! The memory of one queue pair: both rings, and a page for each command.

use dma::{AccessError, MemoryOptions, Pool, PoolError, PoolOptions, Segment};
use nvme_spec::QueueId;

use crate::data_pointer::{CommandPages, PAGE_BYTES};
use crate::pci::PciFunction;
use crate::ring::{CQE_BYTES, CompletionRing, SQE_BYTES, SubmissionRing};
use crate::shared::ControllerLimits;
use block::OpenQueueError;

/// Rings and pages in one region.
#[derive(Debug)]
pub(crate) struct QueueMemory {
    pub(crate) sq: SubmissionRing,
    pub(crate) cq: CompletionRing,
    pub(crate) pages: CommandPages,
    pool: Pool,
}

impl QueueMemory {
    /// Memory for `depth` commands, attached to the function. Rings have at least one entry more, since a full one has a
    /// gap.
    pub(crate) fn new<F: PciFunction>(
        function: &F,
        queue: QueueId,
        depth: u16,
        limits: &ControllerLimits,
    ) -> Result<Self, OpenQueueError> {
        let resources = |what: &'static str, reason: String| OpenQueueError::Resources { what, reason };
        let pool = pool_of(u32::from(depth), limits, function)
            .map_err(|why| resources("DMA memory", why.to_string()))?;
        function.attach(pool.region()).map_err(|why| resources("DMA mapping", why.to_string()))?;
        Self::carve(pool, queue, u32::from(depth), limits)
            .map_err(|why| resources("DMA memory", why.map_or_else(String::new, |why| why.to_string())))
    }

    fn carve(
        pool: Pool,
        queue: QueueId,
        depth: u32,
        limits: &ControllerLimits,
    ) -> Result<Self, Option<AccessError>> {
        let whole = pool.take().ok_or(None)?.into_segment();
        let mut at = 0;
        let mut part = |bytes: u32| -> Result<Segment, Option<AccessError>> {
            let segment = whole.slice(at, bytes).ok_or(None)?;
            at += bytes.next_multiple_of(PAGE_BYTES);
            Ok(segment)
        };
        let shadow = limits.shadow.as_ref();
        let sq = SubmissionRing::new(part((depth + 1) * SQE_BYTES)?, queue, limits.stride, shadow)?;
        let cq_bytes = completion_entries(depth, limits) * CQE_BYTES;
        let cq = CompletionRing::new(part(cq_bytes)?, queue, limits.stride, shadow)?;
        let pages = CommandPages::new(part(depth * PAGE_BYTES)?)?;
        drop(whole);
        Ok(Self { sq, cq, pages, pool })
    }

    /// Back to the state of a queue pair that was just created.
    pub(crate) fn clear(&mut self) {
        self.sq.clear();
        self.cq.clear();
    }

    /// Rings where the controller listens now.
    pub(crate) fn rebind(&mut self, queue: QueueId, limits: &ControllerLimits) {
        let shadow = limits.shadow.as_ref();
        self.sq.rebind(queue, limits.stride, shadow);
        self.cq.rebind(queue, limits.stride, shadow);
    }

    /// What everything here is made of.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// Entries of a completion ring: twice as many as there are commands, so that the controller need not be told of each
/// completion that was taken, and a page's worth, which is free. As many as it allows, if that is less.
fn completion_entries(depth: u32, limits: &ControllerLimits) -> u32 {
    (2 * depth + 1).max(PAGE_BYTES / CQE_BYTES).min(limits.queue_entries_max)
}

fn pool_of<F: PciFunction>(depth: u32, limits: &ControllerLimits, function: &F) -> Result<Pool, PoolError> {
    let ring = |entries: u32, entry_bytes: u32| (entries * entry_bytes).next_multiple_of(PAGE_BYTES);
    let rings = ring(depth + 1, SQE_BYTES) + ring(completion_entries(depth, limits), CQE_BYTES);
    let chunk_bytes = rings + depth * PAGE_BYTES;
    let memory = MemoryOptions { numa_node: function.numa_node(), ..Default::default() };
    Pool::new(PoolOptions { chunk_bytes, chunks: 1, memory })
}
