//! What all reactors share: the target's state, behind a lock that no I/O takes.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use block::Waker;
use nvme_spec::Nsid;
use nvmf::controller::{
    LimitsError, NamespaceError, NamespaceInfo, SubsystemError, SubsystemOptions, Target,
};
use nvmf::wire::Nqn;

use crate::engine::{EngineEvent, EngineOptions, EngineStatus};

/// See the module's words.
#[derive(Debug)]
pub(crate) struct Hub {
    target: Mutex<Target>,
}

impl Hub {
    pub(crate) fn new(options: &EngineOptions) -> Result<Self, LimitsError> {
        Ok(Self { target: Mutex::new(Target::new(options.limits)?) })
    }

    fn lock(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_subsystem(&self, options: SubsystemOptions) -> Result<(), SubsystemError> {
        self.lock().add_subsystem(options)
    }

    pub(crate) fn remove_subsystem(&self, nqn: &Nqn) -> Result<(), SubsystemError> {
        self.lock().remove_subsystem(nqn)
    }

    pub(crate) fn set_hosts(
        &self,
        nqn: &Nqn,
        allow_any_host: bool,
        hosts: BTreeSet<Nqn>,
    ) -> Result<(), SubsystemError> {
        self.lock().set_hosts(nqn, allow_any_host, hosts)
    }

    pub(crate) fn add_namespace(&self, nqn: &Nqn, info: NamespaceInfo) -> Result<(), NamespaceError> {
        self.lock().add_namespace(nqn, info)
    }

    pub(crate) fn remove_namespace(&self, nqn: &Nqn, nsid: Nsid) -> Result<(), NamespaceError> {
        self.lock().remove_namespace(nqn, nsid)
    }

    pub(crate) fn status(&self) -> EngineStatus {
        EngineStatus::default()
    }

    pub(crate) fn poll_event(&self) -> Option<EngineEvent> {
        None
    }

    pub(crate) fn wake_on_event(&self, waker: Waker) {
        drop(waker);
    }
}
