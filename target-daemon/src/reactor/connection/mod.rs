//! A connection: from its acceptance to the moment when nothing of it is left.
//!
//! Nothing here waits, polls or posts: messages, completions and answers of devices go in; what is to be sent is put into
//! [`Outgoing`], what devices have to do into [`Core`]. The reactor does the rest.

mod admin;
mod io;
mod joining;
mod outgoing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use block::Timestamp;
use dma::{DmaBuf, ScatterList};
use nvme_spec::QueueId;
use nvmf::controller::limits::CONNECT_TIMEOUT;
use nvmf::controller::{Arrival, Violation};
use nvmf::wire::{Nqn, ResponseCapsule};
use rdma::QueuePairId;
use thiserror::Error;

use self::admin::AdminLane;
use self::io::IoLane;
use self::joining::Joining;
use super::core::Core;
use super::receives::{ReceiveKind, Receives};
use crate::hub::{ConnectionId, ExportSlot, Place, View};

pub(super) use io::Tag;
pub(super) use outgoing::{Outgoing, WorkId};

/// Why a connection is ended by this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum End {
    /// The host broke the protocol.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// A command before the first one, Connect, was answered.
    #[error("commands before Connect was answered")]
    Impatience,
    /// There was no Connect that succeeded in time.
    #[error("no Connect that succeeded within {CONNECT_TIMEOUT:?}")]
    Silent,
    /// The host has ended its queue.
    #[error("the host has disconnected the queue")]
    Disconnected,
    /// Responses pile up that the host does not take.
    #[error("the host takes no responses")]
    Deaf,
    /// An admin command's data does not fit.
    #[error("an admin command with more data than there can be")]
    AdminData,
}

impl End {
    /// Whether it is the host's fault.
    pub(super) const fn is_violation(self) -> bool {
        matches!(self, Self::Violation(_) | Self::Impatience | Self::Deaf)
    }
}

/// What a connection is.
///
/// ```text
///                Connect accepted, queue 0
///   Joining ---------------------------------> Admin -----------------+
///      |                                                              |
///      |   Connect accepted, other queues                             |
///      +-------------------------------------> Io                     | connection gone
///      |                                        |                     |
///      | connection gone        connection gone |                     |
///      |                                        v   nothing of it     v
///      |                                    Draining ------------> Gone
///      |                                           in a device        ^
///      +--------------------------------------------------------------+
/// ```
///
/// "Connection gone": the host or the network ended it, or this side did. The queue pair is destroyed at once; a command that a
/// device still works on keeps its memory, and the target is told that the queue is gone only when none is left.
#[derive(Debug)]
enum Stage {
    Joining(Joining),
    Admin(AdminLane),
    Io(Box<IoLane>),
    Draining(Box<IoLane>),
    Gone,
}

/// A message: a capsule.
pub(super) struct Message {
    pub(super) kind: ReceiveKind,
    pub(super) buffer: DmaBuf,
    pub(super) bytes: u32,
}

/// See the module's words.
#[derive(Debug)]
pub(super) struct Connection {
    id: ConnectionId,
    queue_pair: QueuePairId,
    arrival: Arrival,
    host: Option<Nqn>,
    stage: Stage,
    /// What is to be sent.
    pub(super) out: Outgoing,
    /// Whether the reactor knows that there is something to be sent.
    pub(super) is_flagged: bool,
    /// What comes in is not looked at any more: the connection is about to be closed.
    is_ending: bool,
    /// Since when responses wait and none has reached the host, with the count that has not moved.
    deaf_since: (Timestamp, u64),
}

/// How long a host may leave a response lying: its RDMA device tells that it has no receive, or tells nothing.
const RESPONSE_PATIENCE: Duration = Duration::from_secs(10);

/// Responses that have not reached the host, in multiples of the queue's entries. A host that keeps to the rules has one for each
/// entry, but for those whose arrival this side does not know of yet.
const RESPONSES_MAX_FACTOR: usize = 2;

