//! What I/O commands mean for a device (NVM, NVM Command Set Commands; Base, Reservations).

use block::{Abilities, BlockRange, IoError, Op, ReservationOp};
use nvme_spec::command::{BlockIo, DataDirection, DatasetManagement, DsmAttributes, IoControl, NvmCommand};
use nvme_spec::{Nsid, Status, StatusCode};

use super::NO_DATA;
use super::error::status_of;
use crate::controller::identify::namespace;
use crate::controller::namespace::{NamespaceInfo, NamespaceMap};

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing that a device has to do.
    Nothing,
    /// Work for a device.
    Device { op: Op, nsid: Nsid, range: BlockRange },
}

const INVALID_FIELD: Status = Status::permanent(StatusCode::INVALID_FIELD);

/// Bytes of the data of a Reservation Register and of a Reservation Acquire.
const RESERVATION_KEYS_BYTES: u64 = 16;

/// Bytes of the data of a Reservation Release.
const RESERVATION_KEY_BYTES: u64 = 8;

fn find(map: &NamespaceMap, nsid: Nsid) -> Result<&NamespaceInfo, Status> {
    namespace(map, nsid)?.ok_or(INVALID_FIELD)
}

/// What a command asks for, if the namespace has it.
#[inline]
pub(super) fn work(command: &NvmCommand, map: &NamespaceMap) -> Result<Work, Status> {
    match command {
        NvmCommand::Read(io) => blocks(map, io, Op::Read),
        NvmCommand::Write(io) => blocks(map, io, Op::Write { fua: has(io, IoControl::FORCE_UNIT_ACCESS) }),
        NvmCommand::Compare(io) => blocks(map, io, Op::Compare),
        NvmCommand::Verify(io) => blocks(map, io, Op::Verify),
        NvmCommand::WriteZeroes(io) => {
            let fua = has(io, IoControl::FORCE_UNIT_ACCESS);
            blocks(map, io, Op::WriteZeroes { fua, may_unmap: has(io, IoControl::DEALLOCATE) })
        }
        // VWC says that Flush takes no broadcast NSID, so 'find' refuses it.
        NvmCommand::Flush(nsid) => {
            find(map, *nsid)?;
            Ok(Work::Device { op: Op::Flush, nsid: *nsid, range: BlockRange::default() })
        }
        NvmCommand::DatasetManagement(command) => dataset(map, command),
        NvmCommand::WriteUncorrectable(_) => Err(Status::permanent(StatusCode::INVALID_OPCODE)),
        NvmCommand::ReservationRegister(_)
        | NvmCommand::ReservationReport(_)
        | NvmCommand::ReservationAcquire(_)
        | NvmCommand::ReservationRelease(_) => reservation(map, command),
    }
}

fn has(io: &BlockIo, control: IoControl) -> bool {
    io.control.contains(control)
}

#[inline]
fn blocks(map: &NamespaceMap, io: &BlockIo, op: Op) -> Result<Work, Status> {
    let info = find(map, io.nsid)?;
    info.abilities.check(op).map_err(|error| status_of(error, op))?;
    let range = BlockRange::new(io.range.slba, u64::from(io.range.blocks.get()));
    if !range.fits(info.geometry.blocks) {
        return Err(Status::permanent(StatusCode::LBA_OUT_OF_RANGE));
    }
    Ok(Work::Device { op, nsid: io.nsid, range })
}

/// Dataset Management is a hint: what a namespace cannot discard is kept, and everything but Deallocate is ignored.
fn dataset(map: &NamespaceMap, command: &DatasetManagement) -> Result<Work, Status> {
    let info = find(map, command.nsid)?;
    if !command.attributes.contains(DsmAttributes::DEALLOCATE) {
        return Ok(Work::Nothing);
    }
    match info.abilities.check(Op::Discard) {
        Ok(()) => Ok(Work::Device { op: Op::Discard, nsid: command.nsid, range: BlockRange::default() }),
        Err(IoError::ReadOnly) => Err(status_of(IoError::ReadOnly, Op::Discard)),
        Err(_) => Ok(Work::Nothing),
    }
}

fn reservation(map: &NamespaceMap, command: &NvmCommand) -> Result<Work, Status> {
    let (nsid, op) = match command {
        NvmCommand::ReservationRegister(register) => (
            register.nsid,
            ReservationOp::Register {
                action: register.action,
                ignore_existing_key: register.ignore_existing_key,
                persist: register.persist,
            },
        ),
        // IEKEY of Acquire and Release is of NVMe 1.x; it is refused since then.
        NvmCommand::ReservationAcquire(acquire) if !acquire.ignore_existing_key => {
            (acquire.nsid, ReservationOp::Acquire { action: acquire.action, rtype: acquire.rtype })
        }
        NvmCommand::ReservationRelease(release) if !release.ignore_existing_key => {
            (release.nsid, ReservationOp::Release { action: release.action, rtype: release.rtype })
        }
        NvmCommand::ReservationReport(report) => {
            (report.nsid, ReservationOp::Report { extended: report.extended })
        }
        _ => return Err(INVALID_FIELD),
    };
    if !find(map, nsid)?.abilities.contains(Abilities::RESERVATIONS) {
        return Err(Status::permanent(StatusCode::INVALID_OPCODE));
    }
    Ok(Work::Device { op: Op::Reservation(op), nsid, range: BlockRange::default() })
}

/// How much data a command has, and which way it goes. The namespace has been found.
#[inline]
pub(super) fn data_of(command: &NvmCommand, map: &NamespaceMap) -> (DataDirection, u64) {
    let bytes = |io: &BlockIo| {
        map.get(io.nsid).map_or(0, |info| io.range.blocks.bytes(info.geometry.block_size.bytes()))
    };
    match command {
        NvmCommand::Read(io) => (DataDirection::ControllerToHost, bytes(io)),
        NvmCommand::Write(io) | NvmCommand::Compare(io) => (DataDirection::HostToController, bytes(io)),
        NvmCommand::DatasetManagement(command) => {
            (DataDirection::HostToController, command.ranges.bytes() as u64)
        }
        NvmCommand::ReservationRegister(_) | NvmCommand::ReservationAcquire(_) => {
            (DataDirection::HostToController, RESERVATION_KEYS_BYTES)
        }
        NvmCommand::ReservationRelease(_) => (DataDirection::HostToController, RESERVATION_KEY_BYTES),
        NvmCommand::ReservationReport(report) => (DataDirection::ControllerToHost, report.length.bytes()),
        NvmCommand::Flush(_)
        | NvmCommand::WriteZeroes(_)
        | NvmCommand::Verify(_)
        | NvmCommand::WriteUncorrectable(_) => NO_DATA,
    }
}
