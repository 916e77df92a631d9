//! What the mirror asks of its holders, and what they answer.

use block::BlockRange;
use thiserror::Error;

use crate::ids::{ActionId, HolderId, RequestId, WriterKey};
use crate::wire::label::LABEL_BYTES;
use crate::wire::map_unit::UNIT_BYTES;

/// Both copies of a label, as they were read.
pub type LabelCopies = [Box<[u8; LABEL_BYTES]>; 2];

/// A unit of the map, as it is stored.
pub type MapUnit = Box<[u8; UNIT_BYTES]>;

/// Whose memory an action reads or writes. It stays the same until every action that names it has ended below the mirror,
/// also if the mirror no longer waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// A request's, as long as its range.
    Request(RequestId),
    /// A buffer for copies, which the caller has one of for each number below [`Data::BUFFERS_MAX`].
    Buffer(u32),
}

impl Data {
    /// Buffers for copies, each of [`crate::Options::copy_blocks`].
    pub const BUFFERS_MAX: u32 = 4;
}

/// What a holder is to do. Ranges are in blocks of the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// Take the reservation with this key. It completes when no command of another writer, nor of an earlier association of
    /// this one, can take effect any more; what was under way has ended. Without `takeover` another writer's key is a
    /// [`LegError::Conflict`].
    Claim {
        /// This attachment's key.
        key: WriterKey,
        /// Whether another writer is preempted.
        takeover: bool,
    },
    /// Read both copies of the label: [`Done::Label`].
    ReadLabel,
    /// Write a copy of the label; completes when it is durable.
    WriteLabel {
        /// Which copy, 0 or 1.
        copy: usize,
        /// What.
        bytes: Box<[u8; LABEL_BYTES]>,
    },
    /// Read the whole map: [`Done::Map`].
    ReadMap,
    /// Write units of the map in a row; completes when they are durable.
    WriteMap {
        /// The first unit.
        first: u32,
        /// The units.
        units: Vec<MapUnit>,
    },
    /// Read blocks.
    Read {
        /// Which.
        range: BlockRange,
        /// Into what.
        data: Data,
    },
    /// Write blocks.
    Write {
        /// Which.
        range: BlockRange,
        /// What.
        data: Data,
        /// Durable when it completes.
        fua: bool,
    },
    /// Make blocks read as zeroes.
    WriteZeroes {
        /// Which.
        range: BlockRange,
        /// Durable when it completes.
        fua: bool,
        /// The leg may give the space back.
        may_unmap: bool,
    },
    /// Make every completed write durable.
    Flush,
    /// Ask whether this writer still holds the reservation; a [`LegError::Conflict`] if not.
    Ping,
    /// End the association. Completes by nothing: news of the link follow when there is a new one.
    Close,
}

/// An action of a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its name.
    pub id: ActionId,
    /// Whose.
    pub holder: HolderId,
    /// What.
    pub kind: ActionKind,
}

/// What an action that succeeded returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// That it is done.
    Done,
    /// Both copies of a label.
    Label(LabelCopies),
    /// All units of a map; those that could not be read are missing.
    Map(Vec<Option<MapUnit>>),
}

/// Why an action failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LegError {
    /// Blocks cannot be read; others can.
    #[error("blocks cannot be read")]
    Unreadable,
    /// Another writer holds the reservation.
    #[error("another writer holds the reservation")]
    Conflict,
    /// Anything else: the holder is lost.
    #[error("the device failed")]
    Failed,
}
