//! Why a device could not be opened.

use std::io;

use thiserror::Error;

use crate::claim::ClaimError;
use crate::uri::{ParameterError, Scheme, UriError};

/// Why a device could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Its name does not read as one.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// A parameter of its name is wrong.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// This program opens no devices of this kind.
    #[error("this program opens no `{scheme}:` devices (it opens {known})")]
    NoOpener {
        /// The kind.
        scheme: Scheme,
        /// The kinds that it opens.
        known: String,
    },
    /// There is nothing of this name.
    #[error("{device}: not found")]
    NotFound {
        /// The device.
        device: String,
    },
    /// We may not.
    #[error("{device}: permission denied ({reason})")]
    Permission {
        /// The device.
        device: String,
        /// What would help, or the kernel's words.
        reason: String,
    },
    /// Somebody else uses it, in this process or another.
    #[error("{device}: in use ({by})")]
    InUse {
        /// The device.
        device: String,
        /// By whom, as far as is known.
        by: String,
    },
    /// Some of its blocks are in use in this process.
    #[error("{device}: {source}")]
    Claim {
        /// The device.
        device: String,
        /// Which blocks, and by whom.
        source: ClaimError,
    },
    /// No device can have this size, block size or range.
    #[error("{device}: {reason}")]
    Shape {
        /// The device.
        device: String,
        /// What cannot be, and what could.
        reason: String,
    },
    /// The kernel refused.
    #[error("{device}: cannot {action}: {source}")]
    Io {
        /// The device.
        device: String,
        /// What we tried.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device itself did not start.
    #[error("{device}: {reason}")]
    Failed {
        /// The device.
        device: String,
        /// Why.
        reason: String,
    },
}
