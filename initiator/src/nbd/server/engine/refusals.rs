//! The device's errors in NBD's words.

use block::{InvalidRequest, IoError};

use crate::nbd::command::Refusal;
use crate::nbd::wire::Errno;

/// Linux's numbers that NBD has too.
const ENOMEM: i32 = 12;
const ENOSPC: i32 = 28;

pub(super) fn refusal(error: IoError) -> Refusal {
    match error {
        IoError::Invalid(InvalidRequest::Range) => {
            Refusal::new(Errno::Invalid, "the device has become smaller")
        }
        IoError::Invalid(_) => Refusal::new(Errno::Invalid, "the device cannot take this request"),
        IoError::NotSupported => Refusal::new(Errno::NotSupported, "the device does not support this"),
        IoError::ReadOnly => Refusal::new(Errno::Perm, "the device is read-only"),
        IoError::Os { errno: ENOSPC } => Refusal::new(Errno::NoSpace, "no space is left below the device"),
        IoError::Os { errno: ENOMEM } => Refusal::new(Errno::NoMemory, "the kernel has no memory for it"),
        IoError::Os { .. } => Refusal::new(Errno::Io, "the kernel reports an error"),
        IoError::Device(_) => Refusal::new(Errno::Io, "the device reports an error"),
        IoError::Miscompare => Refusal::new(Errno::Io, "the data differs"),
        IoError::TimedOut => Refusal::new(Errno::Io, "the device did not answer in time"),
        IoError::Reset => Refusal::new(Errno::Io, "the device was reset before it answered"),
        IoError::Gone => Refusal::new(Errno::Io, "the device is gone"),
    }
}
