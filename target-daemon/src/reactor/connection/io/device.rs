//! A command and its device: requests, completions, and ends of other kinds.

use block::{Completion, IoError, Op, Request};
use dma::ScatterList;
use nvmf::controller::Transfer;

use super::command::{Capsule, Step, Tag, slot_number};
use super::{IoLane, Outgoing};
use crate::hub::ExportSlot;
use crate::reactor::buffers::Need;
use crate::reactor::core::Core;

/// Bytes of the ranges of the largest Dataset Management.
const DISCARD_BYTES_MAX: usize = 4096;

impl IoLane {
    /// Gives a command to its device.
    #[inline]
    pub(super) fn submit(&mut self, core: &mut Core, index: usize, data: ScatterList, out: &mut Outgoing) {
        let tag = self.tag(index);
        let command = &mut self.commands[index];
        if command.op == Op::Discard {
            self.discard(core, index, &data, out);
            return;
        }
        command.step = Step::InDevice { requests: 1 };
        let request = Request::new(command.op, command.range, data).with_tag(tag.pack());
        if let Err(request) = core.devices.submit(command.export, request) {
            command.result = Err(IoError::Gone);
            self.finish(core, index, request.data, Some(out));
        }
    }

    const fn tag(&self, index: usize) -> Tag {
        let connection = self.connection.handle.slot();
        Tag { port: self.connection.port, connection, command: slot_number(index) }
    }

    /// A discard is as many requests as its data names ranges.
    #[cold]
    fn discard(&mut self, core: &mut Core, index: usize, data: &ScatterList, out: &mut Outgoing) {
        let tag = self.tag(index).pack();
        let command = &mut self.commands[index];
        let Some(slot) = command.slot else { unreachable!("a command that is carried out has a slot") };
        let mut ranges = std::mem::take(&mut core.ranges);
        ranges.clear();
        let mut bytes = [0; DISCARD_BYTES_MAX];
        let length = (command.bytes as usize).min(bytes.len());
        let parsed = match data.read(0, &mut bytes[..length]) {
            Ok(()) => self.queue.discard_ranges(slot, &bytes[..length], &mut ranges),
            Err(_) => Err(self.queue.complete_transfer_failed(slot)),
        };
        if let Err(response) = parsed {
            let held = self.release(core, index);
            self.let_go(core, held);
            out.respond(&response);
        } else if ranges.is_empty() {
            self.finish(core, index, ScatterList::default(), Some(out));
        } else {
            let requests = u16::try_from(ranges.len()).unwrap_or(u16::MAX);
            self.commands[index].step = Step::InDevice { requests };
            let export = self.commands[index].export;
            for range in &ranges {
                let request = Request::new(Op::Discard, *range, ScatterList::default()).with_tag(tag);
                let taken = core.devices.submit(export, request).is_ok();
                debug_assert!(taken, "a device is there while it has commands");
            }
        }
        core.ranges = ranges;
    }

    /// A request is back.
    #[inline]
    pub(in crate::reactor::connection) fn handle_device(
        &mut self,
        core: &mut Core,
        tag: Tag,
        done: Completion,
        out: Option<&mut Outgoing>,
    ) {
        let index = usize::from(tag.command);
        let Some(command) = self.commands.get_mut(index) else { return };
        let Step::InDevice { requests } = &mut command.step else { return };
        *requests -= 1;
        let is_last = *requests == 0;
        if let Err(error) = done.result {
            command.result = command.result.and(Err(error));
        }
        if is_last {
            self.finish(core, index, done.request.data, out);
        }
    }

    /// A command is done: the host is told, if it is still there.
    #[inline]
    fn finish(&mut self, core: &mut Core, index: usize, data: ScatterList, out: Option<&mut Outgoing>) {
        let command = &self.commands[index];
        let Some(slot) = command.slot else { unreachable!("a command that is carried out has a slot") };
        let (result, transfer) = (command.result, command.transfer);
        let latency_ns = core.now.ns_since(command.started);
        self.cells.ended(command.op, command.bytes.into(), latency_ns, result.is_ok());
        if let Some(device) = core.devices.get_mut(command.export) {
            device.cells.ended(command.op, command.bytes.into(), latency_ns, result.is_ok());
        }
        let response = self.queue.complete(slot, result);
        let held = self.release(core, index);
        match (out, transfer, result) {
            (Some(out), Transfer::ToHost(memory), Ok(())) => {
                out.write(memory, data, false);
                out.respond_behind(&response, held);
            }
            (out, _, _) => {
                self.let_go(core, held);
                if let Some(out) = out {
                    out.respond(&response);
                }
            }
        }
    }

    /// The host no longer holds chunks.
    #[inline]
    fn let_go(&self, core: &mut Core, held: Option<Need>) {
        if let Some(need) = held {
            core.shares.let_go(self.host, need);
        }
    }

    /// A command no longer holds anything, but its data: that is the host's until it is let go.
    #[inline]
    fn release(&mut self, core: &mut Core, index: usize) -> Option<Need> {
        let command = &mut self.commands[index];
        if let Some(device) = core.devices.get_mut(command.export) {
            device.commands -= 1;
            if let Some(need) = command.held {
                device.let_go(need);
            }
            if matches!(command.capsule, Capsule::Lent) {
                device.receives -= 1;
            }
        }
        command.step = Step::Free;
        command.slot = None;
        command.capsule = Capsule::No;
        command.held.take()
    }

    /// The connection is gone: commands that no device works on end. The target counts them as answered.
    pub(in crate::reactor::connection) fn lost(&mut self, core: &mut Core) {
        for index in 0..self.commands.len() {
            let command = &self.commands[index];
            match command.step {
                Step::Free | Step::InDevice { .. } => continue,
                Step::Reading => core.reads.end(core.buffers.need(command.bytes)),
                Step::Waiting => {}
            }
            if let Some(slot) = command.slot {
                self.queue.complete_transfer_failed(slot);
            }
            let held = self.release(core, index);
            self.let_go(core, held);
        }
    }

    /// A device's queue was dropped with what was in it, and nobody waits for memory on its behalf any more.
    pub(in crate::reactor::connection) fn abandon_export(
        &mut self,
        core: &mut Core,
        export: ExportSlot,
        mut out: Option<&mut Outgoing>,
    ) {
        for index in 0..self.commands.len() {
            let command = &mut self.commands[index];
            if command.step == Step::Free || command.export != export {
                continue;
            }
            command.export = ExportSlot::NONE;
            command.result = Err(IoError::Gone);
            // What is on its way from the host's memory ends when it is there.
            if command.step != Step::Reading {
                self.finish(core, index, ScatterList::default(), out.as_deref_mut());
            }
        }
    }
}
