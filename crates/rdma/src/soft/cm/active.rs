//! The side that connects.

use std::net::{IpAddr, SocketAddr};

use block::Timestamp;
use rand::RngExt;

use super::event::{Agreed, CmEvent, ConnectError, LocalQueuePair};
use super::incoming::PeerQueuePair;
use super::state::{Asking, Connection, Peer, Repeated, State};
use super::{ConnectionManager, PATIENCE_MAX, RECEIPTS_MAX, REPEATS_MAX};
use crate::soft::wire::Qpn;
use crate::soft::wire::mad::{
    About, Additional, CommunicationId, ConnectionRequest, Gid, Ids, Mad, Message, RdmaCmHeader, Receipt,
    RejectReason, Rejection, Reply, ServiceId, Timeout, TransactionId,
};
use crate::{ConnectionParameters, PathMtu, PrivateData, REQUEST_PRIVATE_BYTES_MAX};

/// What both sides tell each other about how soon they answer: what rdma_cm says, 4.3 s.
const CM_TIMEOUT: Timeout = Timeout::of_exponent(20);
/// The retransmission timer of both queue pairs: what Linux says on RoCE, 0.54 s.
pub(super) const ACK_TIMEOUT: Timeout = Timeout::of_exponent(17);
/// Source ports mean nothing; those of the dynamic range look familiar.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

impl ConnectionManager {
    /// Begins to connect a queue pair to a port of `to`.
    pub fn connect(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        local: LocalQueuePair,
        parameters: &ConnectionParameters,
    ) -> Result<(), ConnectError> {
        self.check_queue_pair(local.qpn)?;
        self.check_address(to.ip())?;
        check_private_data(&parameters.private_data, REQUEST_PRIVATE_BYTES_MAX)?;
        self.make_room(now)?;
        let too_many = ConnectError::TooMany(self.options.connections_max);
        let local_id = self.new_name().ok_or(too_many)?;
        let message = self.new_request(local_id, to, local, parameters);
        let transaction = self.new_transaction();
        let bytes = Mad { transaction, message: Message::Request(message) }.write();
        let asking = Asking {
            request: Repeated::new(bytes, REPEATS_MAX),
            receive_psn: message.starting_psn,
            mtu: message.mtu,
            responder_resources: message.responder_resources,
            initiator_depth: message.initiator_depth,
            retries: message.retries,
        };
        self.set_timer(local.qpn, now.after(asking.request.patience()));
        let state = State::RequestSent(Box::new(asking));
        self.enter(local.qpn, Connection { address: to.ip(), local_id, transaction, peer: None, state });
        self.outbox.push(to.ip(), bytes);
        Ok(())
    }

    fn check_address(&self, address: IpAddr) -> Result<(), ConnectError> {
        let same_family = address.is_ipv4() == self.options.address.is_ipv4();
        let mapped = address.to_canonical() != address;
        if !same_family || mapped || address.is_unspecified() || address.is_multicast() {
            return Err(ConnectError::Address(address));
        }
        Ok(())
    }

    fn new_request(
        &mut self,
        local_id: CommunicationId,
        to: SocketAddr,
        local: LocalQueuePair,
        parameters: &ConnectionParameters,
    ) -> ConnectionRequest {
        let source = SocketAddr::new(self.options.address, self.rng.random_range(SOURCE_PORTS));
        let header = RdmaCmHeader { source, destination: to.ip() };
        ConnectionRequest {
            local_id,
            service: ServiceId::of_port(to.port()),
            guid: self.options.guid,
            qpn: local.qpn,
            responder_resources: parameters.responder_resources,
            initiator_depth: parameters.initiator_depth,
            remote_timeout: CM_TIMEOUT,
            local_timeout: CM_TIMEOUT,
            starting_psn: self.new_psn(),
            retries: parameters.retries,
            mtu: self.options.mtu,
            rnr_retries: parameters.rnr_retries,
            cm_retries: u8::try_from(REPEATS_MAX).unwrap_or(u8::MAX),
            shared_receives: local.shared_receives,
            sender: Gid::from(self.options.address),
            receiver: Gid::from(to.ip()),
            ack_timeout: ACK_TIMEOUT,
            private_data: header.write(parameters.private_data.bytes()),
        }
    }

    /// Asks once more, for the packets of at most `mtu` that the peer says it can do, if that is less than was asked for. Under a
    /// new name: a rejection of the first request may come twice.
    pub(super) fn ask_for_less(&mut self, now: Timestamp, qpn: Qpn, mtu: Option<PathMtu>) -> bool {
        let Some(Connection { state: State::RequestSent(asking), local_id, transaction, address, .. }) =
            self.connections.get(&qpn)
        else {
            return false;
        };
        let (old_id, transaction, address) = (*local_id, *transaction, *address);
        let asked = Mad::read(&asking.request.message).map(|mad| mad.message);
        let (Some(mtu), Ok(Message::Request(asked))) = (mtu.filter(|mtu| *mtu < asking.mtu), asked) else {
            return false;
        };
        let Some(local_id) = self.new_name() else { return false };
        let message = Message::Request(ConnectionRequest { local_id, mtu, ..asked });
        let bytes = Mad { transaction, message }.write();
        let Some(connection) = self.connections.get_mut(&qpn) else { return false };
        let State::RequestSent(asking) = &mut connection.state else { return false };
        asking.request = Repeated::new(bytes, REPEATS_MAX);
        asking.mtu = mtu;
        connection.local_id = local_id;
        let patience = asking.request.patience();
        self.by_local_id.remove(&old_id);
        self.by_local_id.insert(local_id, qpn);
        self.set_timer(qpn, now.after(patience));
        self.outbox.push(address, bytes);
        true
    }

