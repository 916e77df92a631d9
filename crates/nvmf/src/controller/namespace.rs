//! Namespaces as a controller shows them, and the snapshot of them that I/O queues read without a lock.

use std::sync::Arc;

use block::{Abilities, Geometry};
use nvme_spec::Nsid;
use thiserror::Error;
use uuid::Uuid;

use super::limits::NAMESPACES_MAX;

/// A namespace to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its number in the subsystem, 1..=[`NAMESPACES_MAX`].
    pub nsid: Nsid,
    /// Its shape.
    pub geometry: Geometry,
    /// What it can do. A host's reservation is not its neighbour's: take the ability away unless the device tells hosts apart.
    pub abilities: Abilities,
    /// Bytes of metadata for each block; only 0 can be exported.
    pub metadata_bytes: u16,
    /// Its UUID: the same at every node and after every start.
    pub uuid: Option<Uuid>,
    /// Its NGUID, likewise.
    pub nguid: Option<[u8; 16]>,
    /// Its EUI-64, likewise.
    pub eui64: Option<[u8; 8]>,
}

/// Why a namespace cannot be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NamespaceError {
    /// Its number.
    #[error("namespace {0}: numbers are 1 to {NAMESPACES_MAX}")]
    Nsid(Nsid),
    /// There is one with that number.
    #[error("namespace {0} is there already")]
    Exists(Nsid),
    /// There is none.
    #[error("there is no namespace {0}")]
    Missing(Nsid),
    /// It has metadata.
    #[error("namespace {nsid} has {bytes} bytes of metadata in each block: such namespaces are not exported")]
    Metadata {
        /// Which.
        nsid: Nsid,
        /// Of each block.
        bytes: u16,
    },
    /// It has no identity.
    #[error("namespace {0} has neither UUID nor NGUID: hosts could not tell it from others")]
    Identity(Nsid),
    /// A change would make another device of it.
    #[error("namespace {0} cannot get another block size or identity: remove it and add it again")]
    Replaced(Nsid),
    /// There is no such subsystem.
    #[error("there is no such subsystem")]
    NoSubsystem,
}

impl NamespaceInfo {
    /// Whether it can be exported.
    pub(super) fn check(&self) -> Result<(), NamespaceError> {
        if !(1..=NAMESPACES_MAX).contains(&self.nsid.0) {
            return Err(NamespaceError::Nsid(self.nsid));
        }
        if self.metadata_bytes != 0 {
            return Err(NamespaceError::Metadata { nsid: self.nsid, bytes: self.metadata_bytes });
        }
        if self.uuid.is_none() && self.nguid.is_none() {
            return Err(NamespaceError::Identity(self.nsid));
        }
        Ok(())
    }

    /// Whether hosts would take `other` for the same device.
    pub(super) fn is_same_device(&self, other: &Self) -> bool {
        let ids = |info: &Self| (info.uuid, info.nguid, info.eui64);
        ids(self) == ids(other) && self.geometry.block_size == other.geometry.block_size
    }
}

/// All namespaces of a subsystem at one moment. Found by number in one step.
#[derive(Clone, Debug, Default)]
pub struct NamespaceMap {
    slots: Vec<Option<NamespaceInfo>>,
}

impl NamespaceMap {
    /// The namespace with this number.
    #[inline]
    #[must_use]
    pub fn get(&self, nsid: Nsid) -> Option<&NamespaceInfo> {
        let index = usize::try_from(nsid.0.checked_sub(1)?).ok()?;
        self.slots.get(index)?.as_ref()
    }

    /// The namespaces, by number.
    pub fn iter(&self) -> impl Iterator<Item = &NamespaceInfo> {
        self.slots.iter().flatten()
    }

    /// A map in which this namespace is in its place.
    pub(super) fn with(&self, info: NamespaceInfo) -> Arc<Self> {
        let index = info.nsid.0 as usize - 1;
        let mut slots = self.slots.clone();
        slots.resize(slots.len().max(index + 1), None);
        slots[index] = Some(info);
        Arc::new(Self { slots })
    }

    /// A map without this namespace.
    pub(super) fn without(&self, nsid: Nsid) -> Arc<Self> {
        let keep = |info: &Option<NamespaceInfo>| info.filter(|info| info.nsid != nsid);
        Arc::new(Self { slots: self.slots.iter().map(keep).collect() })
    }
}
