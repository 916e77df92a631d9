//! The side that listens and accepts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use block::Timestamp;

use super::active::{check_private_data, rejection};
use super::event::{Agreed, CmEvent, ConnectError, LocalQueuePair};
use super::incoming::{Answer, Asked, IncomingRequest, PeerId, Ticket};
use super::outbox::Timer;
use super::records::Record;
use super::state::{Answering, Connection, Peer, Repeated, State};
use super::{
    ANSWER_CHECK, ConnectionManager, LISTENERS_MAX, ListenError, Listener, REPEATS_MAX, WAITING_MAX,
};
use crate::soft::wire::mad::{
    About, Additional, CommunicationId, ConnectionRequest, Ids, Mad, MadBytes, Message, RdmaCmHeader,
    Receipt, RejectReason, Rejection, Reply, Timeout, TransactionId,
};
use crate::soft::wire::{Psn, Qpn};
use crate::{
    AnswerError, ConnectionParameters, PrivateData, REJECT_PRIVATE_BYTES_MAX, REPLY_PRIVATE_BYTES_MAX,
};

/// How long a peer is told to have patience: 34 s, longer than the user may take.
const SERVICE_TIMEOUT: Timeout = Timeout::of_exponent(23);
/// How long this side may take to acknowledge a packet: 0.13 s, what rxe says.
const ACK_DELAY: Timeout = Timeout::of_exponent(15);

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

    /// Accepts a request for a queue pair, which becomes ready to receive at once: packets may come before
    /// [`CmEvent::Established`]. Hands the request back if it cannot be.
    pub fn accept(
        &mut self,
        now: Timestamp,
        request: IncomingRequest,
        local: LocalQueuePair,
        parameters: &ConnectionParameters,
    ) -> Result<Agreed, (ConnectError, IncomingRequest)> {
        match self.try_accept(now, &request, local, parameters) {
            Ok(agreed) => Ok(agreed),
            Err(error) => Err((error, request)),
        }
    }

    fn try_accept(
        &mut self,
        now: Timestamp,
        request: &IncomingRequest,
        local: LocalQueuePair,
        parameters: &ConnectionParameters,
    ) -> Result<Agreed, ConnectError> {
        self.check_queue_pair(local.qpn)?;
        check_private_data(&parameters.private_data, REPLY_PRIVATE_BYTES_MAX)?;
        self.make_room(now)?;
        self.check_not_stale(now, request)?;
        let too_many = ConnectError::TooMany(self.options.connections_max);
        let local_id = self.new_name().ok_or(too_many)?;
        if !request.ticket.settle(Answer::Accepted) {
            return Err(ConnectError::RequestGone);
        }
        self.settled(now, request.asked.peer_id());
        let agreed = agree(&request.asked, self.new_psn(), parameters);
        self.send_reply(now, request, local, local_id, (&agreed, parameters));
        Ok(agreed)
    }

    /// A request that went to another manager may be of a peer who forgot a connection of this one.
    fn check_not_stale(&mut self, now: Timestamp, request: &IncomingRequest) -> Result<(), ConnectError> {
        let asked = &request.asked;
        let Some(stale) = self.by_peer_queue_pair.get(&asked.peer_queue_pair()).copied() else {
            return Ok(());
        };
        self.disconnect(now, stale);
        let message = rejected(asked, RejectReason::StaleConnection, &PrivateData::default());
        if request.ticket.settle(Answer::Rejected(Box::new(message))) {
            self.outbox.push(asked.peer.ip(), message);
            self.settled(now, asked.peer_id());
        }
        Err(ConnectError::RequestGone)
    }

    fn send_reply(
        &mut self,
        now: Timestamp,
        request: &IncomingRequest,
        local: LocalQueuePair,
        local_id: CommunicationId,
        (agreed, parameters): (&Agreed, &ConnectionParameters),
    ) {
        let asked = &request.asked;
        let reply = Reply {
            local_id,
            remote_id: asked.message.local_id,
            qpn: local.qpn,
            starting_psn: agreed.receive_psn,
            responder_resources: agreed.responder_resources,
            initiator_depth: agreed.initiator_depth,
            ack_delay: ACK_DELAY,
            rnr_retries: parameters.rnr_retries,
            shared_receives: local.shared_receives,
            guid: self.options.guid,
            private_data: padded(&parameters.private_data),
        };
        let transaction = asked.transaction;
        let message = Mad { transaction, message: Message::Reply(reply) }.write();
        let reply = Repeated::new(message, REPEATS_MAX);
        self.set_timer(local.qpn, now.after(reply.patience()));
        let answering = Answering { reply, agreed: *agreed, came: now, ticket: Arc::clone(&request.ticket) };
        let peer = Peer { guid: asked.message.guid, id: asked.message.local_id, qpn: asked.message.qpn };
        let connection = Connection {
            address: agreed.peer,
            local_id,
            transaction,
            peer: Some(peer),
            state: State::ReplySent(Box::new(answering)),
        };
        self.enter(local.qpn, connection);
        self.outbox.push(agreed.peer, message);
    }

    /// Rejects a request, with at most [`REJECT_PRIVATE_BYTES_MAX`] bytes for its user.
    pub fn reject(
        &mut self,
        now: Timestamp,
        request: IncomingRequest,
        private_data: &PrivateData,
    ) -> Result<(), AnswerError> {
        self.reject_with(now, request, RejectReason::Consumer, private_data)
    }

    /// Rejects a request for a reason of this side's own: [`RejectReason::NoQueuePair`], [`RejectReason::NoResources`].
    pub fn reject_with(
        &mut self,
        now: Timestamp,
        request: IncomingRequest,
        reason: RejectReason,
        private_data: &PrivateData,
    ) -> Result<(), AnswerError> {
        check_private_data(private_data, REJECT_PRIVATE_BYTES_MAX).map_err(|_| AnswerError::PrivateData)?;
        let message = rejected(&request.asked, reason, private_data);
        if !request.ticket.settle(Answer::Rejected(Box::new(message))) {
            return Err(AnswerError::Gone);
        }
        self.outbox.push(request.asked.peer.ip(), message);
        self.settled(now, request.asked.peer_id());
        Ok(())
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

    /// RTU.
    pub(super) fn handle_ready_to_use(&mut self, source: IpAddr, ids: Ids) {
        let Some(qpn) = self.find(source, ids.remote) else { return };
        match self.connections.get(&qpn) {
            Some(connection) if !connection.is_peer(ids.local) => self.counters.unexpected += 1,
            Some(Connection { state: State::ReplySent(_), .. }) => self.established_by_data(qpn),
            _ => self.counters.duplicates += 1,
        }
    }

    /// A packet of the peer came for a queue pair that accepted: its reply must have arrived, though the message that says so is
    /// on its way or lost (chapter 12.9). No matter in any other state.
    pub fn established_by_data(&mut self, qpn: Qpn) {
        let Some(connection) = self.connections.get_mut(&qpn) else { return };
        let State::ReplySent(answering) = &connection.state else { return };
        let agreed = answering.agreed;
        connection.state = State::Established;
        self.timers.clear(Timer::Connection(qpn));
        self.tell(CmEvent::Established { qpn, agreed, private_data: PrivateData::default() });
    }
}

