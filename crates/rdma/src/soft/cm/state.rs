//! The state of one connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use block::Timestamp;

use super::event::Agreed;
use super::incoming::{PeerId, PeerQueuePair, Ticket};
use super::{REPEAT_FIRST, REPEAT_LONGEST, REPEATS_MAX};
use crate::PathMtu;
use crate::soft::wire::mad::{CommunicationId, Guid, Ids, MadBytes, TransactionId};
use crate::soft::wire::{Psn, Qpn};

/// The state of a connection (chapter 12.9, less what is not reachable here).
///
/// ```text
///      connect                                    accept
///         |                                          |
///         v                                          v
///   RequestSent --REJ, silence, disconnect--+   ReplySent --REJ, DREQ, silence, disconnect--+
///         |                                 |        |                                      |
///         | REP: RTU is sent                |        | RTU, or the first data               |
///         |                                 |        |                                      |
///         +-------------> Established <--------------+                                      |
///                          |      |         |                                               |
///              disconnect, |      | DREQ: DREP is sent; REJ                                 |
///    peer's new connection |      |         |                                               |
///        on its queue pair |      +---------+                                               |
///                          v                v                                               |
///               DisconnectSent --DREP,--> TimeWait <----------------------------------------+
///                              DREQ, REJ,   |
///                              silence      | half a second
///                                           v
///                                         (gone)
/// ```
///
/// REQ and REP received, the states in which the user thinks, are no states here: a request that waits is a record of the
/// listener (the connection does not exist before `accept`), and a reply is answered at once.
#[derive(Debug)]
pub(super) enum State {
    /// The request was sent, and is sent again.
    RequestSent(Box<Asking>),
    /// The reply was sent, and is sent again.
    ReplySent(Box<Answering>),
    /// Both know.
    Established,
    /// The request to disconnect was sent, and is sent again.
    DisconnectSent(Box<Repeated>),
    /// Stray packets and messages are let die.
    TimeWait,
}

impl State {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::RequestSent(_) => "RequestSent",
            Self::ReplySent(_) => "ReplySent",
            Self::Established => "Established",
            Self::DisconnectSent(_) => "DisconnectSent",
            Self::TimeWait => "TimeWait",
        }
    }
}

/// What is offered in a request that was sent.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) request: Repeated,
    pub(super) receive_psn: Psn,
    pub(super) mtu: PathMtu,
    pub(super) responder_resources: u8,
    pub(super) initiator_depth: u8,
    pub(super) retries: u8,
}

/// What was answered to a request.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) reply: Repeated,
    pub(super) agreed: Agreed,
    /// When the request was accepted.
    pub(super) came: Timestamp,
    pub(super) ticket: Arc<Ticket>,
}

/// A message that is sent until it is answered, a bounded number of times.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) message: MadBytes,
    repeats: u32,
    repeats_max: u32,
    receipts: u32,
}

impl Repeated {
    pub(super) const fn new(message: MadBytes, repeats_max: u32) -> Self {
        Self { message, repeats: 0, repeats_max, receipts: 0 }
    }

    /// Counts a repetition, and says how long to wait after it; `None` when it was repeated often enough.
    pub(super) fn repeat(&mut self) -> Option<Duration> {
        if self.repeats == self.repeats_max {
            return None;
        }
        self.repeats += 1;
        Some(self.patience())
    }

    /// How long to wait for an answer now: twice as long each time, up to what Linux waits.
    pub(super) fn patience(&self) -> Duration {
        REPEAT_FIRST.saturating_mul(1 << self.repeats.min(REPEATS_MAX)).min(REPEAT_LONGEST)
    }

    /// Whether a receipt may prolong the wait once more.
    pub(super) fn take_receipt(&mut self, receipts_max: u32) -> bool {
        let more = self.receipts < receipts_max;
        self.receipts += u32::from(more);
        more
    }
}

/// The peer's part of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) guid: Guid,
    pub(super) id: CommunicationId,
    pub(super) qpn: Qpn,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) address: IpAddr,
    pub(super) local_id: CommunicationId,
    /// Of the request: answers to answers carry it too.
    pub(super) transaction: TransactionId,
    /// Known from the request or the reply on.
    pub(super) peer: Option<Peer>,
    pub(super) state: State,
}

impl Connection {
    /// Both names, in this side's view.
    pub(super) fn ids(&self) -> Ids {
        let remote = self.peer.map_or(CommunicationId::UNKNOWN, |peer| peer.id);
        Ids { local: self.local_id, remote }
    }

    pub(super) fn peer_id(&self) -> Option<PeerId> {
        let peer = self.peer?;
        Some(PeerId { address: self.address, guid: peer.guid, id: peer.id })
    }

    pub(super) fn peer_queue_pair(&self) -> Option<PeerQueuePair> {
        let peer = self.peer?;
        Some(PeerQueuePair { address: self.address, guid: peer.guid, qpn: peer.qpn })
    }

    /// Whether that is the name of the peer's part.
    pub(super) fn is_peer(&self, id: CommunicationId) -> bool {
        self.peer.is_some_and(|peer| peer.id == id)
    }

    /// Begins the half second in which nothing is used again. A request whose reply came to nothing is not accepted a second
    /// time.
    pub(super) fn begin_timewait(&mut self) {
        if let State::ReplySent(answering) = &self.state {
            answering.ticket.set_fruitless();
        }
        self.state = State::TimeWait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soft::wire::mad::MAD_BYTES;

    #[test]
    fn patience_grows_and_ends() {
        let mut message = Repeated::new([0; MAD_BYTES], 15);
        let mut waits = vec![message.patience()];
        while let Some(wait) = message.repeat() {
            waits.push(wait);
        }
        let seconds: Vec<f64> = waits.iter().map(Duration::as_secs_f64).collect();
        assert_eq!(seconds[..5], [0.5, 1.0, 2.0, 4.0, 4.6]);
        assert_eq!(seconds.len(), 16);
        assert_eq!(message.repeat(), None);
        let all: f64 = seconds.iter().sum();
        assert!((60.0..75.0).contains(&all), "{all} s, as long as Linux tries");
    }
}
