//! Features about the host: Keep Alive Timer (0Fh), Host Behavior Support (16h), Host Identifier (81h),
//! Namespace Write Protection (84h).

use crate::bytes::{TooShort, prefix};
use crate::structure::data_structure;

/// Keep Alive Timer, feature 0Fh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeepAliveTimer {
    /// Keep Alive Timeout (KATO) in milliseconds; 0 turns it off.
    pub timeout_ms: u32,
}

impl KeepAliveTimer {
    /// From dword 11.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self { timeout_ms: raw }
    }

    /// Dword 11.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.timeout_ms
    }
}

data_structure! {
    /// Host Behavior Support, feature 16h: the data of the command.
    HostBehaviorSupport, "Host Behavior Support", 512 {
        /// Advanced Command Retry Enable (ACRE): 1 lets the controller answer with a Command Retry Delay.
        0 acre: u8,
        /// Extended Telemetry Data Area 4 Supported (ETDAS).
        1 etdas: u8,
        /// LBA Format Extension Enable (LBAFEE).
        2 lbafee: u8,
        /// Host Dispersed Namespace Support (HDISNS).
        3 hdisns: u8,
        /// Copy Descriptor Formats Enable (CDFE).
        4 cdfe: u16,
    }
}

/// Host Identifier, feature 81h: the data of the command, which reservations go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostIdentifier {
    /// 64 bits, EXHID 0.
    Short(u64),
    /// 128 bits, EXHID 1; over fabrics always.
    Extended([u8; 16]),
}

impl HostIdentifier {
    /// Reads the data; bit 0 of dword 11 (EXHID) says which form it has.
    ///
    /// # Errors
    /// [`TooShort`] for fewer than 8 or 16 bytes.
    pub fn from_bytes(extended: bool, bytes: &[u8]) -> Result<Self, TooShort> {
        if extended {
            prefix("Extended Host Identifier", bytes).map(|id| Self::Extended(*id))
        } else {
            prefix("Host Identifier", bytes).map(|id| Self::Short(u64::from_le_bytes(*id)))
        }
    }

    /// Dword 11: EXHID.
    #[must_use]
    pub const fn cdw11(self) -> u32 {
        matches!(self, Self::Extended(_)) as u32
    }

    /// The data and how many of its bytes count, 8 or 16.
    #[must_use]
    pub fn to_bytes(self) -> ([u8; 16], usize) {
        match self {
            Self::Short(id) => (u128::from(id).to_le_bytes(), 8),
            Self::Extended(id) => (id, 16),
        }
    }

    /// Whether it is zero: the host has no identifier and takes no part in reservations.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.to_bytes().0 == [0; 16]
    }
}

/// Namespace Write Protection Config, feature 84h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NamespaceWriteProtection {
    /// No Write Protect.
    Off = 0,
    /// Write Protect.
    On = 1,
    /// Write Protect Until Power Cycle.
    UntilPowerCycle = 2,
    /// Permanent Write Protect.
    Permanent = 3,
}

impl NamespaceWriteProtection {
    /// From dword 11; `None` for reserved states.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw & 0b111 {
            0 => Some(Self::Off),
            1 => Some(Self::On),
            2 => Some(Self::UntilPowerCycle),
            3 => Some(Self::Permanent),
            _ => None,
        }
    }

    /// Dword 11.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self as u32
    }
}
