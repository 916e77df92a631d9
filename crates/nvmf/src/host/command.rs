//! From an operation to a command.

use block::{BlockRange, InvalidRequest, IoError, Op, ReservationOp};
use nvme_spec::command::{
    BlockIo, DatasetManagement, DsmRange, DwordCount, IoControl, NvmCommand, NvmOpcode, RangeCount,
    ReservationAcquire, ReservationRegister, ReservationRelease, ReservationReport,
};
use nvme_spec::sgl::{KeyedLength, Sgl};
use nvme_spec::{BlockCount, CommandId, Nsid, Sqe};

/// Memory of ours that the controller reaches by a key (Base, Keyed SGL Data Block descriptor).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedMemory {
    /// Where it begins, in the address space that the key names.
    pub address: u64,
    /// The remote key.
    pub key: u32,
    /// How long it is.
    pub bytes: u32,
    /// Ask the controller to invalidate the key with its response.
    pub invalidate: bool,
}

/// Where a command's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// There is none.
    None,
    /// Directly behind the command, in its capsule.
    InCapsule {
        /// How many bytes follow the command.
        bytes: u32,
    },
    /// In memory that the controller reaches.
    Memory(KeyedMemory),
}

impl Placement {
    /// How much data there is.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::InCapsule { bytes } => *bytes,
            Self::Memory(memory) => memory.bytes,
        }
    }

    /// The descriptor that says so. Without data it is a keyed one of length 0, as Linux has it.
    pub(super) fn sgl(&self) -> Result<Sgl, InvalidRequest> {
        Ok(match self {
            Self::None => {
                Sgl::KeyedDataBlock { address: 0, length: KeyedLength::default(), key: 0, invalidate: false }
            }
            Self::InCapsule { bytes } => Sgl::InCapsule { offset: 0, length: *bytes },
            Self::Memory(memory) => Sgl::KeyedDataBlock {
                address: memory.address,
                length: KeyedLength::new(memory.bytes).ok_or(InvalidRequest::TooLarge)?,
                key: memory.key,
                invalidate: memory.invalidate,
            },
        })
    }
}

/// Which way an operation's data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataDirectionOfOp {
    /// There is none.
    None,
    /// To the controller: it may go in the capsule.
    ToController,
    /// From the controller.
    FromController,
}

/// One piece of work: a request without its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoCommand {
    /// The namespace.
    pub nsid: Nsid,
    /// What to do.
    pub op: Op,
    /// Which blocks, where the operation has some.
    pub range: BlockRange,
}

impl IoCommand {
    /// Which way its data goes.
    #[must_use]
    pub const fn direction(&self) -> DataDirectionOfOp {
        match self.op {
            Op::Read | Op::Reservation(ReservationOp::Report { .. }) => DataDirectionOfOp::FromController,
            Op::Write { .. } | Op::Compare | Op::Discard | Op::Reservation(_) => {
                DataDirectionOfOp::ToController
            }
            Op::Flush | Op::WriteZeroes { .. } | Op::Verify => DataDirectionOfOp::None,
        }
    }

    /// The data of a discard, which the request has not: the range, as Dataset Management carries it. `None` for other operations.
    pub fn own_data(&self) -> Result<Option<[u8; DsmRange::BYTES]>, InvalidRequest> {
        if self.op != Op::Discard {
            return Ok(None);
        }
        let blocks = u32::try_from(self.range.blocks).map_err(|_| InvalidRequest::TooLarge)?;
        Ok(Some(DsmRange { context_attributes: 0, blocks, slba: self.range.start }.to_bytes()))
    }

    /// Its entry, with its data there.
    pub(super) fn sqe(&self, placement: &Placement, cid: CommandId) -> Result<Sqe, IoError> {
        self.check_data(placement)?;
        let sqe = match self.op {
            Op::Read => self.block_io()?.sqe(NvmOpcode::Read, cid),
            Op::Write { fua } => self.block_io()?.with_control(force(fua)).sqe(NvmOpcode::Write, cid),
            Op::Flush => NvmCommand::Flush(self.nsid).sqe(cid),
            Op::WriteZeroes { fua, may_unmap } => {
                let unmap = if may_unmap { IoControl::DEALLOCATE } else { IoControl::empty() };
                self.block_io()?.with_control(force(fua) | unmap).sqe(NvmOpcode::WriteZeroes, cid)
            }
            Op::Compare => self.block_io()?.sqe(NvmOpcode::Compare, cid),
            Op::Verify => self.block_io()?.sqe(NvmOpcode::Verify, cid),
            Op::Discard => DatasetManagement::deallocate(self.nsid, RangeCount::from_zero_based(0)).sqe(cid),
            Op::Reservation(op) => self.reservation(op, placement.bytes())?.sqe(cid),
        };
        Ok(sqe.with_sgl(placement.sgl()?.into()))
    }

    /// As much data as the operation moves, where the operation alone says how much; and some or none where the range says.
    fn check_data(&self, placement: &Placement) -> Result<(), InvalidRequest> {
        let bytes = placement.bytes();
        let is_right = match self.op {
            Op::Flush | Op::WriteZeroes { .. } | Op::Verify => bytes == 0,
            Op::Discard | Op::Reservation(ReservationOp::Register { .. } | ReservationOp::Acquire { .. }) => {
                bytes == 16
            }
            Op::Reservation(ReservationOp::Release { .. }) => bytes == 8,
            Op::Read | Op::Write { .. } | Op::Compare | Op::Reservation(ReservationOp::Report { .. }) => {
                bytes > 0
            }
        };
        let in_capsule = matches!(placement, Placement::InCapsule { .. });
        let way = !in_capsule || self.direction() == DataDirectionOfOp::ToController;
        if is_right && way { Ok(()) } else { Err(InvalidRequest::DataLength) }
    }

    fn block_io(&self) -> Result<BlockIo, InvalidRequest> {
        let blocks = BlockCount::try_from(self.range.blocks).map_err(|_| InvalidRequest::TooLarge)?;
        Ok(BlockIo::new(self.nsid, self.range.start, blocks))
    }

    fn reservation(&self, op: ReservationOp, bytes: u32) -> Result<NvmCommand, InvalidRequest> {
        let nsid = self.nsid;
        Ok(match op {
            ReservationOp::Register { action, ignore_existing_key, persist } => {
                let command = ReservationRegister { nsid, action, ignore_existing_key, persist };
                NvmCommand::ReservationRegister(command)
            }
            ReservationOp::Acquire { action, rtype } => {
                let command = ReservationAcquire { nsid, action, ignore_existing_key: false, rtype };
                NvmCommand::ReservationAcquire(command)
            }
            ReservationOp::Release { action, rtype } => {
                let command = ReservationRelease { nsid, action, ignore_existing_key: false, rtype };
                NvmCommand::ReservationRelease(command)
            }
            ReservationOp::Report { extended } => {
                let length = DwordCount::from_bytes(bytes.into()).ok_or(InvalidRequest::DataLength)?;
                NvmCommand::ReservationReport(ReservationReport { nsid, length, extended })
            }
        })
    }
}

fn force(fua: bool) -> IoControl {
    if fua { IoControl::FORCE_UNIT_ACCESS } else { IoControl::empty() }
}

#[cfg(test)]
mod tests;
