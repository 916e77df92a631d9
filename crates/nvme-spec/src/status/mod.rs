//! The status field of a completion (Base, Status Field).

mod code;

use std::fmt;

use crate::bits::{get32, low8, low16, set32};
pub use code::StatusCode;

/// The 15 bits of a completion's status field: status code and type, command retry delay, More, Do Not Retry.
///
/// The phase tag is not part of it. Bit 15 is always zero here.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Status(u16);

/// Status code type (SCT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusCodeType {
    /// Generic Command Status, 0h.
    Generic,
    /// Command Specific Status, 1h.
    CommandSpecific,
    /// Media and Data Integrity Errors, 2h.
    MediaAndDataIntegrity,
    /// Path Related Status, 3h.
    PathRelated,
    /// Reserved, 4h to 6h: the value.
    Reserved(u8),
    /// Vendor Specific, 7h.
    VendorSpecific,
}

impl StatusCodeType {
    /// From the three bits on the wire; higher bits are ignored.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Self {
        match raw & 0x7 {
            0 => Self::Generic,
            1 => Self::CommandSpecific,
            2 => Self::MediaAndDataIntegrity,
            3 => Self::PathRelated,
            7 => Self::VendorSpecific,
            reserved => Self::Reserved(reserved),
        }
    }
}

impl Status {
    /// Successful Completion.
    pub const SUCCESS: Self = Self(0);

    const DNR: u16 = 1 << 14;
    const MORE: u16 = 1 << 13;

    /// A status with this code, without More, Do Not Retry or a retry delay.
    #[must_use]
    #[inline]
    pub const fn new(code: StatusCode) -> Self {
        Self(code.raw())
    }

    /// A status that retrying the same command cannot change: the code with Do Not Retry set.
    #[must_use]
    #[inline]
    pub const fn permanent(code: StatusCode) -> Self {
        Self::new(code).with_dnr(true)
    }

    /// From the 15 bits of the field; bit 15 is ignored.
    #[must_use]
    #[inline]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw & 0x7FFF)
    }

    /// The 15 bits of the field.
    #[must_use]
    #[inline]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// Status code type and status code together.
    #[must_use]
    #[inline]
    pub const fn code(self) -> StatusCode {
        StatusCode::from_raw(self.0)
    }

    /// Whether the command succeeded. More and the reserved bits do not matter for it.
    #[must_use]
    #[inline]
    pub const fn is_success(self) -> bool {
        self.code().raw() == 0
    }

    /// Do Not Retry (DNR): the same command will fail again on any controller of the subsystem.
    #[must_use]
    #[inline]
    pub const fn dnr(self) -> bool {
        self.0 & Self::DNR != 0
    }

    /// More (M): the error information log page has an entry about this command.
    #[must_use]
    #[inline]
    pub const fn more(self) -> bool {
        self.0 & Self::MORE != 0
    }

    /// Command Retry Delay (CRD): 0 is none, 1..=3 names Identify Controller's CRDT1..CRDT3.
    #[must_use]
    pub const fn retry_delay(self) -> u8 {
        low8(get32(self.0 as u32, 11, 2))
    }

    /// With Do Not Retry set or clear.
    #[must_use]
    #[inline]
    pub const fn with_dnr(self, dnr: bool) -> Self {
        Self(self.0 & !Self::DNR | if dnr { Self::DNR } else { 0 })
    }

    /// With More set or clear.
    #[must_use]
    pub const fn with_more(self, more: bool) -> Self {
        Self(self.0 & !Self::MORE | if more { Self::MORE } else { 0 })
    }

    /// With a Command Retry Delay; only the low two bits of `crd` count.
    #[must_use]
    pub const fn with_retry_delay(self, crd: u8) -> Self {
        Self(low16(set32(self.0 as u32, 11, 2, crd as u32)))
    }

    /// Media and Data Integrity Errors: the data on the medium, or on its way, is at fault.
    #[must_use]
    pub const fn is_media_error(self) -> bool {
        matches!(self.code().kind(), StatusCodeType::MediaAndDataIntegrity)
    }

    /// Path Related Status: another path to the namespace may work.
    #[must_use]
    pub const fn is_path_error(self) -> bool {
        matches!(self.code().kind(), StatusCodeType::PathRelated)
    }

    /// Whether the command was ended by an abort, a deleted queue, a lost fused partner, a preemption or a
    /// power loss notification, and not for a fault of its own.
    #[must_use]
    pub fn is_aborted(self) -> bool {
        [
            StatusCode::ABORTED_POWER_LOSS,
            StatusCode::ABORT_REQUESTED,
            StatusCode::ABORTED_SQ_DELETION,
            StatusCode::ABORTED_FAILED_FUSED,
            StatusCode::ABORTED_MISSING_FUSED,
            StatusCode::ABORTED_PREEMPT_AND_ABORT,
            StatusCode::ABORTED_BY_HOST,
        ]
        .contains(&self.code())
    }
}

