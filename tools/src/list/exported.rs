//! What targets export: discovery, then each subsystem's namespaces.

use std::collections::BTreeSet;

use initiator::{AdminClient, RemoteOptions};
use nvmf::host::discovery::RdmaEndpoint;
use nvmf::host::{Namespace, NamespaceMap};
use serde::Serialize;

use crate::discover::ask;
use crate::discover::place::{Place, namespace_uri};

/// A subsystem at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Subsystem {
    /// Its NVMe qualified name.
    pub(super) nqn: String,
    /// Where it is.
    pub(super) address: String,
    pub(super) namespaces: Vec<Exported>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Exported {
    /// What it is opened by.
    pub(super) device: String,
    pub(super) nsid: u32,
    #[serde(flatten)]
    pub(super) kind: Kind,
}

/// Whether it can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Kind {
    Usable {
        size_bytes: Option<u64>,
        block_bytes: u32,
        uuid: Option<String>,
        nguid: Option<String>,
        model: String,
        serial: String,
        firmware: String,
    },
    Unusable {
        problem: String,
    },
}

/// Asks each target. What cannot be asked is in the second list, in words.
pub(super) fn all(targets: &[Place], options: &RemoteOptions) -> (Vec<Subsystem>, Vec<String>) {
    let mut problems = Vec::new();
    let mut endpoints = BTreeSet::new();
    for place in targets {
        match ask(place, options) {
            Err(error) => problems.push(error.to_string()),
            Ok(discovery) => {
                let silent = discovery.services.iter().filter_map(|service| {
                    let error = service.log.as_ref().err()?;
                    Some(format!("referral to {}: {error}", service.address))
                });
                problems.extend(silent);
                endpoints.extend(discovery.subsystems());
            }
        }
    }
    let mut subsystems = Vec::new();
    for endpoint in endpoints {
        match AdminClient::connect(endpoint.address, &endpoint.subsystem, options) {
            Ok(client) => subsystems.push(subsystem(&endpoint, client.namespaces())),
            Err(error) => problems.push(format!("{} at {}: {error}", endpoint.subsystem, endpoint.address)),
        }
    }
    (subsystems, problems)
}

fn subsystem(endpoint: &RdmaEndpoint, namespaces: NamespaceMap) -> Subsystem {
    let exported = namespaces.into_iter().map(|(nsid, found)| Exported {
        device: namespace_uri(endpoint, nsid).to_string(),
        nsid: nsid.0,
        kind: match found {
            Ok(namespace) => usable(&namespace),
            Err(error) => Kind::Unusable { problem: error.to_string() },
        },
    });
    Subsystem {
        nqn: endpoint.subsystem.to_string(),
        address: endpoint.address.to_string(),
        namespaces: exported.collect(),
    }
}

fn usable(namespace: &Namespace) -> Kind {
    let Namespace { geometry, identity, .. } = namespace;
    Kind::Usable {
        size_bytes: geometry.block_size.bytes_of(geometry.blocks),
        block_bytes: geometry.block_size.bytes(),
        uuid: identity.uuid.map(|uuid| uuid.to_string()),
        nguid: identity.nguid.map(|nguid| nguid.iter().map(|byte| format!("{byte:02x}")).collect()),
        model: identity.model.clone(),
        serial: identity.serial.clone(),
        firmware: identity.firmware.clone(),
    }
}
