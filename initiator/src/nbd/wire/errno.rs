//! The error numbers of the protocol ("Error values"): a choice of Linux's, the same on every system.

use thiserror::Error;

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[repr(u32)]
pub enum Errno {
    /// The export is read-only.
    #[error("not permitted")]
    Perm = 1,
    /// The device failed.
    #[error("input/output error")]
    Io = 5,
    /// There is no memory for it.
    #[error("out of memory")]
    NoMemory = 12,
    /// The command is wrong.
    #[error("invalid argument")]
    Invalid = 22,
    /// Beyond the end of the export, or the device is full.
    #[error("no space left")]
    NoSpace = 28,
    /// More than one reply can carry.
    #[error("too large")]
    Overflow = 75,
    /// The device cannot do it, or not fast.
    #[error("not supported")]
    NotSupported = 95,
    /// The server is going.
    #[error("the server is shutting down")]
    Shutdown = 108,
}

impl Errno {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}
