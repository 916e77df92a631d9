//! Which namespaces there are, and of what shape: one command at a time, all of them anew each time.

use block::Timestamp;
use nvme_spec::command::{AdminCommand, Cns, Identify};
use nvme_spec::identify::{
    IdentifyNamespace, IndependentNamespace, NamespaceIds, NamespaceList, NamespaceStatus,
};
use nvme_spec::registers::Version;
use nvme_spec::{Nsid, Status, StatusCode};

use super::admin::{Job, UNNUMBERED};
use super::controller::{HostController, HostState};
use super::event::{HostEvent, NamespaceChange};
use super::failure::Failure;
use super::namespace::{NAMESPACES_MAX, Namespace, NamespaceError, NamespaceMap};
use super::outgoing::OutgoingData;

/// What is being asked of a namespace.
#[derive(Clone, Debug)]
enum Part {
    /// CNS 00h.
    Structure,
    /// CNS 08h, of version 2.0 and later.
    Readiness(Box<IdentifyNamespace>),
    /// CNS 03h, of version 1.3 and later.
    Identifiers(Box<IdentifyNamespace>),
}

/// A look at all namespaces.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    listed: Vec<Nsid>,
    /// The list is being read if it is `None`; the namespace that is looked at otherwise.
    index: Option<usize>,
    part: Part,
    found: NamespaceMap,
}

impl Scan {
    const fn new() -> Self {
        Self { listed: Vec::new(), index: None, part: Part::Structure, found: NamespaceMap::new() }
    }

    fn current(&self) -> Option<Nsid> {
        self.index.and_then(|index| self.listed.get(index)).copied()
    }

    fn identify(&self) -> Identify {
        match (self.current(), &self.part) {
            (None, _) => {
                Identify::new(Cns::ACTIVE_NAMESPACES, self.listed.last().copied().unwrap_or(Nsid::NONE))
            }
            (Some(nsid), Part::Structure) => Identify::new(Cns::NAMESPACE, nsid),
            (Some(nsid), Part::Readiness(_)) => Identify::new(Cns::INDEPENDENT_NAMESPACE, nsid),
            (Some(nsid), Part::Identifiers(_)) => Identify::new(Cns::NAMESPACE_DESCRIPTORS, nsid),
        }
    }

    /// Takes a list; whether more of it is to be read. Increasing identifiers only: a controller that lies could lead in circles.
    fn list_read(&mut self, list: NamespaceList<'_>) -> bool {
        let known = self.listed.len();
        let mut greatest = self.listed.last().copied().unwrap_or(Nsid::NONE);
        for nsid in list.iter().filter(|nsid| nsid.is_one_namespace()) {
            if nsid > greatest && self.listed.len() < NAMESPACES_MAX {
                self.listed.push(nsid);
                greatest = nsid;
            }
        }
        list.is_full() && self.listed.len() > known && self.listed.len() < NAMESPACES_MAX
    }

    fn next(&mut self) {
        self.index = Some(self.index.map_or(0, |index| index + 1));
        self.part = Part::Structure;
    }
}

impl HostController {
    pub(super) fn begin_scan(&mut self, now: Timestamp) {
        if self.state() == HostState::SettingFeatures {
            self.enter(HostState::Scanning);
        }
        self.link.scan_again = false;
        self.go_on_scanning(Scan::new(), now);
    }

    /// Namespaces changed: looks at all of them, or does so when the look that is under way has ended.
    pub(super) fn scan_again(&mut self, now: Timestamp) {
        if self.state() == HostState::Live && self.link.scan.is_none() {
            self.begin_scan(now);
        } else {
            self.link.scan_again = true;
        }
    }

    fn go_on_scanning(&mut self, scan: Scan, now: Timestamp) {
        let sqe = AdminCommand::Identify(scan.identify()).sqe(UNNUMBERED);
        self.link.scan = Some(Box::new(scan));
        self.send(Job::Scan, sqe, OutgoingData::FromController { bytes: 4096 }, now);
    }

    pub(super) fn scan_answered(
        &mut self,
        status: Status,
        data: &[u8],
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(mut scan) = self.link.scan.take() else { return Ok(()) };
        let data = status.is_success().then_some(data);
        match (scan.current(), std::mem::replace(&mut scan.part, Part::Structure)) {
            (None, _) => return self.list_answered(*scan, status, data, now),
            (Some(nsid), Part::Structure) => self.structure_answered(&mut scan, nsid, status, data),
            (Some(nsid), Part::Readiness(structure)) => {
                self.readiness_answered(&mut scan, nsid, structure, data);
            }
            (Some(nsid), Part::Identifiers(structure)) => {
                self.identifiers_answered(&mut scan, nsid, &structure, data);
            }
        }
        self.next_of_scan(*scan, now);
        Ok(())
    }

    /// A refusal says nothing of the namespaces: those that are known stay. Without any, the controller is of no use.
    fn list_answered(
        &mut self,
        mut scan: Scan,
        status: Status,
        data: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        match data.and_then(|data| NamespaceList::from_bytes(data).ok()) {
            Some(list) => {
                if !scan.list_read(list) {
                    scan.next();
                }
                self.next_of_scan(scan, now);
                Ok(())
            }
            None if self.state() == HostState::Live => Ok(()),
            None => Err(Failure::Refused { what: "the list of namespaces", status }),
        }
    }

