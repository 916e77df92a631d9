//! Controller Status (Base, Controller Property Definitions).

use super::register_value;
use crate::bits::{get32, set32};

/// Controller Status (CSTS).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ControllerStatus(u32);

register_value!(ControllerStatus, u32);

/// Shutdown Status (CSTS.SHST).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ShutdownStatus {
    /// Normal operation, no shutdown requested.
    Normal = 0,
    /// Shutdown processing is occurring.
    Occurring = 1,
    /// Shutdown processing is complete.
    Complete = 2,
}

impl ControllerStatus {
    /// Ready (RDY).
    #[must_use]
    #[inline]
    pub const fn rdy(self) -> bool {
        get32(self.0, 0, 1) != 0
    }

    /// Controller Fatal Status (CFS).
    #[must_use]
    #[inline]
    pub const fn cfs(self) -> bool {
        get32(self.0, 1, 1) != 0
    }

    /// Shutdown Status (SHST); `None` is the reserved value 3.
    #[must_use]
    pub const fn shst(self) -> Option<ShutdownStatus> {
        match get32(self.0, 2, 2) {
            0 => Some(ShutdownStatus::Normal),
            1 => Some(ShutdownStatus::Occurring),
            2 => Some(ShutdownStatus::Complete),
            _ => None,
        }
    }

    /// NVM Subsystem Reset Occurred (NSSRO).
    #[must_use]
    pub const fn nssro(self) -> bool {
        get32(self.0, 4, 1) != 0
    }

    /// Processing Paused (PP).
    #[must_use]
    pub const fn pp(self) -> bool {
        get32(self.0, 5, 1) != 0
    }

    /// Shutdown Type (ST): SHST tells of an NVM subsystem shutdown, not of CC.SHN.
    #[must_use]
    pub const fn st(self) -> bool {
        get32(self.0, 6, 1) != 0
    }

    /// Whether the value is all ones, which no controller returns: the device is gone.
    #[must_use]
    #[inline]
    pub const fn is_removed(self) -> bool {
        self.0 == super::ALL_ONES_32
    }

    /// With Ready set or clear.
    #[must_use]
    pub const fn with_rdy(self, rdy: bool) -> Self {
        Self(set32(self.0, 0, 1, rdy as u32))
    }

    /// With Controller Fatal Status set or clear.
    #[must_use]
    pub const fn with_cfs(self, cfs: bool) -> Self {
        Self(set32(self.0, 1, 1, cfs as u32))
    }

    /// With a shutdown status.
    #[must_use]
    pub const fn with_shst(self, shst: ShutdownStatus) -> Self {
        Self(set32(self.0, 2, 2, shst as u32))
    }

    /// With NVM Subsystem Reset Occurred set or clear.
    #[must_use]
    pub const fn with_nssro(self, nssro: bool) -> Self {
        Self(set32(self.0, 4, 1, nssro as u32))
    }

    /// With Processing Paused set or clear.
    #[must_use]
    pub const fn with_pp(self, pp: bool) -> Self {
        Self(set32(self.0, 5, 1, pp as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_of_the_figure() {
        // Base, CSTS - Controller Status: RDY 0, CFS 1, SHST 3:2, NSSRO 4, PP 5, ST 6.
        let bit = |bit: u32| ControllerStatus::from_raw(1 << bit);
        assert!(bit(0).rdy() && bit(1).cfs() && bit(4).nssro() && bit(5).pp() && bit(6).st());
        assert!(!bit(1).rdy() && !bit(0).cfs() && !bit(5).nssro() && !bit(4).pp() && !bit(5).st());
        let normal = ShutdownStatus::Normal;
        let expected = [Some(normal), Some(ShutdownStatus::Occurring), Some(ShutdownStatus::Complete), None];
        for raw in 0..4 {
            assert_eq!(ControllerStatus::from_raw(raw << 2).shst(), expected[raw as usize]);
        }
    }

    #[test]
    fn builds_the_figure() {
        let built = ControllerStatus::default()
            .with_rdy(true)
            .with_cfs(true)
            .with_shst(ShutdownStatus::Complete)
            .with_nssro(true)
            .with_pp(true);
        assert_eq!(built.raw(), 0b11_1011);
    }

    #[test]
    fn all_ones_is_a_missing_device() {
        assert!(ControllerStatus::from_raw(0xFFFF_FFFF).is_removed());
        assert!(!ControllerStatus::from_raw(0x7FFF_FFFF).is_removed());
    }
}
