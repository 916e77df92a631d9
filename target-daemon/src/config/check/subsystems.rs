//! Subsystems and their namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

use nvme_spec::Nsid;
use nvme_spec::text::Text;
use nvmf::controller::CONTROLLER_IDS;
use nvmf::controller::limits::{HOSTS_MAX, NAMESPACES_MAX, SUBSYSTEMS_MAX};
use nvmf::wire::Nqn;
use toml::Spanned;

use super::{Checker, MODEL_DEFAULT};
use crate::config::file::{self, Size};
use crate::config::overlap::first_of_other_access;
use crate::config::values::{ValueError, read_device, read_identifier};
use crate::config::{Hosts, Namespace, Subsystem, first_overlap};
use crate::engine::EXPORTS_MAX;

impl Checker<'_, '_> {
    pub(super) fn subsystems(&mut self, of: Vec<file::Subsystem>) -> BTreeMap<Nqn, Subsystem> {
        let mut subsystems = BTreeMap::new();
        for subsystem in of {
            let span = subsystem.nqn.span();
            let Some(nqn) = self.subsystem_name(&subsystem.nqn) else { continue };
            let checked = self.subsystem(&nqn, subsystem);
            if subsystems.contains_key(&nqn) {
                self.problems.note(&span, format_args!("subsystem {nqn} is there twice"));
            } else if subsystems.len() == SUBSYSTEMS_MAX {
                self.problems.note(&span, format_args!("more than {SUBSYSTEMS_MAX} subsystems"));
                break;
            } else {
                subsystems.insert(nqn, checked);
            }
        }
        subsystems
    }

    fn subsystem_name(&mut self, text: &Spanned<String>) -> Option<Nqn> {
        let nqn: Nqn = self.parsed(Some(text), str::parse)?;
        if nqn.is_discovery() {
            self.problems.note(&text.span(), "every target has the discovery subsystem by itself");
            return None;
        }
        if !nqn.as_str().is_ascii() {
            self.problems.note(&text.span(), "a subsystem's name is ASCII, since Identify tells it so");
            return None;
        }
        Some(nqn)
    }

    fn subsystem(&mut self, nqn: &Nqn, of: file::Subsystem) -> Subsystem {
        let serial = self.parsed(of.serial.as_ref(), |text| printable::<20>(text, "serial number"));
        let model = self.parsed(of.model.as_ref(), |text| printable::<40>(text, "model"));
        Subsystem {
            serial: serial.unwrap_or_else(|| self.machine.serial(nqn)),
            model: model.unwrap_or_else(|| MODEL_DEFAULT.to_owned()),
            controller_ids: self.controller_ids(of.cntlid.as_ref()),
            hosts: Hosts { any: of.allow_any_host, listed: self.hosts(&of.hosts) },
            namespaces: self.namespaces(of.namespace),
        }
    }

    fn controller_ids(&mut self, ids: Option<&Spanned<[u16; 2]>>) -> RangeInclusive<u16> {
        let Some(ids) = ids else { return CONTROLLER_IDS };
        let [first, last] = *ids.get_ref();
        let (least, most) = CONTROLLER_IDS.into_inner();
        if first > last || first < least || last > most {
            let message = format_args!(
                "controller identifiers are {least} to {most} (those above are reserved), the first not above the last"
            );
            self.problems.note(&ids.span(), message);
        }
        first..=last
    }

    fn hosts(&mut self, of: &[Spanned<String>]) -> BTreeSet<Nqn> {
        if let Some(host) = of.get(HOSTS_MAX) {
            self.problems.note(&host.span(), format_args!("more than {HOSTS_MAX} hosts"));
        }
        of.iter().filter_map(|host| self.parsed(Some(host), str::parse)).collect()
    }

    fn namespaces(&mut self, of: Vec<file::Namespace>) -> BTreeMap<Nsid, Namespace> {
        let mut namespaces = BTreeMap::new();
        for namespace in of {
            let (span, nsid) = (namespace.nsid.span(), *namespace.nsid.get_ref());
            if !(1..=NAMESPACES_MAX).contains(&nsid) {
                self.problems.note(&span, format_args!("nsid {nsid}: numbers are 1 to {NAMESPACES_MAX}"));
            }
            let Some(checked) = self.namespace(&namespace) else { continue };
            if namespaces.insert(Nsid(nsid), checked).is_some() {
                self.problems.note(&span, format_args!("nsid {nsid} is there twice in this subsystem"));
            }
        }
        namespaces
    }

    fn namespace(&mut self, of: &file::Namespace) -> Option<Namespace> {
        let mut identifier =
            |text: Option<&Spanned<String>>, what| self.parsed(text, |text| read_identifier(text, what));
        let uuid = identifier(of.uuid.as_ref(), "UUID");
        let nguid = identifier(of.nguid.as_ref(), "NGUID").map(|uuid| uuid.into_bytes());
        let device = self.device(of)?;
        let namespace = Namespace { device, read_only: of.read_only, uuid, nguid };
        self.is_alone(of.device.span(), &namespace);
        Some(namespace)
    }

    fn device(&mut self, of: &file::Namespace) -> Option<block::DeviceUri> {
        let part = |size: &Option<Spanned<Size>>| size.as_ref().map(|size| size.get_ref().0.clone());
        // Each by itself first, for its own line.
        let is_read =
            [&of.offset, &of.length].map(|size| size.is_none() || self.size(size.as_ref()).is_some());
        if is_read.contains(&false) {
            return None;
        }
        let device =
            read_device(of.device.get_ref(), part(&of.offset).as_deref(), part(&of.length).as_deref());
        let span = match (&device, &of.length) {
            (Err(ValueError::NoLength), Some(length)) => length.span(),
            _ => of.device.span(),
        };
        self.problems.take(&span, device)
    }

    /// Notes a device that another namespace has already.
    fn is_alone(&mut self, span: Range<usize>, namespace: &Namespace) {
        let device = &namespace.device;
        let others = || self.devices.iter().map(|other| (other, other));
        if self.devices.len() == EXPORTS_MAX {
            self.problems.note(&span, format_args!("more than {EXPORTS_MAX} namespaces"));
        } else if let Some(other) = first_overlap(namespace, others()) {
            let other = &other.device;
            let message = format!(
                "{device} and {other} are (partly) the same bytes, and a device has one writable owner"
            );
            self.problems.note(&span, message);
        } else if first_of_other_access(namespace, others()).is_some() {
            let message = "parts of one device, which is opened once, are all `read_only` or none of them is";
            self.problems.note(&span, message);
        }
        if self.devices.len() < EXPORTS_MAX {
            self.devices.push(namespace.clone());
        }
    }
}

/// A text that Identify can carry in a field of so many bytes.
fn printable<const BYTES: usize>(text: &str, what: &str) -> Result<String, String> {
    match Text::<BYTES>::space_padded(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("a {what} is 1 to {BYTES} printable ASCII characters")),
    }
}
