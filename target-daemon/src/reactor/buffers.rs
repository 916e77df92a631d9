//! A reactor's memory. All of it is taken at the start.
//!
//! | what | chunks | for |
//! |---|---|---|
//! | small | [`SMALL_BYTES`] | data of small I/O commands |
//! | large | [`LARGE_BYTES`] or an eighth of the largest transfer | data of the others: as many as it takes |
//! | receives | a page, in-capsule bytes | command capsules of I/O queues |
//! | admin data | [`ADMIN_CHUNK_BYTES`] | data of admin commands and of Connect |
//! | admin receives | [`ADMIN_RECEIVE_BYTES`] | command capsules of admin queues |
//!
//! Admin queues have memory of their own, so that keep-alives get through whatever I/O does.

use dma::{DmaBuf, MemoryOptions, Pool, PoolError, PoolOptions, Region, ScatterList};
use nvme_spec::sqe::SQE_BYTES;
use nvmf::controller::Limits;
use nvmf::wire::CONNECT_DATA_BYTES;

use crate::engine::BufferOptions;

/// Bytes of a small chunk.
pub(super) const SMALL_BYTES: u32 = 8192;

/// Bytes of a large chunk, unless transfers can be so large that a scatter list would get too long.
const LARGE_BYTES: u32 = 128 << 10;

/// Most segments of a scatter list.
const SEGMENTS_MAX: u32 = 8;

/// The part of the data buffers that is cut into small chunks: an eighth.
const SMALL_SHARE: u64 = 8;

/// What devices want data to begin at a multiple of.
const PAGE_BYTES: u32 = 4096;

/// Bytes of a chunk for the data of admin commands: Identify's.
pub(super) const ADMIN_CHUNK_BYTES: u32 = 4096;

/// Chunks for the data of admin commands.
const ADMIN_CHUNKS: u32 = 256;

/// Bytes of a capsule of an admin queue: a command, and Connect's data if a host puts it there.
#[allow(clippy::cast_possible_truncation, reason = "1088")]
pub(super) const ADMIN_RECEIVE_BYTES: u32 = (SQE_BYTES + CONNECT_DATA_BYTES) as u32;

/// Capsules of admin queues that can have arrived and not be done with. They are done with in the turn that sees them.
pub(super) const ADMIN_RECEIVES: u32 = 512;

/// The size of chunks that a command's data takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Small,
    Large,
}

impl Class {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// As an index.
    #[inline]
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// What a command's data takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) class: Class,
    pub(super) chunks: u32,
    pub(super) bytes: u32,
}

/// See the module's words.
#[derive(Debug)]
pub(crate) struct Buffers {
    pools: [Pool; 2],
    chunks: [u32; 2],
    large_bytes: u32,
    admin: Pool,
    receives: Pool,
    admin_receives: Pool,
    /// Bytes of a capsule of an I/O queue.
    capsule_bytes: u32,
}

