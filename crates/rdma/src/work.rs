//! Work requests and completions: what a queue pair is given to do, and how each piece of work ends.

use bitflags::bitflags;
use dma::{DmaBuf, ScatterList};
use thiserror::Error;

use crate::handle::QueuePairId;

/// Most bytes that travel inside a work request: a response capsule with room to spare.
pub const INLINE_BYTES_MAX: usize = 64;

/// Bytes that are copied when the work is posted, so that they need no registered memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InlineData {
    bytes: [u8; INLINE_BYTES_MAX],
    length: u8,
}

impl InlineData {
    /// A copy of `bytes`; `None` if they are more than [`INLINE_BYTES_MAX`].
    #[inline]
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut copy = [0; INLINE_BYTES_MAX];
        copy.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { bytes: copy, length: u8::try_from(bytes.len()).ok()? })
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl std::fmt::Debug for InlineData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InlineData").field(&self.bytes()).finish()
    }
}

/// The local side of a piece of work.
#[derive(Debug)]
pub enum Data {
    /// Registered memory. The provider owns it until the work has ended.
    Memory(ScatterList),
    /// Bytes in the request itself. Not for reads.
    Inline(InlineData),
}

impl Data {
    /// Bytes in all.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Memory(list) => list.bytes(),
            Self::Inline(data) => data.bytes().len() as u64,
        }
    }
}

/// A key by which a peer reaches memory through a window (an R_Key).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteKey(pub u32);

/// Memory of a peer, as the peer described it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteMemory {
    /// First byte, in the peer's addresses.
    pub address: u64,
    /// The key of the window that it is in.
    pub key: RemoteKey,
}

bitflags! {
    /// What a peer may do to memory behind a window.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Rights: u8 {
        /// RDMA READ.
        const READ = 1 << 0;
        /// RDMA WRITE.
        const WRITE = 1 << 1;
    }
}

/// What is to be done with the data of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOp {
    /// SEND: into the next receive of the peer.
    Send,
    /// SEND with invalidate: as [`Self::Send`], and the peer's window is unbound before its receive completes.
    SendInvalidate(RemoteKey),
    /// RDMA WRITE: into memory of the peer, which is not told.
    Write(RemoteMemory),
    /// RDMA READ: out of memory of the peer, which is not told.
    Read(RemoteMemory),
}

/// A piece of work for the send queue. The work of a queue pair is carried out in order, but a read's data may arrive
/// later than the beginning of what follows it, unless that is [`fenced`](Self::fenced).
#[derive(Debug)]
pub struct SendWork {
    /// The submitter's name for it; comes back in the completion.
    pub id: u64,
    /// What to do.
    pub op: SendOp,
    /// Where from; for a read where to.
    pub data: Data,
    /// Whether success is reported. Failure always is. Work that is not signaled counts as done when later work of the
    /// queue pair completes; its memory is let go then.
    pub signaled: bool,
    /// Whether it waits for all reads before it.
    pub fenced: bool,
}

/// A buffer for one incoming SEND.
#[derive(Debug)]
pub struct Receive {
    /// The submitter's name for it; comes back in the completion.
    pub id: u64,
    /// Where the message goes. A message that is longer ends the connection.
    pub buffer: DmaBuf,
}

/// Why a piece of work failed. Any of these but [`Self::Flushed`] has put the queue pair into its error state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum WorkError {
    /// The queue pair went into its error state first.
    #[error("flushed: the queue pair is in error")]
    Flushed,
    /// Local memory is not attached to the device, or data and operation do not fit.
    #[error("local protection or length error")]
    Local,
    /// The peer found the request malformed, or the message longer than its receive.
    #[error("the peer called the request invalid")]
    RemoteInvalidRequest,
    /// The peer refused key, bounds or rights.
    #[error("the peer refused access to its memory")]
    RemoteAccess,
    /// The peer could not carry it out.
    #[error("the peer failed to carry it out")]
    RemoteOperation,
    /// The peer did not answer, however often it was asked.
    #[error("no answer from the peer")]
    RetriesExceeded,
    /// The peer had no receive posted, however often it was asked.
    #[error("the peer had no receive posted")]
    ReceiverNotReady,
    /// The provider reports what fits nowhere else.
    #[error("the RDMA device failed (status {0})")]
    Device(u32),
}

/// What has ended.
#[derive(Debug)]
pub enum Outcome {
    /// Work of the send queue.
    Sent {
        /// How.
        result: Result<(), WorkError>,
        /// The data that it was given.
        data: Data,
    },
    /// A receive.
    Received {
        /// How: the message.
        result: Result<Message, WorkError>,
        /// The buffer that it was given; the message is at its beginning.
        buffer: DmaBuf,
    },
}

/// An incoming SEND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its length.
    pub bytes: u32,
    /// The window that the peer invalidated with it.
    pub invalidated: Option<RemoteKey>,
    /// Immediate data.
    pub immediate: Option<u32>,
}

/// A piece of work that has ended. The peer and the device no longer touch its memory.
#[derive(Debug)]
pub struct Completion {
    /// The queue pair.
    pub queue_pair: QueuePairId,
    /// The submitter's name for the work.
    pub id: u64,
    /// What ended and how.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_data_is_bounded() {
        let most = InlineData::new(&[7; INLINE_BYTES_MAX]).unwrap();
        assert_eq!(most.bytes(), [7; INLINE_BYTES_MAX]);
        assert_eq!(InlineData::new(&[]).unwrap().bytes(), []);
        assert_eq!(InlineData::new(&[7; INLINE_BYTES_MAX + 1]), None);
    }
}
