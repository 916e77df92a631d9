//! Memory for a command's data, and the data in it before a device gets it.

use block::Op;
use dma::{DmaBuf, ScatterList, Segment};
use nvme_spec::sqe::SQE_BYTES;
use nvmf::controller::Transfer;

use super::command::{Capsule, Step, slot_number};
use super::{IoLane, Outgoing};
use crate::reactor::core::Core;
use crate::reactor::receives::Receives;
use crate::reactor::waiting::Ticket;

/// Of the receives of a reactor, the commands of one device hold at most this part; further in-capsule data is copied.
const RECEIVES_SHARE: u32 = 2;

impl IoLane {
    /// Data that came in the capsule goes to the device from where it lies, if the device can have it there.
    pub(super) fn take_capsule(
        &mut self,
        core: &mut Core,
        receives: &mut Receives,
        index: usize,
        offset: usize,
        buffer: DmaBuf,
        out: &mut Outgoing,
    ) {
        receives.lend();
        let command = &mut self.commands[index];
        let start = u32::try_from(SQE_BYTES + offset).unwrap_or(u32::MAX);
        let Some(data) = buffer.into_segment().slice(start, command.bytes) else {
            unreachable!("the target has checked that it is inside the capsule")
        };
        let share = core.receives / RECEIVES_SHARE;
        let Some(device) = core.devices.get_mut(command.export) else {
            unreachable!("it was there just now")
        };
        let is_aligned = data.region_offset().is_multiple_of(u64::from(device.segment_alignment));
        if command.op == Op::Discard || (is_aligned && device.receives < share) {
            device.receives += 1;
            command.capsule = Capsule::Lent;
            self.submit(core, index, data.into(), out);
        } else {
            command.capsule = Capsule::ToCopy(data);
            self.acquire(core, index, out);
        }
    }

    /// Gets memory for a command's data, now or later.
    #[inline]
    pub(super) fn acquire(&mut self, core: &mut Core, index: usize, out: &mut Outgoing) {
        let command = &self.commands[index];
        let ticket = Ticket {
            connection: self.connection,
            slot: slot_number(index),
            export: command.export,
            host: self.host,
            need: core.buffers.need(command.bytes),
            is_from_host: matches!(command.transfer, Transfer::FromHost(_)),
        };
        match core.take_now(&ticket) {
            Some(data) => self.granted(core, ticket.slot, data, out),
            None => core.wait(ticket),
        }
    }

    /// A command has memory for its data.
    #[inline]
    pub(in crate::reactor::connection) fn granted(
        &mut self,
        core: &mut Core,
        slot: u16,
        data: ScatterList,
        out: &mut Outgoing,
    ) {
        let index = usize::from(slot);
        let command = &mut self.commands[index];
        debug_assert!(command.step == Step::Waiting, "only a command that waits gets memory");
        command.held = Some(core.buffers.need(command.bytes));
        match (command.transfer, std::mem::replace(&mut command.capsule, Capsule::No)) {
            (Transfer::FromHost(memory), _) => {
                command.step = Step::Reading;
                out.read(memory, data, slot);
            }
            (_, Capsule::ToCopy(from)) => {
                copy(core, &from, &data);
                self.submit(core, index, data, out);
            }
            _ => self.submit(core, index, data, out),
        }
    }

    /// A command's data has come from the host's memory.
    #[inline]
    pub(in crate::reactor::connection) fn handle_read(
        &mut self,
        core: &mut Core,
        slot: u16,
        data: ScatterList,
        out: &mut Outgoing,
    ) {
        let Some(command) = self.commands.get(usize::from(slot)) else { return };
        if command.step == Step::Reading {
            core.reads.end(core.buffers.need(command.bytes));
            self.submit(core, usize::from(slot), data, out);
        }
    }
}

/// Copies in-capsule data to where the device can have it, and counts it.
#[cold]
fn copy(core: &mut Core, from: &Segment, to: &ScatterList) {
    let mut start = from.region_offset();
    for part in to.segments() {
        let bytes = part.bytes() as usize;
        let copied = from.memory().copy(start, part.memory(), part.region_offset(), bytes);
        debug_assert!(copied.is_ok(), "both are as long as the command's data");
        start += u64::from(part.bytes());
    }
    core.copied_bytes += u64::from(from.bytes());
}
