//! Carries steps out on the engine, and knows what is served.

use std::collections::BTreeMap;

use block::{Claim, Openers};
use nvme_spec::Nsid;
use nvmf::controller::{NamespaceInfo, SubsystemError, SubsystemOptions};
use nvmf::wire::Nqn;
use thiserror::Error;
use tracing::{error, info};

use super::open::{self, OpenExportError};
use super::steps::{Step, Subsystems};
use super::{NamespaceKey, Plan};
use crate::config::{Hosts, Machine, Namespace, Subsystem, first_overlap};
use crate::engine::{Engine, ExportError};

/// Why a step was not taken.
#[derive(Debug, Error)]
pub(crate) enum StepError {
    /// The engine refuses a subsystem.
    #[error("subsystem {nqn}: {source}")]
    Subsystem {
        /// Which.
        nqn: Nqn,
        /// Why.
        source: SubsystemError,
    },
    /// The engine does not let go of a subsystem.
    #[error("subsystem {nqn}: {source}")]
    Removal {
        /// Which.
        nqn: Nqn,
        /// Why.
        source: ExportError,
    },
    /// The engine refuses a namespace.
    #[error("{key}: {source}")]
    Export {
        /// Which.
        key: NamespaceKey,
        /// Why.
        source: ExportError,
    },
    /// The device cannot be had.
    #[error("{key}: {source}")]
    Open {
        /// Which.
        key: NamespaceKey,
        /// Why.
        source: OpenExportError,
    },
    /// Another namespace is on the same bytes.
    #[error("{key}: its device is (partly) that of {other}, and a device has one writable owner")]
    Overlap {
        /// Which.
        key: NamespaceKey,
        /// The other one.
        other: NamespaceKey,
    },
    /// Hosts could not tell it from another.
    #[error("{key}: it has the identity of {other}: give one of them a uuid of its own")]
    Identity {
        /// Which.
        key: NamespaceKey,
        /// The other one.
        other: NamespaceKey,
    },
}

/// A namespace that is exported.
pub(crate) struct Exported {
    /// What hosts were told first; the engine knows the newest size.
    pub(crate) info: NamespaceInfo,
    _claim: Claim,
}

/// What is served, and how to change it.
pub(crate) struct Serving {
    openers: Openers,
    machine: Machine,
    subsystems: Subsystems,
    exported: BTreeMap<NamespaceKey, Exported>,
    failed: BTreeMap<NamespaceKey, String>,
}

