//! An I/O queue: commands in, pieces of work for devices out, responses back. Owned by one thread; never locked.

mod command;
mod error;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use block::{BlockRange, IoError, Op};
use nvme_spec::command::{DataDirection, DsmRange, FABRICS_OPCODE, FabricsType, NvmCommand};
use nvme_spec::sqe::Fuse;
use nvme_spec::{CommandId, Nsid, QueueId, Sqe, Status, StatusCode};

pub use error::status_of;

use self::command::Work;
use super::association::ControllerKey;
use super::flow::{Flow, QueuePhase, Violation};
use super::gate::Gate;
use super::namespace::NamespaceMap;
use super::transfer::{DataPointer, Transfer};
use crate::wire::{CommandCapsule, DisconnectCommand, ResponseCapsule};

/// Names a command that is being carried out, until [`IoQueue::complete`]. Not the host's identifier, which may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

impl Slot {
    /// 0 up to the queue's entries: an index for what the thread keeps of its own.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoCommand {
    /// Its name.
    pub slot: Slot,
    /// The namespace.
    pub nsid: Nsid,
    /// What to do. For [`Op::Discard`], get the data and ask [`IoQueue::discard_ranges`] for the ranges.
    pub op: Op,
    /// Which blocks, all of them inside the namespace; empty where the operation has none, and for a discard.
    pub range: BlockRange,
    /// Its data.
    pub transfer: Transfer,
}

/// What to do with a capsule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoAction {
    /// Move the data, do it, and tell [`IoQueue::complete`].
    Execute(IoCommand),
    /// Answer.
    Respond(ResponseCapsule),
    /// Answer, then close the connection: the host ended the queue.
    RespondAndClose(ResponseCapsule),
    /// End the connection.
    Fatal(Violation),
}

/// What is kept of a command.
#[derive(Clone, Copy, Debug)]
struct Entry {
    cid: CommandId,
    invalidate: Option<u32>,
    op: Op,
    nsid: Nsid,
    is_taken: bool,
}

/// An I/O queue.
#[derive(Debug)]
pub struct IoQueue {
    controller: ControllerKey,
    id: QueueId,
    flow: Flow,
    gate: Gate,
    namespaces: Arc<NamespaceMap>,
    transfer_bytes_max: u64,
    entries: Vec<Entry>,
    free: Vec<u16>,
}

/// What a queue is made of.
#[derive(Debug)]
pub(super) struct IoQueueParts {
    pub(super) controller: ControllerKey,
    pub(super) id: QueueId,
    pub(super) flow: Flow,
    pub(super) gate: Gate,
    pub(super) namespaces: Arc<NamespaceMap>,
    pub(super) transfer_bytes_max: u32,
}

const fn refuse<T>(code: StatusCode) -> Result<T, Status> {
    Err(Status::permanent(code))
}

