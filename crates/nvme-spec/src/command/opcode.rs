//! Opcodes (Base, Opcodes for Admin, I/O and Fabrics Commands; NVM, Opcodes).

use super::INVALID_OPCODE;
use crate::status::Status;

/// The opcode of every fabrics command; byte 4 of the entry tells which (Base, Fabrics Command Set).
pub const FABRICS_OPCODE: u8 = 0x7F;

/// Which way a command's data goes: bits 1:0 of a standard opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataDirection {
    /// No data.
    None,
    /// Host to controller.
    HostToController,
    /// Controller to host.
    ControllerToHost,
    /// Both ways.
    Bidirectional,
}

impl DataDirection {
    /// From an opcode (or a fabrics command type, which has the same two bits).
    #[must_use]
    pub const fn of_opcode(opcode: u8) -> Self {
        match opcode & 0b11 {
            0 => Self::None,
            1 => Self::HostToController,
            2 => Self::ControllerToHost,
            _ => Self::Bidirectional,
        }
    }
}

/// An opcode that its command set does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("opcode {0:#04x} is not defined")]
pub struct UnknownOpcode(pub u8);

impl From<UnknownOpcode> for Status {
    fn from(_: UnknownOpcode) -> Self {
        INVALID_OPCODE
    }
}

/// One table makes the enum, its decoding and the specification's names.
macro_rules! opcodes {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal, $words:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $(
                #[doc = concat!($words, ", ", stringify!($code), ".")]
                $variant = $code,
            )*
        }

        impl $name {
            /// The code on the wire.
            #[must_use]
            #[inline]
            pub const fn raw(self) -> u8 {
                self as u8
            }

            /// Which way the command's data goes, by bits 1:0.
            #[must_use]
            pub const fn data_direction(self) -> DataDirection {
                DataDirection::of_opcode(self as u8)
            }

            /// The specification's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $words,)*
                }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = UnknownOpcode;

            #[inline]
            fn try_from(raw: u8) -> Result<Self, UnknownOpcode> {
                match raw {
                    $($code => Ok(Self::$variant),)*
                    other => Err(UnknownOpcode(other)),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

opcodes! {
    /// Admin commands.
    AdminOpcode {
        DeleteIoSq = 0x00, "Delete I/O Submission Queue";
        CreateIoSq = 0x01, "Create I/O Submission Queue";
        GetLogPage = 0x02, "Get Log Page";
        DeleteIoCq = 0x04, "Delete I/O Completion Queue";
        CreateIoCq = 0x05, "Create I/O Completion Queue";
        Identify = 0x06, "Identify";
        Abort = 0x08, "Abort";
        SetFeatures = 0x09, "Set Features";
        GetFeatures = 0x0A, "Get Features";
        AsyncEventRequest = 0x0C, "Asynchronous Event Request";
        NamespaceManagement = 0x0D, "Namespace Management";
        FirmwareCommit = 0x10, "Firmware Commit";
        FirmwareImageDownload = 0x11, "Firmware Image Download";
        DeviceSelfTest = 0x14, "Device Self-test";
        NamespaceAttachment = 0x15, "Namespace Attachment";
        KeepAlive = 0x18, "Keep Alive";
        DirectiveSend = 0x19, "Directive Send";
        DirectiveReceive = 0x1A, "Directive Receive";
        VirtualizationManagement = 0x1C, "Virtualization Management";
        NvmeMiSend = 0x1D, "NVMe-MI Send";
        NvmeMiReceive = 0x1E, "NVMe-MI Receive";
        CapacityManagement = 0x20, "Capacity Management";
        Lockdown = 0x24, "Lockdown";
        DoorbellBufferConfig = 0x7C, "Doorbell Buffer Config";
        FormatNvm = 0x80, "Format NVM";
        SecuritySend = 0x81, "Security Send";
        SecurityReceive = 0x82, "Security Receive";
        Sanitize = 0x84, "Sanitize";
        GetLbaStatus = 0x86, "Get LBA Status";
    }
}

opcodes! {
    /// Commands of the NVM command set, and the I/O commands that every command set has.
    NvmOpcode {
        Flush = 0x00, "Flush";
        Write = 0x01, "Write";
        Read = 0x02, "Read";
        WriteUncorrectable = 0x04, "Write Uncorrectable";
        Compare = 0x05, "Compare";
        WriteZeroes = 0x08, "Write Zeroes";
        DatasetManagement = 0x09, "Dataset Management";
        Verify = 0x0C, "Verify";
        ReservationRegister = 0x0D, "Reservation Register";
        ReservationReport = 0x0E, "Reservation Report";
        ReservationAcquire = 0x11, "Reservation Acquire";
        IoManagementReceive = 0x12, "I/O Management Receive";
        ReservationRelease = 0x15, "Reservation Release";
        Cancel = 0x18, "Cancel";
        Copy = 0x19, "Copy";
        IoManagementSend = 0x1D, "I/O Management Send";
    }
}

opcodes! {
    /// Fabrics command types (FCTYPE).
    FabricsType {
        PropertySet = 0x00, "Property Set";
        Connect = 0x01, "Connect";
        PropertyGet = 0x04, "Property Get";
        AuthenticationSend = 0x05, "Authentication Send";
        AuthenticationReceive = 0x06, "Authentication Receive";
        Disconnect = 0x08, "Disconnect";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exactly these codes decode, each to itself.
    fn decodes_only<T: TryFrom<u8>>(raw: impl Fn(T) -> u8, defined: &[u8]) {
        for code in 0..=u8::MAX {
            assert_eq!(T::try_from(code).ok().map(&raw), defined.contains(&code).then_some(code));
        }
    }

    #[test]
    fn the_figures_opcodes_and_no_others() {
        // Base, Opcodes for Admin Commands.
        let admin = [
            0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x10, 0x11, 0x14, 0x15, 0x18,
            0x19, 0x1A, 0x1C, 0x1D, 0x1E, 0x20, 0x24, 0x7C, 0x80, 0x81, 0x82, 0x84, 0x86,
        ];
        decodes_only(AdminOpcode::raw, &admin);
        // NVM, Opcodes for NVM Commands; Base, Opcodes for I/O Commands.
        let nvm = [0x0, 0x1, 0x2, 0x4, 0x5, 0x8, 0x9, 0xC, 0xD, 0xE, 0x11, 0x12, 0x15, 0x18, 0x19, 0x1D];
        decodes_only(NvmOpcode::raw, &nvm);
        decodes_only(FabricsType::raw, &[0, 1, 4, 5, 6, 8]);
    }

    #[test]
    fn directions() {
        assert_eq!(NvmOpcode::Flush.data_direction(), DataDirection::None);
        assert_eq!(NvmOpcode::Write.data_direction(), DataDirection::HostToController);
        assert_eq!(AdminOpcode::Identify.data_direction(), DataDirection::ControllerToHost);
        assert_eq!(NvmOpcode::Compare.data_direction(), DataDirection::HostToController);
        assert_eq!(NvmOpcode::WriteZeroes.data_direction(), DataDirection::None);
        assert_eq!(FabricsType::Connect.data_direction(), DataDirection::HostToController);
        assert_eq!(DataDirection::of_opcode(0xC3), DataDirection::Bidirectional);
        assert_eq!(NvmOpcode::DatasetManagement.to_string(), "Dataset Management");
    }
}
