//! What the connection manager tells, and what it is told.

use std::net::IpAddr;

use thiserror::Error;

use super::incoming::IncomingRequest;
use crate::soft::wire::mad::{RejectReason, Timeout};
use crate::soft::wire::{Psn, Qpn};
use crate::{PathMtu, PrivateData};

/// This side's queue pair of a connection. Its number names the connection until [`CmEvent::TimewaitOver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalQueuePair {
    /// Its number: at least 2.
    pub qpn: Qpn,
    /// Whether it takes its receives from a shared queue: told to the peer, who does nothing with it.
    pub shared_receives: bool,
}

/// What was agreed for a connection: all that a queue pair needs to be ready to receive and to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's queue pair.
    pub remote_qpn: Qpn,
    /// The first PSN that this side sends: the starting PSN of the peer's message.
    pub send_psn: Psn,
    /// The first PSN that this side expects: the starting PSN of its own message.
    pub receive_psn: Psn,
    /// Payload of packets, in both directions.
    pub mtu: PathMtu,
    /// RDMA READs of the peer that this side serves at once.
    pub responder_resources: u8,
    /// RDMA READs that this side may have outstanding at once.
    pub initiator_depth: u8,
    /// How often unanswered packets are sent again: the side that connects says it for both. 0 to 7.
    pub retries: u8,
    /// RNR retries of this side, as the peer wants it: 0 to 6, or 7 without end.
    pub rnr_retries: u8,
    /// When packets that are not acknowledged are sent again: the side that connects says it. Exponent 0 means never.
    pub ack_timeout: Timeout,
}

/// What happened. Of a connection exactly one of [`Self::Rejected`], [`Self::Disconnected`] and [`Self::TimedOut`] is told, and
/// after it [`Self::TimewaitOver`]; before them [`Self::Established`], if it came to that.
#[derive(Debug)]
pub enum CmEvent {
    /// A peer asks for a connection to a port that is listened on.
    Requested(IncomingRequest),
    /// The connection is made, on this side at least. A queue pair that connected becomes ready to receive and to send now, one
    /// that accepted is ready to receive since [`super::ConnectionManager::accept`].
    Established {
        /// This side's queue pair.
        qpn: Qpn,
        /// What was agreed.
        agreed: Agreed,
        /// The user's bytes of the reply; empty on the side that accepted.
        private_data: PrivateData,
    },
    /// The peer does not want the connection, or no longer.
    Rejected {
        /// This side's queue pair.
        qpn: Qpn,
        /// Why.
        reason: RejectReason,
        /// The user's bytes: all that the message carries.
        private_data: PrivateData,
    },
    /// The connection has ended: by this side or by the peer.
    Disconnected {
        /// This side's queue pair.
        qpn: Qpn,
    },
    /// The peer did not answer, however often it was asked; or this half-open connection had to make room.
    TimedOut {
        /// This side's queue pair.
        qpn: Qpn,
    },
    /// Nothing of the connection is underway any more: the number of its queue pair can be used again.
    TimewaitOver {
        /// This side's queue pair.
        qpn: Qpn,
    },
}

/// Why a connection cannot be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// As many connections as there can be, those in timewait among them.
    #[error("there are {0} connections already, which is the most")]
    TooMany(u32),
    /// The queue pair has a connection, or its number is reserved.
    #[error("queue pair {0} cannot be connected now")]
    QueuePair(Qpn),
    /// The address is of another family than ours, or nobody's.
    #[error("the address {0} cannot be connected to")]
    Address(IpAddr),
    /// Private data is longer than the message's field.
    #[error("{asked} bytes of private data; {limit} fit")]
    PrivateData {
        /// What was given.
        asked: usize,
        /// The most.
        limit: usize,
    },
    /// The request was withdrawn, or is no longer wanted.
    #[error("the request to connect is gone")]
    RequestGone,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CmCounters {
    /// Messages received, of whatever kind.
    pub received: u64,
    /// Messages sent, repetitions among them.
    pub sent: u64,
    /// Messages sent again because no answer came.
    pub repeated: u64,
    /// Bytes that are no message of the connection manager.
    pub malformed: u64,
    /// Messages for a connection that did not come from its peer.
    pub wrong_source: u64,
    /// Messages for no connection, or that mean nothing in its state.
    pub unexpected: u64,
    /// Messages that came once more.
    pub duplicates: u64,
    /// Requests that were rejected without asking the user.
    pub refused: u64,
    /// Requests dropped because too many wait for an answer.
    pub overflowed: u64,
    /// Requests that the user let wait for too long, or dropped.
    pub unanswered: u64,
    /// Half-open connections that made room for others.
    pub reaped: u64,
    /// Messages that could not be queued to be sent.
    pub unsent: u64,
}
