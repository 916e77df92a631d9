//! The kernel's request to let a function go, because it is being unplugged or unbound.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{BorrowedFd, OwnedFd};
use vfio_bindings::bindings::vfio::VFIO_PCI_REQ_IRQ_INDEX;

use super::ioctl;

/// Whether the kernel has asked. It repeats itself until the device is closed, and the one who unplugs waits.
#[derive(Debug)]
pub(super) struct RemovalRequest {
    eventfd: OwnedFd,
    asked: AtomicBool,
}

impl RemovalRequest {
    /// From now on the kernel's requests are seen.
    pub(super) fn listen(device: BorrowedFd<'_>) -> io::Result<Self> {
        let request = Self::new()?;
        match ioctl::enable_irqs(device, VFIO_PCI_REQ_IRQ_INDEX, &[request.eventfd.as_fd()]) {
            // Kernels before 4.0 have no such interrupt: the drive is then missed when its registers are.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                tracing::debug!("the kernel will not announce that a drive is to be removed");
            }
            answer => answer?,
        }
        Ok(request)
    }

    fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { eventfd, asked: AtomicBool::new(false) })
    }

    /// Whether the kernel has asked so far. One system call until it has: not for the I/O path.
    pub(super) fn is_asked(&self) -> bool {
        if self.asked.load(Ordering::Relaxed) {
            return true;
        }
        // An empty counter answers EAGAIN.
        let asked = rustix::io::read(&self.eventfd, &mut [0u8; 8]).is_ok();
        if asked {
            self.asked.store(true, Ordering::Relaxed);
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_not_forgotten() {
        let request = RemovalRequest::new().unwrap();
        assert!(!request.is_asked());
        rustix::io::write(&request.eventfd, &1u64.to_ne_bytes()).unwrap();
        assert!(request.is_asked() && request.is_asked());
    }
}
