//! Controller properties: the registers of BAR0 over PCIe, the properties of Fabrics (Base, Controller
//! Properties).

mod capabilities;
mod configuration;
mod doorbell;
mod status;

pub use capabilities::{Capabilities, CommandSets, ReadyTimeouts};
pub use configuration::{
    AdminQueueAttributes, Arbitration, CommandSetSelected, ControllerConfiguration, ShutdownNotification,
};
pub use doorbell::{DOORBELLS_OFFSET, Doorbell, DoorbellStride};
pub use status::{ControllerStatus, ShutdownStatus};

/// The offset of each property in bytes (Base, Property Definition; PCIe for the interrupt masks).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Register {
    /// Controller Capabilities (CAP), 64 bits.
    Cap = 0x00,
    /// Version (VS).
    Vs = 0x08,
    /// Interrupt Mask Set (INTMS), PCIe only; not to be touched with MSI-X.
    Intms = 0x0C,
    /// Interrupt Mask Clear (INTMC), PCIe only; not to be touched with MSI-X.
    Intmc = 0x10,
    /// Controller Configuration (CC).
    Cc = 0x14,
    /// Controller Status (CSTS).
    Csts = 0x1C,
    /// NVM Subsystem Reset (NSSR), optional.
    Nssr = 0x20,
    /// Admin Queue Attributes (AQA), PCIe only.
    Aqa = 0x24,
    /// Admin Submission Queue Base Address (ASQ), 64 bits, PCIe only.
    Asq = 0x28,
    /// Admin Completion Queue Base Address (ACQ), 64 bits, PCIe only.
    Acq = 0x30,
    /// Controller Memory Buffer Location (CMBLOC).
    Cmbloc = 0x38,
    /// Controller Memory Buffer Size (CMBSZ).
    Cmbsz = 0x3C,
    /// Boot Partition Information (BPINFO).
    Bpinfo = 0x40,
    /// Boot Partition Read Select (BPRSEL).
    Bprsel = 0x44,
    /// Boot Partition Memory Buffer Location (BPMBL), 64 bits.
    Bpmbl = 0x48,
    /// Controller Memory Buffer Memory Space Control (CMBMSC), 64 bits.
    Cmbmsc = 0x50,
    /// Controller Memory Buffer Status (CMBSTS).
    Cmbsts = 0x58,
    /// NVM Subsystem Shutdown (NSSD), optional.
    Nssd = 0x64,
    /// Controller Ready Timeouts (CRTO).
    Crto = 0x68,
    /// Persistent Memory Region Capabilities (PMRCAP).
    Pmrcap = 0xE00,
    /// Persistent Memory Region Control (PMRCTL).
    Pmrctl = 0xE04,
    /// Persistent Memory Region Status (PMRSTS).
    Pmrsts = 0xE08,
}

impl Register {
    const ALL: [Self; 22] = [
        Self::Cap,
        Self::Vs,
        Self::Intms,
        Self::Intmc,
        Self::Cc,
        Self::Csts,
        Self::Nssr,
        Self::Aqa,
        Self::Asq,
        Self::Acq,
        Self::Cmbloc,
        Self::Cmbsz,
        Self::Bpinfo,
        Self::Bprsel,
        Self::Bpmbl,
        Self::Cmbmsc,
        Self::Cmbsts,
        Self::Nssd,
        Self::Crto,
        Self::Pmrcap,
        Self::Pmrctl,
        Self::Pmrsts,
    ];

    /// The offset in bytes.
    #[must_use]
    pub const fn offset(self) -> u32 {
        self as u32
    }

    /// The size in bytes: 4 or 8. A 64-bit property may be accessed as two dwords.
    #[must_use]
    pub const fn size_bytes(self) -> u32 {
        match self {
            Self::Cap | Self::Asq | Self::Acq | Self::Bpmbl | Self::Cmbmsc => 8,
            _ => 4,
        }
    }

    /// The property that has this byte, and the byte's offset in it: a controller serves accesses to the
    /// upper dword of a 64-bit property too. `None` for reserved offsets.
    #[must_use]
    pub fn containing(offset: u32) -> Option<(Self, u32)> {
        let owns = |register: &Self| {
            (register.offset()..register.offset() + register.size_bytes()).contains(&offset)
        };
        Self::ALL.into_iter().find(owns).map(|register| (register, offset - register.offset()))
    }
}

/// What a read returns when the device is gone: PCIe completes it with all ones.
pub const ALL_ONES_32: u32 = u32::MAX;

/// What NSSR takes to start an NVM subsystem reset: "NVMe" (Base, NVM Subsystem Reset property).
pub const NSSR_RESET: u32 = 0x4E56_4D65;

/// Version (VS), and Identify Controller's VER: which specification the controller follows (Base, Version
/// property).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u32);

impl Version {
    /// NVM Express 1.4.
    pub const V1_4: Self = Self::new(1, 4, 0);
    /// NVM Express Base Specification 2.0.
    pub const V2_0: Self = Self::new(2, 0, 0);
    /// NVM Express Base Specification 2.1.
    pub const V2_1: Self = Self::new(2, 1, 0);

    /// A version number.
    #[must_use]
    pub const fn new(major: u16, minor: u8, tertiary: u8) -> Self {
        Self((major as u32) << 16 | (minor as u32) << 8 | tertiary as u32)
    }

    /// From the property's value.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// The property's value.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Major version (MJR).
    #[must_use]
    pub const fn major(self) -> u16 {
        crate::bits::high16(self.0)
    }

    /// Minor version (MNR).
    #[must_use]
    pub const fn minor(self) -> u8 {
        crate::bits::low8(self.0 >> 8)
    }

    /// Tertiary version (TER).
    #[must_use]
    pub const fn tertiary(self) -> u8 {
        crate::bits::low8(self.0)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major(), self.minor(), self.tertiary())
    }
}

/// Gives a register's value type its conversions and lets it print as its raw value.
macro_rules! register_value {
    ($name:ident, $raw:ty) => {
        impl $name {
            /// From the register's value; every value is legal to hold.
            #[must_use]
            #[inline]
            pub const fn from_raw(raw: $raw) -> Self {
                Self(raw)
            }

            /// The register's value.
            #[must_use]
            #[inline]
            pub const fn raw(self) -> $raw {
                self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    };
}
use register_value;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_the_figure() {
        // Base, Property Definition.
        let offsets: Vec<u32> = Register::ALL.iter().map(|register| register.offset()).collect();
        let figure = [
            0x0, 0x8, 0xC, 0x10, 0x14, 0x1C, 0x20, 0x24, 0x28, 0x30, 0x38, 0x3C, 0x40, 0x44, 0x48, 0x50,
            0x58, 0x64, 0x68, 0xE00, 0xE04, 0xE08,
        ];
        assert_eq!(offsets, figure);
    }

    #[test]
    fn registers_by_byte() {
        assert_eq!(Register::containing(0x07), Some((Register::Cap, 7)));
        assert_eq!(Register::containing(0x34), Some((Register::Acq, 4)));
        assert_eq!(Register::containing(0x18), None);
        assert_eq!(Register::containing(0x1000), None);
    }

    #[test]
    fn versions() {
        // Base, Version property: 2.1 is 00020100h.
        assert_eq!(Version::V2_1.raw(), 0x0002_0100);
        assert_eq!(Version::from_raw(0x0001_0402).to_string(), "1.4.2");
        assert!(Version::V1_4 < Version::V2_0);
    }
}
