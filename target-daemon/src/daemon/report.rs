//! How everything is, in the words of the control socket.

use std::collections::BTreeMap;

use nvme_spec::Nsid;
use nvmf::wire::Nqn;
use uuid::Uuid;

use super::Daemon;
use crate::config::{Namespace, Subsystem};
use crate::control::status::{NamespaceState, NamespaceStatus, Status, SubsystemStatus};
use crate::engine::{EngineStatus, NamespaceView};
use crate::export::{NamespaceKey, Subsystems};

impl Daemon {
    pub(super) fn status(&self) -> Status {
        let engine = self.engine.status();
        Status {
            pid: std::process::id(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.clock.now().as_ns() / 1_000_000_000,
            listening: self.engine.listening().iter().map(ToString::to_string).collect(),
            state_dir: self.config.state_dir.as_ref().map(|folder| folder.display().to_string()),
            subsystems: self.subsystems(&engine),
            controllers: engine.controllers.iter().map(Into::into).collect(),
            hosts: engine.hosts.iter().map(Into::into).collect(),
            reactors: engine.reactors.iter().map(Into::into).collect(),
        }
    }

    fn subsystems(&self, engine: &EngineStatus) -> Vec<SubsystemStatus> {
        let wanted = self.changes.merged(&self.config.subsystems);
        let served = self.serving.subsystems();
        served.iter().map(|(nqn, subsystem)| self.subsystem_status(nqn, subsystem, &wanted, engine)).collect()
    }

    fn subsystem_status(
        &self,
        nqn: &Nqn,
        subsystem: &Subsystem,
        wanted: &Subsystems,
        engine: &EngineStatus,
    ) -> SubsystemStatus {
        // What is served, and what should be and is not.
        let mut namespaces: BTreeMap<Nsid, &Namespace> = BTreeMap::new();
        namespaces.extend(wanted.get(nqn).iter().flat_map(|wanted| by_number(wanted)));
        namespaces.extend(by_number(subsystem));
        let key = |nsid| NamespaceKey { nqn: nqn.clone(), nsid };
        SubsystemStatus {
            nqn: nqn.to_string(),
            serial: subsystem.serial.clone(),
            model: subsystem.model.clone(),
            allow_any_host: subsystem.hosts.any,
            hosts: subsystem.hosts.listed.iter().map(ToString::to_string).collect(),
            namespaces: namespaces
                .into_iter()
                .map(|(nsid, namespace)| self.namespace_status(&key(nsid), namespace, engine))
                .collect(),
        }
    }

    fn namespace_status(
        &self,
        key: &NamespaceKey,
        namespace: &Namespace,
        engine: &EngineStatus,
    ) -> NamespaceStatus {
        let info = self.serving.exported(key).map(|exported| &exported.info);
        let simple = |nguid| Uuid::from_bytes(nguid).simple().to_string();
        let status = NamespaceStatus {
            nsid: key.nsid.0,
            device: namespace.device.to_string(),
            state: if info.is_some() { NamespaceState::Exported } else { NamespaceState::Failed },
            error: self.serving.failed().get(key).cloned(),
            is_added: self.changes.added.contains_key(key),
            read_only: namespace.read_only,
            block_bytes: info.map_or(0, |info| info.geometry.block_size.bytes()),
            blocks: info.map_or(0, |info| info.geometry.blocks),
            uuid: info.and_then(|info| info.uuid).map(|uuid| uuid.to_string()),
            nguid: info.and_then(|info| info.nguid).map(simple),
            ..Default::default()
        };
        let is_it = |view: &&NamespaceView| view.subsystem == key.nqn && view.nsid == key.nsid;
        match engine.namespaces.iter().find(is_it) {
            Some(view) => status.with_view(view),
            None => status,
        }
    }
}

fn by_number(subsystem: &Subsystem) -> impl Iterator<Item = (Nsid, &Namespace)> {
    subsystem.namespaces.iter().map(|(nsid, namespace)| (*nsid, namespace))
}
