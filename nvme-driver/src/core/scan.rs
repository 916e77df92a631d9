//! Which namespaces there are, and of what shape.

use std::sync::Arc;

use block::Timestamp;
use nvme_spec::command::{AdminCommand, Cns, Identify};
use nvme_spec::identify::{IdentifyNamespace, NamespaceIds, NamespaceList};
use nvme_spec::registers::Version;
use nvme_spec::{Cqe, Nsid, Sqe, Status, StatusCode};

use super::Core;
use super::job::Job;
use super::lifecycle::State;
use super::queues::UNNUMBERED;
use crate::identity::shape_of;
use crate::namespace_state::NamespaceState;
use crate::pci::PciFunction;
use crate::shared::ResetReason;

/// Most namespaces of a controller that are looked at.
const NAMESPACES_MAX: usize = 1024;

/// A look at all namespaces, one command at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    found: Vec<Nsid>,
    /// The namespace that is being looked at; the list of them is being read if `None`.
    index: Option<usize>,
    /// Its structure, while its identifiers are read.
    structure: Option<Box<IdentifyNamespace>>,
}

impl Scan {
    fn current(&self) -> Option<Nsid> {
        self.index.and_then(|index| self.found.get(index)).copied()
    }

    /// The look at the next namespace; `None` after the last.
    fn next(mut self) -> Result<Self, Vec<Nsid>> {
        let next = self.index.map_or(0, |index| index + 1);
        if next >= self.found.len() {
            return Err(self.found);
        }
        self.index = Some(next);
        self.structure = None;
        Ok(self)
    }
}

impl<F: PciFunction> Core<F> {
    pub(super) fn scan_command(&self, scan: &Scan) -> Sqe {
        let identify = match (scan.current(), &scan.structure) {
            (None, _) => {
                Identify::new(Cns::ACTIVE_NAMESPACES, scan.found.last().copied().unwrap_or(Nsid::NONE))
            }
            (Some(nsid), None) => Identify::new(Cns::NAMESPACE, nsid),
            (Some(nsid), Some(_)) => Identify::new(Cns::NAMESPACE_DESCRIPTORS, nsid),
        };
        AdminCommand::Identify(identify).sqe(UNNUMBERED).with_prps(self.memory.data_iova, 0)
    }

    pub(super) fn scan_answered(&mut self, scan: Scan, entry: &Cqe, now: Timestamp) {
        let status = entry.status();
        let page = if status.is_success() { self.read_page() } else { None };
        let page = page.as_ref().map(|page| &page[..]);
        match scan.current() {
            None => match page.and_then(|page| NamespaceList::from_bytes(page).ok()) {
                Some(list) => self.list_read(scan, list),
                None => self.list_refused(status, now),
            },
            Some(nsid) if scan.structure.is_none() => {
                match page.and_then(|page| IdentifyNamespace::from_bytes(page).ok()) {
                    Some(structure) => self.structure_read(scan, nsid, structure),
                    None => self.structure_refused(scan, nsid, status),
                }
            }
            Some(nsid) => match page.and_then(|page| NamespaceIds::from_bytes(page).ok()) {
                Some(ids) => self.namespace_read(scan, nsid, &ids),
                None => self.ids_refused(scan, nsid),
            },
        }
    }

    /// A refusal says nothing of the namespaces: those that are known stay. Without any, the controller is of no use.
    fn list_refused(&mut self, status: Status, now: Timestamp) {
        tracing::warn!(
            controller = self.shared.function.name(),
            "the list of namespaces was refused: {status}"
        );
        if self.state == State::Initialising {
            self.fail(&ResetReason::Refused { what: "list its namespaces" }, now);
        }
    }

