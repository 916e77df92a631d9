//! Connections as their users see them: what each side offers, and what happens to a connection.

use std::fmt;
use std::net::SocketAddr;

use thiserror::Error;

use crate::handle::{ListenerId, QueuePairId, SharedReceiveQueueId};

/// Most bytes of private data that a connection request carries: 92 less the 36 of the RDMA-CM header
/// (InfiniBand Architecture volume 1, 12.6.5 and annex A11).
pub const REQUEST_PRIVATE_BYTES_MAX: usize = 56;
/// Most bytes of private data of a reply.
pub const REPLY_PRIVATE_BYTES_MAX: usize = 196;
/// Most bytes of private data of a rejection.
pub const REJECT_PRIVATE_BYTES_MAX: usize = 148;

/// What the users of a connection tell each other while it is made. What comes from a peer has the length of the
/// message's field: zeroes follow what the peer wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PrivateData {
    bytes: [u8; REPLY_PRIVATE_BYTES_MAX],
    length: u8,
}

impl PrivateData {
    /// A copy of `bytes`; `None` if they are more than any message carries.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut copy = [0; REPLY_PRIVATE_BYTES_MAX];
        copy.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { bytes: copy, length: u8::try_from(bytes.len()).ok()? })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Default for PrivateData {
    fn default() -> Self {
        Self { bytes: [0; REPLY_PRIVATE_BYTES_MAX], length: 0 }
    }
}

impl fmt::Debug for PrivateData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateData").field(&self.bytes()).finish()
    }
}

/// Where a queue pair's receives come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveSource {
    /// A receive queue of its own, of so many receives.
    Own(u32),
    /// A receive queue that several queue pairs of the endpoint share.
    Shared(SharedReceiveQueueId),
}

/// How a queue pair is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePairOptions {
    /// Most pieces of send work at once; at least 1.
    pub send_depth: u32,
    /// Where receives come from.
    pub receives: ReceiveSource,
}

/// RNR retries without end, as NVMe over RDMA wants it.
pub const RNR_RETRIES_ENDLESS: u8 = 7;

/// What one side offers when a connection is made, in its own view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionParameters {
    /// RDMA READs of the peer that this side serves at once. Cut to what the device can do.
    pub responder_resources: u8,
    /// RDMA READs that this side has outstanding at once.
    pub initiator_depth: u8,
    /// How often unanswered packets are sent again before the connection counts as lost: 0 to 7.
    pub retries: u8,
    /// How often a message waits for a receive of this side's peer to be posted: 0 to 6, or [`RNR_RETRIES_ENDLESS`].
    /// It is told to the peer, who uses it.
    pub rnr_retries: u8,
    /// For the user of the other side.
    pub private_data: PrivateData,
}

impl Default for ConnectionParameters {
    fn default() -> Self {
        Self {
            responder_resources: 16,
            initiator_depth: 16,
            retries: 7,
            rnr_retries: RNR_RETRIES_ENDLESS,
            private_data: PrivateData::default(),
        }
    }
}

/// What a peer who wants to connect has told. The request itself is the endpoint's type: it is answered by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerOffer {
    /// The listener that it came to.
    pub listener: ListenerId,
    /// The peer.
    pub peer: SocketAddr,
    /// The address and port that it asked for.
    pub local: SocketAddr,
    /// RDMA READs that the peer will serve at once: the most that this side may have outstanding.
    pub initiator_depth: u8,
    /// RDMA READs that the peer wants to have outstanding at once.
    pub responder_resources: u8,
    /// From the user of the other side.
    pub private_data: PrivateData,
}

/// What was agreed when a connection is made, in this side's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// RDMA READs of the peer that this side serves at once.
    pub responder_resources: u8,
    /// RDMA READs that this side may have outstanding at once; more wait.
    pub initiator_depth: u8,
    /// From the user of the other side: the reply's on the side that connected, empty on the other.
    pub private_data: PrivateData,
}

/// Why a connection was not made or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectionError {
    /// The user of the other side refused, with private data.
    #[error("the peer refused the connection")]
    Refused(PrivateData),
    /// Nobody listens on that port.
    #[error("nobody listens on that port")]
    NoListener,
    /// The peer's connection manager refused, with a reason of the InfiniBand Architecture, volume 1, 12.6.7.2.
    #[error("the peer's connection manager refused: reason {0}")]
    Rejected(u16),
    /// There is no route, or the name of the address means nothing to the device.
    #[error("the address cannot be reached")]
    Unreachable,
    /// No answer, however often we asked.
    #[error("the peer does not answer")]
    TimedOut,
    /// The peer or this side has disconnected.
    #[error("disconnected")]
    Disconnected,
    /// The queue pair failed; the failed work says how.
    #[error("the queue pair failed")]
    QueuePair,
    /// The RDMA device is gone.
    #[error("the RDMA device is gone")]
    DeviceGone,
}

/// What happened to a connection.
#[derive(Debug)]
pub enum ConnectionEvent<R> {
    /// A peer wants to connect. The request is answered with `accept` or `reject`; dropping it rejects it without words.
    /// It may be answered by another endpoint of the same device.
    Requested(R),
    /// The connection is made: work can be posted.
    Established {
        /// The queue pair.
        queue_pair: QueuePairId,
        /// What was agreed.
        agreement: Agreement,
    },
    /// The connection was not made, or has ended. The queue pair is in its error state: its work flushes. It exists
    /// until it is destroyed. The last event of a queue pair.
    Closed {
        /// The queue pair.
        queue_pair: QueuePairId,
        /// Why.
        error: ConnectionError,
    },
}
