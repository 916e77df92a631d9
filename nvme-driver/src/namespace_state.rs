//! What the controller's core and the queues know of one namespace.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use block::{Abilities, ClaimTable, Geometry, Identity};
use nvme_spec::Nsid;

/// A namespace's shape as last identified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceShape {
    pub(crate) geometry: Geometry,
    pub(crate) abilities: Abilities,
    pub(crate) identity: Identity,
}

/// One namespace. The core writes it; queues look at `version` once a poll.
#[derive(Debug)]
pub(crate) struct NamespaceState {
    pub(crate) nsid: Nsid,
    shape: Mutex<NamespaceShape>,
    version: AtomicU32,
    removed: AtomicBool,
    media_errors: AtomicU64,
    /// Who may write which blocks, whichever handle they have.
    pub(crate) claims: ClaimTable,
}

impl NamespaceState {
    pub(crate) fn new(nsid: Nsid, shape: NamespaceShape) -> Self {
        Self {
            nsid,
            shape: Mutex::new(shape),
            version: AtomicU32::new(0),
            removed: AtomicBool::new(false),
            media_errors: AtomicU64::new(0),
            claims: ClaimTable::default(),
        }
    }

    /// The newest shape.
    pub(crate) fn shape(&self) -> NamespaceShape {
        // Replaced as a whole, so a poisoned lock holds a whole shape too.
        self.shape.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a shape can be of this very namespace: it has the same globally unique identifiers.
    pub(crate) fn is_same(&self, shape: &NamespaceShape) -> bool {
        let ids = |shape: &NamespaceShape| (shape.identity.uuid, shape.identity.nguid, shape.identity.eui64);
        ids(&self.shape()) == ids(shape)
    }

    /// Takes a newly identified shape in.
    pub(crate) fn update(&self, shape: NamespaceShape) {
        let mut current = self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != shape {
            *current = shape;
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Grows with every change of the shape, and with the removal.
    #[inline]
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub(crate) fn count_media_error(&self) {
        self.media_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn media_errors(&self) -> u64 {
        self.media_errors.load(Ordering::Relaxed)
    }
}
