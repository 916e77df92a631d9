//! Controller Capabilities and Ready Timeouts (Base, Controller Property Definitions).

use super::doorbell::DoorbellStride;
use super::register_value;
use crate::bits::{get32, get64, low8, low16, set32, set64};
use crate::prp::PageSize;

/// What one unit of CAP.TO and of CRTO is, in milliseconds.
const TIMEOUT_UNIT_MS: u32 = 500;

/// Controller Capabilities (CAP).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u64);

register_value!(Capabilities, u64);

bitflags::bitflags! {
    /// Command sets supported (CAP.CSS), bits 44:37 of CAP.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct CommandSets: u8 {
        /// The NVM command set.
        const NVM = 1 << 0;
        /// One or more I/O command sets, which Identify CNS 1Ch lists (IOCSS).
        const IO_COMMAND_SETS = 1 << 6;
        /// No I/O command set: admin commands only (NOIOCSS).
        const NO_IO = 1 << 7;
    }
}

impl Capabilities {
    /// Maximum Queue Entries Supported (MQES), 0-based.
    #[must_use]
    pub const fn mqes(self) -> u16 {
        low16(get64(self.0, 0, 16))
    }

    /// The most entries that an I/O queue can have: 2..=65536 from a correct controller (MQES + 1).
    #[must_use]
    pub const fn entries_max(self) -> u32 {
        self.mqes() as u32 + 1
    }

    /// Contiguous Queues Required (CQR).
    #[must_use]
    pub const fn cqr(self) -> bool {
        get64(self.0, 16, 1) != 0
    }

    /// Arbitration Mechanism Supported (AMS): weighted round robin with urgent priority class.
    #[must_use]
    pub const fn ams_weighted_round_robin(self) -> bool {
        get64(self.0, 17, 1) != 0
    }

    /// Arbitration Mechanism Supported (AMS): a vendor-specific one.
    #[must_use]
    pub const fn ams_vendor_specific(self) -> bool {
        get64(self.0, 18, 1) != 0
    }

    /// Timeout (TO): how long CSTS.RDY may take to follow CC.EN, in units of 500 ms.
    #[must_use]
    pub const fn to(self) -> u8 {
        low8(get64(self.0, 24, 8))
    }

    /// Timeout (TO) in milliseconds.
    #[must_use]
    pub const fn timeout_ms(self) -> u32 {
        self.to() as u32 * TIMEOUT_UNIT_MS
    }

    /// Doorbell Stride (DSTRD).
    #[must_use]
    pub const fn dstrd(self) -> DoorbellStride {
        DoorbellStride::from_raw(low8(get64(self.0, 32, 4)))
    }

    /// NVM Subsystem Reset Supported (NSSRS).
    #[must_use]
    pub const fn nssrs(self) -> bool {
        get64(self.0, 36, 1) != 0
    }

    /// Command Sets Supported (CSS); reserved bits are dropped.
    #[must_use]
    pub const fn css(self) -> CommandSets {
        CommandSets::from_bits_truncate(low8(get64(self.0, 37, 8)))
    }

    /// Boot Partition Support (BPS).
    #[must_use]
    pub const fn bps(self) -> bool {
        get64(self.0, 45, 1) != 0
    }

    /// Controller Power Scope (CPS): 0 not reported, 1 controller, 2 domain, 3 NVM subsystem.
    #[must_use]
    pub const fn cps(self) -> u8 {
        low8(get64(self.0, 46, 2))
    }

    /// Memory Page Size Minimum (MPSMIN).
    #[must_use]
    pub const fn mpsmin(self) -> PageSize {
        PageSize::from_mps(low8(get64(self.0, 48, 4)))
    }

    /// Memory Page Size Maximum (MPSMAX).
    #[must_use]
    pub const fn mpsmax(self) -> PageSize {
        PageSize::from_mps(low8(get64(self.0, 52, 4)))
    }

    /// Persistent Memory Region Supported (PMRS).
    #[must_use]
    pub const fn pmrs(self) -> bool {
        get64(self.0, 56, 1) != 0
    }

    /// Controller Memory Buffer Supported (CMBS).
    #[must_use]
    pub const fn cmbs(self) -> bool {
        get64(self.0, 57, 1) != 0
    }

    /// NVM Subsystem Shutdown Supported (NSSS).
    #[must_use]
    pub const fn nsss(self) -> bool {
        get64(self.0, 58, 1) != 0
    }

    /// Controller Ready Modes Supported (CRMS): Controller Ready With Media, so that CRTO.CRWMT counts.
    #[must_use]
    pub const fn crwms(self) -> bool {
        get64(self.0, 59, 1) != 0
    }

    /// Controller Ready Modes Supported (CRMS): Controller Ready Independent of Media, which CC.CRIME
    /// selects.
    #[must_use]
    pub const fn crims(self) -> bool {
        get64(self.0, 60, 1) != 0
    }

    /// With a maximum number of entries in an I/O queue, 0-based.
    #[must_use]
    pub const fn with_mqes(self, mqes: u16) -> Self {
        Self(set64(self.0, 0, 16, mqes as u32))
    }

    /// With Contiguous Queues Required.
    #[must_use]
    pub const fn with_cqr(self, cqr: bool) -> Self {
        Self(set64(self.0, 16, 1, cqr as u32))
    }