impl Serving {
    /// Nothing yet.
    pub(crate) fn new(openers: Openers, machine: Machine) -> Self {
        Self {
            openers,
            machine,
            subsystems: Subsystems::new(),
            exported: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// What is served now.
    pub(crate) fn subsystems(&self) -> &Subsystems {
        &self.subsystems
    }

    /// An exported namespace.
    pub(crate) fn exported(&self, key: &NamespaceKey) -> Option<&Exported> {
        self.exported.get(key)
    }

    /// How many namespaces are exported.
    pub(crate) fn exported_count(&self) -> usize {
        self.exported.len()
    }

    /// Namespaces that are wanted and not exported, and why.
    pub(crate) fn failed(&self) -> &BTreeMap<NamespaceKey, String> {
        &self.failed
    }

    /// A namespace that is not exported is wanted no longer.
    pub(crate) fn forget_failed(&mut self, key: &NamespaceKey) {
        self.failed.remove(key);
    }

    /// A namespace that nobody can use any more is taken from hosts, and said to have failed.
    pub(crate) fn give_up(&mut self, engine: &Engine, key: &NamespaceKey, why: &str) {
        match self.remove_namespace(engine, key) {
            Ok(()) => drop(self.failed.insert(key.clone(), why.to_owned())),
            Err(error) => error!("{error}"),
        }
    }

    /// Takes all steps of a plan. One that fails does not stop the others: a broken drive takes no other with it.
    pub(crate) fn carry_out(&mut self, engine: &Engine, plan: Plan) -> Vec<StepError> {
        self.failed.clear();
        let mut errors = Vec::new();
        for step in plan.steps {
            if let Err(error) = self.take(engine, step) {
                error!("{error}");
                errors.push(error);
            }
        }
        errors
    }

    fn take(&mut self, engine: &Engine, step: Step) -> Result<(), StepError> {
        match step {
            Step::RemoveNamespace(key) => self.remove_namespace(engine, &key),
            Step::RemoveSubsystem(nqn) => self.remove_subsystem(engine, &nqn),
            Step::AddSubsystem(nqn, subsystem) => self.add_subsystem(engine, nqn, subsystem),
            Step::SetHosts(nqn, hosts) => self.set_hosts(engine, nqn, hosts),
            Step::AddNamespace(key, namespace) => {
                let added = self.add_namespace(engine, &key, namespace);
                if let Err(error) = &added {
                    self.failed.insert(key, error.to_string());
                }
                added
            }
        }
    }

    /// Exports a namespace of a subsystem that is served.
    pub(crate) fn add_namespace(
        &mut self,
        engine: &Engine,
        key: &NamespaceKey,
        namespace: Namespace,
    ) -> Result<(), StepError> {
        let key = || key.clone();
        if let Some(other) = first_overlap(&namespace, self.namespaces()) {
            return Err(StepError::Overlap { key: key(), other });
        }
        let opened = open::open(&self.openers, &self.machine, &key(), &namespace)
            .map_err(|source| StepError::Open { key: key(), source })?;
        if let Some(other) = self.twin_of(&opened.info) {
            return Err(StepError::Identity { key: key(), other });
        }
        let key = key();
        engine
            .add_namespace(&key.nqn, opened.info, opened.device)
            .map_err(|source| StepError::Export { key: key.clone(), source })?;
        info!(subsystem = %key.nqn, nsid = key.nsid.0, device = %namespace.device, "namespace exported");
        if let Some(subsystem) = self.subsystems.get_mut(&key.nqn) {
            subsystem.namespaces.insert(key.nsid, namespace);
        }
        self.failed.remove(&key);
        self.exported.insert(key, Exported { info: opened.info, _claim: opened.claim });
        Ok(())
    }

    /// Exports a namespace no longer.
    pub(crate) fn remove_namespace(&mut self, engine: &Engine, key: &NamespaceKey) -> Result<(), StepError> {
        let removed = engine.remove_namespace(&key.nqn, key.nsid);
        removed.map_err(|source| StepError::Export { key: key.clone(), source })?;
        info!(subsystem = %key.nqn, nsid = key.nsid.0, "namespace removed");
        self.exported.remove(key);
        if let Some(subsystem) = self.subsystems.get_mut(&key.nqn) {
            subsystem.namespaces.remove(&key.nsid);
        }
        Ok(())
    }

    fn remove_subsystem(&mut self, engine: &Engine, nqn: &Nqn) -> Result<(), StepError> {
        let nsids: Vec<Nsid> =
            self.subsystems.get(nqn).map(|of| of.namespaces.keys().copied().collect()).unwrap_or_default();
        for nsid in nsids {
            self.remove_namespace(engine, &NamespaceKey { nqn: nqn.clone(), nsid })?;
        }
        let removed = engine.remove_subsystem(nqn);
        removed.map_err(|source| StepError::Removal { nqn: nqn.clone(), source })?;
        info!(subsystem = %nqn, "subsystem removed");
        self.subsystems.remove(nqn);
        Ok(())
    }

    fn add_subsystem(&mut self, engine: &Engine, nqn: Nqn, subsystem: Subsystem) -> Result<(), StepError> {
        let options = SubsystemOptions {
            model: subsystem.model.clone(),
            controller_ids: subsystem.controller_ids.clone(),
            allow_any_host: subsystem.hosts.any,
            hosts: subsystem.hosts.listed.clone(),
            ..SubsystemOptions::new(nqn.clone(), &subsystem.serial)
        };
        let added = engine.add_subsystem(options);
        added.map_err(|source| StepError::Subsystem { nqn: nqn.clone(), source })?;
        info!(subsystem = %nqn, "subsystem served");
        self.subsystems.insert(nqn, subsystem);
        Ok(())
    }

    fn set_hosts(&mut self, engine: &Engine, nqn: Nqn, hosts: Hosts) -> Result<(), StepError> {
        let set = engine.set_hosts(&nqn, hosts.any, hosts.listed.clone());
        set.map_err(|source| StepError::Subsystem { nqn: nqn.clone(), source })?;
        info!(subsystem = %nqn, any = hosts.any, listed = hosts.listed.len(), "hosts that may attach changed");
        if let Some(subsystem) = self.subsystems.get_mut(&nqn) {
            subsystem.hosts = hosts;
        }
        Ok(())
    }

    /// All namespaces that are exported.
    fn namespaces(&self) -> impl Iterator<Item = (NamespaceKey, &Namespace)> {
        self.subsystems.iter().flat_map(|(nqn, subsystem)| {
            let key = |nsid: &Nsid| NamespaceKey { nqn: nqn.clone(), nsid: *nsid };
            subsystem.namespaces.iter().map(move |(nsid, namespace)| (key(nsid), namespace))
        })
    }

    /// Another namespace with an identifier of this one.
    fn twin_of(&self, info: &NamespaceInfo) -> Option<NamespaceKey> {
        let is_twin = |other: &NamespaceInfo| {
            (info.uuid.is_some() && info.uuid == other.uuid)
                || (info.nguid.is_some() && info.nguid == other.nguid)
                || (info.eui64.is_some() && info.eui64 == other.eui64)
        };
        let twin = self.exported.iter().find(|(_, exported)| is_twin(&exported.info));
        twin.map(|(key, _)| key.clone())
    }
}