    /// REP.
    pub(super) fn handle_reply(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        transaction: TransactionId,
        reply: &Reply,
    ) {
        let Some(qpn) = self.find(source, reply.remote_id) else {
            if !self.by_local_id.contains_key(&reply.remote_id) {
                self.reject_reply(source, transaction, reply, RejectReason::InvalidCommunicationId);
            }
            return;
        };
        let Some(connection) = self.connections.get(&qpn) else { return };
        match &connection.state {
            State::RequestSent(_) => self.handle_first_reply(now, source, transaction, qpn, reply),
            State::Established if connection.is_peer(reply.local_id) => {
                self.counters.duplicates += 1;
                let ready = Message::ReadyToUse(connection.ids());
                self.outbox.say(source, transaction, ready);
            }
            // The request was given up: the peer, who has just begun, need not find out by itself.
            State::TimeWait if connection.peer.is_none() => {
                self.reject_reply(source, transaction, reply, RejectReason::Consumer);
            }
            _ => self.counters.unexpected += 1,
        }
    }

    fn handle_first_reply(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        transaction: TransactionId,
        qpn: Qpn,
        reply: &Reply,
    ) {
        let peer = Peer { guid: reply.guid, id: reply.local_id, qpn: reply.qpn };
        let queue_pair = PeerQueuePair { address: source, guid: peer.guid, qpn: peer.qpn };
        if reply.qpn <= Qpn::CONNECTION_MANAGER || reply.local_id == CommunicationId::UNKNOWN {
            self.counters.malformed += 1;
            return;
        }
        if let Some(stale) = self.by_peer_queue_pair.get(&queue_pair).copied() {
            self.disconnect(now, stale);
            self.reject_reply(source, transaction, reply, RejectReason::StaleConnection);
            self.end_rejected(now, qpn, RejectReason::StaleConnection, PrivateData::default());
            return;
        }
        let Some(connection) = self.connections.get_mut(&qpn) else { return };
        let State::RequestSent(asking) = &connection.state else { return };
        let agreed = agree(asking, source, reply);
        connection.peer = Some(peer);
        connection.state = State::Established;
        let ready = Message::ReadyToUse(connection.ids());
        self.enter_peer(qpn);
        self.timers.clear(super::Timer::Connection(qpn));
        self.outbox.say(source, transaction, ready);
        let private_data = PrivateData::new(&reply.private_data).unwrap_or_default();
        self.tell(CmEvent::Established { qpn, agreed, private_data });
    }

    /// Says that a reply is of no use.
    fn reject_reply(
        &mut self,
        source: IpAddr,
        transaction: TransactionId,
        reply: &Reply,
        reason: RejectReason,
    ) {
        let ids = Ids { local: reply.remote_id, remote: reply.local_id };
        self.outbox.say(source, transaction, Message::Rejection(rejection(ids, About::Reply, reason)));
    }

    /// MRA: of the request on this side, of the reply on the other.
    pub(super) fn handle_receipt(&mut self, now: Timestamp, source: IpAddr, receipt: &Receipt) {
        let Some(qpn) = self.find(source, receipt.remote_id) else { return };
        let Some(connection) = self.connections.get_mut(&qpn) else { return };
        let is_peer = connection.is_peer(receipt.local_id);
        let repeated = match &mut connection.state {
            State::RequestSent(asking) if receipt.about == About::Request => &mut asking.request,
            State::ReplySent(answering) if receipt.about == About::Reply && is_peer => &mut answering.reply,
            _ => {
                self.counters.unexpected += 1;
                return;
            }
        };
        if repeated.take_receipt(RECEIPTS_MAX) {
            let patience = receipt.service_timeout.duration().min(PATIENCE_MAX) + repeated.patience();
            self.set_timer(qpn, now.after(patience));
        } else {
            self.counters.duplicates += 1;
        }
    }
}

/// What a reply makes of an offer. The peer's view is the other way round, and it never gets more than was offered.
fn agree(asking: &Asking, peer: IpAddr, reply: &Reply) -> Agreed {
    Agreed {
        peer,
        remote_qpn: reply.qpn,
        send_psn: reply.starting_psn,
        receive_psn: asking.receive_psn,
        mtu: asking.mtu,
        responder_resources: asking.responder_resources.min(reply.initiator_depth),
        initiator_depth: asking.initiator_depth.min(reply.responder_resources),
        retries: asking.retries,
        rnr_retries: reply.rnr_retries,
        ack_timeout: ACK_TIMEOUT,
    }
}

/// A rejection without further words.
pub(super) const fn rejection(ids: Ids, about: About, reason: RejectReason) -> Rejection {
    Rejection {
        local_id: ids.local,
        remote_id: ids.remote,
        about,
        reason,
        additional: Additional::NONE,
        private_data: [0; crate::REJECT_PRIVATE_BYTES_MAX],
    }
}

pub(super) fn check_private_data(data: &PrivateData, limit: usize) -> Result<(), ConnectError> {
    let asked = data.bytes().len();
    if asked > limit { Err(ConnectError::PrivateData { asked, limit }) } else { Ok(()) }
}
