//! The requests of linux/vfio.h that we make, each with the kernel's own answer.
//!
//! The crate vfio-ioctls was looked at and left: it loses the error number where ours tells the user what to do (group
//! into container, interrupts, reset), and its drop opens the group anew and panics when the function has been removed.
#![allow(unsafe_code, reason = "system calls on VFIO descriptors")]

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use dma::Memory;
use vfio_bindings::bindings::vfio::{
    VFIO_BASE, VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE, VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE, VFIO_TYPE, vfio_device_info, vfio_group_status,
    vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap, vfio_iommu_type1_info, vfio_irq_info,
    vfio_region_info,
};

/// Most bytes of an answer with capabilities; the kernel's are a few hundred.
const INFO_BYTES_MAX: u32 = 64 << 10;

/// The 32-bit words of `struct vfio_irq_set` before its descriptors.
const IRQ_SET_HEADER_WORDS: usize = 5;

/// `_IO(VFIO_TYPE, VFIO_BASE + n)`.
const fn request(number: u32) -> libc::Ioctl {
    ((VFIO_TYPE as libc::Ioctl) << 8) | (VFIO_BASE + number) as libc::Ioctl
}

const GET_API_VERSION: libc::Ioctl = request(0);
const CHECK_EXTENSION: libc::Ioctl = request(1);
const SET_IOMMU: libc::Ioctl = request(2);
const GROUP_GET_STATUS: libc::Ioctl = request(3);
const GROUP_SET_CONTAINER: libc::Ioctl = request(4);
const GROUP_GET_DEVICE_FD: libc::Ioctl = request(6);
const DEVICE_GET_INFO: libc::Ioctl = request(7);
const DEVICE_GET_REGION_INFO: libc::Ioctl = request(8);
const DEVICE_GET_IRQ_INFO: libc::Ioctl = request(9);
const DEVICE_SET_IRQS: libc::Ioctl = request(10);
const DEVICE_RESET: libc::Ioctl = request(11);
const IOMMU_GET_INFO: libc::Ioctl = request(12);
const IOMMU_MAP_DMA: libc::Ioctl = request(13);
const IOMMU_UNMAP_DMA: libc::Ioctl = request(14);

