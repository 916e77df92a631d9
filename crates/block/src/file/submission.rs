//! What is handed to io_uring for an operation.

use std::os::fd::RawFd;

use dma::{AccessError, ScatterList};
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags};
use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;

use super::job::Operation;

/// Most segments of one operation: the kernel's UIO_MAXIOV.
pub(super) const SEGMENTS_MAX: u16 = 1024;

/// Most zeroes that are written by one operation: [`SEGMENTS_MAX`] times [`ZEROES`].
const ZERO_WRITE_BYTES_MAX: u64 = SEGMENTS_MAX as u64 * ZEROES_BYTES as u64;

const ZEROES_BYTES: usize = 16 * 1024;

/// What zeroes are written from, aligned for direct I/O.
#[repr(align(4096))]
struct Zeroes([u8; ZEROES_BYTES]);

static ZEROES: Zeroes = Zeroes([0; ZEROES_BYTES]);

/// The kernel's struct iovec, without a pointer type, so that it can go to another thread with its queue.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct IoVec {
    base: usize,
    bytes: usize,
}

/// A name for one operation in the kernel: which slot of the queue, and the how-manieth use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Ticket {
    pub(super) fn encode(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn decode(value: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        Self { slot: u32::from_le_bytes([a, b, c, d]), generation: u32::from_le_bytes([e, f, g, h]) }
    }
}

/// The submission of an operation. `vectors` is filled with what it names and must stay as it is until the completion.
pub(super) fn entry(
    file: RawFd,
    operation: Operation,
    data: &ScatterList,
    vectors: &mut Vec<IoVec>,
    ticket: Ticket,
) -> Result<Entry, AccessError> {
    vectors.clear();
    let file = Fd(file);
    let entry = match operation {
        Operation::Read { offset, done } => {
            let count = data_vectors(data, done, vectors)?;
            opcode::Readv::new(file, vectors.as_ptr().cast(), count).offset(offset).build()
        }
        Operation::Write { offset, done, durable } => {
            let count = data_vectors(data, done, vectors)?;
            write(file, vectors, count, offset, durable)
        }
        Operation::WriteZeroes { offset, bytes } => {
            let count = zero_vectors(bytes, vectors);
            write(file, vectors, count, offset, false)
        }
        Operation::Punch { offset, bytes } => {
            allocate(file, offset, bytes, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE)
        }
        Operation::ZeroRange { offset, bytes } => {
            allocate(file, offset, bytes, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE)
        }
        Operation::Sync => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
    };
    Ok(entry.user_data(ticket.encode()))
}

fn write(file: Fd, vectors: &[IoVec], count: u32, offset: u64, durable: bool) -> Entry {
    let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
    let write = opcode::Writev::new(file, vectors.as_ptr().cast(), count).offset(offset);
    write.rw_flags(flags.bits().cast_signed()).build()
}

fn allocate(file: Fd, offset: u64, bytes: u64, mode: FallocateFlags) -> Entry {
    opcode::Fallocate::new(file, bytes).offset(offset).mode(mode.bits().cast_signed()).build()
}

fn data_vectors(data: &ScatterList, done: u64, vectors: &mut Vec<IoVec>) -> Result<u32, AccessError> {
    let mut skip = done;
    for segment in data.segments() {
        let bytes = u64::from(segment.bytes());
        if skip < bytes {
            let base = segment.device_address()?.as_ptr().expose_provenance();
            // `skip` is below a 32-bit length.
            let start = usize::try_from(skip).unwrap_or(0);
            vectors.push(IoVec { base: base + start, bytes: segment.bytes() as usize - start });
        }
        skip = skip.saturating_sub(bytes);
    }
    Ok(u32::try_from(vectors.len()).unwrap_or(u32::MAX))
}

fn zero_vectors(bytes: u64, vectors: &mut Vec<IoVec>) -> u32 {
    let mut left = usize::try_from(bytes.min(ZERO_WRITE_BYTES_MAX)).unwrap_or(ZEROES_BYTES);
    while left > 0 {
        let bytes = left.min(ZEROES_BYTES);
        vectors.push(IoVec { base: ZEROES.0.as_ptr().expose_provenance(), bytes });
        left -= bytes;
    }
    u32::try_from(vectors.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_comes_back_as_it_went() {
        let ticket = Ticket { slot: 0x0102_0304, generation: 0x0506_0708 };
        assert_eq!(ticket.encode(), 0x0506_0708_0102_0304);
        assert_eq!(Ticket::decode(ticket.encode()), ticket);
    }

    #[test]
    fn zeroes_are_written_in_bounded_pieces() {
        let mut vectors = Vec::new();
        assert_eq!(zero_vectors(u64::MAX, &mut vectors), 1024);
        vectors.clear();
        assert_eq!(zero_vectors(ZEROES_BYTES as u64 + 512, &mut vectors), 2);
        assert_eq!(vectors.iter().map(|vector| vector.bytes).collect::<Vec<_>>(), [ZEROES_BYTES, 512]);
        assert_eq!(vectors[0].base % 4096, 0);
    }
}
