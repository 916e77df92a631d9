//! Status codes and their names (Base, Status Code; NVM, Status Values).

use std::fmt;

use super::StatusCodeType;
use crate::bits::low8;

/// A status code with its type: SCT in bits 10:8, SC in bits 7:0, as the status field has them.
///
/// A newtype and not an enum, since devices return codes that no list has.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusCode(u16);

impl StatusCode {
    /// From the low 11 bits of a status field; higher bits are ignored.
    #[must_use]
    #[inline]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw & 0x7FF)
    }

    /// SCT in bits 10:8, SC in bits 7:0.
    #[must_use]
    #[inline]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// Status code (SC) without its type.
    #[must_use]
    pub const fn sc(self) -> u8 {
        low8(self.0 as u32)
    }

    /// Status code type (SCT).
    #[must_use]
    pub const fn kind(self) -> StatusCodeType {
        StatusCodeType::from_raw(low8(self.0 as u32 >> 8))
    }

    /// The specification's name, for a command of the admin or NVM command set; `None` for a code it does not
    /// define. Fabrics commands use 180h to 1BFh for codes of their own, see [`StatusCode::fabrics_name`].
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        name(self.0)
    }

    /// The specification's name when the command was a fabrics command (opcode 7Fh).
    #[must_use]
    pub const fn fabrics_name(self) -> Option<&'static str> {
        match fabrics_name(self.0) {
            Some(name) => Some(name),
            None => self.name(),
        }
    }

    const fn unknown_name(self) -> &'static str {
        match self.kind() {
            StatusCodeType::Generic => "Unknown Generic Command Status",
            StatusCodeType::CommandSpecific => "Unknown Command Specific Status",
            StatusCodeType::MediaAndDataIntegrity => "Unknown Media and Data Integrity Error",
            StatusCodeType::PathRelated => "Unknown Path Related Status",
            StatusCodeType::Reserved(_) => "Reserved Status Code Type",
            StatusCodeType::VendorSpecific => "Vendor Specific",
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:03x})", self.name().unwrap_or(self.unknown_name()), self.0)
    }
}

impl fmt::Debug for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusCode({self})")
    }
}

/// One table makes both the constants and the names, so that they cannot part.
macro_rules! status_codes {
    ($lookup:ident: $($code:literal, $constant:ident, $name:literal;)*) => {
        impl StatusCode {
            $(
                #[doc = concat!($name, ", ", stringify!($code), ".")]
                pub const $constant: Self = Self($code);
            )*
        }

        const fn $lookup(raw: u16) -> Option<&'static str> {
            match raw {
                $($code => Some($name),)*
                _ => None,
            }
        }
    };
}

