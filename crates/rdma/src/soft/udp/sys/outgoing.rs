//! Sending datagrams in batches, payload from where it lies.
#![allow(unsafe_code, reason = "sendmmsg; reading memory to which no reference may be formed")]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use dma::{Memory, MemoryError, MemoryOptions, Segment};
use libc::{iovec, mmsghdr};

use super::name::{Control, Name};

/// Most messages in a batch.
pub(in crate::soft::udp) const MESSAGES_MAX: usize = 64;
/// Most pieces that the messages of a batch are made of. The kernel takes 1024 in one message.
pub(in crate::soft::udp) const PIECES_MAX: usize = 512;
/// Most pieces of one packet's payload.
pub(in crate::soft::udp) const GATHERED_MAX: usize = 8;
/// How much is copied out of registered memory at once to look at it.
const WINDOW_BYTES: usize = 4096;
/// Bytes for what does not lie in registered memory: headers, trailers, small payloads.
pub(in crate::soft::udp) const ARENA_BYTES: usize = 32 * 1024;

/// Most segments held for a batch.
const HELD_MAX: usize = PIECES_MAX;

/// Why a part of a segment cannot be sent from where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::soft::udp) enum GatherError {
    /// It is not inside the segment, or the CPU cannot reach it.
    Outside,
    /// The packet is made of too many pieces.
    TooMany,
}

struct Message {
    name: Name,
    control: Option<Control>,
    first_piece: usize,
    pieces: usize,
}

/// A batch of messages, and what it needs to go out.
///
/// Invariant: each entry of `pieces` and `gathered` points into `arena`, or into a segment that `held` keeps alive. They are
/// emptied together.
pub(in crate::soft::udp) struct Outgoing {
    arena: Memory,
    arena_used: usize,
    pieces: Vec<iovec>,
    /// The payload of the packet that is being made.
    gathered: Vec<iovec>,
    messages: Vec<Message>,
    held: Vec<Segment>,
    /// Where [`Self::look`] copies to.
    window: Box<[u8; WINDOW_BYTES]>,
    headers: Vec<mmsghdr>,
}

// SAFETY: the pointers in `pieces` are to memory that this value owns or holds a share of (`Segment` is Send), those in
// `headers` are written anew before each use.
unsafe impl Send for Outgoing {}

impl Outgoing {
    pub(in crate::soft::udp) fn new() -> Result<Self, MemoryError> {
        let options = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
        Ok(Self {
            arena: Memory::new(ARENA_BYTES, options)?,
            arena_used: 0,
            pieces: Vec::with_capacity(PIECES_MAX),
            gathered: Vec::with_capacity(GATHERED_MAX),
            messages: Vec::with_capacity(MESSAGES_MAX),
            held: Vec::with_capacity(PIECES_MAX),
            window: Box::new([0; WINDOW_BYTES]),
            headers: Vec::with_capacity(MESSAGES_MAX),
        })
    }

    /// Whether a message (or an addition to the last one) of so many pieces, and so many bytes for the arena, fits.
    #[inline]
    pub(in crate::soft::udp) fn has_room(&self, pieces: usize, arena_bytes: usize) -> bool {
        self.messages.len() < MESSAGES_MAX
            && self.pieces.len() + pieces <= PIECES_MAX
            && self.arena_used + arena_bytes <= ARENA_BYTES
    }

    /// Begins a message; what is added from now on is a part of it.
    pub(in crate::soft::udp) fn begin(&mut self, address: IpAddr, port: u16) {
        let name = Name::new(address, port);
        self.messages.push(Message { name, control: None, first_piece: self.pieces.len(), pieces: 0 });
    }

    /// Has the kernel cut the last message into datagrams of so many bytes.
    pub(in crate::soft::udp) fn cut(&mut self, segment_bytes: u16) {
        if let Some(message) = self.messages.last_mut() {
            message.control = Some(Control::segment(segment_bytes));
        }
    }

    /// Begins to gather a packet's payload.
    #[inline]
    pub(in crate::soft::udp) fn gather_anew(&mut self) {
        self.gathered.clear();
    }

    /// Gathers a part of a segment, which is kept alive until the batch is cleared. At most [`GATHERED_MAX`].
    #[inline]
    pub(in crate::soft::udp) fn gather(
        &mut self,
        segment: &Segment,
        offset: u32,
        bytes: u32,
    ) -> Result<(), GatherError> {
        if offset.checked_add(bytes).is_none_or(|end| end > segment.bytes()) {
            return Err(GatherError::Outside);
        }
        if self.gathered.len() == GATHERED_MAX || self.held.len() == HELD_MAX {
            return Err(GatherError::TooMany);
        }
        let start = segment.region_offset() + u64::from(offset);
        let at = segment.memory().address(start, bytes as usize).map_err(|_| GatherError::Outside)?;
        if !self.held.last().is_some_and(|held| covers(held, segment)) {
            self.held.push(segment.clone());
        }
        self.gathered.push(iovec { iov_base: at.as_ptr().cast(), iov_len: bytes as usize });
        Ok(())
    }

