//! Why a queue pair went into its error state, and what else its endpoint must know.

use thiserror::Error;

use crate::WorkError;
use crate::soft::wire::NakCode;

/// Why a queue pair went into its error state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Failure {
    /// The endpoint wanted it: the connection has ended.
    #[error("the connection has ended")]
    Closed,
    /// The peer did not answer.
    #[error("the peer does not answer")]
    RetriesExceeded,
    /// The peer had no receive posted, however often it was asked.
    #[error("the peer has no receive posted")]
    ReceiverNotReady,
    /// The peer refused work of this side.
    #[error("the peer refused work: {0:?}")]
    RefusedByPeer(NakCode),
    /// This side refused what the peer wanted; the peer is told by the packets that are left to transmit.
    #[error("the peer's request was refused: {0:?}")]
    Refused(NakCode),
}

impl Failure {
    /// How the piece of work ends that was the cause; `None` if none was.
    pub(super) const fn of_work(self) -> Option<WorkError> {
        match self {
            Self::Closed | Self::Refused(_) => None,
            Self::RetriesExceeded => Some(WorkError::RetriesExceeded),
            Self::ReceiverNotReady => Some(WorkError::ReceiverNotReady),
            Self::RefusedByPeer(NakCode::RemoteAccess) => Some(WorkError::RemoteAccess),
            Self::RefusedByPeer(NakCode::RemoteOperation) => Some(WorkError::RemoteOperation),
            Self::RefusedByPeer(NakCode::InvalidRequest | NakCode::SequenceError) => {
                Some(WorkError::RemoteInvalidRequest)
            }
        }
    }
}

/// What the endpoint must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer's first packet came before its connection manager's last message: the connection is made. The queue pair is
    /// still ready to receive only; [`super::QueuePair::establish`] makes it ready to send.
    Established,
    /// The queue pair went into its error state; its work was flushed. Told once.
    Failed(Failure),
}
