//! Bytes between a stream socket and buffers, moved by the kernel from and to where they lie.
//!
//! [`Gather`] sends plain bytes and segments in one call, [`receive`] fills buffers and then plain bytes. Neither blocks,
//! and neither forms a reference to a buffer's memory.
#![allow(unsafe_code, reason = "sendmsg and recvmsg on memory to which no reference may be formed")]

use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, iovec, msghdr};
use smallvec::SmallVec;

use crate::memory::AccessError;
use crate::pool::DmaBuf;
use crate::segment::Segment;

/// Most parts of one call: what is beyond waits for the next one. The kernel takes 1024.
pub const STREAM_PARTS_MAX: usize = 64;

type Parts = SmallVec<[iovec; STREAM_PARTS_MAX]>;

/// Bytes to send, in order. It borrows what it sends.
pub struct Gather<'a> {
    parts: Parts,
    bytes: usize,
    borrowed: PhantomData<&'a [u8]>,
}

impl Default for Gather<'_> {
    fn default() -> Self {
        Self { parts: Parts::new(), bytes: 0, borrowed: PhantomData }
    }
}

impl<'a> Gather<'a> {
    /// Whether nothing more can be added.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.parts.len() == STREAM_PARTS_MAX
    }

    /// Whether there is nothing to send.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes of all parts.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds plain bytes. There must be room.
    #[inline]
    pub fn push_bytes(&mut self, bytes: &'a [u8]) {
        self.push(iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
    }

    /// Adds what a segment holds from `skip` on. There must be room.
    #[inline]
    pub fn push_segment(&mut self, segment: &'a Segment, skip: u32) -> Result<(), AccessError> {
        let left = segment.bytes().saturating_sub(skip) as usize;
        let at = segment.memory().address(segment.region_offset() + u64::from(skip), left)?;
        self.push(iovec { iov_base: at.as_ptr().cast(), iov_len: left });
        Ok(())
    }

    #[inline]
    fn push(&mut self, part: iovec) {
        assert!(!self.is_full(), "is_full was asked");
        if part.iov_len > 0 {
            self.bytes += part.iov_len;
            self.parts.push(part);
        }
    }

    /// Sends without blocking; returns how many bytes the socket took, from the front.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let message = header(&mut self.parts);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the parts lie in bytes and in segments that `'a` borrows (a segment keeps its memory alive); the kernel
        // only reads them. `message` and the list it points to outlive the call.
        let answer = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
        usize::try_from(answer).map_err(|_| io::Error::last_os_error())
    }
}

/// Receives without blocking: into the bytes `within` of the buffers, which count as one, then into `rest`. Returns how many
/// bytes came; 0 means that the peer sends no more (if there was room at all).
pub fn receive(
    socket: BorrowedFd<'_>,
    buffers: &mut [DmaBuf],
    within: Range<u64>,
    rest: &mut [u8],
) -> io::Result<usize> {
    let mut parts = Parts::new();
    if !add_buffers(&mut parts, buffers, within) {
        parts.push(iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() });
    }
    let mut message = header(&mut parts);
    // SAFETY: the parts lie in buffers and bytes that are borrowed exclusively for the call, so nobody else uses them;
    // `message` and the list it points to outlive the call.
    let answer = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Adds the bytes `within` of the buffers; `true` if there is no room for anything that follows.
fn add_buffers(parts: &mut Parts, buffers: &[DmaBuf], within: Range<u64>) -> bool {
    let mut begin = 0;
    for buffer in buffers {
        let end = begin + u64::from(buffer.bytes());
        let (from, to) = (within.start.clamp(begin, end), within.end.clamp(begin, end));
        let offset = buffer.region_offset() + (from - begin);
        begin = end;
        let bytes = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        if bytes == 0 {
            continue;
        }
        // Memory that the CPU cannot reach ends the list: nothing can be received there, nor behind it.
        let Ok(at) = buffer.memory().address(offset, bytes) else { return true };
        parts.push(iovec { iov_base: at.as_ptr().cast(), iov_len: bytes });
        if parts.len() == STREAM_PARTS_MAX {
            return true;
        }
    }
    false
}

fn header(parts: &mut Parts) -> msghdr {
    // SAFETY: a `msghdr` is plain numbers and pointers, for which zeroes mean "none".
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    set_count(&mut message.msg_iovlen, parts.len());
    message
}

/// The count's type is the C library's choice.
fn set_count<T: TryFrom<usize> + Default>(count: &mut T, parts: usize) {
    // At most STREAM_PARTS_MAX.
    *count = T::try_from(parts).unwrap_or_default();
}

/// What a call that would block says.
#[must_use]
pub fn would_block(error: &io::Error) -> bool {
    const BLOCKS: [c_int; 2] = [libc::EAGAIN, libc::EINTR];
    error.raw_os_error().is_some_and(|errno| BLOCKS.contains(&errno))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::{MemoryOptions, Pool, PoolOptions};

    fn pool(chunk_bytes: u32, chunks: u32) -> Pool {
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        Pool::new(PoolOptions { chunk_bytes, chunks, memory }).unwrap()
    }

    #[test]
    fn bytes_and_segments_go_out_in_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut buffer = pool(16, 1).take().unwrap();
        buffer.write(0, b"0123456789abcdef").unwrap();
        let segment = buffer.into_segment().slice(2, 8).unwrap();
        let mut gather = Gather::default();
        gather.push_bytes(b"head ");
        gather.push_segment(&segment, 3).unwrap();
        gather.push_bytes(b"");
        gather.push_bytes(b" tail");
        assert_eq!((gather.bytes(), gather.send(ours.as_fd()).unwrap()), (15, 15));
        let mut found = [0; 15];
        theirs.read_exact(&mut found).unwrap();
        assert_eq!(&found, b"head 56789 tail");
    }

    #[test]
    fn what_comes_fills_the_buffers_and_then_the_rest() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let pool = pool(8, 2);
        let mut buffers = [pool.take().unwrap(), pool.take().unwrap()];
        buffers[1].truncate(4);
        let mut rest = [0; 8];
        assert!(would_block(&receive(ours.as_fd(), &mut buffers, 0..12, &mut rest).unwrap_err()));
        theirs.write_all(b"abcdefgh!").unwrap();
        assert_eq!(receive(ours.as_fd(), &mut buffers, 5..11, &mut rest).unwrap(), 9);
        let mut found = [0; 3];
        buffers[0].read(5, &mut found).unwrap();
        assert_eq!(&found, b"abc");
        let mut found = [0; 4];
        buffers[1].read(0, &mut found).unwrap();
        assert_eq!((&found, &rest[..3]), (b"def\0", &b"gh!"[..]));
        drop(theirs);
        assert_eq!(receive(ours.as_fd(), &mut [], 0..0, &mut rest).unwrap(), 0);
    }

    #[test]
    fn a_call_takes_a_bounded_number_of_parts() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let pool = pool(4, 70);
        let mut buffers: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        theirs.write_all(&[7; 300]).unwrap();
        let mut rest = [0; 8];
        assert_eq!(receive(ours.as_fd(), &mut buffers, 0..280, &mut rest).unwrap(), 4 * STREAM_PARTS_MAX);
        assert_eq!(rest, [0; 8]);
        assert_eq!(receive(ours.as_fd(), &mut buffers, 256..280, &mut rest).unwrap(), 24 + 8);
    }

    #[test]
    fn a_peer_that_has_gone_is_an_error_and_no_signal() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut gather = Gather::default();
        gather.push_bytes(b"x");
        assert_eq!(gather.send(ours.as_fd()).unwrap_err().raw_os_error(), Some(libc::EPIPE));
    }
}
