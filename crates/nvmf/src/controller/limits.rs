//! What a target grants at most. Every number here bounds memory or work that a host can cause.

use std::time::Duration;

use nvme_spec::sqe::SQE_BYTES;
use thiserror::Error;

/// Least entries of an admin queue that a host may ask for and get: Linux asks for 32 and knows no other number.
pub const ADMIN_QUEUE_ENTRIES_MIN: u16 = 32;

/// Most entries of any queue.
pub const QUEUE_ENTRIES_MAX: u16 = 4096;

/// Most Asynchronous Event Requests that one controller holds (AERL + 1).
pub const ASYNC_EVENT_REQUESTS_MAX: u8 = 4;

/// Most namespaces of a subsystem, and the greatest NSID (NN, MNAN): one list of Identify holds them all.
pub const NAMESPACES_MAX: u32 = 1024;

/// Most subsystems of a target.
pub const SUBSYSTEMS_MAX: usize = 256;

/// Most hosts that are listed for a subsystem.
pub const HOSTS_MAX: usize = 1024;

/// Most addresses at which a target is told to listen.
pub const LISTENERS_MAX: usize = 64;

/// Entries of a controller's error log (ELPE + 1).
pub const ERROR_LOG_ENTRIES: u8 = 16;

/// Most controllers that a target can be told to have.
pub const CONTROLLERS_MAX: u16 = 16_384;

/// How long a connection may be open without a Connect that succeeds.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a Connect is held back at most because the same host's former association is being drained.
pub const CONNECT_HOLD_MAX: Duration = Duration::from_secs(5);

/// How long a host that reads a discovery log without keep-alive may stay.
pub const DISCOVERY_IDLE_MAX: Duration = Duration::from_secs(120);

/// CAP.TO and CRTO.CRWMT, in units of 500 ms: how long draining for a reset may take.
pub(super) const READY_TIMEOUT_UNITS: u8 = 60;

/// The smallest memory page, which MDTS counts in.
const PAGE_BYTES: u32 = 4096;

/// What a target grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of an admin queue.
    pub admin_queue_entries: u16,
    /// Entries of an I/O queue (MQES + 1, MAXCMD).
    pub io_queue_entries: u16,
    /// I/O queues of a controller.
    pub io_queues: u16,
    /// Bytes of data in a command capsule of an I/O queue, a multiple of 16.
    pub in_capsule_bytes: u32,
    /// Bytes that one command moves (MDTS): a power of two of pages of 4096.
    pub transfer_bytes_max: u32,
    /// Controllers of all subsystems together.
    pub controllers: u16,
}

impl Default for Limits {
    /// What fits commands of checkpoints: 1 MiB each, 8 KiB of them in the capsule.
    fn default() -> Self {
        Self {
            admin_queue_entries: 128,
            io_queue_entries: 128,
            io_queues: 64,
            in_capsule_bytes: 8192,
            transfer_bytes_max: 1 << 20,
            controllers: 1024,
        }
    }
}

/// Limits that no target can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LimitsError {
    /// Of [`Limits::admin_queue_entries`].
    #[error("an admin queue has {ADMIN_QUEUE_ENTRIES_MIN} to {QUEUE_ENTRIES_MAX} entries")]
    AdminQueueEntries,
    /// Of [`Limits::io_queue_entries`].
    #[error("an I/O queue has 2 to {QUEUE_ENTRIES_MAX} entries")]
    IoQueueEntries,
    /// Of [`Limits::io_queues`].
    #[error("a controller has at least one I/O queue, and less than 65535")]
    IoQueues,
    /// Of [`Limits::in_capsule_bytes`].
    #[error("in-capsule data is a multiple of 16 bytes, at most 1 MiB")]
    InCapsuleBytes,
    /// Of [`Limits::transfer_bytes_max`].
    #[error("the largest transfer is a power of two from 8 KiB to 8 MiB")]
    TransferBytes,
    /// Of [`Limits::controllers`].
    #[error("a target has 1 to {CONTROLLERS_MAX} controllers")]
    Controllers,
}

impl Limits {
    /// Whether a target can have them.
    pub fn check(&self) -> Result<(), LimitsError> {
        let fails = [
            (
                !(ADMIN_QUEUE_ENTRIES_MIN..=QUEUE_ENTRIES_MAX).contains(&self.admin_queue_entries),
                LimitsError::AdminQueueEntries,
            ),
            (!(2..=QUEUE_ENTRIES_MAX).contains(&self.io_queue_entries), LimitsError::IoQueueEntries),
            (!(1..u16::MAX).contains(&self.io_queues), LimitsError::IoQueues),
            (
                self.in_capsule_bytes > 1 << 20 || !self.in_capsule_bytes.is_multiple_of(16),
                LimitsError::InCapsuleBytes,
            ),
            (
                !(8192..=8 << 20).contains(&self.transfer_bytes_max)
                    || !self.transfer_bytes_max.is_power_of_two(),
                LimitsError::TransferBytes,
            ),
            (!(1..=CONTROLLERS_MAX).contains(&self.controllers), LimitsError::Controllers),
        ];
        fails.into_iter().find(|(fails, _)| *fails).map_or(Ok(()), |(_, error)| Err(error))
    }

    /// MDTS: the largest transfer as a power of two of pages.
    pub(super) fn mdts(&self) -> u8 {
        u8::try_from((self.transfer_bytes_max / PAGE_BYTES).trailing_zeros()).unwrap_or(u8::MAX)
    }

    /// IOCCSZ: a command and its in-capsule data, in units of 16 bytes.
    pub(super) fn ioccsz(&self) -> u32 {
        const ENTRY_UNITS: u32 = 4;
        const { assert!(SQE_BYTES == 16 * ENTRY_UNITS as usize) };
        ENTRY_UNITS + self.in_capsule_bytes / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_is_checked() {
        let good = Limits::default();
        assert_eq!(good.check(), Ok(()));
        assert_eq!((good.mdts(), good.ioccsz()), (8, 516));
        for (bad, error) in [
            (Limits { admin_queue_entries: 31, ..good }, LimitsError::AdminQueueEntries),
            (Limits { io_queue_entries: 1, ..good }, LimitsError::IoQueueEntries),
            (Limits { io_queues: 0, ..good }, LimitsError::IoQueues),
            (Limits { in_capsule_bytes: 8, ..good }, LimitsError::InCapsuleBytes),
            (Limits { transfer_bytes_max: 12_288, ..good }, LimitsError::TransferBytes),
            (Limits { transfer_bytes_max: 4096, ..good }, LimitsError::TransferBytes),
            (Limits { controllers: 0, ..good }, LimitsError::Controllers),
        ] {
            assert_eq!(bad.check(), Err(error));
        }
    }
}
