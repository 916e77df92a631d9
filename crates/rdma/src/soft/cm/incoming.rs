//! Requests of peers, and the answers to them. A request may be answered on another thread than the one that received it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::PrivateData;
use crate::soft::wire::Qpn;
use crate::soft::wire::mad::{CommunicationId, ConnectionRequest, Guid, MadBytes, TransactionId};

/// How a request was settled. Once, by whoever is first.
#[derive(Debug)]
pub(super) enum Answer {
    /// The user accepted it; the accepting side repeats the reply.
    Accepted,
    /// It was rejected with this message, which answers every repetition of the request.
    Rejected(Box<MadBytes>),
    /// The user dropped it: the listening side has to reject it.
    Dropped,
    /// The peer took it back.
    Withdrawn,
}

/// What the listening side and the holder of a request share.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    answer: OnceLock<Answer>,
    /// The connection that was accepted ended half-open: a repetition of the request is to be told so.
    fruitless: AtomicBool,
}

impl Ticket {
    /// Settles the request; `false` if it was settled before.
    pub(super) fn settle(&self, answer: Answer) -> bool {
        self.answer.set(answer).is_ok()
    }

    pub(super) fn answer(&self) -> Option<&Answer> {
        self.answer.get()
    }

    pub(super) fn set_fruitless(&self) {
        self.fruitless.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_fruitless(&self) -> bool {
        self.fruitless.load(Ordering::Relaxed)
    }
}

/// Names a peer's part of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PeerId {
    pub(super) address: IpAddr,
    pub(super) guid: Guid,
    pub(super) id: CommunicationId,
}

/// Names a peer's queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PeerQueuePair {
    pub(super) address: IpAddr,
    pub(super) guid: Guid,
    pub(super) qpn: Qpn,
}

/// What a request says, once it has been checked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) transaction: TransactionId,
    pub(super) message: ConnectionRequest,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// The peer's responder resources are this side's initiator depth.
    pub(super) initiator_depth: u8,
    pub(super) responder_resources: u8,
    pub(super) private_data: PrivateData,
}

impl Asked {
    pub(super) const fn peer_id(&self) -> PeerId {
        PeerId { address: self.peer.ip(), guid: self.message.guid, id: self.message.local_id }
    }

    pub(super) const fn peer_queue_pair(&self) -> PeerQueuePair {
        PeerQueuePair { address: self.peer.ip(), guid: self.message.guid, qpn: self.message.qpn }
    }
}

/// A peer's request to be connected, answered by value: `accept` or `reject` of any connection manager at the address that it
/// came to. Dropped, it is rejected by the manager that it came to, within [`super::ANSWER_CHECK`].
pub struct IncomingRequest {
    pub(super) asked: Box<Asked>,
    pub(super) ticket: Arc<Ticket>,
}

impl IncomingRequest {
    /// The peer; its port is one that it made up.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.asked.peer
    }

    /// The address and port that it asked for.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.asked.local
    }

    /// RDMA READs that the peer will serve at once: the most that this side may have outstanding.
    #[must_use]
    pub fn initiator_depth(&self) -> u8 {
        self.asked.initiator_depth
    }

    /// RDMA READs that the peer wants to have outstanding at once.
    #[must_use]
    pub fn responder_resources(&self) -> u8 {
        self.asked.responder_resources
    }

    /// The user's bytes: all that the message carries.
    #[must_use]
    pub fn private_data(&self) -> &PrivateData {
        &self.asked.private_data
    }

    /// Whether nobody waits for an answer any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.ticket.answer().is_some()
    }
}

impl Drop for IncomingRequest {
    fn drop(&mut self) {
        self.ticket.settle(Answer::Dropped);
    }
}

impl fmt::Debug for IncomingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingRequest")
            .field("peer", &self.asked.peer)
            .field("local", &self.asked.local)
            .finish_non_exhaustive()
    }
}
