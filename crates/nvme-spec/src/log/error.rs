//! Error Information, log page 01h (Base, Error Information Log Entry).

use crate::ids::{CommandId, Nsid, QueueId};
use crate::lba::Lba;
use crate::status::Status;
use crate::structure::data_structure;

data_structure! {
    /// One entry of the Error Information log page, which has the newest first.
    ErrorEntry, "Error Information Log Entry", 64 {
        /// Error Count: a unique number, counting up; 0 is an entry that does not exist.
        0 error_count: u64,
        /// Submission Queue ID (SQID); FFFFh for no particular command.
        8 sqid: QueueId,
        /// Command ID (CID); FFFFh for no particular command.
        10 cid: CommandId,
        /// Status Info: the status field in bits 15:1, see [`ErrorEntry::status`]; bit 0 may be the phase
        /// tag.
        12 status_info: u16,
        /// Parameter Error Location: byte in bits 7:0, bit in 10:8; FFFFh if it has none.
        14 parameter_location: u16,
        /// The first logical block with the error.
        16 lba: Lba,
        /// The namespace of the error.
        24 nsid: Nsid,
        /// Vendor Specific Information Available: a log page identifier of 80h or more.
        28 vendor_log: u8,
        /// Transport Type (TRTYPE).
        29 trtype: u8,
        /// Command Set Indicator (CSI) of the command.
        30 csi: u8,
        /// Opcode of the command.
        31 opcode: u8,
        /// Command Specific Information.
        32 command_specific: u64,
        /// Transport Type Specific Information.
        40 transport_specific: u16,
    }
}

impl ErrorEntry {
    /// The status of the command that failed.
    #[must_use]
    pub const fn status(&self) -> Status {
        Status::from_raw(self.status_info >> 1)
    }

    /// Whether the entry tells of an error.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.error_count != 0
    }
}
