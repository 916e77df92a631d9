//! Namespace lists: CNS 02h, 07h and 10h, and log page 04h (Base, Namespace List Format).

use crate::bytes::{TooShort, prefix};
use crate::ids::Nsid;

/// The most namespaces of one list.
pub const NSIDS_MAX: usize = 1024;

const LIST_BYTES: usize = NSIDS_MAX * 4;

/// A namespace list: up to 1024 identifiers in increasing order, ended by a zero or by the structure's end.
#[derive(Clone, Copy, Debug)]
pub struct NamespaceList<'a>(&'a [u8; LIST_BYTES]);

impl<'a> NamespaceList<'a> {
    /// A list in the first 4096 bytes.
    ///
    /// # Errors
    /// [`TooShort`] for fewer than 4096 bytes.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, TooShort> {
        prefix("Namespace List", bytes).map(Self)
    }

    /// The identifiers, as the device ordered them.
    pub fn iter(self) -> impl Iterator<Item = Nsid> + 'a {
        self.0
            .as_chunks()
            .0
            .iter()
            .map(|&nsid| Nsid(u32::from_le_bytes(nsid)))
            .take_while(|&nsid| nsid != Nsid::NONE)
    }

    /// How many identifiers there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether more namespaces may follow: a full list is to be asked for again after its last identifier.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.len() == NSIDS_MAX
    }

    /// A list of the first 1024 of these identifiers, which the caller gives in increasing order.
    #[must_use]
    pub fn encode(nsids: impl IntoIterator<Item = Nsid>) -> [u8; LIST_BYTES] {
        let mut bytes = [0; LIST_BYTES];
        for (slot, nsid) in bytes.as_chunks_mut().0.iter_mut().zip(nsids) {
            *slot = nsid.0.to_le_bytes();
        }
        bytes
    }
}
