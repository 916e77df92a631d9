//! From a request to a command, and from a status to a result.

use block::{Abilities, Geometry, InvalidRequest, IoError, Op, Request, ReservationOp};
use nvme_spec::command::{
    BlockIo, DatasetManagement, DsmRange, DwordCount, IoControl, NvmCommand, NvmOpcode, RangeCount,
    ReservationAcquire, ReservationRegister, ReservationRelease, ReservationReport,
};
use nvme_spec::{BlockCount, CommandId, Nsid, Sqe, Status, StatusCode};

/// The 16 bytes of a dataset management range, if the command needs one.
pub(super) type Inline = Option<[u8; 16]>;

/// Fills in the command of a request, without its data pointer.
#[inline]
pub(super) fn fill_command(
    sqe: &mut Sqe,
    request: &Request,
    geometry: &Geometry,
    abilities: Abilities,
    (nsid, cid): (Nsid, CommandId),
) -> Result<Inline, IoError> {
    request.check(geometry)?;
    request.check_size(geometry)?;
    need(abilities, abilities_for(request.op))?;
    *sqe = match request.op {
        Op::Read => block_io(request, nsid)?.sqe(NvmOpcode::Read, cid),
        Op::Write { fua } => block_io(request, nsid)?.with_control(force(fua)).sqe(NvmOpcode::Write, cid),
        Op::Flush => NvmCommand::Flush(nsid).sqe(cid),
        Op::WriteZeroes { fua, may_unmap } => {
            let unmap = if may_unmap { IoControl::DEALLOCATE } else { IoControl::empty() };
            block_io(request, nsid)?.with_control(force(fua) | unmap).sqe(NvmOpcode::WriteZeroes, cid)
        }
        Op::Compare => block_io(request, nsid)?.sqe(NvmOpcode::Compare, cid),
        Op::Verify => block_io(request, nsid)?.sqe(NvmOpcode::Verify, cid),
        Op::Discard => return discard(sqe, request, nsid, cid),
        Op::Reservation(op) => reservation(op, request, nsid)?.sqe(cid),
    };
    Ok(None)
}

const fn abilities_for(op: Op) -> Abilities {
    match op {
        Op::Read | Op::Flush => Abilities::empty(),
        Op::Write { .. } => Abilities::WRITE,
        Op::WriteZeroes { .. } => Abilities::WRITE.union(Abilities::WRITE_ZEROES),
        Op::Discard => Abilities::WRITE.union(Abilities::DISCARD),
        Op::Compare => Abilities::COMPARE,
        Op::Verify => Abilities::VERIFY,
        Op::Reservation(_) => Abilities::RESERVATIONS,
    }
}

fn discard(sqe: &mut Sqe, request: &Request, nsid: Nsid, cid: CommandId) -> Result<Inline, IoError> {
    let blocks = u32::try_from(request.range.blocks).map_err(|_| InvalidRequest::TooLarge)?;
    let range = DsmRange { context_attributes: 0, blocks, slba: request.range.start };
    let ranges = RangeCount::new(1).ok_or(InvalidRequest::Range)?;
    *sqe = DatasetManagement::deallocate(nsid, ranges).sqe(cid);
    Ok(Some(range.to_bytes()))
}

/// A drive moves as many bytes as the command's data structure has, whatever memory there is.
fn check_reservation_data(op: ReservationOp, bytes: u64) -> Result<(), InvalidRequest> {
    let wanted = match op {
        ReservationOp::Register { .. } | ReservationOp::Acquire { .. } => 16,
        ReservationOp::Release { .. } => 8,
        // The command says how much it takes.
        ReservationOp::Report { .. } => return Ok(()),
    };
    if bytes == wanted { Ok(()) } else { Err(InvalidRequest::DataLength) }
}

fn reservation(op: ReservationOp, request: &Request, nsid: Nsid) -> Result<NvmCommand, IoError> {
    check_reservation_data(op, request.data.bytes())?;
    Ok(match op {
        ReservationOp::Register { action, ignore_existing_key, persist } => {
            NvmCommand::ReservationRegister(ReservationRegister {
                nsid,
                action,
                ignore_existing_key,
                persist,
            })
        }
        ReservationOp::Acquire { action, rtype } => NvmCommand::ReservationAcquire(ReservationAcquire {
            nsid,
            action,
            ignore_existing_key: false,
            rtype,
        }),
        ReservationOp::Release { action, rtype } => NvmCommand::ReservationRelease(ReservationRelease {
            nsid,
            action,
            ignore_existing_key: false,
            rtype,
        }),
        ReservationOp::Report { extended } => {
            let length = DwordCount::from_bytes(request.data.bytes()).ok_or(InvalidRequest::DataLength)?;
            NvmCommand::ReservationReport(ReservationReport { nsid, length, extended })
        }
    })
}

#[inline]
fn need(abilities: Abilities, needed: Abilities) -> Result<(), IoError> {
    if abilities.contains(needed) {
        return Ok(());
    }
    let read_only = needed.contains(Abilities::WRITE) && !abilities.contains(Abilities::WRITE);
    Err(if read_only { IoError::ReadOnly } else { IoError::NotSupported })
}

#[inline]
fn block_io(request: &Request, nsid: Nsid) -> Result<BlockIo, InvalidRequest> {
    let blocks = BlockCount::try_from(request.range.blocks).map_err(|_| InvalidRequest::TooLarge)?;
    Ok(BlockIo::new(nsid, request.range.start, blocks))
}

#[inline]
fn force(fua: bool) -> IoControl {
    if fua { IoControl::FORCE_UNIT_ACCESS } else { IoControl::empty() }
}

/// What a status that is no success says. `aborting`: we had asked for an abort.
pub(super) fn error_of(status: Status, aborting: bool) -> IoError {
    match status.code() {
        StatusCode::COMPARE_FAILURE => IoError::Miscompare,
        StatusCode::NAMESPACE_IS_WRITE_PROTECTED => IoError::ReadOnly,
        _ if aborting && status.is_aborted() => IoError::TimedOut,
        _ => IoError::Device(status),
    }
}

#[cfg(test)]
mod tests;