impl From<StatusCode> for Status {
    fn from(code: StatusCode) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code().fmt(f)?;
        match self.retry_delay() {
            0 => {}
            crd => write!(f, ", CRD {crd}")?,
        }
        if self.more() {
            f.write_str(", More")?;
        }
        if self.dnr() {
            f.write_str(", DNR")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({self})")
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    // Base, Status Field: as bits of the field, SC 7:0, SCT 10:8, CRD 12:11, M 13, DNR 14.
    #[test]
    fn fields_of_the_figure() {
        let status = Status::from_raw(0b111_1010_1000_0001);
        assert_eq!((status.dnr(), status.more(), status.retry_delay()), (true, true, 3));
        assert_eq!(status.code(), StatusCode::UNRECOVERED_READ_ERROR);
        let built = Status::new(StatusCode::UNRECOVERED_READ_ERROR)
            .with_retry_delay(3)
            .with_more(true)
            .with_dnr(true);
        assert_eq!(built.raw(), 0x7A81);
        assert_eq!(built.with_dnr(false).with_more(false).with_retry_delay(0).raw(), 0x281);
    }

    #[test]
    fn every_raw_value_survives_and_prints() {
        for raw in 0..=u16::MAX {
            let status = Status::from_raw(raw);
            assert_eq!(status.raw(), raw & 0x7FFF);
            assert_eq!(status.is_success(), raw & 0x7FF == 0);
            assert!(!status.to_string().is_empty());
        }
    }

    #[test]
    fn prints_the_specification_s_words() {
        let status = Status::new(StatusCode::LBA_OUT_OF_RANGE);
        assert_eq!(status.to_string(), "LBA Out of Range (0x080)");
        assert_eq!(status.with_dnr(true).to_string(), "LBA Out of Range (0x080), DNR");
        assert_eq!(Status::from_raw(0x3FFF).to_string(), "Vendor Specific (0x7ff), CRD 3, More");
        assert_eq!(Status::from_raw(0x07F).to_string(), "Unknown Generic Command Status (0x07f)");
    }

    #[test]
    fn predicates_go_by_type() {
        assert!(Status::from_raw(0x2FF).is_media_error() && !Status::from_raw(0x181).is_media_error());
        assert!(Status::from_raw(0x301).is_path_error() && !Status::from_raw(0x201).is_path_error());
        for raw in [0x05, 0x07, 0x08, 0x09, 0x0A, 0x1B, 0x371] {
            assert!(Status::from_raw(raw).is_aborted(), "{raw:#x}");
        }
        let aborted = (0..0x800).filter(|&raw| Status::from_raw(raw).is_aborted()).count();
        assert_eq!(aborted, 7);
    }

    #[test]
    fn every_status_code_type() {
        let expected = [
            StatusCodeType::Generic,
            StatusCodeType::CommandSpecific,
            StatusCodeType::MediaAndDataIntegrity,
            StatusCodeType::PathRelated,
            StatusCodeType::Reserved(4),
            StatusCodeType::Reserved(5),
            StatusCodeType::Reserved(6),
            StatusCodeType::VendorSpecific,
        ];
        for (raw, kind) in (0..8).zip(expected) {
            assert_eq!(StatusCodeType::from_raw(raw), kind);
        }
    }
}
