//! An I/O queue's connection: commands between host, memory and devices.

mod command;
mod device;
mod memory;

use std::sync::Arc;

use block::IoError;
use dma::{DmaBuf, ScatterList};
use nvme_spec::sqe::SQE_BYTES;
use nvme_spec::{QueueId, Sqe};
use nvmf::controller::{ControllerKey, IoAction, IoCommand, IoQueue, Transfer, Violation};

use self::command::{Capsule, Command, Step, bytes_of};
use super::{End, Message, Outgoing};
use crate::hub::{ConnectionId, HostSlot, View};
use crate::reactor::core::Core;
use crate::reactor::counters::Cells;
use crate::reactor::receives::{ReceiveKind, Receives};

pub(in crate::reactor) use command::Tag;

/// An I/O queue.
#[derive(Debug)]
pub(super) struct IoLane {
    connection: ConnectionId,
    queue: Box<IoQueue>,
    host: HostSlot,
    view: View,
    /// What is counted for the host.
    cells: Arc<Cells>,
    /// By the target's slots.
    commands: Box<[Command]>,
}

impl IoLane {
    pub(super) fn new(
        connection: ConnectionId,
        queue: Box<IoQueue>,
        host: HostSlot,
        view: View,
        cells: Arc<Cells>,
    ) -> Self {
        let commands = (0..queue.entries()).map(|_| Command::FREE).collect();
        Self { connection, queue, host, view, cells, commands }
    }

    pub(super) const fn controller(&self) -> ControllerKey {
        self.queue.controller()
    }

    pub(super) const fn queue(&self) -> QueueId {
        self.queue.id()
    }

    /// Whose it is.
    pub(super) const fn host(&self) -> HostSlot {
        self.host
    }

    /// Commands that were taken and are not answered.
    pub(super) const fn in_flight(&self) -> u16 {
        self.queue.in_flight()
    }

    pub(super) fn set_view(&mut self, view: View) {
        self.queue.set_namespaces(Arc::clone(&view.namespaces));
        self.view = view;
    }

    /// A capsule. Whether the host has ended the queue with it.
    #[inline]
    pub(super) fn handle_message(
        &mut self,
        core: &mut Core,
        receives: &mut Receives,
        message: Message,
        out: &mut Outgoing,
    ) -> Result<bool, End> {
        let Message { kind, buffer, bytes } = message;
        let mut entry = [0; SQE_BYTES];
        let action = match (bytes as usize).checked_sub(SQE_BYTES) {
            Some(in_capsule) if buffer.read(0, &mut entry).is_ok() => {
                self.queue.handle_entry(&Sqe::from_bytes(&entry), in_capsule)
            }
            _ => IoAction::Fatal(Violation::CapsuleTooShort),
        };
        let IoAction::Execute(command) = action else {
            receives.give_back(kind, buffer);
            return match action {
                IoAction::Respond(response) => {
                    out.respond(&response);
                    Ok(false)
                }
                IoAction::RespondAndClose(response) => {
                    out.respond_last(&response);
                    Ok(true)
                }
                IoAction::Fatal(violation) => Err(violation.into()),
                IoAction::Execute(_) => unreachable!("it is none"),
            };
        };
        self.begin(core, receives, &command, (kind, buffer), out);
        Ok(false)
    }

    /// A command that is to be carried out.
    #[inline]
    fn begin(
        &mut self,
        core: &mut Core,
        receives: &mut Receives,
        command: &IoCommand,
        (kind, buffer): (ReceiveKind, DmaBuf),
        out: &mut Outgoing,
    ) {
        let export = self.view.exports.get(command.nsid);
        let device = export.and_then(|export| Some((export, core.devices.get_mut(export)?)));
        let Some((export, device)) = device else {
            receives.give_back(kind, buffer);
            out.respond(&self.queue.complete(command.slot, Err(IoError::Gone)));
            return;
        };
        device.commands += 1;
        let index = command.slot.index();
        self.commands[index] = Command {
            step: Step::Waiting,
            slot: Some(command.slot),
            op: command.op,
            range: command.range,
            export,
            transfer: command.transfer,
            bytes: bytes_of(command.transfer),
            held: None,
            capsule: Capsule::No,
            started: core.now,
            result: Ok(()),
        };
        match command.transfer {
            Transfer::None => {
                receives.give_back(kind, buffer);
                self.submit(core, index, ScatterList::default(), out);
            }
            Transfer::InCapsule { offset, .. } => {
                self.take_capsule(core, receives, index, offset, buffer, out)
            }
            Transfer::FromHost(_) | Transfer::ToHost(_) => {
                receives.give_back(kind, buffer);
                self.acquire(core, index, out);
            }
        }
    }
}
