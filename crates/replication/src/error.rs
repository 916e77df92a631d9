//! Why a request of the mirror failed.

use thiserror::Error;

/// Why a request of the mirror failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MirrorError {
    /// The range is empty or not inside; nothing was done.
    #[error("the range is empty or not inside the mirror")]
    Range,
    /// More blocks than the write-intent map can mark at once; nothing was done.
    #[error("the request is larger than the mirror's write-intent map allows")]
    TooLarge,
    /// The mirror is not attached (yet, or any more).
    #[error("the mirror is not attached")]
    NotAttached,
    /// No leg that is in sync is left. What became of the request is not known.
    #[error("no leg that is in sync is left")]
    NoLegs,
    /// There is no majority of label holders, and patience has ended. What became of the request is not known.
    #[error("no majority of label holders answers")]
    NoMajority,
    /// No leg that is in sync can read the blocks.
    #[error("no leg that is in sync can read the blocks")]
    Unreadable,
    /// Another writer has taken over. This one never acknowledges anything again.
    #[error("another writer has taken the mirror over")]
    Fenced,
}
