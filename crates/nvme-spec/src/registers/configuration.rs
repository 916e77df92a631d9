//! Controller Configuration and Admin Queue Attributes (Base, Controller Property Definitions).

use super::register_value;
use crate::bits::{get32, low8, low16, set32};
use crate::prp::PageSize;

/// Controller Configuration (CC).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ControllerConfiguration(u32);

register_value!(ControllerConfiguration, u32);

/// I/O Command Set Selected (CC.CSS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CommandSetSelected {
    /// The NVM command set.
    Nvm = 0,
    /// All supported I/O command sets.
    All = 6,
    /// Admin commands only.
    AdminOnly = 7,
}

/// Arbitration Mechanism Selected (CC.AMS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Arbitration {
    /// Round robin.
    RoundRobin = 0,
    /// Weighted round robin with urgent priority class.
    WeightedRoundRobin = 1,
    /// Vendor specific.
    VendorSpecific = 7,
}

/// Shutdown Notification (CC.SHN).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ShutdownNotification {
    /// No notification, no effect.
    None = 0,
    /// Normal shutdown.
    Normal = 1,
    /// Abrupt shutdown.
    Abrupt = 2,
}

impl ControllerConfiguration {
    /// Enable (EN).
    #[must_use]
    pub const fn en(self) -> bool {
        get32(self.0, 0, 1) != 0
    }

    /// I/O Command Set Selected (CSS); `None` is a reserved value.
    #[must_use]
    pub const fn css(self) -> Option<CommandSetSelected> {
        match get32(self.0, 4, 3) {
            0 => Some(CommandSetSelected::Nvm),
            6 => Some(CommandSetSelected::All),
            7 => Some(CommandSetSelected::AdminOnly),
            _ => None,
        }
    }

    /// Memory Page Size (MPS).
    #[must_use]
    pub const fn mps(self) -> PageSize {
        PageSize::from_mps(low8(get32(self.0, 7, 4)))
    }

    /// Arbitration Mechanism Selected (AMS); `None` is a reserved value.
    #[must_use]
    pub const fn ams(self) -> Option<Arbitration> {
        match get32(self.0, 11, 3) {
            0 => Some(Arbitration::RoundRobin),
            1 => Some(Arbitration::WeightedRoundRobin),
            7 => Some(Arbitration::VendorSpecific),
            _ => None,
        }
    }

    /// Shutdown Notification (SHN); `None` is the reserved value 3.
    #[must_use]
    pub const fn shn(self) -> Option<ShutdownNotification> {
        match get32(self.0, 14, 2) {
            0 => Some(ShutdownNotification::None),
            1 => Some(ShutdownNotification::Normal),
            2 => Some(ShutdownNotification::Abrupt),
            _ => None,
        }
    }

    /// I/O Submission Queue Entry Size (IOSQES) as a power of two: 6 for 64 bytes.
    #[must_use]
    pub const fn iosqes(self) -> u8 {
        low8(get32(self.0, 16, 4))
    }

    /// I/O Completion Queue Entry Size (IOCQES) as a power of two: 4 for 16 bytes.
    #[must_use]
    pub const fn iocqes(self) -> u8 {
        low8(get32(self.0, 20, 4))
    }

    /// Controller Ready Independent of Media Enable (CRIME).
    #[must_use]
    pub const fn crime(self) -> bool {
        get32(self.0, 24, 1) != 0
    }

    /// With Enable set or clear.
    #[must_use]
    pub const fn with_en(self, en: bool) -> Self {
        Self(set32(self.0, 0, 1, en as u32))
    }

    /// With a command set.
    #[must_use]
    pub const fn with_css(self, css: CommandSetSelected) -> Self {
        Self(set32(self.0, 4, 3, css as u32))
    }

    /// With a memory page size.
    #[must_use]
    pub const fn with_mps(self, page_size: PageSize) -> Self {
        Self(set32(self.0, 7, 4, page_size.mps() as u32))
    }

    /// With an arbitration mechanism.
    #[must_use]
    pub const fn with_ams(self, ams: Arbitration) -> Self {
        Self(set32(self.0, 11, 3, ams as u32))
    }

    /// With a shutdown notification.
    #[must_use]
    pub const fn with_shn(self, shn: ShutdownNotification) -> Self {
        Self(set32(self.0, 14, 2, shn as u32))
    }

    /// With the sizes of I/O queue entries as powers of two, submission and completion.
    #[must_use]
    pub const fn with_entry_sizes(self, iosqes: u8, iocqes: u8) -> Self {
        Self(set32(set32(self.0, 16, 4, iosqes as u32), 20, 4, iocqes as u32))
    }

    /// With Controller Ready Independent of Media Enable.
    #[must_use]
    pub const fn with_crime(self, crime: bool) -> Self {
        Self(set32(self.0, 24, 1, crime as u32))
    }
}