    fn list_read(&mut self, mut scan: Scan, list: NamespaceList<'_>) {
        let mut greatest = scan.found.last().copied().unwrap_or(Nsid::NONE);
        let known = scan.found.len();
        // Increasing identifiers only: a controller that lies could lead in circles otherwise.
        for nsid in list.iter().filter(|nsid| nsid.is_one_namespace()) {
            if nsid > greatest && scan.found.len() < NAMESPACES_MAX {
                scan.found.push(nsid);
                greatest = nsid;
            }
        }
        let grew = scan.found.len() > known;
        if list.is_full() && grew && scan.found.len() < NAMESPACES_MAX {
            self.jobs.push_front(Job::Scan(scan));
        } else {
            self.go_on(scan);
        }
    }

    fn structure_read(&mut self, mut scan: Scan, nsid: Nsid, structure: IdentifyNamespace) {
        if !structure.is_active() {
            self.drop_from(scan, nsid);
            return;
        }
        scan.structure = Some(Box::new(structure));
        let has_descriptors =
            self.info.as_ref().is_some_and(|info| info.version.raw() >= Version::new(1, 3, 0).raw());
        if has_descriptors {
            self.jobs.push_front(Job::Scan(scan));
        } else {
            self.namespace_read(scan, nsid, &NamespaceIds::default());
        }
    }

    /// Gone between the list and now; or refused for a reason that says nothing of the namespace, which stays as it is.
    fn structure_refused(&mut self, scan: Scan, nsid: Nsid, status: Status) {
        if status.code() == StatusCode::INVALID_NAMESPACE_OR_FORMAT {
            self.drop_from(scan, nsid);
        } else {
            tracing::warn!(%nsid, "a namespace could not be identified: {status}");
            self.go_on(scan);
        }
    }

    /// What is known keeps the identity that it had; a new one has none.
    fn ids_refused(&mut self, scan: Scan, nsid: Nsid) {
        let known = self.shared.directory().namespaces.get(&nsid).map(|state| state.shape().identity);
        let ids = known.map_or_else(NamespaceIds::default, |identity| NamespaceIds {
            eui64: identity.eui64,
            nguid: identity.nguid,
            uuid: identity.uuid.map(uuid::Uuid::into_bytes),
            csi: None,
        });
        self.namespace_read(scan, nsid, &ids);
    }

    fn drop_from(&mut self, mut scan: Scan, nsid: Nsid) {
        scan.found.retain(|other| *other != nsid);
        scan.index = scan.index.and_then(|index| index.checked_sub(1));
        self.go_on(scan);
    }

    fn namespace_read(&mut self, scan: Scan, nsid: Nsid, ids: &NamespaceIds) {
        if let (Some(structure), Some(info)) = (&scan.structure, &self.info) {
            let sgls = self.shared.options.sgls && info.takes_sgls();
            let shape = shape_of(info, structure, ids, sgls);
            let mut directory = self.shared.directory();
            match shape {
                Ok(shape) => {
                    directory.refused.remove(&nsid);
                    if let Some(state) = directory.namespaces.get(&nsid).filter(|state| state.is_same(&shape))
                    {
                        state.update(shape);
                    } else {
                        // Another namespace under the same identifier is another device.
                        if let Some(other) = directory.namespaces.remove(&nsid) {
                            other.remove();
                        }
                        directory.namespaces.insert(nsid, Arc::new(NamespaceState::new(nsid, shape)));
                    }
                }
                Err(why) => {
                    if let Some(state) = directory.namespaces.remove(&nsid) {
                        state.remove();
                    }
                    directory.refused.insert(nsid, why);
                }
            }
        }
        self.go_on(scan);
    }

    fn go_on(&mut self, scan: Scan) {
        match scan.next() {
            Ok(scan) => self.jobs.push_front(Job::Scan(scan)),
            Err(found) => self.forget_others(&found),
        }
    }

    /// What was not found is gone.
    fn forget_others(&self, found: &[Nsid]) {
        let mut directory = self.shared.directory();
        directory.refused.retain(|nsid, _| found.contains(nsid));
        directory.namespaces.retain(|nsid, state| {
            let there = found.contains(nsid);
            if !there {
                state.remove();
            }
            there
        });
        drop(directory);
        self.wake_queues();
    }
}
