//! Interrupt Coalescing (08h) and Interrupt Vector Configuration (09h).

use crate::bits::{get32, join16, low8, low16, set32};

/// Interrupt Coalescing, feature 08h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterruptCoalescing {
    /// Aggregation Threshold (THR): completions before an interrupt, 0-based.
    pub threshold: u8,
    /// Aggregation Time (TIME), in units of 100 us; 0 is no delay.
    pub time: u8,
}

impl InterruptCoalescing {
    /// From dword 11.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self { threshold: low8(raw), time: low8(raw >> 8) }
    }

    /// Dword 11.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.threshold as u32 | (self.time as u32) << 8
    }
}

/// Interrupt Vector Configuration, feature 09h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterruptVectorConfiguration {
    /// Interrupt Vector (IV).
    pub vector: u16,
    /// Coalescing Disable (CD).
    pub coalescing_disabled: bool,
}

impl InterruptVectorConfiguration {
    /// From dword 11.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self { vector: low16(raw), coalescing_disabled: get32(raw, 16, 1) != 0 }
    }

    /// Dword 11.
    #[must_use]
    pub const fn raw(self) -> u32 {
        set32(join16(self.vector, 0), 16, 1, self.coalescing_disabled as u32)
    }
}
