//! Which connections a controller has, and on which reactors they are.

use std::collections::BTreeMap;

use nvme_spec::QueueId;
use nvmf::controller::ControllerKey;
use nvmf::wire::Nqn;
use rdma::Handle;

use super::hosts::HostSlot;

/// Names a connection of a reactor: never that of another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId {
    /// Which of the reactor's ports it is on.
    pub(crate) port: u16,
    /// Which connection of the port.
    pub(crate) handle: Handle,
}

/// A reactor, and a connection of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) reactor: u16,
    pub(crate) connection: ConnectionId,
}

/// A controller's connections.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) subsystem: Nqn,
    pub(super) host: HostSlot,
    admin: Option<Place>,
    io: BTreeMap<QueueId, Place>,
}

/// All controllers' connections. A connection is here until the target has been told that it is gone, so that messages go
/// only to those that exist or have just been closed.
#[derive(Debug, Default)]
pub(super) struct Routes {
    routes: BTreeMap<ControllerKey, Route>,
}

impl Routes {
    pub(super) fn admin_connected(
        &mut self,
        key: ControllerKey,
        subsystem: Nqn,
        host: HostSlot,
        place: Place,
    ) {
        let route = Route { subsystem, host, admin: Some(place), io: BTreeMap::new() };
        self.routes.insert(key, route);
    }

    pub(super) fn io_connected(&mut self, key: ControllerKey, queue: QueueId, place: Place) {
        if let Some(route) = self.routes.get_mut(&key) {
            route.io.insert(queue, place);
        }
    }

    pub(super) fn get(&self, key: ControllerKey) -> Option<&Route> {
        self.routes.get(&key)
    }

    pub(super) fn queue_gone(&mut self, key: ControllerKey, queue: QueueId) {
        let Some(route) = self.routes.get_mut(&key) else { return };
        if queue.is_admin() {
            route.admin = None;
        } else {
            route.io.remove(&queue);
        }
    }

    /// Forgets a controller; says whose it was.
    pub(super) fn gone(&mut self, key: ControllerKey) -> Option<HostSlot> {
        self.routes.remove(&key).map(|route| route.host)
    }
}

impl Route {
    pub(super) const fn admin(&self) -> Option<Place> {
        self.admin
    }

    pub(super) fn io(&self) -> impl Iterator<Item = Place> {
        self.io.values().copied()
    }
}
