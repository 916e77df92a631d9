//! Memory that devices read and write.
//!
//! - [`Memory`]: one mapping, of 2 MiB hugepages where there are some. Its accessors copy; none forms a reference.
//! - [`Region`]: a memory with a process-wide number, made known to IOMMU domains and RDMA protection domains.
//! - [`Pool`]: a bounded number of equal chunks of one region; [`DmaBuf`] is a chunk with one owner, who may write it.
//! - [`Segment`]: a shared view of a chunk; the CPU may only read it. Requests are made of segments, in a [`ScatterList`].
//! - [`stream`]: between a socket and buffers without a copy of ours.
//! - [`AddressTable`]: a domain's map from region to bus address (or key), read without a lock on the I/O path.
//!
//! The rule behind the split of [`DmaBuf`] and [`Segment`]: whoever submits a write gives up the only handle through
//! which the CPU could change the bytes, so the data of a request cannot change after submit.

mod address_table;
mod array;
mod memory;
mod pool;
mod region;
mod scatter;
mod segment;
pub mod stream;

pub use address_table::AddressTable;
pub use array::{DmaArray, Word};
pub use memory::{AccessError, Backing, HUGE_PAGE_BYTES, Memory, MemoryError, MemoryOptions, NumaNode};
pub use pool::{DmaBuf, Pool, PoolError, PoolOptions};
pub use region::{AttachError, Attachment, DetachError, REGIONS_MAX, Region, RegionError, RegionId};
pub use scatter::ScatterList;
pub use segment::Segment;