    /// Shows what was gathered, in order: copies of a moment, for the memory may change at any time.
    #[inline]
    pub(in crate::soft::udp) fn look(&mut self, mut see: impl FnMut(&[u8])) {
        let window = &mut self.window;
        for piece in &self.gathered {
            let mut done = 0;
            while done < piece.iov_len {
                let part = &mut window[..WINDOW_BYTES.min(piece.iov_len - done)];
                // SAFETY: `done` is less than the piece's length, so this is inside the piece.
                let from = unsafe { piece.iov_base.cast::<u8>().add(done) };
                // SAFETY: the piece lies in a segment's memory, as `gather` has checked, which `held` keeps alive. No
                // reference to it is formed. `part` is not longer than what is left of the piece.
                unsafe { ptr::copy_nonoverlapping(from, part.as_mut_ptr(), part.len()) };
                see(part);
                done += part.len();
            }
        }
    }

    /// Adds what was gathered to the end of the last message. There must be room.
    #[inline]
    pub(in crate::soft::udp) fn add_gathered(&mut self) {
        for index in 0..self.gathered.len() {
            self.add(self.gathered[index]);
        }
        self.gathered.clear();
    }

    /// Copies bytes to the end of the last message. There must be room.
    #[inline]
    pub(in crate::soft::udp) fn add_bytes(&mut self, bytes: &[u8]) {
        let offset = self.arena_used as u64;
        let written = self.arena.write(offset, bytes).and_then(|()| self.arena.address(offset, bytes.len()));
        let Ok(at) = written else { unreachable!("has_room was asked") };
        self.arena_used += bytes.len();
        self.add(iovec { iov_base: at.as_ptr().cast(), iov_len: bytes.len() });
    }

    #[inline]
    fn add(&mut self, piece: iovec) {
        let Some(message) = self.messages.last_mut() else { unreachable!("a message was begun") };
        // What follows in memory too is one piece: a packet's trailer and the next one's headers.
        if let Some(last) = self.pieces.last_mut().filter(|_| message.pieces > 0)
            && last.iov_base.wrapping_byte_add(last.iov_len) == piece.iov_base
        {
            last.iov_len += piece.iov_len;
            return;
        }
        assert!(self.pieces.len() < PIECES_MAX, "has_room was asked");
        self.pieces.push(piece);
        message.pieces += 1;
    }

    /// Sends messages from number `from` on, without blocking. Returns how many went out; an error is the first one's.
    pub(in crate::soft::udp) fn send(&mut self, socket: BorrowedFd<'_>, from: usize) -> io::Result<usize> {
        self.headers.clear();
        for message in &mut self.messages[from..] {
            let pieces = &mut self.pieces[message.first_piece..][..message.pieces];
            self.headers.push(header(message, pieces));
        }
        let count = u32::try_from(self.headers.len()).unwrap_or(u32::MAX);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the headers point to entries of `messages` and `pieces`, borrowed above and not touched since; the pieces to
        // memory that lives until `clear` (the invariant). The kernel reads all of it, and writes to the headers only.
        let answer = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, flags) };
        usize::try_from(answer).map_err(|_| io::Error::last_os_error())
    }

    /// Forgets everything; no memory is held any more.
    pub(in crate::soft::udp) fn clear(&mut self) {
        self.pieces.clear();
        self.gathered.clear();
        self.messages.clear();
        self.held.clear();
        self.arena_used = 0;
    }
}

/// Whether one view has all that another has.
#[inline]
fn covers(held: &Segment, segment: &Segment) -> bool {
    let end = |of: &Segment| of.region_offset() + u64::from(of.bytes());
    held.region_offset() <= segment.region_offset()
        && end(segment) <= end(held)
        && held.region() == segment.region()
}

#[inline]
fn header(message: &mut Message, pieces: &mut [iovec]) -> mmsghdr {
    // SAFETY: zeroes are valid for this structure of numbers and raw pointers; it may have padding fields.
    let mut header: mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_namelen = message.name.length();
    header.msg_hdr.msg_name = (&raw mut message.name).cast();
    header.msg_hdr.msg_iov = pieces.as_mut_ptr();
    header.msg_hdr.msg_iovlen = pieces.len();
    if let Some(control) = &mut message.control {
        header.msg_hdr.msg_control = ptr::from_mut(control).cast();
        header.msg_hdr.msg_controllen = Control::SENT_BYTES;
    }
    header
}
