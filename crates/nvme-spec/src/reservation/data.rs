//! The data of reservation commands (Base, Reservation Register, Acquire and Release).

use crate::structure::{data_structure, integer_newtype_field};

/// A reservation key: a host's choice, not zero for a registrant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationKey(pub u64);

integer_newtype_field!(ReservationKey, u64, ReservationKey, |key: ReservationKey| key.0);

data_structure! {
    /// The data of Reservation Register.
    RegisterData, "Reservation Register data", 16 {
        /// Current Reservation Key (CRKEY), to unregister or replace.
        0 current: ReservationKey,
        /// New Reservation Key (NRKEY), to register or replace.
        8 new: ReservationKey,
    }
}

data_structure! {
    /// The data of Reservation Acquire.
    AcquireData, "Reservation Acquire data", 16 {
        /// Current Reservation Key (CRKEY).
        0 current: ReservationKey,
        /// Preempt Reservation Key (PRKEY).
        8 preempt: ReservationKey,
    }
}

data_structure! {
    /// The data of Reservation Release.
    ReleaseData, "Reservation Release data", 8 {
        /// Current Reservation Key (CRKEY).
        0 current: ReservationKey,
    }
}
