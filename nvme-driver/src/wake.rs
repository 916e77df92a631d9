//! Eventfds: how one thread, or an interrupt, wakes another.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

/// A counter that makes its descriptor readable until it is consumed.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> Result<Self, Errno> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Self)
    }

    /// Makes the descriptor readable.
    pub(crate) fn signal(&self) {
        // The only possible error is a full counter, and a full counter is readable already.
        let _ = write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable until the next signal. To be called before looking for what was signalled.
    pub(crate) fn consume(&self) {
        // An empty counter answers EAGAIN, which is what is wanted.
        let _ = read(&self.0, &mut [0u8; 8]);
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
