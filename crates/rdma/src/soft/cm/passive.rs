//! The side that accepts.

use std::net::IpAddr;
use std::sync::Arc;

use block::Timestamp;

use super::active::{check_private_data, rejection};
use super::event::{Agreed, CmEvent, ConnectError, LocalQueuePair};
use super::incoming::{Answer, Asked, IncomingRequest};
use super::outbox::Timer;
use super::state::{Answering, Connection, Peer, Repeated, State};
use super::{ConnectionManager, REPEATS_MAX};
use crate::soft::wire::mad::{
    About, CommunicationId, Ids, Mad, MadBytes, Message, RejectReason, Rejection, Reply, Timeout,
};
use crate::soft::wire::{Psn, Qpn};
use crate::{
    AnswerError, ConnectionParameters, PrivateData, REJECT_PRIVATE_BYTES_MAX, REPLY_PRIVATE_BYTES_MAX,
};

/// How long this side may take to acknowledge a packet: 0.13 s, what rxe says.
const ACK_DELAY: Timeout = Timeout::of_exponent(15);

impl ConnectionManager {
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