/// What this side makes of a request. It takes no more than it is offered.
fn agree(asked: &Asked, receive_psn: Psn, parameters: &ConnectionParameters) -> Agreed {
    let offered = &asked.message;
    Agreed {
        peer: asked.peer.ip(),
        remote_qpn: offered.qpn,
        send_psn: offered.starting_psn,
        receive_psn,
        mtu: offered.mtu,
        responder_resources: parameters.responder_resources.min(asked.responder_resources),
        initiator_depth: parameters.initiator_depth.min(asked.initiator_depth),
        retries: offered.retries,
        rnr_retries: offered.rnr_retries,
        ack_timeout: offered.ack_timeout,
    }
}

fn rejected(asked: &Asked, reason: RejectReason, private_data: &PrivateData) -> MadBytes {
    let ids = Ids { local: CommunicationId::UNKNOWN, remote: asked.message.local_id };
    let rejection =
        Rejection { private_data: padded(private_data), ..rejection(ids, About::Request, reason) };
    Mad { transaction: asked.transaction, message: Message::Rejection(rejection) }.write()
}

/// Private data in a field of `N` bytes; its length was checked.
fn padded<const N: usize>(data: &PrivateData) -> [u8; N] {
    let mut field = [0; N];
    for (byte, value) in field.iter_mut().zip(data.bytes()) {
        *byte = *value;
    }
    field
}
