//! A memory with a process-wide number, so that a device's table of addresses is one array.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use thiserror::Error;

use crate::memory::{Memory, MemoryError, MemoryOptions};

/// The most regions that a process can have at once.
pub const REGIONS_MAX: usize = 1024;

/// A region's number: below [`REGIONS_MAX`], not used again before the region is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(u16);

impl RegionId {
    /// The number as an index into a table of [`REGIONS_MAX`] entries.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Why there is no region.
#[derive(Debug, Error)]
pub enum RegionError {
    /// All numbers are in use.
    #[error("this process has {REGIONS_MAX} DMA regions already")]
    TooMany,
    /// There is no memory for it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Why a region cannot be made known to a device.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The CPU has no pointer to it, and this device can map nothing else.
    #[error("{device} cannot reach the memory of another device")]
    NotMappable {
        /// What was asked to map it.
        device: String,
    },
    /// The IOMMU or the RDMA device refused.
    #[error("{device} cannot map {bytes} bytes for DMA: {reason}")]
    Refused {
        /// What was asked to map it.
        device: String,
        /// Bytes of the region.
        bytes: usize,
        /// The refusal, with what helps against it where that is known.
        reason: String,
    },
    /// The device is gone.
    #[error("{device} is gone")]
    Gone {
        /// What was asked to map it.
        device: String,
    },
}

/// The domain could not take the region out of the device's reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the device may still reach the region")]
pub struct DetachError;

/// A domain that a region can be attached to: an IOMMU domain, an RDMA protection domain, a software device.
pub trait Attachment: Send + Sync {
    /// Takes the region out of the device's reach. Called once, when the last handle of the region is dropped.
    ///
    /// # Errors
    /// [`DetachError`] if the device may still reach it; then its memory is never freed and its number never reused.
    fn detach(&self, region: RegionId) -> Result<(), DetachError>;
}

/// DMA memory with a number. A handle; the memory is freed when the last one is dropped and every domain has let go.
#[derive(Clone)]
pub struct Region {
    inner: Arc<Inner>,
}

struct Inner {
    id: RegionId,
    memory: Arc<Memory>,
    attachments: Mutex<Vec<Weak<dyn Attachment>>>,
}

impl Region {
    /// Makes new memory of at least `bytes` bytes into a region.
    pub fn new(bytes: usize, options: MemoryOptions) -> Result<Self, RegionError> {
        Self::from_memory(Memory::new(bytes, options)?)
    }

    /// Gives an existing memory a number.
    pub fn from_memory(memory: Memory) -> Result<Self, RegionError> {
        let id = numbers().take().ok_or(RegionError::TooMany)?;
        let inner = Inner { id, memory: Arc::new(memory), attachments: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The region's number.
    #[inline]
    #[must_use]
    pub fn id(&self) -> RegionId {
        self.inner.id
    }

    /// The memory. Whoever clones it keeps the bytes, though not the number, beyond the region's end.
    #[inline]
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.inner.memory
    }

    /// Notes that `domain` has mapped the region, so that it is told when the region ends.
    pub fn attached_to(&self, domain: Weak<dyn Attachment>) {
        lock(&self.inner.attachments).push(domain);
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("id", &self.inner.id).field("memory", &self.inner.memory).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let domains = std::mem::take(&mut *lock(&self.attachments));
        let mut reachable = false;
        for domain in domains.iter().filter_map(Weak::upgrade) {
            reachable |= domain.detach(self.id).is_err();
        }
        if reachable {
            // Freed memory that a device still writes is the one thing worse than a leak.
            tracing::error!(
                bytes = self.memory.bytes(),
                "a device may still write a DMA region: its memory is kept"
            );
            std::mem::forget(Arc::clone(&self.memory));
        } else {
            numbers().give_back(self.id);
        }
    }
}

/// The numbers in use, one bit each.
struct Numbers([u64; REGIONS_MAX / 64]);

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers([0; REGIONS_MAX / 64]));

fn numbers() -> MutexGuard<'static, Numbers> {
    lock(&NUMBERS)
}

impl Numbers {
    fn take(&mut self) -> Option<RegionId> {
        let (word, bits) = self.0.iter_mut().enumerate().find(|(_, bits)| **bits != u64::MAX)?;
        let bit = bits.trailing_ones();
        *bits |= 1 << bit;
        u16::try_from(word * 64 + bit as usize).ok().map(RegionId)
    }

    fn give_back(&mut self, id: RegionId) {
        let mask = 1u64 << (id.index() % 64);
        assert!(self.0[id.index() / 64] & mask != 0, "a region's number is given back once");
        self.0[id.index() / 64] &= !mask;
    }
}

/// No invariant spans a panic in these short sections, so a poisoned lock is taken as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Domain {
        detached: AtomicUsize,
        stuck: bool,
    }

    impl Attachment for Domain {
        fn detach(&self, _: RegionId) -> Result<(), DetachError> {
            self.detached.fetch_add(1, Ordering::Relaxed);
            if self.stuck { Err(DetachError) } else { Ok(()) }
        }
    }

    fn region() -> Region {
        Region::new(4096, MemoryOptions { ordinary_pages: true, ..Default::default() }).unwrap()
    }

    #[test]
    fn every_domain_is_told_once_when_the_last_handle_goes() {
        let domain = Arc::new(Domain::default());
        let weak: Weak<dyn Attachment> = Arc::downgrade(&domain) as _;
        let region = region();
        region.attached_to(weak);
        let other = region.clone();
        drop(region);
        assert_eq!(domain.detached.load(Ordering::Relaxed), 0);
        drop(other);
        assert_eq!(domain.detached.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn memory_that_a_device_may_still_write_is_never_freed() {
        let domain = Arc::new(Domain { stuck: true, ..Default::default() });
        let region = region();
        let weak: Weak<dyn Attachment> = Arc::downgrade(&domain) as _;
        region.attached_to(weak);
        let memory = Arc::downgrade(region.memory());
        drop(region);
        assert!(memory.upgrade().is_some());
    }

    #[test]
    fn numbers_are_distinct_and_bounded() {
        let mut numbers = Numbers([0; REGIONS_MAX / 64]);
        let taken: Vec<_> = std::iter::from_fn(|| numbers.take()).collect();
        assert_eq!(taken.len(), REGIONS_MAX);
        assert!(taken.windows(2).all(|pair| pair[0] < pair[1]));
        numbers.give_back(taken[700]);
        assert_eq!(numbers.take(), Some(taken[700]));
    }
}
