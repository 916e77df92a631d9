//! Features: the values that Set Features takes in dword 11 and Get Features returns in dword 0 (Base and
//! NVM, Feature Specific Information; each feature's clause has its name).

mod host;
mod interrupt;
mod media;
mod queues;

pub use host::{HostBehaviorSupport, HostIdentifier, KeepAliveTimer, NamespaceWriteProtection};
pub use interrupt::{InterruptCoalescing, InterruptVectorConfiguration};
pub use media::{ErrorRecovery, PowerManagement, ReservationMask, TemperatureThreshold, ThresholdType};
pub use queues::{Arbitration, NumberOfQueues, QueueCount};

use crate::structure::flags;

pub use crate::async_event::AsyncEvents as AsyncEventConfiguration;

flags! {
    /// What can be done with a feature: dword 0 of Get Features with Select 3 (Base, Get Features command).
    FeatureCapabilities: u32 {
        /// The value can be saved.
        SAVEABLE = 0;
        /// The value is that of one namespace.
        NAMESPACE_SPECIFIC = 1;
        /// The value can be changed.
        CHANGEABLE = 2;
    }
}

flags! {
    /// Volatile Write Cache, feature 06h.
    VolatileWriteCacheEnable: u32 {
        /// Volatile Write Cache Enable (WCE).
        ENABLED = 0;
    }
}

flags! {
    /// Reservation Persistence, feature 83h.
    ReservationPersistence: u32 {
        /// Persist Through Power Loss (PTPL).
        PERSIST_THROUGH_POWER_LOSS = 0;
    }
}

#[cfg(test)]
mod tests;
