//! Why a job ended early.

use block::{IoError, OpenQueueError, SleepError};
use dma::{AccessError, AttachError, PoolError};
use thiserror::Error;

/// Why a job ended early.
#[derive(Debug, Error)]
pub enum JobError {
    /// There is no queue.
    #[error("no queue: {0}")]
    Queue(#[from] OpenQueueError),
    /// There are no buffers.
    #[error("no buffers: {0}")]
    Pool(#[from] PoolError),
    /// The device cannot reach the buffers.
    #[error("no buffers: {0}")]
    Attach(#[from] AttachError),
    /// The CPU cannot reach a buffer.
    #[error("a buffer cannot be filled or read: {0}")]
    Access(#[from] AccessError),
    /// The thread cannot sleep.
    #[error(transparent)]
    Sleep(#[from] SleepError),
    /// The thread cannot be pinned.
    #[error("--cpus-allowed: processor {cpu} cannot be used")]
    Pin {
        /// The processor.
        cpu: usize,
    },
    /// An I/O failed.
    #[error("{what} at offset {offset}: {error}")]
    Io {
        /// Read, write, ...
        what: &'static str,
        /// First byte on the device.
        offset: u128,
        /// Why.
        error: IoError,
    },
    /// Blocks hold what they must not.
    #[error("wrong blocks were read")]
    Verify,
    /// The device is gone.
    #[error("the device is gone")]
    Removed,
    /// The device no longer has the blocks.
    #[error("the device was resized or formatted and no longer has the blocks that are used")]
    Resized,
    /// The device is silent.
    #[error("{in_flight} I/O did not end in time")]
    Drain {
        /// How many.
        in_flight: usize,
    },
    /// Too many writes timed out.
    #[error("too many writes timed out that the device may still carry out: verification cannot go on")]
    Limbo,
    /// Nothing could be submitted.
    #[error(
        "nothing could be submitted for a long time: the device holds the buffers or the blocks of writes that timed out"
    )]
    Stalled,
    /// A completed request's memory is not free.
    #[error("the device still holds the memory of a request that it has completed")]
    Held,
    /// The job's thread is no more.
    #[error("the job's thread ended unexpectedly")]
    Panicked,
}

impl JobError {
    /// The error number that fio would report.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Io { error: IoError::Os { errno }, .. } => *errno,
            Self::Io { error: IoError::TimedOut, .. } | Self::Drain { .. } | Self::Limbo | Self::Stalled => {
                110
            }
            Self::Io { error: IoError::NotSupported, .. } => 95,
            Self::Verify => 84,
            Self::Removed | Self::Resized => 19,
            Self::Queue(_) | Self::Pool(_) | Self::Attach(_) => 12,
            Self::Sleep(_) | Self::Pin { .. } => 22,
            Self::Io { .. } | Self::Access(_) | Self::Held | Self::Panicked => 5,
        }
    }
}
