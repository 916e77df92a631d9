//! Firmware Slot Information (03h), Changed Attached Namespace List (04h) and Reservation Notification (80h).

use crate::bytes::TooShort;
use crate::identify::NamespaceList;
use crate::ids::Nsid;
use crate::structure::data_structure;
use crate::text::Text;

data_structure! {
    /// Firmware Slot Information, log page 03h (Base, Firmware Slot Information Log Page).
    FirmwareSlots, "Firmware Slot Information", 512 {
        /// Active Firmware Info (AFI): the active slot in bits 2:0, the one after the next reset in bits 6:4.
        0 afi: u8,
        /// Firmware Revisions for Slots 1 to 7 (FRS).
        8 frs: [Text<8>; 7],
    }
}

impl FirmwareSlots {
    /// The slot that is active, 1..=7 from a correct controller.
    #[must_use]
    pub const fn active(&self) -> u8 {
        self.afi & 0b111
    }

    /// The slot that the next controller level reset activates; `None` if it is not known.
    #[must_use]
    pub const fn next(&self) -> Option<u8> {
        match self.afi >> 4 & 0b111 {
            0 => None,
            slot => Some(slot),
        }
    }
}

/// Changed Attached Namespace List, log page 04h (Base, Changed Attached Namespace List).
#[derive(Clone, Copy, Debug)]
pub enum ChangedNamespaces<'a> {
    /// These namespaces changed.
    Some(NamespaceList<'a>),
    /// More than 1024 changed: all are to be looked at.
    TooMany,
}

impl<'a> ChangedNamespaces<'a> {
    /// Reads the log page.
    ///
    /// # Errors
    /// [`TooShort`] for fewer than 4096 bytes.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, TooShort> {
        let list = NamespaceList::from_bytes(bytes)?;
        let too_many = list.iter().next() == Some(Nsid::ALL);
        Ok(if too_many { Self::TooMany } else { Self::Some(list) })
    }

    /// The log page that says "more than 1024 changed". Any other is [`NamespaceList::encode`].
    #[must_use]
    pub fn encode_too_many() -> [u8; 4096] {
        NamespaceList::encode([Nsid::ALL])
    }
}

/// Reservation Notification Log Page Type (RNLPT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReservationNotificationType {
    /// Empty log page.
    Empty = 0,
    /// Registration Preempted.
    RegistrationPreempted = 1,
    /// Reservation Released.
    ReservationReleased = 2,
    /// Reservation Preempted.
    ReservationPreempted = 3,
}

data_structure! {
    /// Reservation Notification, log page 80h (Base, Reservation Notification Log Page).
    ReservationNotification, "Reservation Notification", 64 {
        /// Log Page Count (LPC): counts up with every notification and skips 0; 0 is an empty page.
        0 lpc: u64,
        /// Reservation Notification Log Page Type (RNLPT), see [`ReservationNotification::kind`].
        8 rnlpt: u8,
        /// Number of Available Log Pages (NALP): how many more wait, up to 255.
        9 nalp: u8,
        /// The namespace.
        12 nsid: Nsid,
    }
}

impl ReservationNotification {
    /// What happened; `None` for a reserved type.
    #[must_use]
    pub const fn kind(&self) -> Option<ReservationNotificationType> {
        match self.rnlpt {
            0 => Some(ReservationNotificationType::Empty),
            1 => Some(ReservationNotificationType::RegistrationPreempted),
            2 => Some(ReservationNotificationType::ReservationReleased),
            3 => Some(ReservationNotificationType::ReservationPreempted),
            _ => None,
        }
    }
}
