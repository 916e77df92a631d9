//! How connections end: rejections, disconnection, timewait.

use std::net::IpAddr;

use block::Timestamp;

use super::active::rejection;
use super::event::CmEvent;
use super::incoming::{Answer, PeerId};
use super::state::{Repeated, State};
use super::{ConnectionManager, DISCONNECT_REPEATS_MAX, TIMEWAIT};
use crate::PrivateData;
use crate::soft::coverage;
use crate::soft::wire::Qpn;
use crate::soft::wire::mad::{
    About, Additional, CommunicationId, DisconnectRequest, Ids, Mad, Message, RejectReason, Rejection,
    TransactionId,
};

impl ConnectionManager {
    /// Ends a connection, in whatever state: the peer is told, [`CmEvent::Disconnected`] follows at once. No matter if it has
    /// ended.
    pub fn disconnect(&mut self, now: Timestamp, qpn: Qpn) {
        let Some(connection) = self.connections.get(&qpn) else { return };
        coverage::hit(connection.state.name(), "disconnect");
        match connection.state {
            State::RequestSent(_) => {
                self.give_up(qpn);
                self.begin_timewait(now, qpn);
            }
            State::ReplySent(_) => {
                let ids = connection.ids();
                let message = Message::Rejection(rejection(ids, About::Other, RejectReason::Consumer));
                self.outbox.say(connection.address, connection.transaction, message);
                self.begin_timewait(now, qpn);
            }
            State::Established => self.begin_disconnect(now, qpn),
            State::DisconnectSent(_) | State::TimeWait => return,
        }
        self.tell(CmEvent::Disconnected { qpn });
    }

    fn begin_disconnect(&mut self, now: Timestamp, qpn: Qpn) {
        let transaction = self.new_transaction();
        let Some(connection) = self.connections.get_mut(&qpn) else { return };
        let Some(peer) = connection.peer else { return };
        let request = DisconnectRequest { ids: connection.ids(), remote_qpn: peer.qpn };
        let message = Mad { transaction, message: Message::DisconnectRequest(request) }.write();
        let repeated = Repeated::new(message, DISCONNECT_REPEATS_MAX);
        let patience = repeated.patience();
        connection.state = State::DisconnectSent(Box::new(repeated));
        self.outbox.push(connection.address, message);
        self.set_timer(qpn, now.after(patience));
    }

    /// Tells the peer that its answer is no longer waited for.
    pub(super) fn give_up(&mut self, qpn: Qpn) {
        let Some(connection) = self.connections.get(&qpn) else { return };
        let additional = Additional::of_guid(self.options.guid);
        let rejection =
            Rejection { additional, ..rejection(connection.ids(), About::Other, RejectReason::Timeout) };
        self.outbox.say(connection.address, connection.transaction, Message::Rejection(rejection));
    }

    pub(super) fn begin_timewait(&mut self, now: Timestamp, qpn: Qpn) {
        let Some(connection) = self.connections.get_mut(&qpn) else { return };
        connection.begin_timewait();
        self.set_timer(qpn, now.after(TIMEWAIT));
    }

    pub(super) fn end_rejected(
        &mut self,
        now: Timestamp,
        qpn: Qpn,
        reason: RejectReason,
        private_data: PrivateData,
    ) {
        self.begin_timewait(now, qpn);
        self.tell(CmEvent::Rejected { qpn, reason, private_data });
    }

    /// REJ.
    pub(super) fn handle_rejection(&mut self, now: Timestamp, source: IpAddr, rejection: &Rejection) {
        if rejection.remote_id == CommunicationId::UNKNOWN {
            self.handle_given_up(now, source, rejection);
            return;
        }
        let Some(qpn) = self.find(source, rejection.remote_id) else { return };
        let Some(connection) = self.connections.get(&qpn) else { return };
        let is_peer = connection.is_peer(rejection.local_id);
        match connection.state {
            State::RequestSent(_) => {
                let less =
                    rejection.additional.mtu().filter(|_| rejection.reason == RejectReason::InvalidMtu);
                if !self.ask_for_less(now, qpn, less) {
                    self.take_rejection(now, qpn, rejection);
                }
            }
            State::ReplySent(_) if is_peer => self.take_rejection(now, qpn, rejection),
            State::Established if is_peer => {
                self.begin_timewait(now, qpn);
                self.tell(CmEvent::Disconnected { qpn });
            }
            State::DisconnectSent(_) if is_peer => self.begin_timewait(now, qpn),
            _ => self.counters.unexpected += 1,
        }
    }

    fn take_rejection(&mut self, now: Timestamp, qpn: Qpn, rejection: &Rejection) {
        let private_data = PrivateData::new(&rejection.private_data).unwrap_or_default();
        self.end_rejected(now, qpn, rejection.reason, private_data);
    }

    /// A peer who never heard of our part of the connection gives up waiting for it. Linux finds the connection in the same way.
    fn handle_given_up(&mut self, now: Timestamp, source: IpAddr, rejection: &Rejection) {
        let guid = rejection.additional.guid();
        let (RejectReason::Timeout, Some(guid)) = (rejection.reason, guid) else {
            self.counters.unexpected += 1;
            return;
        };
        let peer = PeerId { address: source, guid, id: rejection.local_id };
        if let Some(qpn) = self.by_peer_id.get(&peer).copied()
            && let Some(State::ReplySent(_)) = self.connections.get(&qpn).map(|connection| &connection.state)
        {
            self.take_rejection(now, qpn, rejection);
            return;
        }
        let waits = self.records.get_mut(&peer, now).filter(|record| record.waits());
        match waits {
            Some(record) => {
                record.ticket.settle(Answer::Withdrawn);
                self.settled(now, peer);
            }
            None => self.counters.unexpected += 1,
        }
    }

    /// DREQ.
    pub(super) fn handle_disconnect_request(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        transaction: TransactionId,
        request: DisconnectRequest,
    ) {
        let answer = Ids { local: request.ids.remote, remote: request.ids.local };
        let qpn = self.find(source, request.ids.remote);
        let connection = qpn.and_then(|qpn| Some((qpn, self.connections.get(&qpn)?)));
        let Some((qpn, connection)) =
            connection.filter(|(_, connection)| connection.is_peer(request.ids.local))
        else {
            if qpn.is_some() || !self.by_local_id.contains_key(&request.ids.remote) {
                self.outbox.say(source, transaction, Message::DisconnectReply(answer));
            }
            return;
        };
        if request.remote_qpn != qpn {
            self.counters.unexpected += 1;
            return;
        }
        match connection.state {
            State::RequestSent(_) => return,
            State::ReplySent(_) | State::Established => {
                self.begin_timewait(now, qpn);
                self.tell(CmEvent::Disconnected { qpn });
            }
            State::DisconnectSent(_) => self.begin_timewait(now, qpn),
            State::TimeWait => self.counters.duplicates += 1,
        }
        self.outbox.say(source, transaction, Message::DisconnectReply(answer));
    }

    /// DREP.
    pub(super) fn handle_disconnect_reply(&mut self, now: Timestamp, source: IpAddr, ids: Ids) {
        let Some(qpn) = self.find(source, ids.remote) else { return };
        let Some(connection) = self.connections.get(&qpn) else { return };
        match connection.state {
            State::DisconnectSent(_) if connection.is_peer(ids.local) => self.begin_timewait(now, qpn),
            _ => self.counters.unexpected += 1,
        }
    }
}
