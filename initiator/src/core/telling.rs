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
                // What we end ourselves is no news.
                if why == Failure::Shutdown {
                    tracing::debug!(%peer, "the association is over");
                } else {
                    tracing::warn!(%peer, %why, "the association is lost");
                }
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
        self.known.incarnation = incarnation;
        self.shared.with_view(|view| {
            view.phase = Phase::Live;
            view.info = info;
            view.namespaces = namespaces;
            view.incarnation = incarnation;
            view.queues = u16::try_from(queues.len()).unwrap_or(u16::MAX);
        });
        self.look_at_namespace();
    }

    fn namespaces_changed(&mut self, changes: &[NamespaceChange]) {
        let namespaces = self.protocol.namespaces().clone();
        self.shared.with_view(|view| view.namespaces = namespaces);
        let Some(Opened { nsid, .. }) = self.opened else { return };
        let is_ours = |change: &NamespaceChange| match *change {
            NamespaceChange::Added(changed)
            | NamespaceChange::Changed(changed)
            | NamespaceChange::Removed(changed)
            | NamespaceChange::Replaced(changed)
            | NamespaceChange::Refused(changed, _) => changed == nsid,
        };
        if changes.iter().any(is_ours) {
            self.look_at_namespace();
        }
    }

    /// Takes the namespace's shape, and lets queues use it. What they hold is for the namespace that was opened: one that has
    /// taken its place gets none of it, and so this comes before lanes are lent.
    fn look_at_namespace(&mut self) {
        let Some(opened) = self.opened else { return };
        match self.protocol.namespaces().get(&opened.nsid) {
            Some(Ok(namespace)) if self.first.as_ref().is_none_or(|first| namespace.is_same(first)) => {
                let shape = Shape::of(namespace, opened.access);
                self.first.get_or_insert_with(|| namespace.clone());
                self.known.geometry = shape.geometry;
                self.known.abilities = shape.abilities;
                self.known.link = LinkState::Up;
            }
            Some(Ok(_)) => self.removed("another one has its number"),
            None => self.removed("it is gone"),
            Some(Err(NamespaceError::NotReady)) => {
                tracing::warn!(peer = %self.peer, nsid = %opened.nsid, "the namespace is not ready");
            }
            Some(Err(why)) => {
                let why = why.to_string();
                self.removed(&why);
            }
        }
        self.leave_everywhere();
        self.lend_lanes();
    }

    fn removed(&mut self, why: &str) {
        tracing::warn!(peer = %self.peer, why, "the namespace can no longer be used");
        self.shared.with_view(|view| view.is_removed = true);
        self.known.is_removed = true;
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