/// Admin Queue Attributes (AQA).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct AdminQueueAttributes(u32);

register_value!(AdminQueueAttributes, u32);

impl AdminQueueAttributes {
    /// The most entries that an admin queue can have; the least is 2.
    pub const ENTRIES_MAX: u16 = 4096;

    /// Sizes in entries, 2..=4096 each; `None` outside.
    #[must_use]
    pub const fn new(sq_entries: u16, cq_entries: u16) -> Option<Self> {
        let sq_fits = sq_entries >= 2 && sq_entries <= Self::ENTRIES_MAX;
        let cq_fits = cq_entries >= 2 && cq_entries <= Self::ENTRIES_MAX;
        if sq_fits && cq_fits {
            Some(Self(set32(sq_entries as u32 - 1, 16, 12, cq_entries as u32 - 1)))
        } else {
            None
        }
    }

    /// Admin submission queue size in entries (ASQS + 1), 1..=4096.
    #[must_use]
    pub const fn sq_entries(self) -> u16 {
        low16(get32(self.0, 0, 12)) + 1
    }

    /// Admin completion queue size in entries (ACQS + 1), 1..=4096.
    #[must_use]
    pub const fn cq_entries(self) -> u16 {
        low16(get32(self.0, 16, 12)) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Base, CC - Controller Configuration: EN 0, CSS 6:4, MPS 10:7, AMS 13:11, SHN 15:14, IOSQES 19:16,
    // IOCQES 23:20, CRIME 24.
    const CC: u32 = 0b1_0100_0110_0100_1001_0110_0001;

    #[test]
    fn decodes_the_figure() {
        let cc = ControllerConfiguration::from_raw(CC);
        assert!(cc.en() && cc.crime());
        assert_eq!(cc.css(), Some(CommandSetSelected::All));
        assert_eq!(cc.mps().bytes(), 16384);
        assert_eq!(cc.ams(), Some(Arbitration::WeightedRoundRobin));
        assert_eq!(cc.shn(), Some(ShutdownNotification::Normal));
        assert_eq!((cc.iosqes(), cc.iocqes()), (6, 4));
    }

    #[test]
    fn encodes_the_figure() {
        let cc = ControllerConfiguration::default()
            .with_en(true)
            .with_css(CommandSetSelected::All)
            .with_mps(PageSize::from_mps(2))
            .with_ams(Arbitration::WeightedRoundRobin)
            .with_shn(ShutdownNotification::Normal)
            .with_entry_sizes(6, 4)
            .with_crime(true);
        assert_eq!(cc.raw(), CC);
        let off = cc.with_en(false).with_shn(ShutdownNotification::Abrupt);
        assert_eq!(off.raw(), 0b1_0100_0110_1000_1001_0110_0000);
    }

    #[test]
    fn every_enumerated_value() {
        use Arbitration::{RoundRobin, VendorSpecific, WeightedRoundRobin};
        use CommandSetSelected::{AdminOnly, All, Nvm};
        let css = [Some(Nvm), None, None, None, None, None, Some(All), Some(AdminOnly)];
        let ams =
            [Some(RoundRobin), Some(WeightedRoundRobin), None, None, None, None, None, Some(VendorSpecific)];
        for raw in 0..8 {
            assert_eq!(ControllerConfiguration::from_raw(raw << 4).css(), css[raw as usize]);
            assert_eq!(ControllerConfiguration::from_raw(raw << 11).ams(), ams[raw as usize]);
        }
        assert_eq!(ControllerConfiguration::from_raw(3 << 14).shn(), None);
        assert_eq!(ControllerConfiguration::from_raw(2 << 14).shn(), Some(ShutdownNotification::Abrupt));
        assert_eq!(ControllerConfiguration::from_raw(0).shn(), Some(ShutdownNotification::None));
    }

    #[test]
    fn admin_queue_sizes() {
        // Base, AQA - Admin Queue Attributes: ASQS 11:0, ACQS 27:16, both 0-based.
        let aqa = AdminQueueAttributes::from_raw(0x00FF_001F);
        assert_eq!((aqa.sq_entries(), aqa.cq_entries()), (32, 256));
        assert_eq!(AdminQueueAttributes::new(32, 256), Some(aqa));
        assert_eq!(AdminQueueAttributes::new(4096, 2).map(AdminQueueAttributes::raw), Some(0x0001_0FFF));
        assert_eq!(AdminQueueAttributes::from_raw(u32::MAX).cq_entries(), 4096);
        for (sq, cq) in [(1, 2), (2, 1), (4097, 2), (2, 4097)] {
            assert_eq!(AdminQueueAttributes::new(sq, cq), None);
        }
    }
}
