//! Requests to connect: whose they are, whether they can be granted, and the queue pair.

use nvmf::controller::{Arrival, check_request};
use nvmf::wire::rdma::{AcceptData, RejectStatus, RequestData};
use rdma::{
    ConnectionParameters, CreateError, Handle, PeerOffer, PrivateData, QueuePairOptions, RNR_RETRIES_ENDLESS,
    ReceiveSource,
};

use super::Station;
use crate::hub::ConnectionId;
use crate::reactor::connection::Connection;
use crate::reactor::core::Core;
use crate::reactor::receives::ReceiveKind;

/// Connections of a port that are not queues yet.
const JOINING_MAX: usize = 1024;

/// The same, of one address of hosts.
const JOINING_PER_PEER_MAX: usize = 256;

/// How often unanswered packets are sent again before a connection counts as lost.
const RETRIES: u8 = 7;

/// Work besides a response and its data for each command that a queue pair has room for.
const SEND_DEPTH_SPARE: u32 = 16;

impl Station {
    /// Somebody asks for a connection: it is this reactor's or another's. A controller's I/O queues spread over the reactors.
    pub(super) fn asked(&mut self, core: &mut Core, offer: &PeerOffer) {
        let reactors = core.hub.mailboxes().len();
        let chosen = match RequestData::read(offer.private_data.bytes()) {
            Ok(request) if request.queue.is_admin() => core.next_admin(),
            Ok(request) => usize::from(request.controller.0).wrapping_add(usize::from(request.queue.0)),
            Err(_) => usize::from(core.reactor),
        };
        match u16::try_from(chosen % reactors.max(1)) {
            Ok(other) if other != core.reactor => self.port.pass_on(other, core.now),
            _ => self.admit(core, offer),
        }
    }

    pub(super) fn admit(&mut self, core: &mut Core, offer: &PeerOffer) {
        let admitted = self.check(core, offer).and_then(|(request, accepted)| {
            self.accept(core, offer, request, accepted).map_err(|error| {
                tracing::warn!(peer = %offer.peer, %error, "a connection cannot be accepted");
                RejectStatus::NoResources
            })
        });
        if let Err(status) = admitted {
            core.gauges.refused.add(1);
            tracing::info!(peer = %offer.peer, reason = %status, "connection refused");
            self.port.reject(status, core.now);
        }
    }

    /// Whether what the peer asks for can be had.
    fn check(&mut self, core: &Core, offer: &PeerOffer) -> Result<(RequestData, AcceptData), RejectStatus> {
        let request = RequestData::read(offer.private_data.bytes())?;
        let accepted = check_request(&request, core.hub.limits())?;
        if offer.initiator_depth == 0 {
            return Err(RejectStatus::InvalidInboundReads);
        }
        let joining = self.connections.iter_mut().filter(|(_, connection)| connection.is_joining());
        let mut counts = (0, 0);
        for (_, connection) in joining {
            counts.0 += 1;
            counts.1 += usize::from(connection.arrival().peer.ip() == offer.peer.ip());
        }
        let is_full = counts.0 >= JOINING_MAX || counts.1 >= JOINING_PER_PEER_MAX;
        if is_full || core.is_draining { Err(RejectStatus::NoResources) } else { Ok((request, accepted)) }
    }

    fn accept(
        &mut self,
        core: &Core,
        offer: &PeerOffer,
        request: RequestData,
        accepted: AcceptData,
    ) -> Result<(), CreateError> {
        let limits = self.port.limits();
        let kind = if request.queue.is_admin() { ReceiveKind::Admin } else { ReceiveKind::Io };
        // Among so many pieces of work there is always a response, whose completion makes room: a command has at most one
        // piece before its response.
        let send_depth = 2 * u32::from(accepted.controller_receives) + SEND_DEPTH_SPARE;
        let options = QueuePairOptions {
            send_depth: send_depth.min(limits.send_depth_max),
            receives: ReceiveSource::Shared(self.receives.queue(kind)),
        };
        let parameters = ConnectionParameters {
            responder_resources: 0,
            initiator_depth: offer.initiator_depth.min(limits.initiator_depth_max),
            retries: RETRIES,
            rnr_retries: RNR_RETRIES_ENDLESS,
            private_data: PrivateData::new(&accepted.to_bytes()).unwrap_or_default(),
        };
        let queue_pair = self.port.accept(&options, &parameters, core.now)?;
        let arrival = Arrival { local: offer.local, peer: offer.peer, request };
        let port = self.index;
        let handle = self
            .connections
            .insert_with(|handle| Connection::new(ConnectionId { port, handle }, queue_pair, arrival, core));
        let (Some(handle), Ok(slot)) = (handle, usize::try_from(Handle::from(queue_pair).slot())) else {
            self.port.destroy(queue_pair, core.now);
            return Ok(());
        };
        if self.by_queue_pair.len() <= slot {
            self.by_queue_pair.resize(slot + 1, None);
        }
        self.by_queue_pair[slot] = Some(handle);
        Ok(())
    }
}
