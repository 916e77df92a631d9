//! The end of an association: every connection is taken down, lanes come back, and the controller confirms if it can.

use std::time::Duration;

use block::Timestamp;
use nvmf::host::Association;
use rdma::{Device, Endpoint};

use super::Core;
use crate::desk::LinkState;

/// How long lanes and the controller's confirmations are waited for. A queue's thread that does not poll keeps its lane, and its
/// memory with it, until it does: the association goes on without.
const ENDING_MAX: Duration = Duration::from_secs(1);

/// An association that is being ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    association: Association,
    due: Timestamp,
    /// Connections that the controller will confirm the end of.
    confirmations: u64,
    /// Packets received before.
    packets_before: u64,
}

impl<D: Device> Core<D> {
    /// Takes down every connection of an association.
    pub(super) fn begin_ending(&mut self, association: Association, now: Timestamp) {
        let packets_before = self.packets_received();
        let mut confirmations = u64::from(self.admin.close(now));
        for (_, mut port) in std::mem::take(&mut self.lanes.connecting) {
            confirmations += u64::from(port.close(now));
            self.lanes.spare.push(port);
        }
        for (lane, _) in std::mem::take(&mut self.lanes.idle) {
            let ended = lane.end(now);
            confirmations += u64::from(ended.awaits_peer);
            self.lanes.spare.push(ended.port);
        }
        self.ending = Some(Ending { association, due: now.after(ENDING_MAX), confirmations, packets_before });
        self.known.ended = Some(association);
        self.known.link = LinkState::Down;
        self.leave_everywhere();
    }

    /// A port that was lent has come back without its connection.
    pub(super) fn note_ended(&mut self, packets_received: u64, awaits_peer: bool) {
        if let Some(ending) = &mut self.ending {
            ending.confirmations += u64::from(awaits_peer);
            ending.packets_before += packets_received;
        }
    }

    /// Tells the protocol when all is done.
    pub(super) fn check_ending(&mut self, now: Timestamp) -> bool {
        let Some(ending) = self.ending else { return false };
        let lent = self.lanes.lent();
        let answers = self.packets_received().saturating_sub(ending.packets_before);
        let is_counted = ending.packets_before > 0;
        let is_confirmed = !is_counted || answers >= ending.confirmations;
        if now < ending.due && (lent > 0 || !is_confirmed) {
            return false;
        }
        if lent > 0 {
            tracing::warn!(peer = %self.peer, lent, "queues whose threads do not poll keep their old connections");
        }
        self.ending = None;
        self.protocol.handle_disconnected(ending.association, now);
        true
    }

    pub(super) fn ending_due(&self) -> Timestamp {
        self.ending.map_or(Timestamp::NEVER, |ending| ending.due)
    }

    /// Packets that have come to the core's endpoints. Hardware counts none; its connection manager is the kernel's.
    fn packets_received(&self) -> u64 {
        self.admin.endpoint.counters().packets_received + self.lanes.packets_received()
    }
}
