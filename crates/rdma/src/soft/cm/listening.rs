//! The side that listens: requests, and what becomes of them until they are answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use block::Timestamp;

use super::active::rejection;
use super::event::CmEvent;
use super::incoming::{Answer, Asked, IncomingRequest, PeerId, Ticket};
use super::outbox::Timer;
use super::records::Record;
use super::state::State;
use super::{ANSWER_CHECK, ConnectionManager, LISTENERS_MAX, ListenError, Listener, WAITING_MAX};
use crate::PrivateData;
use crate::soft::wire::Qpn;
use crate::soft::wire::mad::{
    About, Additional, CommunicationId, ConnectionRequest, Ids, Mad, Message, RdmaCmHeader, Receipt,
    RejectReason, Rejection, Timeout, TransactionId,
};

/// How long a peer is told to have patience: 34 s, longer than the user may take.
const SERVICE_TIMEOUT: Timeout = Timeout::of_exponent(23);

/// What a request is rejected with, without asking the user.
type Refusal = (RejectReason, Additional);

impl ConnectionManager {
    /// Listens on a port. At most `backlog` requests wait to be answered; more are dropped, and their senders ask again.
    pub fn listen(&mut self, port: u16, backlog: u32) -> Result<(), ListenError> {
        if self.listeners.contains_key(&port) {
            return Err(ListenError::PortTaken(port));
        }
        if self.listeners.len() >= LISTENERS_MAX {
            return Err(ListenError::TooMany);
        }
        self.listeners.insert(port, Listener { backlog, waiting: 0 });
        Ok(())
    }

    /// No longer listens. Requests that wait are rejected, wherever they are.
    pub fn stop(&mut self, now: Timestamp, port: u16) {
        if self.listeners.remove(&port).is_some() {
            for peer in self.records.waiting_peers(port) {
                self.reject_waiting(now, peer, RejectReason::NoService);
            }
        }
    }

    /// REQ.
    pub(super) fn handle_request(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        transaction: TransactionId,
        request: &ConnectionRequest,
    ) {
        let peer = PeerId { address: source, guid: request.guid, id: request.local_id };
        if self.handle_repeated_request(now, transaction, peer) {
            return;
        }
        match self.check_request(source, transaction, request) {
            Ok(asked) => self.take_request(now, asked),
            Err((reason, additional)) => {
                self.counters.refused += 1;
                let ids = Ids { local: CommunicationId::UNKNOWN, remote: request.local_id };
                let rejection = Rejection { additional, ..rejection(ids, About::Request, reason) };
                self.outbox.say(source, transaction, Message::Rejection(rejection));
            }
        }
    }

    /// Rejects a request that could not even be read.
    pub(super) fn refuse(
        &mut self,
        source: IpAddr,
        transaction: TransactionId,
        id: CommunicationId,
        reason: RejectReason,
    ) {
        self.counters.refused += 1;
        let ids = Ids { local: CommunicationId::UNKNOWN, remote: id };
        let mut rejection = rejection(ids, About::Request, reason);
        if reason == RejectReason::InvalidMtu {
            rejection.additional = Additional::of_mtu(self.options.mtu);
        }
        self.outbox.say(source, transaction, Message::Rejection(rejection));
    }

    /// Answers a request that came before as it was answered then. Whether it is such a one.
    fn handle_repeated_request(&mut self, now: Timestamp, transaction: TransactionId, peer: PeerId) -> bool {
        if let Some(connection) = self.by_peer_id.get(&peer).and_then(|qpn| self.connections.get(qpn)) {
            self.counters.duplicates += 1;
            match &connection.state {
                State::ReplySent(answering) => self.outbox.push(peer.address, answering.reply.message),
                State::TimeWait => self.refuse_stale(transaction, peer),
                _ => {}
            }
            return true;
        }
        let Some(record) = self.records.get_mut(&peer, now) else { return false };
        self.counters.duplicates += 1;
        match record.ticket.answer() {
            None => {
                record.receipted = true;
                self.send_receipt(transaction, peer);
            }
            Some(Answer::Rejected(message)) => self.outbox.push(peer.address, **message),
            Some(Answer::Accepted) if record.ticket.is_fruitless() => self.refuse_stale(transaction, peer),
            Some(Answer::Dropped) => self.refuse(peer.address, transaction, peer.id, RejectReason::Consumer),
            // The accepting side repeats its reply; who took a request back does not mean it any more.
            Some(Answer::Accepted | Answer::Withdrawn) => {}
        }
        true
    }