impl Connection {
    /// A connection that was accepted.
    pub(super) fn new(id: ConnectionId, queue_pair: QueuePairId, arrival: Arrival, core: &Core) -> Self {
        let out = Outgoing::with_capacity(arrival.request.host_sends.saturating_add(1));
        let stage = Stage::Joining(Joining::new(arrival.request, core.now));
        Self {
            id,
            queue_pair,
            arrival,
            host: None,
            stage,
            out,
            is_flagged: false,
            is_ending: false,
            deaf_since: (core.now, 0),
        }
    }

    pub(super) const fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) const fn queue_pair(&self) -> QueuePairId {
        self.queue_pair
    }

    pub(super) const fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    /// Which queue of its controller it is, or wants to be.
    pub(super) const fn queue(&self) -> QueueId {
        self.arrival.request.queue
    }

    /// The host's name, once it has told it.
    pub(super) const fn host(&self) -> Option<&Nqn> {
        self.host.as_ref()
    }

    pub(super) const fn is_joining(&self) -> bool {
        matches!(self.stage, Stage::Joining(_))
    }

    /// Whether its queue pair exists.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Draining(_) | Stage::Gone)
    }

    /// Whether it can be forgotten.
    pub(super) const fn is_gone(&self) -> bool {
        matches!(self.stage, Stage::Gone)
    }

    /// Whether everything that was taken is answered, and the host has the answers.
    pub(super) fn is_quiet(&self) -> bool {
        match &self.stage {
            Stage::Io(lane) => lane.in_flight() == 0 && self.out.is_finished(),
            Stage::Draining(_) => false,
            Stage::Joining(_) | Stage::Admin(_) | Stage::Gone => true,
        }
    }

    /// Whether it is an I/O queue with a connection.
    pub(super) const fn is_io(&self) -> bool {
        matches!(self.stage, Stage::Io(_))
    }

    fn place(&self, core: &Core) -> Place {
        Place { reactor: core.reactor, connection: self.id }
    }

    /// A message came.
    #[inline]
    pub(super) fn handle_message(
        &mut self,
        core: &mut Core,
        receives: &mut Receives,
        message: Message,
    ) -> Result<(), End> {
        if self.out.unfinished() > RESPONSES_MAX_FACTOR * (usize::from(self.arrival.request.host_sends) + 1) {
            receives.give_back(message.kind, message.buffer);
            return Err(End::Deaf);
        }
        match &mut self.stage {
            Stage::Io(lane) if !self.is_ending && !core.is_draining => {
                let ends = lane.handle_message(core, receives, message, &mut self.out)?;
                self.is_ending |= ends;
                Ok(())
            }
            Stage::Joining(_) | Stage::Admin(_) if !self.is_ending => {
                let bytes = copy_out(&mut core.scratch, &message);
                receives.give_back(message.kind, message.buffer);
                self.handle_copied(core, bytes)
            }
            _ => {
                receives.give_back(message.kind, message.buffer);
                Ok(())
            }
        }
    }

    /// A message that is not an I/O command, in the scratch memory.
    fn handle_copied(&mut self, core: &mut Core, bytes: usize) -> Result<(), End> {
        let scratch = std::mem::take(&mut core.scratch);
        let handled = match &mut self.stage {
            Stage::Admin(lane) => lane.handle_message(core, &scratch[..bytes], &mut self.out),
            _ => self.handle_early(core, &scratch[..bytes]),
        };
        core.scratch = scratch;
        handled
    }

    /// Data that was asked for has come from the host's memory.
    #[inline]
    pub(super) fn handle_read(&mut self, core: &mut Core, slot: u16, data: ScatterList) -> Result<(), End> {
        match &mut self.stage {
            Stage::Io(lane) => {
                lane.handle_read(core, slot, data, &mut self.out);
                Ok(())
            }
            Stage::Joining(_) => self.handle_connect_data(core, &data),
            Stage::Admin(lane) => lane.handle_read(core, slot, &data, &mut self.out),
            Stage::Draining(_) | Stage::Gone => Ok(()),
        }
    }

    /// Data for the host's memory has gone there, or a response.
    #[inline]
    pub(super) fn handle_sent(&mut self, core: &mut Core, id: WorkId) -> Result<(), End> {
        match id {
            WorkId::Response => {
                if let (Some(held), Stage::Io(lane)) = (self.out.finished(), &self.stage) {
                    core.shares.let_go(lane.host(), held);
                }
            }
            WorkId::LastResponse => return Err(End::Disconnected),
            WorkId::Write | WorkId::Read(_) => {}
        }
        self.pump(core)
    }

    /// Whether responses have waited for too long without one reaching the host.
    pub(super) fn is_deaf(&mut self, now: Timestamp) -> bool {
        let progress = self.out.progress();
        if self.out.is_finished() || self.deaf_since.1 != progress {
            self.deaf_since = (now, progress);
        }
        now.since(self.deaf_since.0) >= RESPONSE_PATIENCE
    }

    /// Goes on with admin commands that wait for memory.
    pub(super) fn pump(&mut self, core: &mut Core) -> Result<(), End> {
        match &mut self.stage {
            Stage::Admin(lane) => lane.pump(core, &mut self.out),
            _ => Ok(()),
        }
    }

    /// A response that the target has thought of by itself.
    pub(super) fn respond(&mut self, response: &ResponseCapsule) {
        if let Stage::Admin(_) = &self.stage {
            self.out.respond(response);
        }
    }

    /// What a device was given to do is done. Whether the connection is gone with it.
    #[inline]
    pub(super) fn handle_device(&mut self, core: &mut Core, tag: Tag, done: block::Completion) {
        match &mut self.stage {
            Stage::Io(lane) => lane.handle_device(core, tag, done, Some(&mut self.out)),
            Stage::Draining(lane) => {
                lane.handle_device(core, tag, done, None);
                self.settle(core);
            }
            Stage::Joining(_) | Stage::Admin(_) | Stage::Gone => {}
        }
    }

    /// A command that has waited got its memory.
    pub(super) fn handle_granted(&mut self, core: &mut Core, slot: u16, data: ScatterList) {
        if let Stage::Io(lane) = &mut self.stage {
            lane.granted(core, slot, data, &mut self.out);
        }
    }

    /// The device of commands is no more: those that it has or that wait for it end.
    pub(super) fn abandon_export(&mut self, core: &mut Core, slot: ExportSlot) {
        match &mut self.stage {
            Stage::Io(lane) => lane.abandon_export(core, slot, Some(&mut self.out)),
            Stage::Draining(lane) => {
                lane.abandon_export(core, slot, None);
                self.settle(core);
            }
            Stage::Joining(_) | Stage::Admin(_) | Stage::Gone => {}
        }
    }

    /// Namespaces have changed.
    pub(super) fn refresh(&mut self, view: impl FnOnce(nvmf::controller::ControllerKey) -> View) {
        if let Stage::Io(lane) = &mut self.stage {
            lane.set_view(view(lane.controller()));
        }
    }

    /// The queue pair is destroyed: nothing more comes in or goes out.
    pub(super) fn lost(&mut self, core: &mut Core) {
        let unsent = self.out.give_up();
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Io(mut lane) => {
                unsent.for_each(|held| core.shares.let_go(lane.host(), held));
                core.forget(self.id);
                lane.lost(core);
                self.stage = Stage::Draining(lane);
                self.settle(core);
            }
            Stage::Admin(lane) => core.hub.queue_gone(lane.key(), QueueId::ADMIN),
            Stage::Draining(lane) => self.stage = Stage::Draining(lane),
            Stage::Joining(_) | Stage::Gone => {}
        }
    }

    /// Tells the target when nothing of a queue is in flight any more.
    fn settle(&mut self, core: &mut Core) {
        if let Stage::Draining(lane) = &self.stage
            && lane.in_flight() == 0
        {
            let (key, queue, host) = (lane.controller(), lane.queue(), lane.host());
            self.stage = Stage::Gone;
            core.shares.left(host);
            core.hub.queue_gone(key, queue);
        }
    }
}

/// Copies a message to where the CPU can look at it; what is longer than there is room is cut.
fn copy_out(scratch: &mut [u8], message: &Message) -> usize {
    let bytes = (message.bytes as usize).min(scratch.len());
    // A message lies inside its buffer.
    if message.buffer.read(0, &mut scratch[..bytes]).is_ok() { bytes } else { 0 }
}