impl IoQueue {
    pub(super) fn new(parts: IoQueueParts) -> Self {
        let entry =
            Entry { cid: CommandId(0), invalidate: None, op: Op::Flush, nsid: Nsid::NONE, is_taken: false };
        let entries = parts.flow.entries();
        Self {
            controller: parts.controller,
            id: parts.id,
            gate: parts.gate,
            namespaces: parts.namespaces,
            transfer_bytes_max: u64::from(parts.transfer_bytes_max),
            entries: vec![entry; usize::from(entries)],
            free: (0..entries).rev().collect(),
            flow: parts.flow,
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn controller(&self) -> ControllerKey {
        self.controller
    }

    /// Which one it is.
    #[must_use]
    pub const fn id(&self) -> QueueId {
        self.id
    }

    /// Whether it may be used.
    #[must_use]
    pub const fn phase(&self) -> QueuePhase {
        self.flow.phase()
    }

    /// Commands that are not answered yet. When the connection is gone and this is 0, `Target::queue_gone` is to be told.
    #[must_use]
    pub const fn in_flight(&self) -> u16 {
        self.flow.in_flight()
    }

    /// The most commands that can be in flight.
    #[must_use]
    pub const fn entries(&self) -> u16 {
        self.flow.entries()
    }

    /// SQHD as it is.
    pub(super) fn head(&self) -> u16 {
        self.flow.head()
    }

    /// The host is who it says.
    pub fn authenticated(&mut self) {
        self.flow.authenticated();
    }

    /// Serves other namespaces from now on: `Target::namespaces`, when `Target::version` has moved.
    pub fn set_namespaces(&mut self, namespaces: Arc<NamespaceMap>) {
        self.namespaces = namespaces;
    }

    /// Takes a message.
    #[inline]
    pub fn handle_message(&mut self, bytes: &[u8]) -> IoAction {
        match CommandCapsule::read(bytes) {
            Ok(capsule) => self.handle_command(&capsule),
            Err(_) => IoAction::Fatal(Violation::CapsuleTooShort),
        }
    }

    /// Takes a command.
    pub fn handle_command(&mut self, capsule: &CommandCapsule<'_>) -> IoAction {
        self.handle_entry(&capsule.sqe, capsule.data.len())
    }

    /// Takes a command whose in-capsule data stays where it is: in memory that others may write, to which no reference can be.
    #[inline]
    pub fn handle_entry(&mut self, sqe: &Sqe, in_capsule: usize) -> IoAction {
        if let Err(violation) = self.flow.take() {
            return IoAction::Fatal(violation);
        }
        let pointer = DataPointer::read(sqe);
        let invalidate = pointer.ok().and_then(|pointer| pointer.invalidate());
        if sqe.opcode() == FABRICS_OPCODE {
            return self.handle_fabrics(sqe, invalidate);
        }
        match self.prepare(sqe, pointer, in_capsule) {
            Ok((work, transfer)) => self.begin(sqe.cid(), invalidate, work, transfer),
            Err(status) => IoAction::Respond(self.respond(sqe.cid(), status, invalidate)),
        }
    }

    fn begin(&mut self, cid: CommandId, invalidate: Option<u32>, work: Work, transfer: Transfer) -> IoAction {
        let Work::Device { op, nsid, range } = work else {
            return IoAction::Respond(self.respond(cid, Status::SUCCESS, invalidate));
        };
        // The flow has as many entries as there are slots.
        let Some(index) = self.free.pop() else { return IoAction::Fatal(Violation::QueueOverrun) };
        self.entries[usize::from(index)] = Entry { cid, invalidate, op, nsid, is_taken: true };
        IoAction::Execute(IoCommand { slot: Slot(index), nsid, op, range, transfer })
    }

    /// Everything about a command that can be wrong before anything is done.
    fn prepare(
        &self,
        sqe: &Sqe,
        pointer: Result<DataPointer, Status>,
        in_capsule: usize,
    ) -> Result<(Work, Transfer), Status> {
        if self.flow.phase() == QueuePhase::Authenticating {
            return refuse(StatusCode::FABRICS_AUTHENTICATION_REQUIRED);
        }
        if !self.gate.is_open() {
            return Err(Status::new(StatusCode::COMMAND_SEQUENCE_ERROR));
        }
        let command = NvmCommand::try_from(sqe)?;
        if sqe.fuse() != Some(Fuse::Normal) {
            return refuse(StatusCode::INVALID_FIELD);
        }
        let work = command::work(&command, &self.namespaces)?;
        let (direction, bytes) = command::data_of(&command, &self.namespaces);
        if bytes > self.transfer_bytes_max {
            return refuse(StatusCode::INVALID_FIELD);
        }
        let mut pointer = pointer?;
        if matches!(command, NvmCommand::DatasetManagement(_)) {
            // Linux's host sends a whole page, however few ranges there are.
            pointer = pointer.at_most(bytes);
        }
        Ok((work, pointer.resolve(direction, bytes, in_capsule)?))
    }

    fn handle_fabrics(&mut self, sqe: &Sqe, invalidate: Option<u32>) -> IoAction {
        let status = match FabricsType::try_from(sqe.fctype()) {
            Ok(FabricsType::Disconnect) if DisconnectCommand::from_sqe(sqe).record_format == 0 => {
                let response = self.respond(sqe.cid(), Status::SUCCESS, invalidate);
                self.flow.close();
                return IoAction::RespondAndClose(response);
            }
            Ok(FabricsType::Disconnect) => StatusCode::FABRICS_INCOMPATIBLE_FORMAT,
            Ok(FabricsType::Connect) => StatusCode::COMMAND_SEQUENCE_ERROR,
            // Properties are the admin queue's.
            Ok(FabricsType::PropertyGet | FabricsType::PropertySet) => StatusCode::FABRICS_INVALID_QUEUE_TYPE,
            Ok(FabricsType::AuthenticationSend | FabricsType::AuthenticationReceive) | Err(_) => {
                StatusCode::INVALID_OPCODE
            }
        };
        IoAction::Respond(self.respond(sqe.cid(), Status::permanent(status), invalidate))
    }

    /// The blocks that a discard names, from its data: into `ranges`, of which at most 256 come. If it cannot be carried out the
    /// command is answered, and its slot is free.
    pub fn discard_ranges(
        &mut self,
        slot: Slot,
        data: &[u8],
        ranges: &mut Vec<BlockRange>,
    ) -> Result<(), ResponseCapsule> {
        let entry = self.entries[slot.index()];
        debug_assert!(entry.is_taken && entry.op == Op::Discard, "no discard is being carried out here");
        let first = ranges.len();
        let namespace = self.namespaces.get(entry.nsid);
        let blocks = namespace.map_or(0, |info| info.geometry.blocks);
        let parsed = data.as_chunks::<{ DsmRange::BYTES }>().0.iter().map(DsmRange::from_array);
        for range in parsed.filter(|range| range.blocks != 0) {
            let range = BlockRange::new(range.slba, u64::from(range.blocks));
            if !range.fits(blocks) {
                ranges.truncate(first);
                return Err(self.finish(slot, Status::permanent(StatusCode::LBA_OUT_OF_RANGE)));
            }
            ranges.push(range);
        }
        Ok(())
    }

    /// A command is done: its response.
    pub fn complete(&mut self, slot: Slot, result: Result<(), IoError>) -> ResponseCapsule {
        let op = self.entries[slot.index()].op;
        let status = result.map_or_else(|error| status_of(error, op), |()| Status::SUCCESS);
        self.finish(slot, status)
    }

    /// A command whose data could not be moved, though the connection lives: its response.
    pub fn complete_transfer_failed(&mut self, slot: Slot) -> ResponseCapsule {
        self.finish(slot, Status::new(StatusCode::DATA_TRANSFER_ERROR))
    }

    fn finish(&mut self, slot: Slot, status: Status) -> ResponseCapsule {
        let entry = &mut self.entries[slot.index()];
        assert!(entry.is_taken, "a command is completed once");
        entry.is_taken = false;
        let (cid, invalidate) = (entry.cid, entry.invalidate);
        self.free.push(slot.0);
        self.respond(cid, status, invalidate)
    }

    fn respond(&mut self, cid: CommandId, status: Status, invalidate: Option<u32>) -> ResponseCapsule {
        ResponseCapsule { cqe: self.flow.complete(cid, status), invalidate }
    }
}

/// No data.
const NO_DATA: (DataDirection, u64) = (DataDirection::None, 0);
