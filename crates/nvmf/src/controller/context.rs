//! What a controller's admin commands see of the rest of the target.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use block::Timestamp;

use super::limits::Limits;
use super::namespace::NamespaceMap;
use super::subsystem::Subsystem;
use crate::wire::Nqn;

/// Everything but controllers.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) limits: Limits,
    pub(super) subsystems: BTreeMap<Nqn, Subsystem>,
    pub(super) listeners: Vec<SocketAddr>,
    /// GENCTR of the discovery log.
    pub(super) discovery_generation: u64,
}

/// What one command sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) domain: &'a Domain,
    pub(super) now: Timestamp,
}

impl Domain {
    /// The namespaces of a subsystem; none if it has been removed.
    pub(super) fn namespaces(&self, subsystem: &Nqn) -> Arc<NamespaceMap> {
        self.subsystems
            .get(subsystem)
            .map_or_else(Arc::default, |subsystem| Arc::clone(&subsystem.namespaces))
    }
}
