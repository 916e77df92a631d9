//! Why the demo did not get to its end.

use std::io;
use std::path::PathBuf;

use block::{OpenError, SleepError};
use thiserror::Error;

use crate::bench::BenchError;
use crate::discover::DiscoverError;

/// Why the demo did not get to its end.
#[derive(Debug, Error)]
pub(super) enum DemoError {
    /// Something was not as it must be: what the demo is for.
    #[error("FAILED: {0}")]
    Check(String),
    /// There is no place for files.
    #[error("no temporary folder can be made: {0}")]
    Folder(io::Error),
    /// A file of the demo's own cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A target's process cannot be started.
    #[error("the target {name} cannot be started: {source}")]
    Start {
        /// Its name.
        name: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A target did not say that it is ready.
    #[error("the target {name} {how}; it said:\n{log}")]
    NotReady {
        /// Its name.
        name: &'static str,
        /// What it did instead.
        how: String,
        /// What it wrote to standard error.
        log: String,
    },
    /// No loopback address is free.
    #[error("none of {0} loopback addresses is free for RoCEv2 (UDP port 4791)")]
    NoAddress(usize),
    /// A target does not answer discovery.
    #[error("the target {name} does not answer discovery: {source}")]
    Discover {
        /// Its name.
        name: &'static str,
        /// Why.
        source: Box<DiscoverError>,
    },
    /// A namespace cannot be attached.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A workload cannot be run.
    #[error("the workload on {name}: {source}")]
    Bench {
        /// The target's name.
        name: &'static str,
        /// Why.
        source: Box<BenchError>,
    },
    /// Signals cannot be noted.
    #[error("signals cannot be noted: {0}")]
    Signals(io::Error),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// This process cannot sleep.
    #[error(transparent)]
    Sleep(#[from] SleepError),
    /// A signal ended it.
    #[error("stopped by a signal; the targets are gone and their files are removed")]
    Stopped,
}

/// Goes on only if what was checked is so.
pub(super) fn check(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), DemoError> {
    if is_so { Ok(()) } else { Err(DemoError::Check(otherwise())) }
}