    fn refuse_stale(&mut self, transaction: TransactionId, peer: PeerId) {
        self.refuse(peer.address, transaction, peer.id, RejectReason::StaleConnection);
    }

    pub(super) fn send_receipt(&mut self, transaction: TransactionId, peer: PeerId) {
        let receipt = Receipt {
            local_id: CommunicationId::UNKNOWN,
            remote_id: peer.id,
            about: About::Request,
            service_timeout: SERVICE_TIMEOUT,
        };
        self.outbox.say(peer.address, transaction, Message::Receipt(receipt));
    }

    /// Whether the user can be asked about a request: somebody listens, and the addresses are those of the datagram.
    fn check_request(
        &self,
        source: IpAddr,
        transaction: TransactionId,
        request: &ConnectionRequest,
    ) -> Result<Asked, Refusal> {
        let refuse = |reason| Err((reason, Additional::NONE));
        let port = request.service.port().filter(|port| self.listeners.contains_key(port));
        let Some(port) = port else { return refuse(RejectReason::NoService) };
        if request.qpn <= Qpn::CONNECTION_MANAGER {
            return refuse(RejectReason::NoQueuePair);
        }
        if request.local_id == CommunicationId::UNKNOWN {
            return refuse(RejectReason::InvalidCommunicationId);
        }
        if request.mtu > self.options.mtu {
            return Err((RejectReason::InvalidMtu, Additional::of_mtu(self.options.mtu)));
        }
        let Ok((header, user)) = RdmaCmHeader::read(&request.private_data) else {
            return refuse(RejectReason::Unsupported);
        };
        let own = self.options.address;
        let senders = [request.sender.address(), header.source.ip()];
        let receivers = [request.receiver.address(), header.destination];
        if senders != [source; 2] || receivers != [own; 2] {
            return refuse(RejectReason::InvalidGid);
        }
        Ok(Asked {
            transaction,
            message: *request,
            peer: header.source,
            local: SocketAddr::new(own, port),
            initiator_depth: request.responder_resources,
            responder_resources: request.initiator_depth,
            private_data: PrivateData::new(&user).unwrap_or_default(),
        })
    }

    /// Asks the user, if the request is not of a peer who forgot, and not too many wait.
    fn take_request(&mut self, now: Timestamp, asked: Asked) {
        let peer = asked.peer_id();
        if let Some(stale) = self.by_peer_queue_pair.get(&asked.peer_queue_pair()).copied() {
            self.disconnect(now, stale);
            self.refuse_stale(asked.transaction, peer);
            return;
        }
        let port = asked.local.port();
        let full = self.records.waiting() >= WAITING_MAX || self.requests_untold >= WAITING_MAX;
        let listener =
            self.listeners.get_mut(&port).filter(|listener| !full && listener.waiting < listener.backlog);
        let Some(listener) = listener else {
            self.counters.overflowed += 1;
            return;
        };
        listener.waiting += 1;
        let ticket = Arc::new(Ticket::default());
        self.records.insert(peer, Record::new(Arc::clone(&ticket), asked.transaction, port, now));
        self.timers.set(Timer::Record(peer), now.after(ANSWER_CHECK));
        self.requests_untold += 1;
        self.tell(CmEvent::Requested(IncomingRequest { asked: Box::new(asked), ticket }));
    }

    /// Rejects a request that waits here, whoever holds it.
    pub(super) fn reject_waiting(&mut self, now: Timestamp, peer: PeerId, reason: RejectReason) {
        let Some(record) = self.records.get_mut(&peer, now) else { return };
        let ids = Ids { local: CommunicationId::UNKNOWN, remote: peer.id };
        let mut rejection = rejection(ids, About::Request, reason);
        if reason == RejectReason::Timeout {
            rejection.additional = Additional::of_guid(self.options.guid);
        }
        let message = Mad { transaction: record.transaction, message: Message::Rejection(rejection) }.write();
        if record.ticket.settle(Answer::Rejected(Box::new(message)))
            || matches!(record.ticket.answer(), Some(Answer::Dropped))
        {
            self.outbox.push(peer.address, message);
        }
        self.settled(now, peer);
    }

    /// Notes that a request has its answer. If it came to another manager, that one finds out by itself.
    pub(super) fn settled(&mut self, now: Timestamp, peer: PeerId) {
        let Some(port) = self.records.answered(peer, now) else { return };
        self.timers.clear(Timer::Record(peer));
        if let Some(listener) = self.listeners.get_mut(&port) {
            listener.waiting = listener.waiting.saturating_sub(1);
        }
    }
}
