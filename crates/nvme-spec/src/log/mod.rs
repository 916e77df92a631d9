//! Log pages (Base, Log Specific Information).

mod ana;
mod discovery;
mod effects;
mod error;
mod health;
mod notices;

pub use ana::{AnaError, AnaGroup, AnaGroups, AnaHeader, AnaState, AnaWriter, NSIDS_PER_GROUP_MAX};
pub use discovery::{
    AddressFamily, DISCOVERY_RECORD_FORMAT, DiscoveryEntry, DiscoveryHeader, ExtendedFlags, RdmaCms,
    RdmaProvider, RdmaQpType, RdmaTsas, SubsystemType, TransportRequirements, TransportType,
};
pub use effects::{CommandEffects, CommandsSupported};
pub use error::ErrorEntry;
pub use health::{CriticalWarning, DATA_UNIT_BYTES, SmartHealth};
pub use notices::{ChangedNamespaces, FirmwareSlots, ReservationNotification, ReservationNotificationType};

#[cfg(test)]
mod tests;
