//! One mapping of memory that devices may read and write at any time.
//!
//! A device (or the thread that plays one) writes this memory without telling the compiler, so no accessor hands out a
//! reference: all copy, through raw pointers, after a bounds check. A racing device write gives torn bytes, never
//! undefined values of a Rust type, because only plain integers and bytes are read.
#![allow(
    unsafe_code,
    reason = "the only mmap of the project, and the only accesses to memory that a device can write"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use thiserror::Error;

/// Bytes of the hugepages that DMA memory is made of, where there are some.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Bytes of an ordinary page; also the smallest IOMMU page of every machine that we run on.
const PAGE_BYTES: usize = 4096;

/// A NUMA node's number, as in `/sys/devices/system/node/nodeN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumaNode(pub u32);

/// The highest NUMA node number that can be asked for (the kernel's usual CONFIG_NODES_SHIFT allows 1024 nodes).
const NUMA_NODES_MAX: u32 = 1024;

/// get_mempolicy(2): answer with a node, of the page at an address. The libc crate lacks both.
const MPOL_F_NODE: usize = 1;
const MPOL_F_ADDR: usize = 2;

/// What a memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// 2 MiB hugepages: never swapped, few IOMMU and TLB entries.
    Huge,
    /// Ordinary pages, locked.
    Locked,
    /// Ordinary pages that could not be locked. Good for software devices; an IOMMU pins what it maps itself.
    Unlocked,
    /// Memory of another device (a GPU), known by a dma-buf descriptor; the CPU cannot reach it.
    DmaBuf,
}

/// How a memory is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryOptions {
    /// The NUMA node to take pages from; the kernel's choice if `None`.
    pub numa_node: Option<NumaNode>,
    /// Take ordinary pages even where there are hugepages.
    pub ordinary_pages: bool,
}

