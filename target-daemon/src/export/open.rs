//! A device as a namespace: opened, claimed, and told to hosts as what it is.

use std::sync::Arc;

use block::{
    Abilities, Access, BlockDevice, BlockRange, Claim, ClaimError, Lba, OpenError, OpenOptions, Openers,
};
use nvmf::controller::NamespaceInfo;
use thiserror::Error;

use super::NamespaceKey;
use crate::config::{Machine, Namespace};

/// Why a device cannot be a namespace.
#[derive(Debug, Error)]
pub(crate) enum OpenExportError {
    /// It cannot be opened. Blocks with metadata are refused here, by whoever opens a drive.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Somebody in this process uses it.
    #[error("{device}: {source}")]
    Claim {
        /// Its name.
        device: String,
        /// By whom.
        source: ClaimError,
    },
    /// It takes no writes.
    #[error("{device} takes no writes: say `read_only = true` to export it so")]
    ReadOnly {
        /// Its name.
        device: String,
    },
    /// It has no blocks.
    #[error("{device} has no blocks")]
    Empty {
        /// Its name.
        device: String,
    },
}

/// A device that can be exported.
pub(crate) struct Opened {
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) info: NamespaceInfo,
    /// The right to its blocks: held for as long as it is exported.
    pub(crate) claim: Claim,
}

/// Opens the device of a namespace.
pub(crate) fn open(
    openers: &Openers,
    machine: &Machine,
    key: &NamespaceKey,
    namespace: &Namespace,
) -> Result<Opened, OpenExportError> {
    let access = if namespace.read_only { Access::Read } else { Access::ReadWrite };
    let device = openers.open(&namespace.device, &OpenOptions { access })?;
    let name = || device.name().to_owned();
    if !namespace.read_only && !device.abilities().contains(Abilities::WRITE) {
        return Err(OpenExportError::ReadOnly { device: name() });
    }
    let blocks = device.geometry().blocks;
    if blocks == 0 {
        return Err(OpenExportError::Empty { device: name() });
    }
    let claim = device
        .claims()
        .claim(BlockRange::new(Lba(0), blocks), access, &key.to_string())
        .map_err(|source| OpenExportError::Claim { device: name(), source })?;
    let info = info(machine, key, namespace, &*device);
    Ok(Opened { device, info, claim })
}

/// What hosts are told.
fn info(
    machine: &Machine,
    key: &NamespaceKey,
    namespace: &Namespace,
    device: &dyn BlockDevice,
) -> NamespaceInfo {
    let identity = device.identity();
    // Memory is new after each start, and may say so; its namespace is the same one nevertheless. And who gives an
    // identity means all of it: a rest of the device's own would join what is to be told apart.
    let is_own =
        namespace.device.target().is_unique() && namespace.uuid.is_none() && namespace.nguid.is_none();
    let uuid = namespace.uuid.or(identity.uuid.filter(|_| is_own));
    let nguid = namespace.nguid.or(identity.nguid.filter(|_| is_own));
    let derived = || machine.namespace_uuid(&key.nqn, key.nsid, &namespace.device);
    let uuid = if uuid.is_none() && nguid.is_none() { Some(derived()) } else { uuid };
    // A slice's parent keeps reservations for itself, and no device here tells one host's from another's.
    let mut abilities = device.abilities() - Abilities::RESERVATIONS;
    if namespace.read_only {
        abilities -= Abilities::WRITE | Abilities::WRITE_ZEROES | Abilities::DISCARD;
    }
    NamespaceInfo {
        nsid: key.nsid,
        geometry: device.geometry(),
        abilities,
        metadata_bytes: 0,
        uuid,
        nguid,
        eui64: identity.eui64.filter(|_| is_own),
    }
}
