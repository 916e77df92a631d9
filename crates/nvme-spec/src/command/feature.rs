//! Get Features and Set Features. What the values mean is in [`crate::features`].

use super::opcode::AdminOpcode;
use super::{INVALID_FIELD, named_codes};
use crate::bits::{get32, low8};
use crate::ids::{CommandId, Nsid};
use crate::sqe::Sqe;
use crate::status::Status;

named_codes! {
    /// Feature identifier (FID).
    FeatureId {
        ARBITRATION = 0x01, "Arbitration";
        POWER_MANAGEMENT = 0x02, "Power Management";
        TEMPERATURE_THRESHOLD = 0x04, "Temperature Threshold";
        ERROR_RECOVERY = 0x05, "Error Recovery";
        VOLATILE_WRITE_CACHE = 0x06, "Volatile Write Cache";
        NUMBER_OF_QUEUES = 0x07, "Number of Queues";
        INTERRUPT_COALESCING = 0x08, "Interrupt Coalescing";
        INTERRUPT_VECTOR_CONFIGURATION = 0x09, "Interrupt Vector Configuration";
        WRITE_ATOMICITY_NORMAL = 0x0A, "Write Atomicity Normal";
        ASYNC_EVENT_CONFIGURATION = 0x0B, "Asynchronous Event Configuration";
        AUTONOMOUS_POWER_STATE_TRANSITION = 0x0C, "Autonomous Power State Transition";
        HOST_MEMORY_BUFFER = 0x0D, "Host Memory Buffer";
        TIMESTAMP = 0x0E, "Timestamp";
        KEEP_ALIVE_TIMER = 0x0F, "Keep Alive Timer";
        HOST_CONTROLLED_THERMAL_MANAGEMENT = 0x10, "Host Controlled Thermal Management";
        NON_OPERATIONAL_POWER_STATE_CONFIG = 0x11, "Non-Operational Power State Config";
        HOST_BEHAVIOR_SUPPORT = 0x16, "Host Behavior Support";
        SOFTWARE_PROGRESS_MARKER = 0x80, "Software Progress Marker";
        HOST_IDENTIFIER = 0x81, "Host Identifier";
        RESERVATION_NOTIFICATION_MASK = 0x82, "Reservation Notification Mask";
        RESERVATION_PERSISTENCE = 0x83, "Reservation Persistence";
        NAMESPACE_WRITE_PROTECTION = 0x84, "Namespace Write Protection Config";
    }
}

/// Which value Get Features returns (SEL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Select {
    /// The current value.
    #[default]
    Current = 0,
    /// The default value.
    Default = 1,
    /// The saved value.
    Saved = 2,
    /// What can be done with the feature: see [`crate::features::FeatureCapabilities`].
    Supported = 3,
}

/// Get Features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GetFeatures {
    /// The namespace, for a feature that is specific to one.
    pub nsid: Nsid,
    /// The feature.
    pub fid: FeatureId,
    /// Which of its values.
    pub select: Select,
    /// Command dword 11, which some features use.
    pub cdw11: u32,
    /// UUID Index, 7 bits; 0 for a feature that the specification defines.
    pub uuid_index: u8,
}

impl GetFeatures {
    /// The current value of a feature.
    #[must_use]
    pub const fn current(fid: FeatureId) -> Self {
        Self { nsid: Nsid::NONE, fid, select: Select::Current, cdw11: 0, uuid_index: 0 }
    }

    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        Sqe::new(AdminOpcode::GetFeatures.raw(), cid, self.nsid)
            .with_cdw10(self.fid.0 as u32 | (self.select as u32) << 8)
            .with_cdw11(self.cdw11)
            .with_cdw14(self.uuid_index as u32 & 0x7F)
    }

    pub(super) fn from_sqe(sqe: &Sqe) -> Result<Self, Status> {
        let select = match get32(sqe.cdw10(), 8, 3) {
            0 => Select::Current,
            1 => Select::Default,
            2 => Select::Saved,
            3 => Select::Supported,
            _ => return Err(INVALID_FIELD),
        };
        Ok(Self {
            nsid: sqe.nsid(),
            fid: FeatureId(low8(sqe.cdw10())),
            select,
            cdw11: sqe.cdw11(),
            uuid_index: low8(get32(sqe.cdw14(), 0, 7)),
        })
    }
}

/// Set Features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetFeatures {
    /// The namespace, for a feature that is specific to one.
    pub nsid: Nsid,
    /// The feature.
    pub fid: FeatureId,
    /// Save (SV): the value outlives power cycles and resets.
    pub save: bool,
    /// Command dword 11, the value of most features.
    pub cdw11: u32,
    /// Command dword 12, which few features use.
    pub cdw12: u32,
    /// UUID Index, 7 bits; 0 for a feature that the specification defines.
    pub uuid_index: u8,
}

impl SetFeatures {
    /// A feature's value, not saved.
    #[must_use]
    pub const fn value(fid: FeatureId, cdw11: u32) -> Self {
        Self { nsid: Nsid::NONE, fid, save: false, cdw11, cdw12: 0, uuid_index: 0 }
    }

    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        Sqe::new(AdminOpcode::SetFeatures.raw(), cid, self.nsid)
            .with_cdw10(self.fid.0 as u32 | (self.save as u32) << 31)
            .with_cdw11(self.cdw11)
            .with_cdw12(self.cdw12)
            .with_cdw14(self.uuid_index as u32 & 0x7F)
    }

    pub(super) const fn from_sqe(sqe: &Sqe) -> Self {
        Self {
            nsid: sqe.nsid(),
            fid: FeatureId(low8(sqe.cdw10())),
            save: get32(sqe.cdw10(), 31, 1) != 0,
            cdw11: sqe.cdw11(),
            cdw12: sqe.cdw12(),
            uuid_index: low8(get32(sqe.cdw14(), 0, 7)),
        }
    }
}
