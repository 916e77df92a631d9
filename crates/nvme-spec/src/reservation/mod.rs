//! Reservations (Base, Reservations): who may write to a shared namespace.

mod data;
mod status;

pub use data::{AcquireData, RegisterData, ReleaseData, ReservationKey};
pub use status::{HostId, Registrant, ReservationStatus, ReservationStatusError, StatusReport};

/// Reservation Type (RTYPE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReservationType {
    /// Write Exclusive.
    WriteExclusive = 1,
    /// Exclusive Access.
    ExclusiveAccess = 2,
    /// Write Exclusive - Registrants Only.
    WriteExclusiveRegistrantsOnly = 3,
    /// Exclusive Access - Registrants Only.
    ExclusiveAccessRegistrantsOnly = 4,
    /// Write Exclusive - All Registrants.
    WriteExclusiveAllRegistrants = 5,
    /// Exclusive Access - All Registrants.
    ExclusiveAccessAllRegistrants = 6,
}

/// A reservation type that the specification does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reservation type {0} is not defined")]
pub struct UnknownReservationType(pub u8);

impl TryFrom<u8> for ReservationType {
    type Error = UnknownReservationType;

    fn try_from(raw: u8) -> Result<Self, UnknownReservationType> {
        match raw {
            1 => Ok(Self::WriteExclusive),
            2 => Ok(Self::ExclusiveAccess),
            3 => Ok(Self::WriteExclusiveRegistrantsOnly),
            4 => Ok(Self::ExclusiveAccessRegistrantsOnly),
            5 => Ok(Self::WriteExclusiveAllRegistrants),
            6 => Ok(Self::ExclusiveAccessAllRegistrants),
            other => Err(UnknownReservationType(other)),
        }
    }
}

#[cfg(test)]
mod tests;