    /// With a timeout in units of 500 ms.
    #[must_use]
    pub const fn with_to(self, to: u8) -> Self {
        Self(set64(self.0, 24, 8, to as u32))
    }

    /// With a doorbell stride.
    #[must_use]
    pub const fn with_dstrd(self, dstrd: DoorbellStride) -> Self {
        Self(set64(self.0, 32, 4, dstrd.raw() as u32))
    }

    /// With NVM Subsystem Reset Supported.
    #[must_use]
    pub const fn with_nssrs(self, nssrs: bool) -> Self {
        Self(set64(self.0, 36, 1, nssrs as u32))
    }

    /// With command sets.
    #[must_use]
    pub const fn with_css(self, css: CommandSets) -> Self {
        Self(set64(self.0, 37, 8, css.bits() as u32))
    }

    /// With a smallest memory page size.
    #[must_use]
    pub const fn with_mpsmin(self, page_size: PageSize) -> Self {
        Self(set64(self.0, 48, 4, page_size.mps() as u32))
    }

    /// With a greatest memory page size.
    #[must_use]
    pub const fn with_mpsmax(self, page_size: PageSize) -> Self {
        Self(set64(self.0, 52, 4, page_size.mps() as u32))
    }

    /// With the controller ready modes: with media, and independent of media.
    #[must_use]
    pub const fn with_crms(self, with_media: bool, independent_of_media: bool) -> Self {
        Self(set64(set64(self.0, 59, 1, with_media as u32), 60, 1, independent_of_media as u32))
    }
}

/// Controller Ready Timeouts (CRTO).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ReadyTimeouts(u32);

register_value!(ReadyTimeouts, u32);

impl ReadyTimeouts {
    /// Timeouts in units of 500 ms.
    #[must_use]
    pub const fn new(crwmt: u16, crimt: u16) -> Self {
        Self(set32(crwmt as u32, 16, 16, crimt as u32))
    }

    /// Controller Ready With Media Timeout (CRWMT) in milliseconds.
    #[must_use]
    pub const fn with_media_ms(self) -> u32 {
        get32(self.0, 0, 16) * TIMEOUT_UNIT_MS
    }

    /// Controller Ready Independent of Media Timeout (CRIMT) in milliseconds.
    #[must_use]
    pub const fn independent_of_media_ms(self) -> u32 {
        get32(self.0, 16, 16) * TIMEOUT_UNIT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Base, CAP - Controller Capabilities. MQES 1023 (bits 15:0), CQR (16), TO 30 (31:24), DSTRD 2 (35:32),
    // NSSRS (36), CSS NVM (37), MPSMIN 0 (51:48), MPSMAX 4 (55:52), CRMS.CRWMS (59).
    const CAP: u64 = 0x0840_0032_1E01_03FF;

    #[test]
    fn decodes_the_figure() {
        let cap = Capabilities::from_raw(CAP);
        assert_eq!((cap.mqes(), cap.entries_max(), cap.cqr()), (1023, 1024, true));
        assert_eq!((cap.to(), cap.timeout_ms()), (30, 15_000));
        assert_eq!((cap.dstrd().bytes(), cap.nssrs()), (16, true));
        assert_eq!(cap.css(), CommandSets::NVM);
        assert_eq!((cap.mpsmin().bytes(), cap.mpsmax().bytes()), (4096, 65536));
        assert_eq!((cap.crwms(), cap.crims()), (true, false));
        assert!(!cap.bps() && !cap.pmrs() && !cap.cmbs() && !cap.nsss() && cap.cps() == 0);
        assert!(!cap.ams_weighted_round_robin() && !cap.ams_vendor_specific());
    }

    #[test]
    fn encodes_the_figure() {
        let cap = Capabilities::default()
            .with_mqes(1023)
            .with_cqr(true)
            .with_to(30)
            .with_dstrd(DoorbellStride::from_raw(2))
            .with_nssrs(true)
            .with_css(CommandSets::NVM)
            .with_mpsmin(PageSize::KIB_4)
            .with_mpsmax(PageSize::from_mps(4))
            .with_crms(true, false);
        assert_eq!(cap.raw(), CAP);
    }

    #[test]
    fn each_single_bit_is_its_field() {
        let cap = |bit: u32| Capabilities::from_raw(1 << bit);
        assert!(cap(17).ams_weighted_round_robin() && cap(18).ams_vendor_specific());
        assert!(cap(45).bps() && cap(56).pmrs() && cap(57).cmbs() && cap(58).nsss() && cap(60).crims());
        assert_eq!((cap(47).cps(), cap(43).css()), (2, CommandSets::IO_COMMAND_SETS));
        assert_eq!(cap(44).css(), CommandSets::NO_IO);
        assert_eq!(Capabilities::from_raw(u64::MAX).entries_max(), 65536);
        assert_eq!(format!("{:?}", cap(4)), "Capabilities(0x10)");
    }

    #[test]
    fn ready_timeouts_in_half_seconds() {
        // Base, CRTO - Controller Ready Timeouts: CRWMT 15:0, CRIMT 31:16.
        let crto = ReadyTimeouts::from_raw(0x0003_003C);
        assert_eq!((crto.with_media_ms(), crto.independent_of_media_ms()), (30_000, 1_500));
        assert_eq!(ReadyTimeouts::new(0x3C, 3).raw(), 0x0003_003C);
        assert_eq!(ReadyTimeouts::from_raw(u32::MAX).with_media_ms(), 32_767_500);
    }
}
