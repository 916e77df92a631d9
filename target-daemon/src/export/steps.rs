//! The difference between what is served and what is wanted, as steps. What is the same on both sides is not touched, so I/O
//! to it goes on.

use std::collections::BTreeMap;

use nvme_spec::Nsid;
use nvmf::wire::Nqn;

use super::NamespaceKey;
use crate::config::{Hosts, Namespace, Subsystem};

/// Subsystems by name.
pub(crate) type Subsystems = BTreeMap<Nqn, Subsystem>;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Exports a namespace no longer.
    RemoveNamespace(NamespaceKey),
    /// Serves a subsystem, and whatever is left in it, no longer.
    RemoveSubsystem(Nqn),
    /// Serves a subsystem, empty.
    AddSubsystem(Nqn, Subsystem),
    /// Changes who may attach.
    SetHosts(Nqn, Hosts),
    /// Exports a namespace.
    AddNamespace(NamespaceKey, Namespace),
}

/// What leads from one to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In this order: what goes first makes room (a device, a number) for what comes.
    pub(crate) steps: Vec<Step>,
    /// What cannot be changed under attached hosts, in words.
    pub(crate) needs_restart: Vec<String>,
}

impl Plan {
    /// From what is served to what is wanted.
    pub(crate) fn between(served: &Subsystems, wanted: &Subsystems) -> Self {
        let mut plan = Self::default();
        for (nqn, subsystem) in served {
            match wanted.get(nqn) {
                None => plan.steps.push(Step::RemoveSubsystem(nqn.clone())),
                Some(wanted) => plan.take_away(nqn, subsystem, wanted),
            }
        }
        for (nqn, subsystem) in wanted {
            match served.get(nqn) {
                None => plan.steps.push(Step::AddSubsystem(nqn.clone(), empty(subsystem))),
                Some(served) => plan.change(nqn, served, subsystem),
            }
        }
        for (nqn, subsystem) in wanted {
            let none = BTreeMap::new();
            let there = served.get(nqn).map_or(&none, |served| &served.namespaces);
            plan.add_missing(nqn, there, &subsystem.namespaces);
        }
        plan
    }

    fn take_away(&mut self, nqn: &Nqn, served: &Subsystem, wanted: &Subsystem) {
        let goes = |nsid: &Nsid, namespace: &Namespace| wanted.namespaces.get(nsid) != Some(namespace);
        let gone = served.namespaces.iter().filter(|(nsid, namespace)| goes(nsid, namespace));
        let key = |nsid: &Nsid| NamespaceKey { nqn: nqn.clone(), nsid: *nsid };
        self.steps.extend(gone.map(|(nsid, _)| Step::RemoveNamespace(key(nsid))));
    }

    fn change(&mut self, nqn: &Nqn, served: &Subsystem, wanted: &Subsystem) {
        let fixed = [
            ("serial", served.serial != wanted.serial),
            ("model", served.model != wanted.model),
            ("cntlid", served.controller_ids != wanted.controller_ids),
        ];
        let changed = fixed.into_iter().filter(|(_, is_changed)| *is_changed);
        self.needs_restart.extend(changed.map(|(key, _)| format!("subsystem {nqn}: {key}")));
        if served.hosts != wanted.hosts {
            self.steps.push(Step::SetHosts(nqn.clone(), wanted.hosts.clone()));
        }
    }

    fn add_missing(
        &mut self,
        nqn: &Nqn,
        there: &BTreeMap<Nsid, Namespace>,
        wanted: &BTreeMap<Nsid, Namespace>,
    ) {
        for (nsid, namespace) in wanted {
            if there.get(nsid) != Some(namespace) {
                let key = NamespaceKey { nqn: nqn.clone(), nsid: *nsid };
                self.steps.push(Step::AddNamespace(key, namespace.clone()));
            }
        }
    }
}

/// The subsystem without its namespaces, which are steps of their own.
fn empty(subsystem: &Subsystem) -> Subsystem {
    Subsystem { namespaces: BTreeMap::new(), ..subsystem.clone() }
}
