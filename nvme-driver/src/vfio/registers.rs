//! A function's registers, mapped: the only accesses to memory-mapped I/O.
//!
//! No reference to the mapping is ever formed; every access is one volatile load or store of 32 bits. A function that
//! has been removed answers with all ones. The kernel maps the registers uncached.
#![allow(unsafe_code, reason = "memory-mapped registers")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

/// Most bytes that are mapped: registers, and doorbells of all queues at any usual stride. What may follow them in
/// BAR 0 (a controller memory buffer, the MSI-X table) is not used through this mapping.
const REGISTER_BYTES_MAX: u32 = 1 << 20;

/// A mapping of BAR 0, until it is dropped.
#[derive(Debug)]
pub(super) struct Registers {
    base: NonNull<u8>,
    bytes: u32,
}

// SAFETY: `base` points to a mapping that this value owns alone until it is dropped; accesses are single volatile loads
// and stores, which hardware serialises.
unsafe impl Send for Registers {}
// SAFETY: as for Send.
unsafe impl Sync for Registers {}

impl Registers {
    /// Maps `bytes` bytes of a VFIO device from `offset`, or as many of them as are used.
    pub(super) fn map(device: BorrowedFd<'_>, offset: u64, bytes: u64) -> io::Result<Self> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(REGISTER_BYTES_MAX);
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: the kernel chooses the place, so no mapping of anybody else is replaced.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), bytes as usize, protection, flags, device.as_raw_fd(), offset)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { base, bytes })
    }

    /// Bytes of the mapping.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Later memory accesses are not moved before it.
    #[inline]
    pub(super) fn read(&self, offset: u32) -> u32 {
        let register = self.at(offset);
        // SAFETY: `at` checked place and alignment; the mapping lives as long as `self`.
        let value = unsafe { register.read_volatile() };
        barrier::after_read();
        u32::from_le(value)
    }

    /// Earlier memory accesses are visible to the device first.
    #[inline]
    pub(super) fn write(&self, offset: u32, value: u32) {
        let register = self.at(offset);
        barrier::before_write();
        // SAFETY: as in `read`. What the store makes the device do is bounded by the IOMMU.
        unsafe { register.write_volatile(value.to_le()) };
    }

    #[inline]
    fn at(&self, offset: u32) -> NonNull<u32> {
        let end = u64::from(offset) + size_of::<u32>() as u64;
        assert!(
            offset.is_multiple_of(4) && end <= u64::from(self.bytes),
            "the driver uses registers inside BAR 0 only"
        );
        // SAFETY: just checked to be inside the mapping.
        unsafe { self.base.add(offset as usize) }.cast()
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody accesses it after this.
        let _ = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes as usize) };
    }
}

/// What keeps memory and device accesses in order.
#[cfg(target_arch = "x86_64")]
mod barrier {
    use std::sync::atomic::{Ordering, compiler_fence};

    /// Uncached accesses are not reordered with others by the processor, so the compiler alone has to be told.
    #[inline]
    pub(super) fn after_read() {
        compiler_fence(Ordering::Acquire);
    }

    #[inline]
    pub(super) fn before_write() {
        compiler_fence(Ordering::Release);
    }
}

/// What keeps memory and device accesses in order.
#[cfg(target_arch = "aarch64")]
mod barrier {
    use std::arch::asm;

    /// The language's fences order the inner shareable domain only; devices are in the outer one.
    #[inline]
    pub(super) fn after_read() {
        // SAFETY: a barrier changes no register and no memory.
        unsafe { asm!("dmb oshld", options(nostack, preserves_flags)) };
    }

    #[inline]
    pub(super) fn before_write() {
        // SAFETY: a barrier changes no register and no memory.
        unsafe { asm!("dmb osh", options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the barriers between memory and device accesses are not written for this processor");

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    /// A file in the place of a device: the mapping and the accesses are the same.
    fn file() -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 4096]).unwrap();
        file.write_all(&[0x78, 0x56, 0x34, 0x12]).unwrap();
        file.set_len(3 << 20).unwrap();
        file
    }

    #[test]
    fn registers_are_little_endian_words_at_their_offset() {
        let file = file();
        let registers = Registers::map(file.as_fd(), 4096, 8192).unwrap();
        assert_eq!((registers.read(0), registers.read(4)), (0x1234_5678, 0));
        registers.write(8188, 0xa1b2_c3d4);
        let mut bytes = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 4096 + 8188).unwrap();
        assert_eq!(bytes, [0xd4, 0xc3, 0xb2, 0xa1]);
    }

    #[test]
    fn a_large_bar_is_mapped_in_part() {
        let registers = Registers::map(file().as_fd(), 0, 1 << 40).unwrap();
        assert_eq!(registers.bytes(), REGISTER_BYTES_MAX);
    }

    #[test]
    #[should_panic(expected = "inside BAR 0")]
    fn nothing_outside_is_touched() {
        Registers::map(file().as_fd(), 0, 4096).unwrap().read(4096);
    }
}
