//! Receiving datagrams in batches into memory of fixed size.
#![allow(unsafe_code, reason = "recvmmsg")]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use libc::{iovec, mmsghdr};

use super::name::{Control, Name};

/// Most messages (each one datagram or several that the kernel has merged) in one system call.
pub(in crate::soft::udp) const MESSAGES_MAX: usize = 8;
/// The same, as the call wants it.
const COUNT_MAX: u32 = 8;
const _: () = assert!(COUNT_MAX as usize == MESSAGES_MAX, "one number");
/// Room for one message: the most that UDP carries, merged or not, is less.
pub(in crate::soft::udp) const MESSAGE_BYTES: usize = 1 << 16;

/// What the kernel writes to.
struct Memory {
    headers: [mmsghdr; MESSAGES_MAX],
    pieces: [iovec; MESSAGES_MAX],
    names: [Name; MESSAGES_MAX],
    controls: [Control; MESSAGES_MAX],
    buffers: [[u8; MESSAGE_BYTES]; MESSAGES_MAX],
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub(in crate::soft::udp) struct Message<'a> {
    /// Its sender.
    pub(in crate::soft::udp) source: IpAddr,
    /// The sender's port.
    pub(in crate::soft::udp) port: u16,
    /// All of it.
    pub(in crate::soft::udp) bytes: &'a [u8],
    /// The length of the datagrams that were merged, but for the last, which may be shorter; `None` if it is only one.
    pub(in crate::soft::udp) merged_bytes: Option<usize>,
}

/// Buffers for one socket's messages.
///
/// Invariant: `memory` is an allocation of its own, reached through this pointer alone. The kernel writes to it during
/// [`Self::receive`] only, which has `self` exclusively; references into it live no longer than a borrow of `self`.
pub(in crate::soft::udp) struct Incoming {
    memory: NonNull<Memory>,
    /// How many messages the last call brought.
    filled: usize,
}

// SAFETY: what `memory` points to belongs to this value alone, and the pointers inside point into it.
unsafe impl Send for Incoming {}

impl Incoming {
    pub(in crate::soft::udp) fn new() -> Self {
        let memory = Box::<Memory>::new_zeroed();
        // SAFETY: zeroes are valid for each field: numbers, arrays of numbers, and raw pointers (null).
        let memory = unsafe { memory.assume_init() };
        let mut incoming = Self { memory: NonNull::from(Box::leak(memory)), filled: 0 };
        for index in 0..MESSAGES_MAX {
            incoming.prepare(index);
        }
        incoming
    }

    /// Makes a message's headers ready for the kernel.
    fn prepare(&mut self, index: usize) {
        let memory = self.memory.as_ptr();
        // SAFETY: the allocation lives, and only a place is named, no reference formed; `index` is checked.
        let piece = unsafe { &raw mut (*memory).pieces[index] };
        // SAFETY: as above.
        let name = unsafe { &raw mut (*memory).names[index] };
        // SAFETY: as above.
        let control = unsafe { &raw mut (*memory).controls[index] };
        // SAFETY: as above.
        let buffer = unsafe { &raw mut (*memory).buffers[index] };
        let whole = iovec { iov_base: buffer.cast(), iov_len: MESSAGE_BYTES };
        // SAFETY: `piece` is inside the allocation, which nobody else uses now (`&mut self`).
        unsafe { piece.write(whole) };
        // SAFETY: as above; a reference to one header, gone at the end of this function.
        let header = unsafe { &mut (*memory).headers[index] };
        header.msg_hdr.msg_name = name.cast();
        header.msg_hdr.msg_namelen = Name::BYTES;
        header.msg_hdr.msg_iov = piece;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = control.cast();
        header.msg_hdr.msg_controllen = Control::BYTES;
        header.msg_hdr.msg_flags = 0;
    }

    /// Takes in the next messages, without blocking. Returns how many; those of the last call are gone.
    #[inline]
    pub(in crate::soft::udp) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for index in 0..std::mem::take(&mut self.filled) {
            self.prepare(index);
        }
        // SAFETY: only the place is named.
        let headers = unsafe { &raw mut (*self.memory.as_ptr()).headers };
        // SAFETY: the headers and all that they point to are in the allocation, which is this call's alone (`&mut
        // self`), and each length is that of what the pointer beside it points to.
        let answer = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers.cast(), COUNT_MAX, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        self.filled = 0;
        self.filled = usize::try_from(answer).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// Whether the last call brought as much as one can.
    #[inline]
    pub(in crate::soft::udp) fn is_full(&self) -> bool {
        self.filled == MESSAGES_MAX
    }

    /// A message of the last call; `None` if there was no such one, or it did not fit, or does not come from an IP address.
    #[inline]
    pub(in crate::soft::udp) fn message(&self, index: usize) -> Option<Message<'_>> {
        if index >= self.filled {
            return None;
        }
        // SAFETY: the allocation lives as long as `self`, whose borrow the reference has; nobody writes to it meanwhile.
        let memory = unsafe { self.memory.as_ref() };
        let header = memory.headers.get(index)?;
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let (source, port) = memory.names[index].address()?;
        let bytes = memory.buffers[index].get(..header.msg_len as usize)?;
        let merged_bytes = memory.controls[index].merged_bytes(header.msg_hdr.msg_controllen);
        Some(Message { source, port, bytes, merged_bytes })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // SAFETY: `memory` came from `Box::leak`, and is not used after this.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}
