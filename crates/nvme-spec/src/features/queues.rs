//! Number of Queues (07h) and Arbitration (01h).

use crate::bits::{get32, high16, join16, low8, low16, set32};

/// A number of I/O queues: 1..=65535, 0-based on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueCount(u16);

impl QueueCount {
    /// `queues` queues; `None` for 0, which the wire cannot say.
    #[must_use]
    pub const fn new(queues: u16) -> Option<Self> {
        if queues == 0 { None } else { Some(Self(queues)) }
    }

    /// The number of queues.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    const fn from_zero_based(raw: u16) -> Option<Self> {
        match raw.checked_add(1) {
            Some(queues) => Some(Self(queues)),
            None => None,
        }
    }
}

/// Number of Queues, feature 07h: asked for by Set Features, and allocated as its completion
/// says. A controller may allocate more or fewer than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumberOfQueues {
    /// I/O submission queues (NSQR, NSQA).
    pub submission: QueueCount,
    /// I/O completion queues (NCQR, NCQA).
    pub completion: QueueCount,
}

impl NumberOfQueues {
    /// From dword 11 of the command or dword 0 of the completion. `None` for FFFFh, which is not allowed: a
    /// controller answers Invalid Field in Command.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match (QueueCount::from_zero_based(low16(raw)), QueueCount::from_zero_based(high16(raw))) {
            (Some(submission), Some(completion)) => Some(Self { submission, completion }),
            _ => None,
        }
    }

    /// Dword 11 of the command, or dword 0 of the completion.
    #[must_use]
    pub const fn raw(self) -> u32 {
        join16(self.submission.0 - 1, self.completion.0 - 1)
    }
}

/// Arbitration, feature 01h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arbitration {
    /// Arbitration Burst (AB) as a power of two of commands; 7 is no limit.
    pub burst: u8,
    /// Low Priority Weight (LPW), 0-based.
    pub low_weight: u8,
    /// Medium Priority Weight (MPW), 0-based.
    pub medium_weight: u8,
    /// High Priority Weight (HPW), 0-based.
    pub high_weight: u8,
}

impl Arbitration {
    /// From dword 11; bits 7:3 are reserved and dropped.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self {
            burst: low8(get32(raw, 0, 3)),
            low_weight: low8(raw >> 8),
            medium_weight: low8(raw >> 16),
            high_weight: low8(raw >> 24),
        }
    }

    /// Dword 11.
    #[must_use]
    pub const fn raw(self) -> u32 {
        let weights = [0, self.low_weight, self.medium_weight, self.high_weight];
        set32(u32::from_le_bytes(weights), 0, 3, self.burst as u32)
    }
}