status_codes! { name:
    0x000, SUCCESS, "Successful Completion";
    0x001, INVALID_OPCODE, "Invalid Command Opcode";
    0x002, INVALID_FIELD, "Invalid Field in Command";
    0x003, COMMAND_ID_CONFLICT, "Command ID Conflict";
    0x004, DATA_TRANSFER_ERROR, "Data Transfer Error";
    0x005, ABORTED_POWER_LOSS, "Commands Aborted due to Power Loss Notification";
    0x006, INTERNAL_ERROR, "Internal Error";
    0x007, ABORT_REQUESTED, "Command Abort Requested";
    0x008, ABORTED_SQ_DELETION, "Command Aborted due to SQ Deletion";
    0x009, ABORTED_FAILED_FUSED, "Command Aborted due to Failed Fused Command";
    0x00A, ABORTED_MISSING_FUSED, "Command Aborted due to Missing Fused Command";
    0x00B, INVALID_NAMESPACE_OR_FORMAT, "Invalid Namespace or Format";
    0x00C, COMMAND_SEQUENCE_ERROR, "Command Sequence Error";
    0x00D, INVALID_SGL_SEGMENT_DESCRIPTOR, "Invalid SGL Segment Descriptor";
    0x00E, INVALID_NUMBER_OF_SGL_DESCRIPTORS, "Invalid Number of SGL Descriptors";
    0x00F, DATA_SGL_LENGTH_INVALID, "Data SGL Length Invalid";
    0x010, METADATA_SGL_LENGTH_INVALID, "Metadata SGL Length Invalid";
    0x011, SGL_DESCRIPTOR_TYPE_INVALID, "SGL Descriptor Type Invalid";
    0x012, INVALID_USE_OF_CMB, "Invalid Use of Controller Memory Buffer";
    0x013, PRP_OFFSET_INVALID, "PRP Offset Invalid";
    0x014, ATOMIC_WRITE_UNIT_EXCEEDED, "Atomic Write Unit Exceeded";
    0x015, OPERATION_DENIED, "Operation Denied";
    0x016, SGL_OFFSET_INVALID, "SGL Offset Invalid";
    0x018, HOST_IDENTIFIER_INCONSISTENT_FORMAT, "Host Identifier Inconsistent Format";
    0x019, KEEP_ALIVE_TIMER_EXPIRED, "Keep Alive Timer Expired";
    0x01A, KEEP_ALIVE_TIMEOUT_INVALID, "Keep Alive Timeout Invalid";
    0x01B, ABORTED_PREEMPT_AND_ABORT, "Command Aborted due to Preempt and Abort";
    0x01C, SANITIZE_FAILED, "Sanitize Failed";
    0x01D, SANITIZE_IN_PROGRESS, "Sanitize In Progress";
    0x01E, SGL_DATA_BLOCK_GRANULARITY_INVALID, "SGL Data Block Granularity Invalid";
    0x01F, COMMAND_NOT_SUPPORTED_FOR_QUEUE_IN_CMB, "Command Not Supported for Queue in CMB";
    0x020, NAMESPACE_IS_WRITE_PROTECTED, "Namespace is Write Protected";
    0x021, COMMAND_INTERRUPTED, "Command Interrupted";
    0x022, TRANSIENT_TRANSPORT_ERROR, "Transient Transport Error";
    0x023, COMMAND_PROHIBITED_BY_LOCKDOWN, "Command Prohibited by Command and Feature Lockdown";
    0x024, ADMIN_COMMAND_MEDIA_NOT_READY, "Admin Command Media Not Ready";
    0x025, INVALID_KEY_TAG, "Invalid Key Tag";
    0x026, HOST_DISPERSED_NAMESPACE_SUPPORT_NOT_ENABLED, "Host Dispersed Namespace Support Not Enabled";
    0x027, HOST_IDENTIFIER_NOT_INITIALIZED, "Host Identifier Not Initialized";
    0x028, INCORRECT_KEY, "Incorrect Key";
    0x029, FDP_DISABLED, "FDP Disabled";
    0x02A, INVALID_PLACEMENT_HANDLE_LIST, "Invalid Placement Handle List";
    0x080, LBA_OUT_OF_RANGE, "LBA Out of Range";
    0x081, CAPACITY_EXCEEDED, "Capacity Exceeded";
    0x082, NAMESPACE_NOT_READY, "Namespace Not Ready";
    0x083, RESERVATION_CONFLICT, "Reservation Conflict";
    0x084, FORMAT_IN_PROGRESS, "Format In Progress";
    0x085, INVALID_VALUE_SIZE, "Invalid Value Size";
    0x086, INVALID_KEY_SIZE, "Invalid Key Size";
    0x087, KV_KEY_DOES_NOT_EXIST, "KV Key Does Not Exist";
    0x088, UNRECOVERED_ERROR, "Unrecovered Error";
    0x089, KEY_EXISTS, "Key Exists";
    0x100, COMPLETION_QUEUE_INVALID, "Completion Queue Invalid";
    0x101, INVALID_QUEUE_IDENTIFIER, "Invalid Queue Identifier";
    0x102, INVALID_QUEUE_SIZE, "Invalid Queue Size";
    0x103, ABORT_COMMAND_LIMIT_EXCEEDED, "Abort Command Limit Exceeded";
    0x105, ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED, "Asynchronous Event Request Limit Exceeded";
    0x106, INVALID_FIRMWARE_SLOT, "Invalid Firmware Slot";
    0x107, INVALID_FIRMWARE_IMAGE, "Invalid Firmware Image";
    0x108, INVALID_INTERRUPT_VECTOR, "Invalid Interrupt Vector";
    0x109, INVALID_LOG_PAGE, "Invalid Log Page";
    0x10A, INVALID_FORMAT, "Invalid Format";
    0x10B, FIRMWARE_NEEDS_CONVENTIONAL_RESET, "Firmware Activation Requires Conventional Reset";
    0x10C, INVALID_QUEUE_DELETION, "Invalid Queue Deletion";
    0x10D, FEATURE_NOT_SAVEABLE, "Feature Identifier Not Saveable";
    0x10E, FEATURE_NOT_CHANGEABLE, "Feature Not Changeable";
    0x10F, FEATURE_NOT_NAMESPACE_SPECIFIC, "Feature Not Namespace Specific";
    0x110, FIRMWARE_NEEDS_SUBSYSTEM_RESET, "Firmware Activation Requires NVM Subsystem Reset";
    0x111, FIRMWARE_NEEDS_CONTROLLER_RESET, "Firmware Activation Requires Controller Level Reset";
    0x112, FIRMWARE_NEEDS_MAXIMUM_TIME, "Firmware Activation Requires Maximum Time Violation";
    0x113, FIRMWARE_ACTIVATION_PROHIBITED, "Firmware Activation Prohibited";
    0x114, OVERLAPPING_RANGE, "Overlapping Range";
    0x115, NAMESPACE_INSUFFICIENT_CAPACITY, "Namespace Insufficient Capacity";
    0x116, NAMESPACE_IDENTIFIER_UNAVAILABLE, "Namespace Identifier Unavailable";
    0x118, NAMESPACE_ALREADY_ATTACHED, "Namespace Already Attached";
    0x119, NAMESPACE_IS_PRIVATE, "Namespace Is Private";
    0x11A, NAMESPACE_NOT_ATTACHED, "Namespace Not Attached";
    0x11B, THIN_PROVISIONING_NOT_SUPPORTED, "Thin Provisioning Not Supported";
    0x11C, CONTROLLER_LIST_INVALID, "Controller List Invalid";
    0x11D, DEVICE_SELF_TEST_IN_PROGRESS, "Device Self-test In Progress";
    0x11E, BOOT_PARTITION_WRITE_PROHIBITED, "Boot Partition Write Prohibited";
    0x11F, INVALID_CONTROLLER_IDENTIFIER, "Invalid Controller Identifier";
    0x120, INVALID_SECONDARY_CONTROLLER_STATE, "Invalid Secondary Controller State";
    0x121, INVALID_NUMBER_OF_CONTROLLER_RESOURCES, "Invalid Number of Controller Resources";
    0x122, INVALID_RESOURCE_IDENTIFIER, "Invalid Resource Identifier";
    0x123, SANITIZE_PROHIBITED_PMR_ENABLED, "Sanitize Prohibited While Persistent Memory Region is Enabled";
    0x124, ANA_GROUP_IDENTIFIER_INVALID, "ANA Group Identifier Invalid";
    0x125, ANA_ATTACH_FAILED, "ANA Attach Failed";
    0x126, INSUFFICIENT_CAPACITY, "Insufficient Capacity";
    0x127, NAMESPACE_ATTACHMENT_LIMIT_EXCEEDED, "Namespace Attachment Limit Exceeded";
    0x128, PROHIBITION_NOT_SUPPORTED, "Prohibition of Command Execution Not Supported";
    0x129, IO_COMMAND_SET_NOT_SUPPORTED, "I/O Command Set Not Supported";
    0x12A, IO_COMMAND_SET_NOT_ENABLED, "I/O Command Set Not Enabled";
    0x12B, IO_COMMAND_SET_COMBINATION_REJECTED, "I/O Command Set Combination Rejected";
    0x12C, INVALID_IO_COMMAND_SET, "Invalid I/O Command Set";
    0x12D, IDENTIFIER_UNAVAILABLE, "Identifier Unavailable";
    0x12E, NAMESPACE_IS_DISPERSED, "Namespace Is Dispersed";
    0x12F, INVALID_DISCOVERY_INFORMATION, "Invalid Discovery Information";
    0x130, ZONING_DATA_STRUCTURE_LOCKED, "Zoning Data Structure Locked";
    0x131, ZONING_DATA_STRUCTURE_NOT_FOUND, "Zoning Data Structure Not Found";
    0x132, INSUFFICIENT_DISCOVERY_RESOURCES, "Insufficient Discovery Resources";
    0x133, REQUESTED_FUNCTION_DISABLED, "Requested Function Disabled";
    0x134, ZONEGROUP_ORIGINATOR_INVALID, "ZoneGroup Originator Invalid";
    0x135, INVALID_HOST, "Invalid Host";
    0x136, INVALID_NVM_SUBSYSTEM, "Invalid NVM Subsystem";
    0x137, INVALID_CONTROLLER_DATA_QUEUE, "Invalid Controller Data Queue";
    0x138, NOT_ENOUGH_RESOURCES, "Not Enough Resources";
    0x139, CONTROLLER_SUSPENDED, "Controller Suspended";
    0x13A, CONTROLLER_NOT_SUSPENDED, "Controller Not Suspended";
    0x13B, CONTROLLER_DATA_QUEUE_FULL, "Controller Data Queue Full";
    0x180, CONFLICTING_ATTRIBUTES, "Conflicting Attributes";
    0x181, INVALID_PROTECTION_INFORMATION, "Invalid Protection Information";
    0x182, ATTEMPTED_WRITE_TO_READ_ONLY_RANGE, "Attempted Write to Read Only Range";
    0x183, COMMAND_SIZE_LIMIT_EXCEEDED, "Command Size Limit Exceeded";
    0x184, INVALID_COMMAND_ID, "Invalid Command ID";
    0x185, INCOMPATIBLE_NAMESPACE_OR_FORMAT, "Incompatible Namespace or Format";
    0x186, FAST_COPY_NOT_POSSIBLE, "Fast Copy Not Possible";
    0x187, OVERLAPPING_IO_RANGE, "Overlapping I/O Range";
    0x188, NAMESPACE_NOT_REACHABLE, "Namespace Not Reachable";
    0x189, INSUFFICIENT_RESOURCES, "Insufficient Resources";
    0x280, WRITE_FAULT, "Write Fault";
    0x281, UNRECOVERED_READ_ERROR, "Unrecovered Read Error";
    0x282, GUARD_CHECK_ERROR, "End-to-end Guard Check Error";
    0x283, APPLICATION_TAG_CHECK_ERROR, "End-to-end Application Tag Check Error";
    0x284, REFERENCE_TAG_CHECK_ERROR, "End-to-end Reference Tag Check Error";
    0x285, COMPARE_FAILURE, "Compare Failure";
    0x286, ACCESS_DENIED, "Access Denied";
    0x287, DEALLOCATED_OR_UNWRITTEN_LOGICAL_BLOCK, "Deallocated or Unwritten Logical Block";
    0x288, STORAGE_TAG_CHECK_ERROR, "End-to-End Storage Tag Check Error";
    0x300, INTERNAL_PATH_ERROR, "Internal Path Error";
    0x301, ASYMMETRIC_ACCESS_PERSISTENT_LOSS, "Asymmetric Access Persistent Loss";
    0x302, ASYMMETRIC_ACCESS_INACCESSIBLE, "Asymmetric Access Inaccessible";
    0x303, ASYMMETRIC_ACCESS_TRANSITION, "Asymmetric Access Transition";
    0x360, CONTROLLER_PATHING_ERROR, "Controller Pathing Error";
    0x370, HOST_PATHING_ERROR, "Host Pathing Error";
    0x371, ABORTED_BY_HOST, "Command Aborted By Host";
}