/// Why there is no memory.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// A length of zero, or one that overflows when it is rounded up to pages.
    #[error("a DMA memory of {bytes} bytes cannot be made")]
    Length {
        /// The length asked for.
        bytes: usize,
    },
    /// The kernel has no memory for us.
    #[error("the kernel gave no {bytes} bytes of DMA memory: {source}")]
    Exhausted {
        /// The length asked for, rounded up to pages.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The pages could not be bound to the NUMA node.
    #[error("DMA memory cannot be bound to NUMA node {}: {source}", node.0)]
    Numa {
        /// The node asked for.
        node: NumaNode,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Why an access was refused. Nothing was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AccessError {
    /// The range is not inside the memory.
    #[error("bytes {offset}+{bytes} are outside a memory of {memory_bytes} bytes")]
    OutOfBounds {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        bytes: usize,
        /// Bytes of the memory.
        memory_bytes: usize,
    },
    /// An atomic access that is not naturally aligned.
    #[error("offset {offset} is not aligned for an atomic access")]
    Misaligned {
        /// Byte offset of the access.
        offset: u64,
    },
    /// The memory belongs to a device; the CPU has no pointer to it.
    #[error("the CPU cannot reach this memory")]
    NoCpuPointer,
}

/// One mapping. Freed on drop; see [`crate::Region`] for who may keep it.
#[derive(Debug)]
pub struct Memory {
    cpu: Option<NonNull<u8>>,
    bytes: usize,
    backing: Backing,
    numa_node: Option<NumaNode>,
    dma_buf: Option<OwnedFd>,
}

// SAFETY: `cpu` points to a mapping that this value owns alone until it is dropped; the accessors copy integers and
// bytes and form no reference, so accesses by several threads cannot break a Rust invariant.
unsafe impl Send for Memory {}
// SAFETY: as for Send.
unsafe impl Sync for Memory {}

impl Memory {
    /// Makes a zeroed memory of at least `bytes` bytes, rounded up to whole pages, faulted in and locked if allowed.
    ///
    /// Falls back from hugepages to ordinary pages, and from locked to unlocked ones, and says each once.
    pub fn new(bytes: usize, options: MemoryOptions) -> Result<Self, MemoryError> {
        if let Some(memory) = Self::huge(bytes, options)? {
            return Ok(memory);
        }
        let length = round_up(bytes, PAGE_BYTES)?;
        let cpu = map(length, 0).map_err(|source| MemoryError::Exhausted { bytes: length, source })?;
        let mut memory = Self::owning(cpu, length, Backing::Unlocked);
        memory.bind(options.numa_node)?;
        memory.advise(libc::MADV_HUGEPAGE);
        memory.backing = memory.lock();
        memory.settle();
        Ok(memory)
    }

    /// Another device's memory (a GPU's), known by its dma-buf descriptor. The CPU cannot reach it.
    pub fn from_dma_buf(descriptor: OwnedFd, bytes: usize) -> Result<Self, MemoryError> {
        if bytes == 0 {
            return Err(MemoryError::Length { bytes });
        }
        Ok(Self { cpu: None, bytes, backing: Backing::DmaBuf, numa_node: None, dma_buf: Some(descriptor) })
    }

    fn huge(bytes: usize, options: MemoryOptions) -> Result<Option<Self>, MemoryError> {
        let length = round_up(bytes, HUGE_PAGE_BYTES)?;
        if options.ordinary_pages {
            return Ok(None);
        }
        let Ok(cpu) = map(length, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB) else {
            say_no_hugepages();
            return Ok(None);
        };
        let mut memory = Self::owning(cpu, length, Backing::Huge);
        memory.bind(options.numa_node)?;
        memory.settle();
        Ok(Some(memory))
    }

    fn owning(cpu: NonNull<u8>, bytes: usize, backing: Backing) -> Self {
        Self { cpu: Some(cpu), bytes, backing, numa_node: None, dma_buf: None }
    }

    /// Faults the pages in, keeps them out of children, and learns where they are.
    fn settle(&mut self) {
        self.advise(libc::MADV_POPULATE_WRITE);
        // A child's copy-on-write would move the parent's page away from under the device.
        self.advise(libc::MADV_DONTFORK);
        self.numa_node = self.node_of_first_page();
    }

    fn advise(&self, advice: libc::c_int) {
        let Some(cpu) = self.cpu else { return };
        // SAFETY: the range is the mapping that `self` owns. The advices used here keep its content; a kernel that does
        // not know one refuses it, which costs speed only.
        let _ = unsafe { libc::madvise(cpu.as_ptr().cast(), self.bytes, advice) };
    }

    fn lock(&self) -> Backing {
        let Some(cpu) = self.cpu else { return Backing::Unlocked };
        // SAFETY: mlock changes no content; the range is the mapping that `self` owns.
        let refused = unsafe { libc::mlock(cpu.as_ptr().cast(), self.bytes) } != 0;
        if refused {
            say_unlocked(&io::Error::last_os_error());
            return Backing::Unlocked;
        }
        Backing::Locked
    }

    fn bind(&mut self, node: Option<NumaNode>) -> Result<(), MemoryError> {
        let (Some(node), Some(cpu)) = (node, self.cpu) else { return Ok(()) };
        let refused = |source| MemoryError::Numa { node, source };
        if node.0 >= NUMA_NODES_MAX {
            return Err(refused(io::Error::from_raw_os_error(libc::EINVAL)));
        }
        let mut mask = [0u64; NUMA_NODES_MAX as usize / 64];
        mask[node.0 as usize / 64] = 1 << (node.0 % 64);
        // SAFETY: the range is the mapping that `self` owns, and `mask` outlives the call and has as many bits as the
        // call is told (the kernel's `maxnode` counts one more).
        let answer = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                cpu.as_ptr(),
                self.bytes,
                libc::MPOL_BIND,
                mask.as_ptr(),
                NUMA_NODES_MAX as usize + 1,
                0,
            )
        };
        if answer == 0 { Ok(()) } else { Err(refused(io::Error::last_os_error())) }
    }

    fn node_of_first_page(&self) -> Option<NumaNode> {
        let cpu = self.cpu?;
        let mut node: libc::c_int = -1;
        // SAFETY: `node` outlives the call; the address is inside the mapping that `self` owns and is only looked up.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_get_mempolicy,
                &raw mut node,
                ptr::null_mut::<u64>(),
                0usize,
                cpu.as_ptr(),
                MPOL_F_NODE | MPOL_F_ADDR,
            )
        };
        if answer == 0 { u32::try_from(node).ok().map(NumaNode) } else { None }
    }

    /// Bytes of the memory, a multiple of its page size.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the memory is made of.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// The NUMA node of the first page, where the kernel tells.
    #[must_use]
    pub fn numa_node(&self) -> Option<NumaNode> {
        self.numa_node
    }

    /// The dma-buf descriptor of a memory that belongs to another device.
    #[must_use]
    pub fn dma_buf(&self) -> Option<BorrowedFd<'_>> {
        self.dma_buf.as_ref().map(AsFd::as_fd)
    }

    /// The first byte's address, for system calls and for mapping; `None` if the CPU cannot reach the memory.
    ///
    /// A caller may hand it to the kernel or to hardware, and must form no reference to what it points to.
    #[must_use]
    pub fn as_ptr(&self) -> Option<NonNull<u8>> {
        self.cpu
    }

    /// The address of `offset`, if `bytes` bytes from there are inside the memory and the CPU can reach it.
    #[inline]
    pub fn address(&self, offset: u64, bytes: usize) -> Result<NonNull<u8>, AccessError> {
        let cpu = self.cpu.ok_or(AccessError::NoCpuPointer)?;
        let start = self.check(offset, bytes)?;
        // SAFETY: `check` says that `start` is inside the mapping (or one past its end for an empty range).
        Ok(unsafe { cpu.add(start) })
    }

    #[inline]
    fn check(&self, offset: u64, bytes: usize) -> Result<usize, AccessError> {
        let outside = AccessError::OutOfBounds { offset, bytes, memory_bytes: self.bytes };
        let start = usize::try_from(offset).map_err(|_| outside)?;
        let end = start.checked_add(bytes).ok_or(outside)?;
        if end > self.bytes { Err(outside) } else { Ok(start) }
    }

    /// Copies bytes out.
    #[inline]
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let from = self.address(offset, into.len())?;
        // SAFETY: `address` checked the range; `into` is an exclusive Rust slice, which never lies in a mapping that
        // this module made, since no reference into one exists.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies bytes in.
    #[inline]
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        let into = self.address(offset, from.len())?;
        // SAFETY: as in `read`, the other way round.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into.as_ptr(), from.len()) };
        Ok(())
    }

    /// Sets bytes.
    pub fn fill(&self, offset: u64, bytes: usize, value: u8) -> Result<(), AccessError> {
        let into = self.address(offset, bytes)?;
        // SAFETY: `address` checked the range, and no Rust reference into the mapping exists.
        unsafe { ptr::write_bytes(into.as_ptr(), value, bytes) };
        Ok(())
    }

    /// Copies bytes from one memory to another (or within one, if the ranges overlap).
    pub fn copy(&self, offset: u64, to: &Memory, to_offset: u64, bytes: usize) -> Result<(), AccessError> {
        let from = self.address(offset, bytes)?;
        let into = to.address(to_offset, bytes)?;
        // SAFETY: `address` checked both ranges; `copy` allows overlap; no Rust reference into either mapping exists.
        unsafe { ptr::copy(from.as_ptr(), into.as_ptr(), bytes) };
        Ok(())
    }

    /// Loads a 32-bit value in the machine's order; later loads are not moved before it.
    #[inline]
    pub fn load_u32(&self, offset: u64) -> Result<u32, AccessError> {
        let at = self.aligned::<u32>(offset)?;
        // SAFETY: `aligned` checked range and alignment. The value is shared with a device or thread, hence atomic.
        let shared = unsafe { AtomicU32::from_ptr(at.as_ptr()) };
        Ok(shared.load(Ordering::Acquire))
    }

    /// Stores a 32-bit value in the machine's order; earlier stores are not moved after it.
    #[inline]
    pub fn store_u32(&self, offset: u64, value: u32) -> Result<(), AccessError> {
        let at = self.aligned::<u32>(offset)?;
        // SAFETY: as in `load_u32`.
        let shared = unsafe { AtomicU32::from_ptr(at.as_ptr()) };
        shared.store(value, Ordering::Release);
        Ok(())
    }

    /// Loads a 64-bit value in the machine's order; later loads are not moved before it.
    pub fn load_u64(&self, offset: u64) -> Result<u64, AccessError> {
        let at = self.aligned::<u64>(offset)?;
        // SAFETY: as in `load_u32`.
        let shared = unsafe { AtomicU64::from_ptr(at.as_ptr()) };
        Ok(shared.load(Ordering::Acquire))
    }

    /// Stores a 64-bit value in the machine's order; earlier stores are not moved after it.
    #[inline]
    pub fn store_u64(&self, offset: u64, value: u64) -> Result<(), AccessError> {
        let at = self.aligned::<u64>(offset)?;
        // SAFETY: as in `load_u32`.
        let shared = unsafe { AtomicU64::from_ptr(at.as_ptr()) };
        shared.store(value, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn aligned<T>(&self, offset: u64) -> Result<NonNull<T>, AccessError> {
        let at = self.address(offset, size_of::<T>())?.cast::<T>();
        if at.is_aligned() { Ok(at) } else { Err(AccessError::Misaligned { offset }) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Some(cpu) = self.cpu else { return };
        // SAFETY: `self` owns the mapping alone, made by `map` with this length; a Region keeps the memory for as long
        // as a device could reach it.
        let answer = unsafe { libc::munmap(cpu.as_ptr().cast(), self.bytes) };
        debug_assert_eq!(answer, 0, "munmap of a mapping that we made");
    }
}

fn map(bytes: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

fn round_up(bytes: usize, unit: usize) -> Result<usize, MemoryError> {
    match bytes.checked_next_multiple_of(unit) {
        Some(length) if length > 0 && isize::try_from(length).is_ok() => Ok(length),
        _ => Err(MemoryError::Length { bytes }),
    }
}

fn say_no_hugepages() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::info!(
            "no free 2 MiB hugepages: DMA memory is made of ordinary pages, which costs IOMMU and TLB entries \
             (a few per cent on a real drive); reserve some with `sysctl vm.nr_hugepages=512`"
        );
    });
}

