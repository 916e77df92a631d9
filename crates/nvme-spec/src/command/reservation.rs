//! Reservation commands (Base, I/O Commands). Their data is in [`crate::reservation`].

use super::INVALID_FIELD;
use super::log_page::DwordCount;
use super::opcode::NvmOpcode;
use crate::bits::{get32, low8};
use crate::ids::{CommandId, Nsid};
use crate::reservation::ReservationType;
use crate::sqe::Sqe;
use crate::status::Status;

/// Reservation Register Action (RREGA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RegisterAction {
    /// Register Reservation Key.
    Register = 0,
    /// Unregister Reservation Key.
    Unregister = 1,
    /// Replace Reservation Key.
    Replace = 2,
}

/// Change Persist Through Power Loss State (CPTPL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PersistChange {
    /// No change.
    #[default]
    Keep = 0,
    /// Reservations and registrations are lost with power.
    ReleaseOnPowerLoss = 2,
    /// Reservations and registrations persist through a power loss.
    PersistThroughPowerLoss = 3,
}

/// Reservation Acquire Action (RACQA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AcquireAction {
    /// Acquire.
    Acquire = 0,
    /// Preempt.
    Preempt = 1,
    /// Preempt and Abort.
    PreemptAndAbort = 2,
}

/// Reservation Release Action (RRELA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReleaseAction {
    /// Release.
    Release = 0,
    /// Clear.
    Clear = 1,
}

/// Reservation Register; its data is [`crate::reservation::RegisterData`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReservationRegister {
    /// The namespace.
    pub nsid: Nsid,
    /// What to do.
    pub action: RegisterAction,
    /// Ignore Existing Key (IEKEY): replace without a check of the current key.
    pub ignore_existing_key: bool,
    /// What is to become of the reservation at a power loss.
    pub persist: PersistChange,
}

impl ReservationRegister {
    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        let iekey = (self.ignore_existing_key as u32) << 3;
        Sqe::new(NvmOpcode::ReservationRegister.raw(), cid, self.nsid)
            .with_cdw10(self.action as u32 | iekey | (self.persist as u32) << 30)
    }

    pub(super) fn from_sqe(sqe: &Sqe) -> Result<Self, Status> {
        let action = match get32(sqe.cdw10(), 0, 3) {
            0 => RegisterAction::Register,
            1 => RegisterAction::Unregister,
            2 => RegisterAction::Replace,
            _ => return Err(INVALID_FIELD),
        };
        let persist = match get32(sqe.cdw10(), 30, 2) {
            0 => PersistChange::Keep,
            2 => PersistChange::ReleaseOnPowerLoss,
            3 => PersistChange::PersistThroughPowerLoss,
            _ => return Err(INVALID_FIELD),
        };
        Ok(Self { nsid: sqe.nsid(), action, ignore_existing_key: iekey(sqe), persist })
    }
}

/// Reservation Acquire; its data is [`crate::reservation::AcquireData`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReservationAcquire {
    /// The namespace.
    pub nsid: Nsid,
    /// What to do.
    pub action: AcquireAction,
    /// Ignore Existing Key (IEKEY), which NVMe 1.x had; a controller of today refuses it.
    pub ignore_existing_key: bool,
    /// The reservation to hold (RTYPE).
    pub rtype: ReservationType,
}

impl ReservationAcquire {
    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        let iekey = (self.ignore_existing_key as u32) << 3;
        Sqe::new(NvmOpcode::ReservationAcquire.raw(), cid, self.nsid)
            .with_cdw10(self.action as u32 | iekey | (self.rtype as u32) << 8)
    }

    pub(super) fn from_sqe(sqe: &Sqe) -> Result<Self, Status> {
        let action = match get32(sqe.cdw10(), 0, 3) {
            0 => AcquireAction::Acquire,
            1 => AcquireAction::Preempt,
            2 => AcquireAction::PreemptAndAbort,
            _ => return Err(INVALID_FIELD),
        };
        Ok(Self { nsid: sqe.nsid(), action, ignore_existing_key: iekey(sqe), rtype: rtype(sqe)? })
    }
}

/// Reservation Release; its data is the current key, 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReservationRelease {
    /// The namespace.
    pub nsid: Nsid,
    /// What to do.
    pub action: ReleaseAction,
    /// Ignore Existing Key (IEKEY), which NVMe 1.x had; a controller of today refuses it.
    pub ignore_existing_key: bool,
    /// The reservation that is held (RTYPE). `None`, 0 on the wire, is for Clear, which does not use it.
    pub rtype: Option<ReservationType>,
}

impl ReservationRelease {
    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        let iekey = (self.ignore_existing_key as u32) << 3;
        let rtype = match self.rtype {
            Some(rtype) => rtype as u32,
            None => 0,
        };
        Sqe::new(NvmOpcode::ReservationRelease.raw(), cid, self.nsid)
            .with_cdw10(self.action as u32 | iekey | rtype << 8)
    }

    pub(super) fn from_sqe(sqe: &Sqe) -> Result<Self, Status> {
        let (action, rtype) = match get32(sqe.cdw10(), 0, 3) {
            0 => (ReleaseAction::Release, Some(rtype(sqe)?)),
            1 => (ReleaseAction::Clear, rtype(sqe).ok()),
            _ => return Err(INVALID_FIELD),
        };
        Ok(Self { nsid: sqe.nsid(), action, ignore_existing_key: iekey(sqe), rtype })
    }
}

/// Reservation Report, which returns [`crate::reservation::ReservationStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReservationReport {
    /// The namespace.
    pub nsid: Nsid,
    /// How much to return.
    pub length: DwordCount,
    /// Extended Data Structure (EDS): with host identifiers of 128 bits.
    pub extended: bool,
}

impl ReservationReport {
    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        Sqe::new(NvmOpcode::ReservationReport.raw(), cid, self.nsid)
            .with_cdw10(self.length.zero_based())
            .with_cdw11(self.extended as u32)
    }

    pub(super) const fn from_sqe(sqe: &Sqe) -> Self {
        Self {
            nsid: sqe.nsid(),
            length: DwordCount::from_zero_based(sqe.cdw10()),
            extended: get32(sqe.cdw11(), 0, 1) != 0,
        }
    }
}

fn iekey(sqe: &Sqe) -> bool {
    get32(sqe.cdw10(), 3, 1) != 0
}

fn rtype(sqe: &Sqe) -> Result<ReservationType, Status> {
    ReservationType::try_from(low8(sqe.cdw10() >> 8)).map_err(|_| INVALID_FIELD)
}
