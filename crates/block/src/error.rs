//! Why a request failed, and what may have become of it.

use nvme_spec::Status;
use thiserror::Error;

/// Why a request cannot be carried out by this device, found before anything was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRequest {
    /// The range is empty, goes beyond the device's end or beyond 64 bits.
    #[error("the range is empty or not inside the device")]
    Range,
    /// The scatter list is not as long as the range, or there is one where none belongs.
    #[error("the data is not as long as the range")]
    DataLength,
    /// More blocks than one request may have.
    #[error("more blocks than one request of this device may have")]
    TooLarge,
    /// Segments that the device cannot address: too many, or at addresses that it cannot use.
    #[error("segments that the device cannot address")]
    Segments,
    /// Memory that was not attached to the device.
    #[error("memory that is not attached to the device")]
    NotAttached,
    /// Memory that the CPU cannot reach, for a device that is made of software.
    #[error("memory that the CPU cannot reach")]
    NoCpuPointer,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IoError {
    /// The request is wrong; nothing was done.
    #[error("invalid request: {0}")]
    Invalid(#[from] InvalidRequest),
    /// The device cannot do this at all; nothing was done.
    #[error("the device does not support this")]
    NotSupported,
    /// The device was opened for reading only, or is write protected; nothing was done.
    #[error("the device is read-only")]
    ReadOnly,
    /// The device answered with an NVMe status.
    #[error("the device says: {0}")]
    Device(Status),
    /// The kernel answered with an error number.
    #[error("the kernel says: {}", std::io::Error::from_raw_os_error(*errno))]
    Os {
        /// The error number, positive.
        errno: i32,
    },
    /// A compare found other data.
    #[error("the data on the device is other than the data given")]
    Miscompare,
    /// The deadline passed. If the device may still touch the memory, the request came back without it.
    #[error("timed out")]
    TimedOut,
    /// The device was reset before it answered. It can no longer touch the memory.
    #[error("the device was reset before it answered")]
    Reset,
    /// The device is gone. It can no longer touch the memory.
    #[error("the device is gone")]
    Gone,
}

/// What may have become of a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It had no effect.
    NotDone,
    /// It may have been done in full, in part or not at all.
    Unknown,
}

impl IoError {
    /// What may have become of the request. Whoever repeats a write needs to know.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::NotSupported | Self::ReadOnly | Self::Miscompare => Outcome::NotDone,
            Self::Device(_) | Self::Os { .. } | Self::TimedOut | Self::Reset | Self::Gone => Outcome::Unknown,
        }
    }
}

/// Why there is no queue.
#[derive(Debug, Error)]
pub enum OpenQueueError {
    /// The device has given out all the queues that it has.
    #[error("the device has only {queues_max} queues, and all are open")]
    TooMany {
        /// Queues that the device has.
        queues_max: u32,
    },
    /// A depth of 0, or deeper than the device allows.
    #[error("a queue of depth {depth} cannot be made: 1 to {depth_max} can")]
    Depth {
        /// The depth asked for.
        depth: u32,
        /// The most that the device allows.
        depth_max: u32,
    },
    /// There is no memory, descriptor or ring for it.
    #[error("no {what} for a queue: {reason}")]
    Resources {
        /// What is missing.
        what: &'static str,
        /// The refusal's own words.
        reason: String,
    },
    /// The device refused to make it.
    #[error("the device refused to make a queue: {0}")]
    Device(Status),
    /// The device is gone, or did not answer in time.
    #[error("the device is gone")]
    Gone,
}

/// Why a device does not say which of its blocks hold data.
#[derive(Debug, Error)]
pub enum ExtentsError {
    /// It cannot tell.
    #[error("the device cannot tell which blocks hold data")]
    NotSupported,
    /// The range is not inside the device.
    #[error("the range is not inside the device")]
    Range,
    /// The kernel could not tell.
    #[error("the kernel cannot tell which blocks hold data: {0}")]
    Os(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_refused_beforehand_is_known_not_to_be_done() {
        assert_eq!(IoError::from(InvalidRequest::Range).outcome(), Outcome::NotDone);
        assert_eq!(IoError::TimedOut.outcome(), Outcome::Unknown);
        assert_eq!(IoError::Os { errno: 5 }.outcome(), Outcome::Unknown);
    }

    #[test]
    fn errors_read_as_sentences() {
        assert_eq!(
            IoError::Os { errno: 28 }.to_string(),
            "the kernel says: No space left on device (os error 28)"
        );
        assert_eq!(
            IoError::Invalid(InvalidRequest::TooLarge).to_string(),
            "invalid request: more blocks than one request of this device may have"
        );
    }
}
