//! What the daemon changes while hosts are attached.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use block::BlockDevice;
use nvme_spec::Nsid;
use nvmf::controller::{NamespaceError, NamespaceInfo, SubsystemError, SubsystemOptions};
use nvmf::wire::Nqn;

use super::Hub;
use super::exports::ExportSlot;
use crate::reactor::Cells;

impl Hub {
    pub(crate) fn set_listeners(&self, listeners: Vec<SocketAddr>) {
        self.with(|state| state.target.set_listeners(listeners));
    }

    pub(crate) fn add_subsystem(&self, options: SubsystemOptions) -> Result<(), SubsystemError> {
        self.with(|state| state.target.add_subsystem(options))
    }

    /// Also says which devices are no longer needed.
    pub(crate) fn remove_subsystem(&self, nqn: &Nqn) -> Result<Vec<(ExportSlot, Nsid)>, SubsystemError> {
        self.with(|state| {
            state.target.remove_subsystem(nqn)?;
            Ok(state.exports.hide_all(nqn))
        })
    }

    pub(crate) fn set_hosts(
        &self,
        nqn: &Nqn,
        allow_any_host: bool,
        hosts: BTreeSet<Nqn>,
    ) -> Result<(), SubsystemError> {
        self.with(|state| state.target.set_hosts(nqn, allow_any_host, hosts))
    }

    /// Whether a namespace could be added, before its device is touched.
    pub(crate) fn check_namespace(&self, nqn: &Nqn, info: &NamespaceInfo) -> Result<(), NamespaceError> {
        self.lock().target.check_namespace(nqn, info)
    }

    /// A number for a device whose queues are to be opened; `None` if there are as many as can be.
    pub(crate) fn reserve_export(
        &self,
        nqn: &Nqn,
        nsid: Nsid,
        device: Arc<dyn BlockDevice>,
    ) -> Option<ExportSlot> {
        self.lock().exports.reserve(nqn, nsid, device)
    }

    /// All reactors have a queue: hosts are told.
    pub(crate) fn show_namespace(
        &self,
        nqn: &Nqn,
        info: NamespaceInfo,
        slot: ExportSlot,
        cells: Vec<Arc<Cells>>,
    ) -> Result<(), NamespaceError> {
        self.with(|state| {
            state.target.add_namespace(nqn, info)?;
            state.exports.show(slot, cells);
            Ok(())
        })
    }

    /// Hosts are told that a namespace is gone. Says which device is no longer needed.
    pub(crate) fn hide_namespace(&self, nqn: &Nqn, nsid: Nsid) -> Result<Option<ExportSlot>, NamespaceError> {
        self.with(|state| {
            state.target.remove_namespace(nqn, nsid)?;
            Ok(state.exports.hide(nqn, nsid))
        })
    }

    /// No reactor has a queue of it any more.
    pub(crate) fn release_export(&self, slot: ExportSlot) {
        self.lock().exports.release(slot);
    }
}