    fn next_of_scan(&mut self, scan: Scan, now: Timestamp) {
        if scan.index.is_some() && scan.current().is_none() {
            self.scan_ended(scan, now);
        } else {
            self.go_on_scanning(scan, now);
        }
    }

    /// One that is gone since the list was read is not there. Another refusal says nothing: what is known stays.
    fn structure_answered(&mut self, scan: &mut Scan, nsid: Nsid, status: Status, data: Option<&[u8]>) {
        let structure = data.and_then(|data| IdentifyNamespace::from_bytes(data).ok());
        match structure.filter(IdentifyNamespace::is_active).map(Box::new) {
            Some(structure) if self.is_of(Version::V2_0) => scan.part = Part::Readiness(structure),
            Some(structure) => self.ask_identifiers(scan, nsid, structure),
            None => {
                let says_nothing =
                    !status.is_success() && status.code() != StatusCode::INVALID_NAMESPACE_OR_FORMAT;
                if let Some(known) = self.namespaces.get(&nsid).filter(|_| says_nothing) {
                    scan.found.insert(nsid, known.clone());
                }
                scan.next();
            }
        }
    }

    /// Controllers that do not know CNS 08h exist: their namespaces are ready.
    fn readiness_answered(
        &self,
        scan: &mut Scan,
        nsid: Nsid,
        structure: Box<IdentifyNamespace>,
        data: Option<&[u8]>,
    ) {
        let independent = data.and_then(|data| IndependentNamespace::from_bytes(data).ok());
        let is_ready = independent.is_none_or(|of_all| of_all.nstat.contains(NamespaceStatus::READY));
        if is_ready {
            self.ask_identifiers(scan, nsid, structure);
        } else {
            scan.found.insert(nsid, Err(NamespaceError::NotReady));
            scan.next();
        }
    }

    fn ask_identifiers(&self, scan: &mut Scan, nsid: Nsid, structure: Box<IdentifyNamespace>) {
        if self.is_of(Version::new(1, 3, 0)) {
            scan.part = Part::Identifiers(structure);
        } else {
            self.namespace_read(scan, nsid, &structure, &NamespaceIds::default());
        }
    }

    /// Without its identifiers a namespace that is known keeps those that it had; a new one has none.
    fn identifiers_answered(
        &self,
        scan: &mut Scan,
        nsid: Nsid,
        structure: &IdentifyNamespace,
        data: Option<&[u8]>,
    ) {
        let ids = data.and_then(|data| NamespaceIds::from_bytes(data).ok());
        let ids = ids.unwrap_or_else(|| match self.namespaces.get(&nsid) {
            Some(Ok(known)) => NamespaceIds {
                eui64: known.identity.eui64,
                nguid: known.identity.nguid,
                uuid: known.identity.uuid.map(uuid::Uuid::into_bytes),
                csi: Some(nvme_spec::command::CommandSetId::NVM),
            },
            _ => NamespaceIds::default(),
        });
        self.namespace_read(scan, nsid, structure, &ids);
    }

    fn namespace_read(&self, scan: &mut Scan, nsid: Nsid, structure: &IdentifyNamespace, ids: &NamespaceIds) {
        if let Some(info) = &self.link.info {
            let transfer_bytes_max = info.transfer_bytes(self.options.transfer_bytes_max);
            scan.found.insert(nsid, Namespace::new(nsid, info, structure, ids, transfer_bytes_max));
        }
        scan.next();
    }

    fn is_of(&self, version: Version) -> bool {
        self.link.version >= version
    }

    fn scan_ended(&mut self, scan: Scan, now: Timestamp) {
        let changes = changes(&self.namespaces, &scan.found);
        self.namespaces = scan.found;
        if self.state() == HostState::Live {
            if !changes.is_empty() {
                self.events.push_back(HostEvent::NamespacesChanged(changes));
            }
            if self.link.scan_again {
                self.begin_scan(now);
            }
        } else {
            self.link.changes = changes;
            self.connect_io(now);
        }
    }
}

/// What is different.
fn changes(before: &NamespaceMap, after: &NamespaceMap) -> Vec<NamespaceChange> {
    let gone = before.keys().filter(|nsid| !after.contains_key(nsid));
    let mut changes: Vec<_> = gone.map(|nsid| NamespaceChange::Removed(*nsid)).collect();
    for (nsid, new) in after {
        let change = match (before.get(nsid), new) {
            (Some(old), new) if old == new => continue,
            (_, Err(why)) => NamespaceChange::Refused(*nsid, *why),
            (Some(Ok(old)), Ok(new)) if old.is_same(new) => NamespaceChange::Changed(*nsid),
            (Some(Ok(_)), Ok(_)) => NamespaceChange::Replaced(*nsid),
            (None | Some(Err(_)), Ok(_)) => NamespaceChange::Added(*nsid),
        };
        changes.push(change);
    }
    changes
}
