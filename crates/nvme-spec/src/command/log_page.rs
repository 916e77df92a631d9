//! Get Log Page (Base, Get Log Page command). The log pages are in [`crate::log`].

use super::opcode::AdminOpcode;
use super::{INVALID_FIELD, named_codes};
use crate::bits::{get32, high16, high32, join16, join32, low8, low16, low32};
use crate::ids::{CommandId, Nsid};
use crate::sqe::Sqe;
use crate::status::Status;

named_codes! {
    /// Log page identifier (LID).
    LogPageId {
        SUPPORTED_LOG_PAGES = 0x00, "Supported Log Pages";
        ERROR_INFORMATION = 0x01, "Error Information";
        SMART_HEALTH = 0x02, "SMART / Health Information";
        FIRMWARE_SLOT = 0x03, "Firmware Slot Information";
        CHANGED_NAMESPACES = 0x04, "Changed Attached Namespace List";
        COMMANDS_SUPPORTED = 0x05, "Commands Supported and Effects";
        DEVICE_SELF_TEST = 0x06, "Device Self-test";
        TELEMETRY_HOST = 0x07, "Telemetry Host-Initiated";
        TELEMETRY_CONTROLLER = 0x08, "Telemetry Controller-Initiated";
        ENDURANCE_GROUP = 0x09, "Endurance Group Information";
        ASYMMETRIC_NAMESPACE_ACCESS = 0x0C, "Asymmetric Namespace Access";
        PERSISTENT_EVENT = 0x0D, "Persistent Event Log";
        DISCOVERY = 0x70, "Discovery";
        RESERVATION_NOTIFICATION = 0x80, "Reservation Notification";
        SANITIZE_STATUS = 0x81, "Sanitize Status";
    }
}

/// A number of dwords to return: 1..=2^32, 0-based on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DwordCount(u32);

impl DwordCount {
    /// So many bytes, which must be a multiple of 4 from 4 to 2^34; `None` otherwise.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        let dwords = bytes / 4;
        if bytes.is_multiple_of(4) && dwords >= 1 && dwords <= 1 << 32 {
            Some(Self(low32(dwords - 1)))
        } else {
            None
        }
    }

    /// From the wire's 0-based value.
    #[must_use]
    pub const fn from_zero_based(numd: u32) -> Self {
        Self(numd)
    }

    /// The wire's 0-based value.
    #[must_use]
    pub const fn zero_based(self) -> u32 {
        self.0
    }

    /// In bytes, 4..=2^34.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        (self.0 as u64 + 1) * 4
    }
}

/// Get Log Page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GetLogPage {
    /// The log page.
    pub lid: LogPageId,
    /// The namespace, or [`Nsid::ALL`] for the controller (or NVM subsystem).
    pub nsid: Nsid,
    /// How much to return.
    pub length: DwordCount,
    /// Log Page Offset (LPO) in bytes, a multiple of 4; an index when `index_offset` is set.
    pub offset: u64,
    /// Log Specific Parameter (LSP), 7 bits.
    pub lsp: u8,
    /// Log Specific Identifier (LSI).
    pub lsi: u16,
    /// Retain Asynchronous Event (RAE): do not re-arm the event that this page belongs to.
    pub retain_event: bool,
    /// Offset Type (OT): `offset` counts entries of the page's list.
    pub index_offset: bool,
    /// Command Set Identifier (CSI), for pages that need one.
    pub csi: u8,
    /// UUID Index, 7 bits; 0 for a page that the specification defines.
    pub uuid_index: u8,
}

impl GetLogPage {
    /// The start of a log page of the controller.
    #[must_use]
    pub const fn new(lid: LogPageId, length: DwordCount) -> Self {
        Self {
            lid,
            nsid: Nsid::ALL,
            length,
            offset: 0,
            lsp: 0,
            lsi: 0,
            retain_event: false,
            index_offset: false,
            csi: 0,
            uuid_index: 0,
        }
    }

    /// From this offset on, in bytes.
    #[must_use]
    pub const fn with_offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        let lsp = (self.lsp as u32 & 0x7F) << 8;
        let rae = (self.retain_event as u32) << 15;
        let numd = self.length.zero_based();
        let ot = (self.index_offset as u32) << 23;
        Sqe::new(AdminOpcode::GetLogPage.raw(), cid, self.nsid)
            .with_cdw10(self.lid.0 as u32 | lsp | rae | numd << 16)
            .with_cdw11(join16(high16(numd), self.lsi))
            .with_cdw12(low32(self.offset))
            .with_cdw13(high32(self.offset))
            .with_cdw14(self.uuid_index as u32 & 0x7F | ot | (self.csi as u32) << 24)
    }

    pub(super) fn from_sqe(sqe: &Sqe) -> Result<Self, Status> {
        let (cdw10, cdw14) = (sqe.cdw10(), sqe.cdw14());
        let page = Self {
            lid: LogPageId(low8(cdw10)),
            nsid: sqe.nsid(),
            length: DwordCount::from_zero_based(join16(high16(cdw10), low16(sqe.cdw11()))),
            offset: join32(sqe.cdw12(), sqe.cdw13()),
            lsp: low8(get32(cdw10, 8, 7)),
            lsi: high16(sqe.cdw11()),
            retain_event: get32(cdw10, 15, 1) != 0,
            index_offset: get32(cdw14, 23, 1) != 0,
            csi: low8(cdw14 >> 24),
            uuid_index: low8(get32(cdw14, 0, 7)),
        };
        if page.index_offset || page.offset.is_multiple_of(4) { Ok(page) } else { Err(INVALID_FIELD) }
    }
}
