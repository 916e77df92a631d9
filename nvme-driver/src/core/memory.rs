//! What a core is made of: the admin queue's memory, one page for data, two for shadow doorbells.

use std::collections::VecDeque;
use std::sync::Arc;

use block::Timestamp;
use dma::{AccessError, AttachError, DmaArray, MemoryOptions, Pool, PoolError, PoolOptions, Segment};
use nvme_spec::registers::{Capabilities, Register};
use thiserror::Error;

use super::Core;
use super::admin_queue::AdminQueue;
use super::lifecycle::State;
use crate::data_pointer::PAGE_BYTES;
use crate::pci::PciFunction;
use crate::ring::ShadowDoorbells;
use crate::shared::Shared;

/// Pages of a controller: two rings, data, two shadow doorbell pages.
const PAGES: u32 = 5;

/// Why a controller cannot be driven at all.
#[derive(Debug, Error)]
pub(crate) enum CoreError {
    #[error("its registers read as all ones: it is gone, or asleep")]
    Gone,
    #[error("it does not support the NVM command set")]
    CommandSet,
    #[error("its smallest memory page is {0} bytes; 4096 is supported")]
    PageSize(u64),
    #[error("its doorbells need {needed} bytes of registers, and it has {present}")]
    Registers { needed: u64, present: u32 },
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("its admin queue found no memory")]
    NoChunk,
}

/// The pages that the controller and the core share.
#[derive(Debug)]
pub(super) struct AdminMemory {
    /// The current job's data.
    pub(super) data: Segment,
    pub(super) data_iova: u64,
    pub(super) shadow: Arc<ShadowDoorbells>,
    pub(super) shadow_iovas: (u64, u64),
}

impl<F: PciFunction> Core<F> {
    /// Looks at the capabilities, makes the memory, and begins with disabling the controller.
    pub(crate) fn new(shared: Arc<Shared<F>>, now: Timestamp) -> Result<Self, CoreError> {
        let function = &*shared.function;
        let capabilities = capabilities_of(function)?;
        let memory = MemoryOptions { numa_node: function.numa_node(), ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: PAGE_BYTES, chunks: PAGES, memory })?;
        function.attach(pool.region())?;
        let page = || pool.take().map(|buffer| buffer.into_segment()).ok_or(CoreError::NoChunk);
        let admin = AdminQueue::new(page()?, page()?, capabilities.dstrd())?;
        let data = page()?;
        let base = function.addresses().get(data.region()).ok_or(CoreError::NoChunk)?;
        let shadow =
            ShadowDoorbells { doorbells: DmaArray::new(page()?)?, event_indexes: DmaArray::new(page()?)? };
        let memory = AdminMemory {
            data_iova: base + data.region_offset(),
            data,
            shadow_iovas: (
                base + shadow.doorbells.region_offset(),
                base + shadow.event_indexes.region_offset(),
            ),
            shadow: Arc::new(shadow),
        };
        let mut core = Self {
            state: State::Over,
            incarnation: 0,
            failures: 0,
            healthy: 0,
            event_requests_max: super::init::EVENT_REQUESTS_MAX,
            capabilities,
            memory,
            admin,
            interrupts: !shared.vectors.is_empty(),
            jobs: VecDeque::new(),
            current: None,
            info: None,
            next_health_check: now,
            unreachable: false,
            shared,
        };
        core.begin(now);
        Ok(core)
    }
}

fn capabilities_of<F: PciFunction>(function: &F) -> Result<Capabilities, CoreError> {
    let raw = function.read64(Register::Cap.offset());
    if raw == u64::MAX {
        return Err(CoreError::Gone);
    }
    let capabilities = Capabilities::from_raw(raw);
    let page_bytes = capabilities.mpsmin().bytes();
    if page_bytes != u64::from(PAGE_BYTES) {
        return Err(CoreError::PageSize(page_bytes));
    }
    if !capabilities.css().contains(nvme_spec::registers::CommandSets::NVM) {
        return Err(CoreError::CommandSet);
    }
    let needed = crate::ring::doorbells_end(nvme_spec::QueueId::ADMIN, capabilities.dstrd());
    if needed > u64::from(function.register_bytes()) {
        return Err(CoreError::Registers { needed, present: function.register_bytes() });
    }
    Ok(capabilities)
}