fn say_unlocked(why: &io::Error) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "DMA memory could not be locked ({why}): software devices work, but a page may be swapped out; \
             raise the limit with `ulimit -l` or LimitMEMLOCK="
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory::new(3 * PAGE_BYTES, MemoryOptions { ordinary_pages: true, ..Default::default() }).unwrap()
    }

    #[test]
    fn is_zeroed_and_rounded_up_to_pages() {
        let memory =
            Memory::new(PAGE_BYTES + 1, MemoryOptions { ordinary_pages: true, ..Default::default() })
                .unwrap();
        assert_eq!(memory.bytes(), 2 * PAGE_BYTES);
        let mut bytes = vec![1; memory.bytes()];
        memory.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_written_is_read_and_nothing_beside_it() {
        let memory = memory();
        memory.write(5, b"remora").unwrap();
        let mut bytes = [9; 8];
        memory.read(4, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0remora\0");
    }

    #[test]
    fn every_access_outside_is_refused() {
        let memory = memory();
        let end = memory.bytes() as u64;
        memory.write(end, &[]).unwrap();
        assert!(matches!(memory.write(end - 3, &[0; 4]), Err(AccessError::OutOfBounds { .. })));
        assert!(matches!(memory.read(u64::MAX, &mut [0; 1]), Err(AccessError::OutOfBounds { .. })));
        assert!(matches!(memory.fill(1, usize::MAX, 0), Err(AccessError::OutOfBounds { .. })));
        assert!(matches!(memory.load_u32(end), Err(AccessError::OutOfBounds { .. })));
        assert_eq!(memory.store_u64(4, 1), Err(AccessError::Misaligned { offset: 4 }));
    }

    #[test]
    fn atomics_use_the_machine_order() {
        let memory = memory();
        memory.store_u32(8, 0x0403_0201).unwrap();
        let mut bytes = [0; 4];
        memory.read(8, &mut bytes).unwrap();
        assert_eq!(bytes, 0x0403_0201u32.to_ne_bytes());
        assert_eq!(memory.load_u32(8).unwrap(), 0x0403_0201);
        memory.store_u64(16, 7).unwrap();
        assert_eq!(memory.load_u64(16).unwrap(), 7);
    }

    #[test]
    fn copies_within_and_between() {
        let (a, b) = (memory(), memory());
        a.write(0, b"abcdef").unwrap();
        a.copy(0, &a, 2, 4).unwrap();
        a.copy(0, &b, 100, 6).unwrap();
        let mut bytes = [0; 6];
        b.read(100, &mut bytes).unwrap();
        assert_eq!(&bytes, b"ababcd");
    }

    #[test]
    fn impossible_lengths_and_nodes_are_errors() {
        assert!(matches!(Memory::new(0, MemoryOptions::default()), Err(MemoryError::Length { .. })));
        assert!(matches!(Memory::new(usize::MAX, MemoryOptions::default()), Err(MemoryError::Length { .. })));
        let far = MemoryOptions { numa_node: Some(NumaNode(1023)), ordinary_pages: true };
        assert!(matches!(Memory::new(4096, far), Err(MemoryError::Numa { .. })));
    }

    #[test]
    fn a_gpus_memory_has_no_cpu_pointer() {
        let descriptor = std::fs::File::open("/dev/null").unwrap().into();
        let memory = Memory::from_dma_buf(descriptor, 1 << 30).unwrap();
        assert_eq!(memory.read(0, &mut [0; 1]), Err(AccessError::NoCpuPointer));
        assert!(memory.as_ptr().is_none() && memory.dma_buf().is_some());
    }
}
