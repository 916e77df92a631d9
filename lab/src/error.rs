//! What can go wrong in the lab.

use std::io;
use std::path::Path;
use std::time::Duration;

/// A reason why the lab cannot go on, or why a scenario fails.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The machine lacks something that the lab needs.
    #[error("the lab cannot run here: {0}")]
    Machine(String),

    /// An operation of the host's system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// How it failed.
        source: io::Error,
    },

    /// A program on the host failed.
    #[error("`{command}` failed ({status}):\n{output}")]
    Program {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },

    /// QEMU ended, or never came up.
    #[error("the guest is gone: {0}")]
    GuestGone(String),

    /// QEMU refused a command.
    #[error("QMP {command}: {answer}")]
    Qmp {
        /// The command.
        command: String,
        /// What QEMU said.
        answer: String,
    },

    /// Something in the guest took too long.
    #[error("{what}: not done after {} s", waited.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
    },

    /// The story went another way than it must.
    #[error("{0}")]
    Story(String),
}

/// What fallible functions of the lab return.
pub type Result<T> = std::result::Result<T, LabError>;

/// Adds what was tried to an error of the system.
pub trait Context<T> {
    /// Names the operation and the file it was about.
    fn about(self, what: &str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn about(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|source| LabError::Io { what: format!("{what} {}", path.display()), source })
    }
}

/// Fails the story unless the condition holds.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(LabError::Story(otherwise())) }
}
