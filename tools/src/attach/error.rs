//! Why an attachment failed.

use std::io::{self, Write};
use std::path::PathBuf;

use block::{OpenError, SleepError};
use initiator::nbd::{ExportName, ExportNameError, ServerError, StopError};
use thiserror::Error;

/// Why an attachment failed.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The device cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be served.
    #[error(transparent)]
    Serve(#[from] ServerError),
    /// It did not end well.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// No name can be made of where it listens.
    #[error("no name can be made of where it listens ({0}): give one with --name")]
    Name(ExportNameError),
    /// There is an attachment of that name.
    #[error(
        "there is an attachment `{0}`: give another name with --name, or end that one with `remora detach {0}`"
    )]
    NameTaken(ExportName),
    /// There is no attachment of that name.
    #[error("there is no attachment `{0}` (`remora attachments` lists them)")]
    Unknown(ExportName),
    /// The directory where attachments are found cannot be used.
    #[error("{}: {source} (attachments are kept in $XDG_RUNTIME_DIR/remora, or in /run/remora if that is not set)", path.display())]
    Directory {
        /// The directory, or a file in it.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An attachment does not answer.
    #[error("attachment `{name}` does not answer: {source}")]
    Silent {
        /// The attachment.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// An attachment ended, but not well.
    #[error("attachment `{name}` has ended: {reason}")]
    EndedBadly {
        /// The attachment.
        name: ExportName,
        /// What it says.
        reason: String,
    },
    /// Signals cannot be noted.
    #[error("signals cannot be noted: {0}")]
    Signals(io::Error),
    /// The thread cannot sleep.
    #[error(transparent)]
    Sleep(#[from] SleepError),
    /// Nobody takes what is printed.
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
}

impl AttachError {
    /// Whether other options would help.
    pub(super) fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Name(_)
                | Self::Serve(ServerError::Export(_))
                | Self::Open(
                    OpenError::Uri(_)
                        | OpenError::Parameter(_)
                        | OpenError::NoOpener { .. }
                        | OpenError::Shape { .. }
                )
        )
    }
}

pub(super) fn tell(error: &AttachError) {
    // Nothing is to be done if nobody reads it; the exit code tells.
    let _ = writeln!(io::stderr(), "remora: {error}");
}
