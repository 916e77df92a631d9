//! What happened, told to those whom it concerns.

use block::Timestamp;
use nvmf::host::{Failure, HostEvent, IoQueueParameters, NamespaceChange, NamespaceError};
use rdma::Device;

use super::Core;
use crate::desk::LinkState;
use crate::namespace::{Opened, Shape};
use crate::shared::Phase;

impl<D: Device> Core<D> {
    pub(super) fn tell(&mut self, event: HostEvent, now: Timestamp) {
        let peer = self.peer;
        match event {
            HostEvent::Live { incarnation, queues, .. } => {
                tracing::info!(%peer, incarnation = incarnation.0, queues = queues.len(), "attached");
                self.went_live(incarnation.0, &queues);
            }
            HostEvent::NamespacesChanged(changes) => self.namespaces_changed(&changes),
            HostEvent::Lost { why, .. } => {
                tracing::warn!(%peer, %why, "the association is lost");
                self.shared.with_view(|view| view.phase = Phase::Down);
            }
            HostEvent::AttemptFailed { why, failed, next } => {
                let in_ms = next.since(now).as_millis();
                tracing::warn!(%peer, %why, failed, in_ms, "no association; another attempt follows");
            }
            HostEvent::Discovered(log) => self.shared.with_view(|view| view.discovered = Some(log)),
            HostEvent::AdminAnswered { ticket, cqe, data } => {
                if let Some(reply) = self.replies.remove(&ticket) {
                    // Whoever asked may have gone.
                    drop(reply.send(Some((cqe, data))));
                }
            }
            HostEvent::AdminLost { ticket } => drop(self.replies.remove(&ticket)),
            HostEvent::Dead(why) => self.died(why),
        }
    }

    fn went_live(&mut self, incarnation: u64, queues: &[IoQueueParameters]) {
        self.make_lanes(queues);
        let info = self.protocol.info().cloned().map(Box::new);
        let namespaces = self.protocol.namespaces().clone();
        self.shared.with_view(|view| {
            view.phase = Phase::Live;
            view.info = info;
            view.namespaces = namespaces;
            view.incarnation = incarnation;
            view.queues = u16::try_from(queues.len()).unwrap_or(u16::MAX);
        });
        self.known.incarnation = incarnation;
        self.known.link = LinkState::Up;
        self.reshape();
        self.leave_everywhere();
        self.lend_lanes();
    }

    fn namespaces_changed(&mut self, changes: &[NamespaceChange]) {
        let namespaces = self.protocol.namespaces().clone();
        self.shared.with_view(|view| view.namespaces = namespaces);
        let Some(Opened { nsid, .. }) = self.opened else { return };
        for change in changes {
            match *change {
                NamespaceChange::Changed(changed) | NamespaceChange::Added(changed) if changed == nsid => {
                    self.reshape();
                    self.leave_everywhere();
                }
                NamespaceChange::Removed(gone) | NamespaceChange::Replaced(gone) if gone == nsid => {
                    self.removed("it is gone");
                }
                NamespaceChange::Refused(refused, NamespaceError::NotReady) if refused == nsid => {
                    tracing::warn!(peer = %self.peer, %nsid, "the namespace is not ready");
                }
                NamespaceChange::Refused(refused, why) if refused == nsid => self.removed(&why.to_string()),
                _ => {}
            }
        }
    }

    /// The namespace has a shape, or another one.
    fn reshape(&mut self) {
        let Some(opened) = self.opened else { return };
        let Some(Ok(namespace)) = self.protocol.namespaces().get(&opened.nsid) else { return };
        let shape = Shape::of(namespace, opened.access);
        self.known.geometry = shape.geometry;
        self.known.abilities = shape.abilities;
    }

    fn removed(&mut self, why: &str) {
        tracing::warn!(peer = %self.peer, why, "the namespace can no longer be used");
        self.shared.with_view(|view| view.is_removed = true);
        self.known.is_removed = true;
        self.leave_everywhere();
    }

    fn died(&mut self, why: Failure) {
        if why == Failure::Shutdown {
            tracing::debug!(peer = %self.peer, "detached");
        } else {
            tracing::error!(peer = %self.peer, %why, "the controller is given up");
        }
        self.shared.with_view(|view| view.phase = Phase::Dead(why));
        self.known.link = LinkState::Dead;
        self.known.is_removed = true;
        self.leave_everywhere();
    }

    /// Leaves what is known on every desk.
    pub(super) fn leave_everywhere(&self) {
        let known = self.known;
        self.lanes.desks.iter().for_each(|(desk, _)| desk.leave(|paper| paper.known = known));
    }
}
