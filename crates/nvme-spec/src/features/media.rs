//! Features about media, power and heat: Power Management (02h), Temperature Threshold (04h), Error Recovery
//! (05h), Reservation Notification Mask (82h).

use crate::bits::{get32, join16, low8, low16, set32};
use crate::structure::flags;

/// Power Management, feature 02h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PowerManagement {
    /// Power State (PS), 0..=31.
    pub power_state: u8,
    /// Workload Hint (WH), 0..=7.
    pub workload_hint: u8,
}

impl PowerManagement {
    /// From dword 11.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self { power_state: low8(get32(raw, 0, 5)), workload_hint: low8(get32(raw, 5, 3)) }
    }

    /// Dword 11.
    #[must_use]
    pub const fn raw(self) -> u32 {
        set32(set32(0, 0, 5, self.power_state as u32), 5, 3, self.workload_hint as u32)
    }
}

/// Threshold Type Select (THSEL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ThresholdType {
    /// Over temperature threshold.
    Over = 0,
    /// Under temperature threshold.
    Under = 1,
}

/// Temperature Threshold, feature 04h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TemperatureThreshold {
    /// Temperature Threshold (TMPTH) in kelvins.
    pub kelvins: u16,
    /// Threshold Temperature Select (TMPSEL): 0 is the composite temperature, 1..=8 a sensor, Fh all (Set
    /// only).
    pub sensor: u8,
    /// Over or under.
    pub kind: ThresholdType,
}

impl TemperatureThreshold {
    /// From dword 11; `None` for a reserved threshold type.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        let kind = match get32(raw, 20, 2) {
            0 => ThresholdType::Over,
            1 => ThresholdType::Under,
            _ => return None,
        };
        Some(Self { kelvins: low16(raw), sensor: low8(get32(raw, 16, 4)), kind })
    }

    /// Dword 11.
    #[must_use]
    pub const fn raw(self) -> u32 {
        set32(set32(join16(self.kelvins, 0), 16, 4, self.sensor as u32), 20, 2, self.kind as u32)
    }
}

/// Error Recovery, feature 05h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrorRecovery {
    /// Time Limited Error Recovery (TLER), in units of 100 ms; 0 is no limit.
    pub time_limit: u16,
    /// Deallocated or Unwritten Logical Block Error Enable (DULBE).
    pub deallocated_error: bool,
}

impl ErrorRecovery {
    /// From dword 11.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self { time_limit: low16(raw), deallocated_error: get32(raw, 16, 1) != 0 }
    }

    /// Dword 11.
    #[must_use]
    pub const fn raw(self) -> u32 {
        set32(join16(self.time_limit, 0), 16, 1, self.deallocated_error as u32)
    }
}

flags! {
    /// Reservation Notification Mask, feature 82h: a set bit keeps a notification back.
    ReservationMask: u32 {
        /// Mask Registration Preempted (REGPRE).
        REGISTRATION_PREEMPTED = 1;
        /// Mask Reservation Released (RESREL).
        RESERVATION_RELEASED = 2;
        /// Mask Reservation Preempted (RESPRE).
        RESERVATION_PREEMPTED = 3;
    }
}