fn pool(chunk_bytes: u32, chunks: u32) -> Result<Pool, PoolError> {
    Pool::new(PoolOptions { chunk_bytes, chunks, memory: MemoryOptions::default() })
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl Buffers {
    /// Takes the memory; admin receives are for so many ports.
    pub(crate) fn new(options: &BufferOptions, limits: &Limits, ports: u32) -> Result<Self, PoolError> {
        let large_bytes =
            LARGE_BYTES.max((limits.transfer_bytes_max / SEGMENTS_MAX).next_multiple_of(PAGE_BYTES));
        let small_share = options.data_bytes / SMALL_SHARE;
        let small = narrow(small_share / u64::from(SMALL_BYTES)).max(1);
        let largest = limits.transfer_bytes_max.div_ceil(large_bytes);
        let large = narrow((options.data_bytes - small_share) / u64::from(large_bytes)).max(largest);
        #[allow(clippy::cast_possible_truncation, reason = "64")]
        let capsule_bytes = SQE_BYTES as u32 + limits.in_capsule_bytes;
        Ok(Self {
            pools: [pool(SMALL_BYTES, small)?, pool(large_bytes, large)?],
            chunks: [small, large],
            large_bytes,
            admin: pool(ADMIN_CHUNK_BYTES, ADMIN_CHUNKS)?,
            receives: pool(
                PAGE_BYTES + limits.in_capsule_bytes.next_multiple_of(PAGE_BYTES),
                options.receives,
            )?,
            admin_receives: pool(ADMIN_RECEIVE_BYTES, ADMIN_RECEIVES * ports)?,
            capsule_bytes,
        })
    }

    /// The memory that RDMA devices have to know.
    pub(crate) fn all_regions(&self) -> [&Region; 5] {
        let [small, large] = &self.pools;
        [small, large, &self.admin, &self.receives, &self.admin_receives].map(Pool::region)
    }

    /// The memory that block devices have to know.
    pub(crate) fn data_regions(&self) -> [&Region; 3] {
        let [small, large] = &self.pools;
        [small, large, &self.receives].map(Pool::region)
    }

    /// What so many bytes take: at most the largest transfer.
    #[inline]
    pub(super) fn need(&self, bytes: u32) -> Need {
        if bytes <= SMALL_BYTES {
            Need { class: Class::Small, chunks: 1, bytes }
        } else {
            Need { class: Class::Large, chunks: bytes.div_ceil(self.large_bytes), bytes }
        }
    }

    /// All chunks of a class.
    #[inline]
    pub(super) const fn chunks(&self, class: Class) -> u32 {
        self.chunks[class.index()]
    }

    /// Whether it is there.
    #[inline]
    pub(super) fn has(&self, need: Need) -> bool {
        self.pools[need.class.index()].available() >= need.chunks as usize
    }

    /// Takes the memory; `None` if it is not all there.
    #[inline]
    pub(super) fn take(&self, need: Need) -> Option<ScatterList> {
        let pool = &self.pools[need.class.index()];
        if need.chunks == 1 {
            let mut only = pool.take()?;
            only.truncate(need.bytes);
            return Some(only.into_segment().into());
        }
        let mut left = need.bytes;
        let mut list = ScatterList::default();
        for _ in 0..need.chunks {
            let mut chunk = pool.take()?;
            chunk.truncate(left);
            left -= chunk.bytes();
            list.push(chunk.into_segment());
        }
        Some(list)
    }

    /// A chunk for the data of an admin command.
    pub(super) fn take_admin(&self) -> Option<DmaBuf> {
        self.admin.take()
    }

    /// A buffer for a capsule of an I/O queue. What lies behind the entry begins on a page, as devices want it.
    #[inline]
    pub(super) fn take_receive(&self) -> Option<DmaBuf> {
        #[allow(clippy::cast_possible_truncation, reason = "64")]
        const BEFORE: u32 = PAGE_BYTES - SQE_BYTES as u32;
        let whole = self.receives.take()?.into_segment();
        let capsule = whole.slice(BEFORE, self.capsule_bytes)?;
        drop(whole);
        DmaBuf::from_segment(capsule).ok()
    }

    /// A buffer for a capsule of an admin queue.
    pub(super) fn take_admin_receive(&self) -> Option<DmaBuf> {
        self.admin_receives.take()
    }

    /// Bytes of data buffers: all, and those that are free.
    pub(super) fn data_bytes(&self) -> (u64, u64) {
        let bytes =
            |chunks: [u64; 2]| chunks[0] * u64::from(SMALL_BYTES) + chunks[1] * u64::from(self.large_bytes);
        let free = |class: Class| self.pools[class.index()].available() as u64;
        (bytes(self.chunks.map(u64::from)), bytes(Class::ALL.map(free)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers() -> Buffers {
        let options = BufferOptions { data_bytes: 4 << 20, receives: 64, ..BufferOptions::default() };
        Buffers::new(&options, &Limits::default(), 1).unwrap()
    }

    #[test]
    fn data_is_as_long_as_it_is_to_be() {
        let buffers = buffers();
        for (bytes, segments) in [(512, 1), (8192, 1), (8704, 1), (131_072, 1), (131_584, 2), (1 << 20, 8)] {
            let list = buffers.take(buffers.need(bytes)).unwrap();
            assert_eq!((list.bytes(), list.segments().len()), (u64::from(bytes), segments));
        }
        let (all, free) = buffers.data_bytes();
        assert_eq!(all, free, "everything has come back");
    }

    #[test]
    fn what_is_not_all_there_is_not_taken() {
        let buffers = buffers();
        let need = buffers.need(1 << 20);
        let taken: Vec<_> = std::iter::from_fn(|| buffers.take(need)).collect();
        assert_eq!(taken.len(), 3, "of 28 chunks");
        assert!(!buffers.has(need) && buffers.take(need).is_none());
        assert!(buffers.has(buffers.need(4 * 131_072)), "the failed one has given back what it had");
    }

    #[test]
    fn in_capsule_data_begins_on_a_page() {
        let receive = buffers().take_receive().unwrap();
        assert_eq!((receive.bytes(), (receive.region_offset() + 64) % 4096), (64 + 8192, 0));
    }
}
