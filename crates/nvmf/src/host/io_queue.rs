//! One I/O queue, for the thread that owns it.

use block::{InvalidRequest, IoError};
use nvme_spec::{CommandId, Cqe, Sqe};
use thiserror::Error;

use super::command::{DataDirectionOfOp, IoCommand, Placement};
use super::info::IoQueueParameters;
use super::slots::Slots;
use super::status::error_of;

/// A command's place in its queue: below the queue's depth, and nobody else's until its result has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// A command that is to be sent, at once and in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its place.
    pub slot: Slot,
    /// The entry, complete with its data pointer. Data in the capsule follows it.
    pub sqe: Sqe,
}

/// A command that has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Its place, which is free again.
    pub slot: Slot,
    /// How it ended.
    pub result: Result<(), IoError>,
    /// The key that the controller could still use: to be made invalid here before the memory goes back.
    pub live_key: Option<u32>,
}

/// Why a queue cannot go on: its association has to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueueError {
    /// A response to a command that is not in flight.
    #[error("a response to command {0:#06x}, which is not in flight")]
    UnknownCommand(u16),
    /// A response that made invalid a key that was not the command's, or that was not to be.
    #[error("the response to command {command:#06x} invalidated key {key:#010x}")]
    WrongKey {
        /// The command's identifier.
        command: u16,
        /// The key.
        key: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    /// The key that it may use, and whether the controller was asked to invalidate it.
    key: Option<(u32, bool)>,
}

/// The submission queue as the controller's flow control sees it (Base, Submission Queue Flow Control).
#[derive(Clone, Copy, Debug)]
struct Flow {
    entries: u32,
    head: u32,
    tail: u32,
}

impl Flow {
    const fn is_full(self) -> bool {
        (self.tail + 1) % self.entries == self.head
    }

    const fn push(&mut self) {
        self.tail = (self.tail + 1) % self.entries;
    }

    /// Takes the head that a response says. One that lies outside of what was sent is a mistake of the controller; Linux never
    /// looks at it, so controllers that make it exist, and their answers count all the same.
    fn answered(&mut self, sqhd: u16) {
        let distance = |from: u32, to: u32| (to + self.entries - from) % self.entries;
        let head = sqhd as u32;
        if head < self.entries && distance(self.head, head) <= distance(self.head, self.tail) {
            self.head = head;
        }
    }

    /// Nothing is in flight, so everything has been fetched.
    const fn idle(&mut self) {
        self.head = self.tail;
    }
}

/// One I/O queue.
///
/// It never refuses to take a response because the queue is busy, and never gives a slot twice: the owner keeps what belongs to a
/// command (its request, its memory) in a table by [`Slot`].
#[derive(Debug)]
pub struct HostIoQueue {
    parameters: IoQueueParameters,
    slots: Slots<InFlight>,
    flow: Option<Flow>,
}

impl HostIoQueue {
    /// A queue that the controller has just made, by its Connect command.
    #[must_use]
    pub fn new(parameters: IoQueueParameters) -> Self {
        let entries = u32::from(parameters.entries);
        let flow = |head: u16| {
            let head = u32::from(head) % entries;
            Flow { entries, head, tail: head }
        };
        Self { slots: Slots::new(parameters.depth()), flow: parameters.head.map(flow), parameters }
    }

    /// What was agreed.
    #[must_use]
    pub const fn parameters(&self) -> &IoQueueParameters {
        &self.parameters
    }

    /// Most commands in flight at once; every slot is below.
    #[must_use]
    pub const fn depth(&self) -> u16 {
        self.parameters.depth()
    }

    /// Commands without an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.occupied()
    }

    /// Whether another command may be sent.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight() < usize::from(self.depth()) && !self.flow.is_some_and(Flow::is_full)
    }

    /// Whether data of this length may go in the capsule of a command.
    #[must_use]
    pub fn fits_capsule(&self, command: &IoCommand, bytes: u32) -> bool {
        let to_controller = command.direction() == DataDirectionOfOp::ToController;
        to_controller && bytes > 0 && bytes <= self.parameters.in_capsule_bytes
    }

    /// Makes a command of an operation. It must be sent. `Ok(None)`: there is no room, see [`Self::has_room`].
    ///
    /// Whether the blocks exist and the data is as long as the range is the caller's to have checked, against the namespace.
    pub fn prepare(
        &mut self,
        command: &IoCommand,
        placement: &Placement,
    ) -> Result<Option<Prepared>, IoError> {
        self.check_size(placement)?;
        let sqe = command.sqe(placement, CommandId(0))?;
        if !self.has_room() {
            return Ok(None);
        }
        let key = match placement {
            Placement::Memory(memory) => Some((memory.key, memory.invalidate)),
            Placement::None | Placement::InCapsule { .. } => None,
        };
        let Ok((number, cid)) = self.slots.occupy(InFlight { key }) else { return Ok(None) };
        if let Some(flow) = &mut self.flow {
            flow.push();
        }
        Ok(Some(Prepared { slot: Slot(number), sqe: sqe.with_cid(cid) }))
    }

    fn check_size(&self, placement: &Placement) -> Result<(), InvalidRequest> {
        let most = match placement {
            Placement::None => 0,
            Placement::InCapsule { .. } => self.parameters.in_capsule_bytes,
            Placement::Memory(_) => self.parameters.transfer_bytes_max,
        };
        if placement.bytes() <= most { Ok(()) } else { Err(InvalidRequest::TooLarge) }
    }

    /// Takes a response; `invalidated` is the key that came with it, if it was a SEND with invalidate.
    pub fn handle_response(&mut self, cqe: &Cqe, invalidated: Option<u32>) -> Result<Completed, QueueError> {
        let cid = cqe.cid();
        let (number, command) = self.slots.release(cid).ok_or(QueueError::UnknownCommand(cid.0))?;
        if let Some(flow) = &mut self.flow {
            flow.answered(cqe.sqhd());
            if self.slots.occupied() == 0 {
                flow.idle();
            }
        }
        let live_key = match (command.key, invalidated) {
            (key, None) => key.map(|(key, _)| key),
            (Some((key, true)), Some(gone)) if key == gone => None,
            (_, Some(key)) => return Err(QueueError::WrongKey { command: cid.0, key }),
        };
        let status = cqe.status();
        let result = if status.is_success() { Ok(()) } else { Err(error_of(status)) };
        Ok(Completed { slot: Slot(number), result, live_key })
    }

    /// The command in a slot, as an Abort command names it; `None` if the slot is free.
    #[must_use]
    pub fn command_id(&self, slot: Slot) -> Option<CommandId> {
        self.slots.iter().find(|(number, ..)| *number == slot.0).map(|(_, id, _)| id)
    }

    /// Ends the queue: every command without an answer. To be asked for when its connection is gone, so that the controller can no
    /// longer touch their memory; what became of them is not known.
    #[must_use]
    pub fn end(mut self) -> Vec<Completed> {
        let rest = self.slots.release_all().into_iter();
        let completed = |(number, command): (u16, InFlight)| Completed {
            slot: Slot(number),
            result: Err(IoError::Reset),
            live_key: command.key.map(|(key, _)| key),
        };
        rest.map(completed).collect()
    }
}

#[cfg(test)]
mod tests;