status_codes! { fabrics_name:
    0x180, FABRICS_INCOMPATIBLE_FORMAT, "Incompatible Format";
    0x181, FABRICS_CONTROLLER_BUSY, "Controller Busy";
    0x182, FABRICS_CONNECT_INVALID_PARAMETERS, "Connect Invalid Parameters";
    0x183, FABRICS_CONNECT_RESTART_DISCOVERY, "Connect Restart Discovery";
    0x184, FABRICS_CONNECT_INVALID_HOST, "Connect Invalid Host";
    0x185, FABRICS_INVALID_QUEUE_TYPE, "Invalid Queue Type";
    0x190, FABRICS_DISCOVER_RESTART, "Discover Restart";
    0x191, FABRICS_AUTHENTICATION_REQUIRED, "Authentication Required";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fabrics_codes_share_numbers_with_nvm_codes() {
        let code = StatusCode::from_raw(0x182);
        assert_eq!(code.name(), Some("Attempted Write to Read Only Range"));
        assert_eq!(code.fabrics_name(), Some("Connect Invalid Parameters"));
        assert_eq!(StatusCode::from_raw(0x002).fabrics_name(), Some("Invalid Field in Command"));
    }

    #[test]
    fn type_and_code_come_apart() {
        let code = StatusCode::from_raw(0xFB03);
        assert_eq!((code.kind(), code.sc(), code.raw()), (StatusCodeType::PathRelated, 0x03, 0x303));
        assert_eq!(code, StatusCode::ASYMMETRIC_ACCESS_TRANSITION);
        assert_eq!(StatusCode::from_raw(0x500).to_string(), "Reserved Status Code Type (0x500)");
    }
}
