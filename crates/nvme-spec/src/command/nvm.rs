//! I/O commands of the NVM command set, whole.

use super::block_io::BlockIo;
use super::dataset::DatasetManagement;
use super::opcode::NvmOpcode;
use super::reservation::{ReservationAcquire, ReservationRegister, ReservationRelease, ReservationReport};
use super::{INVALID_OPCODE, check_common};
use crate::ids::{CommandId, Nsid};
use crate::sqe::Sqe;
use crate::status::Status;

/// An I/O command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NvmCommand {
    /// Flush, for one namespace or, where the controller says so, for all.
    Flush(Nsid),
    /// Write.
    Write(BlockIo),
    /// Read.
    Read(BlockIo),
    /// Write Uncorrectable, of which only the namespace and the range count.
    WriteUncorrectable(BlockIo),
    /// Compare.
    Compare(BlockIo),
    /// Write Zeroes.
    WriteZeroes(BlockIo),
    /// Verify.
    Verify(BlockIo),
    /// Dataset Management.
    DatasetManagement(DatasetManagement),
    /// Reservation Register.
    ReservationRegister(ReservationRegister),
    /// Reservation Report.
    ReservationReport(ReservationReport),
    /// Reservation Acquire.
    ReservationAcquire(ReservationAcquire),
    /// Reservation Release.
    ReservationRelease(ReservationRelease),
}

impl NvmCommand {
    /// Its opcode.
    #[must_use]
    pub const fn opcode(&self) -> NvmOpcode {
        match self {
            Self::Flush(_) => NvmOpcode::Flush,
            Self::Write(_) => NvmOpcode::Write,
            Self::Read(_) => NvmOpcode::Read,
            Self::WriteUncorrectable(_) => NvmOpcode::WriteUncorrectable,
            Self::Compare(_) => NvmOpcode::Compare,
            Self::WriteZeroes(_) => NvmOpcode::WriteZeroes,
            Self::Verify(_) => NvmOpcode::Verify,
            Self::DatasetManagement(_) => NvmOpcode::DatasetManagement,
            Self::ReservationRegister(_) => NvmOpcode::ReservationRegister,
            Self::ReservationReport(_) => NvmOpcode::ReservationReport,
            Self::ReservationAcquire(_) => NvmOpcode::ReservationAcquire,
            Self::ReservationRelease(_) => NvmOpcode::ReservationRelease,
        }
    }

    /// Its entry; the data pointer is left empty.
    #[must_use]
    pub const fn sqe(&self, cid: CommandId) -> Sqe {
        match self {
            Self::Flush(nsid) => Sqe::new(NvmOpcode::Flush.raw(), cid, *nsid),
            Self::Write(io)
            | Self::Read(io)
            | Self::WriteUncorrectable(io)
            | Self::Compare(io)
            | Self::WriteZeroes(io)
            | Self::Verify(io) => io.sqe(self.opcode(), cid),
            Self::DatasetManagement(command) => command.sqe(cid),
            Self::ReservationRegister(command) => command.sqe(cid),
            Self::ReservationReport(command) => command.sqe(cid),
            Self::ReservationAcquire(command) => command.sqe(cid),
            Self::ReservationRelease(command) => command.sqe(cid),
        }
    }
}

impl TryFrom<&Sqe> for NvmCommand {
    type Error = Status;

    /// The error is Invalid Command Opcode for an opcode that is not modelled, Invalid Field in Command for
    /// reserved values, both with Do Not Retry.
    fn try_from(sqe: &Sqe) -> Result<Self, Status> {
        check_common(sqe)?;
        match NvmOpcode::try_from(sqe.opcode())? {
            NvmOpcode::Flush => Ok(Self::Flush(sqe.nsid())),
            NvmOpcode::Write => Ok(Self::Write(BlockIo::from_sqe(sqe))),
            NvmOpcode::Read => Ok(Self::Read(BlockIo::from_sqe(sqe))),
            NvmOpcode::WriteUncorrectable => Ok(Self::WriteUncorrectable(BlockIo::from_sqe(sqe))),
            NvmOpcode::Compare => Ok(Self::Compare(BlockIo::from_sqe(sqe))),
            NvmOpcode::WriteZeroes => Ok(Self::WriteZeroes(BlockIo::from_sqe(sqe))),
            NvmOpcode::Verify => Ok(Self::Verify(BlockIo::from_sqe(sqe))),
            NvmOpcode::DatasetManagement => Ok(Self::DatasetManagement(DatasetManagement::from_sqe(sqe))),
            NvmOpcode::ReservationRegister => {
                ReservationRegister::from_sqe(sqe).map(Self::ReservationRegister)
            }
            NvmOpcode::ReservationReport => Ok(Self::ReservationReport(ReservationReport::from_sqe(sqe))),
            NvmOpcode::ReservationAcquire => ReservationAcquire::from_sqe(sqe).map(Self::ReservationAcquire),
            NvmOpcode::ReservationRelease => ReservationRelease::from_sqe(sqe).map(Self::ReservationRelease),
            NvmOpcode::Cancel
            | NvmOpcode::Copy
            | NvmOpcode::IoManagementReceive
            | NvmOpcode::IoManagementSend => Err(INVALID_OPCODE),
        }
    }
}
