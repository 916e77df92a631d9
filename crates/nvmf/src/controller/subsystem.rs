//! A subsystem: its names, who may attach, its namespaces.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use nvme_spec::text::Text;
use thiserror::Error;

use super::limits::{HOSTS_MAX, SUBSYSTEMS_MAX};
use super::namespace::NamespaceMap;
use crate::wire::{AuthenticationRequirement, Nqn};

/// Controller identifiers that Connect gives out: FFF0h and up are reserved (Base, Controller ID).
pub const CONTROLLER_IDS: RangeInclusive<u16> = 1..=0xffef;

/// A subsystem to serve.
#[derive(Clone, Debug)]
pub struct SubsystemOptions {
    /// Its name.
    pub nqn: Nqn,
    /// Serial number: up to 20 printable characters.
    pub serial: String,
    /// Model: up to 40 printable characters.
    pub model: String,
    /// Firmware revision: up to 8 printable characters.
    pub firmware: String,
    /// Controllers get their identifiers from here. Nodes that serve one subsystem together have disjoint ranges.
    pub controller_ids: RangeInclusive<u16>,
    /// Whether hosts that are not listed may attach.
    pub allow_any_host: bool,
    /// Hosts that may attach. A host can say any name: this does not authenticate.
    pub hosts: BTreeSet<Nqn>,
    /// What a host has to go through before it is answered.
    pub authentication: AuthenticationRequirement,
}

impl SubsystemOptions {
    /// A subsystem that nobody may attach to yet.
    #[must_use]
    pub fn new(nqn: Nqn, serial: &str) -> Self {
        Self {
            nqn,
            serial: serial.to_owned(),
            model: "Remora".to_owned(),
            firmware: env!("CARGO_PKG_VERSION").to_owned(),
            controller_ids: CONTROLLER_IDS,
            allow_any_host: false,
            hosts: BTreeSet::new(),
            authentication: AuthenticationRequirement::default(),
        }
    }
}

/// Why there cannot be such a subsystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubsystemError {
    /// Its name is another's, or that of discovery.
    #[error("a subsystem with that name is there already")]
    Exists,
    /// There is none.
    #[error("there is no such subsystem")]
    Missing,
    /// Too many.
    #[error("more than {SUBSYSTEMS_MAX} subsystems")]
    TooMany,
    /// Too many hosts.
    #[error("more than {HOSTS_MAX} hosts")]
    TooManyHosts,
    /// A text that Identify cannot carry.
    #[error("the {0} is too long, or not printable ASCII")]
    Text(&'static str),
    /// No identifiers, or reserved ones.
    #[error("controller identifiers are 1 to 65519, and there is at least one")]
    ControllerIds,
}

/// The texts of Identify Controller.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    pub(super) serial: Text<20>,
    pub(super) model: Text<40>,
    pub(super) firmware: Text<8>,
}

/// A subsystem that is served.
#[derive(Debug)]
pub(super) struct Subsystem {
    pub(super) options: SubsystemOptions,
    pub(super) texts: Texts,
    pub(super) namespaces: Arc<NamespaceMap>,
}

impl Subsystem {
    pub(super) fn new(options: SubsystemOptions) -> Result<Self, SubsystemError> {
        let ids = &options.controller_ids;
        if ids.is_empty() || !CONTROLLER_IDS.contains(ids.start()) || !CONTROLLER_IDS.contains(ids.end()) {
            return Err(SubsystemError::ControllerIds);
        }
        if options.hosts.len() > HOSTS_MAX {
            return Err(SubsystemError::TooManyHosts);
        }
        // Identify and the discovery log have the name as ASCII.
        Text::<256>::nul_terminated(options.nqn.as_str()).map_err(|_| SubsystemError::Text("name"))?;
        let texts = Texts::new(&options)?;
        Ok(Self { options, texts, namespaces: Arc::default() })
    }

    pub(super) fn admits(&self, host: &Nqn) -> bool {
        self.options.allow_any_host || self.options.hosts.contains(host)
    }
}

impl Texts {
    fn new(options: &SubsystemOptions) -> Result<Self, SubsystemError> {
        Ok(Self {
            serial: Text::space_padded(&options.serial).map_err(|_| SubsystemError::Text("serial number"))?,
            model: Text::space_padded(&options.model).map_err(|_| SubsystemError::Text("model"))?,
            firmware: Text::space_padded(&options.firmware)
                .map_err(|_| SubsystemError::Text("firmware revision"))?,
        })
    }
}
