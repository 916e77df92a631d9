//! What a controller's host sends by itself: admin commands, and the Connects of I/O queues.

use nvme_spec::{CommandId, Sqe};

use super::command::{KeyedMemory, Placement};

/// A command's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingData {
    /// None: the entry is complete.
    None,
    /// It follows the entry in the capsule; the entry is complete.
    InCapsule(Vec<u8>),
    /// The controller reads it: put it into memory, and take the entry from [`Outgoing::with_memory`].
    ToController(Vec<u8>),
    /// The controller writes so many bytes: give it memory, and take the entry from [`Outgoing::with_memory`]. What was written goes
    /// to `HostController::handle_response`.
    FromController {
        /// How many.
        bytes: u32,
    },
}

/// A command to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its entry; the data pointer is missing where the data says so.
    pub sqe: Sqe,
    /// Its data.
    pub data: OutgoingData,
}

impl Outgoing {
    /// A command of this entry and data; its data pointer is set where it is known.
    pub(super) fn new(sqe: Sqe, data: OutgoingData) -> Self {
        let placement = match &data {
            OutgoingData::InCapsule(bytes) => {
                Placement::InCapsule { bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }
            }
            _ => Placement::None,
        };
        let sqe = placement.sgl().map_or(sqe, |sgl| sqe.with_sgl(sgl.into()));
        Self { sqe, data }
    }

    /// How it is answered.
    #[must_use]
    pub const fn cid(&self) -> CommandId {
        self.sqe.cid()
    }

    /// Bytes of memory that the command needs.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match &self.data {
            OutgoingData::None | OutgoingData::InCapsule(_) => 0,
            OutgoingData::ToController(bytes) => bytes.len(),
            OutgoingData::FromController { bytes } => usize::try_from(*bytes).unwrap_or(usize::MAX),
        }
    }

    /// The entry, with its data in this memory. `None` if the memory is longer than a descriptor can say.
    #[must_use]
    pub fn with_memory(&self, memory: KeyedMemory) -> Option<Sqe> {
        Placement::Memory(memory).sgl().ok().map(|sgl| self.sqe.with_sgl(sgl.into()))
    }
}