/// # Safety
/// `argument` is an integer in the place of a pointer, or points to what the kernel expects for `request`, for reading
/// and writing as far as the structure's `argsz` says, until the call returns.
unsafe fn call(descriptor: BorrowedFd<'_>, request: libc::Ioctl, argument: *mut c_void) -> io::Result<c_int> {
    // SAFETY: the descriptor is open as long as it is borrowed; the caller vouches for `argument`.
    let answer = unsafe { libc::ioctl(descriptor.as_raw_fd(), request, argument) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// A request whose argument is a plain number.
fn call_with(descriptor: BorrowedFd<'_>, request: libc::Ioctl, number: u32) -> io::Result<c_int> {
    // SAFETY: a number, which the kernel does not follow.
    unsafe { call(descriptor, request, ptr::without_provenance_mut(number as usize)) }
}

const fn bytes_of<T>() -> u32 {
    assert!(size_of::<T>() <= u32::MAX as usize, "structures of the kernel are small");
    #[allow(clippy::cast_possible_truncation, reason = "asserted")]
    let bytes = size_of::<T>() as u32;
    bytes
}

pub(super) fn api_version(container: BorrowedFd<'_>) -> io::Result<c_int> {
    call_with(container, GET_API_VERSION, 0)
}

pub(super) fn has_extension(container: BorrowedFd<'_>, extension: u32) -> io::Result<bool> {
    call_with(container, CHECK_EXTENSION, extension).map(|answer| answer == 1)
}

pub(super) fn set_iommu(container: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
    call_with(container, SET_IOMMU, kind).map(|_| ())
}

/// The flags of a group, `VFIO_GROUP_FLAGS_...`.
pub(super) fn group_flags(group: BorrowedFd<'_>) -> io::Result<u32> {
    let mut status = vfio_group_status { argsz: bytes_of::<vfio_group_status>(), flags: 0 };
    // SAFETY: the structure of this request, with its size in it.
    unsafe { call(group, GROUP_GET_STATUS, (&raw mut status).cast()) }?;
    Ok(status.flags)
}

pub(super) fn set_container(group: BorrowedFd<'_>, container: BorrowedFd<'_>) -> io::Result<()> {
    let mut number = container.as_raw_fd();
    // SAFETY: this request reads one descriptor number.
    unsafe { call(group, GROUP_SET_CONTAINER, (&raw mut number).cast()) }.map(|_| ())
}

/// Opens a device of a group.
pub(super) fn device(group: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: this request reads a string that ends with a zero, and writes nothing.
    let number = unsafe { call(group, GROUP_GET_DEVICE_FD, name.as_ptr().cast_mut().cast()) }?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The flags of a device, `VFIO_DEVICE_FLAGS_...`.
pub(super) fn device_flags(device: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = vfio_device_info { argsz: bytes_of::<vfio_device_info>(), ..Default::default() };
    // SAFETY: the structure of this request, with its size in it.
    unsafe { call(device, DEVICE_GET_INFO, (&raw mut info).cast()) }?;
    Ok(info.flags)
}

/// Where a region of a device is, and what can be done with it.
pub(super) fn region(device: BorrowedFd<'_>, index: u32) -> io::Result<vfio_region_info> {
    let mut info = vfio_region_info { argsz: bytes_of::<vfio_region_info>(), index, ..Default::default() };
    // SAFETY: the structure of this request, with its size in it.
    unsafe { call(device, DEVICE_GET_REGION_INFO, (&raw mut info).cast()) }?;
    Ok(info)
}

/// How many interrupts of a kind a device has.
pub(super) fn irq_count(device: BorrowedFd<'_>, index: u32) -> io::Result<u32> {
    let mut info = vfio_irq_info { argsz: bytes_of::<vfio_irq_info>(), index, ..Default::default() };
    // SAFETY: the structure of this request, with its size in it.
    unsafe { call(device, DEVICE_GET_IRQ_INFO, (&raw mut info).cast()) }?;
    Ok(info.count)
}

/// Interrupt `n` of this kind writes to the `n`-th descriptor, an eventfd.
pub(super) fn enable_irqs(
    device: BorrowedFd<'_>,
    index: u32,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    set_irqs(device, index, VFIO_IRQ_SET_DATA_EVENTFD, descriptors)
}

/// Switches the interrupts of this kind off.
pub(super) fn disable_irqs(device: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set_irqs(device, index, VFIO_IRQ_SET_DATA_NONE, &[])
}

fn set_irqs(device: BorrowedFd<'_>, index: u32, data: u32, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let too_many = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let count = u32::try_from(descriptors.len()).map_err(too_many)?;
    let words = IRQ_SET_HEADER_WORDS + descriptors.len();
    let argsz = u32::try_from(words * size_of::<u32>()).map_err(too_many)?;
    // struct vfio_irq_set: argsz, flags, index, start, count, then the descriptors.
    let mut set = vec![argsz, data | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, count];
    set.extend(descriptors.iter().map(|descriptor| descriptor.as_raw_fd().cast_unsigned()));
    // SAFETY: the structure of this request, `argsz` bytes long, which the kernel only reads.
    unsafe { call(device, DEVICE_SET_IRQS, set.as_mut_ptr().cast()) }.map(|_| ())
}

/// Resets a function (FLR, or what the kernel has instead).
pub(super) fn reset(device: BorrowedFd<'_>) -> io::Result<()> {
    call_with(device, DEVICE_RESET, 0).map(|_| ())
}

/// `struct vfio_iommu_type1_info` with the capabilities that follow it, as bytes.
pub(super) fn iommu_info(container: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let argsz = bytes_of::<vfio_iommu_type1_info>();
    let mut info = vfio_iommu_type1_info { argsz, ..Default::default() };
    // SAFETY: the structure of this request, with its size in it.
    unsafe { call(container, IOMMU_GET_INFO, (&raw mut info).cast()) }?;
    let bytes = info.argsz.clamp(argsz, INFO_BYTES_MAX);
    let mut whole = vec![0; bytes as usize];
    whole[..size_of::<u32>()].copy_from_slice(&bytes.to_ne_bytes());
    // SAFETY: the buffer is as long as the `argsz` at its start says.
    unsafe { call(container, IOMMU_GET_INFO, whole.as_mut_ptr().cast()) }?;
    Ok(whole)
}

/// Lets the container's devices reach `memory`, whose first byte is at `cpu`, from `iova` on.
///
/// The kernel pins the pages until they are unmapped or the container is closed: a device writes memory of ours, or
/// pages that nobody else has, whatever becomes of the mapping at `cpu`.
pub(super) fn map_dma(
    container: BorrowedFd<'_>,
    memory: &Memory,
    cpu: NonNull<u8>,
    iova: u64,
) -> io::Result<()> {
    debug_assert_eq!(memory.as_ptr(), Some(cpu), "the memory's own first byte");
    let mut map = vfio_iommu_type1_dma_map {
        argsz: bytes_of::<vfio_iommu_type1_dma_map>(),
        flags: VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        vaddr: cpu.as_ptr().expose_provenance() as u64,
        iova,
        size: memory.bytes() as u64,
    };
    // SAFETY: the structure of this request, with its size in it. The device may write the memory from now on: a
    // `Memory` is made for that, and gives out no reference to what it holds.
    unsafe { call(container, IOMMU_MAP_DMA, (&raw mut map).cast()) }.map(|_| ())
}

/// Takes what was mapped at `iova` out of the devices' reach; says how many bytes that were.
pub(super) fn unmap_dma(container: BorrowedFd<'_>, iova: u64, bytes: u64) -> io::Result<u64> {
    let mut unmap = vfio_iommu_type1_dma_unmap {
        argsz: bytes_of::<vfio_iommu_type1_dma_unmap>(),
        iova,
        size: bytes,
        ..Default::default()
    };
    // SAFETY: the structure of this request, with its size in it.
    unsafe { call(container, IOMMU_UNMAP_DMA, (&raw mut unmap).cast()) }?;
    Ok(unmap.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn requests_have_the_kernels_numbers() {
        // linux/vfio.h: VFIO_TYPE is ';' and VFIO_BASE is 100.
        assert_eq!(GET_API_VERSION, 0x3b64);
        assert_eq!(DEVICE_SET_IRQS, 0x3b6e);
        assert_eq!(DEVICE_RESET, 0x3b6f);
        assert_eq!(IOMMU_UNMAP_DMA, 0x3b72);
    }

    #[test]
    fn the_kernels_refusal_is_told() {
        let other = File::open("/dev/null").unwrap();
        let refused = |error: io::Error| error.raw_os_error();
        assert_eq!(reset(other.as_fd()).map_err(refused), Err(Some(libc::ENOTTY)));
        assert_eq!(group_flags(other.as_fd()).map_err(refused), Err(Some(libc::ENOTTY)));
        assert_eq!(enable_irqs(other.as_fd(), 2, &[other.as_fd()]).map_err(refused), Err(Some(libc::ENOTTY)));
    }
}
