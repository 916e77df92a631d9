//! What a queue does when the controller begins anew: the queue's side of the drawing in `phase`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use block::{Completion, IoError, Timestamp};

use super::engine::Engine;
use crate::link::Attachment;
use crate::namespace::permitted;
use crate::pci::PciFunction;
use crate::phase::{Phase, Stage};
use crate::shared::{AttachQueue, Message};

impl<F: PciFunction> Engine<F> {
    /// Acts upon what the core says: once a poll, two loads if nothing has changed.
    #[inline]
    pub(super) fn follow(&mut self) {
        let phase = self.shared.phase.load();
        if phase != self.phase {
            self.enter(phase);
        }
        if !self.live && self.attached.is_some() && self.phase.stage == Stage::Live {
            self.live = self.link.attachment() == Attachment::Created;
            self.was_live |= self.live;
        }
        self.warning = self.shared.critical_warning.load(Ordering::Relaxed);
        if !self.quarantine.is_empty() {
            self.end_quarantine();
        }
        if self.namespace.version() != self.version {
            self.version = self.namespace.version();
            let shape = self.namespace.shape();
            (self.geometry, self.abilities) = (shape.geometry, permitted(shape.abilities, self.access));
            self.removed = self.namespace.is_removed();
        }
    }

    /// What `follow` changes.
    pub(super) fn followed(&self) -> (Phase, bool, u32, u8) {
        (self.phase, self.live, self.version, self.warning)
    }

    /// Follows the drawing in `phase`.
    #[cold]
    fn enter(&mut self, phase: Phase) {
        self.live = false;
        if self.attached.is_some_and(|incarnation| incarnation < phase.incarnation) {
            self.end_incarnation(if phase.is_over() { IoError::Gone } else { IoError::Reset });
        }
        match phase.stage {
            Stage::Live if self.attached.is_none() => self.attach(phase.incarnation),
            Stage::Halting => self.link.acknowledge_halt(phase.incarnation),
            Stage::Unreachable => self.end_unreachable(),
            Stage::Starting | Stage::Live | Stage::Dead => {}
        }
        self.phase = phase;
        self.shared.core_wake.signal();
    }

    /// The controller has been disabled: what it has completed counts, and it answers nothing else any more.
    fn end_incarnation(&mut self, error: IoError) {
        self.take_last_completions();
        for command in self.slots.release_all() {
            let result = Err(if command.is_late() { IoError::TimedOut } else { error });
            self.ended.extend(command.into_request().map(|request| Completion { request, result }));
        }
        self.detach();
        self.memory.clear();
    }

    /// Nobody knows whether the controller still reaches memory: requests come back without theirs, which is kept for
    /// ever, as are the rings.
    fn end_unreachable(&mut self) {
        self.take_last_completions();
        for command in self.slots.release_all() {
            let (request, data) = command.into_parts();
            std::mem::forget(data);
            self.ended.extend(request.map(|request| Completion { request, result: Err(IoError::Gone) }));
        }
        std::mem::forget(self.memory.pool().clone());
        self.detach();
    }

    fn take_last_completions(&mut self) {
        let mut completions = std::mem::take(&mut self.ended);
        for _ in 0..=self.depth {
            let Some(entry) = self.memory.cq.pop() else { break };
            self.complete(entry, &mut completions);
        }
        self.ended = completions;
    }

    fn detach(&mut self) {
        self.link.forget_aborts();
        self.aborts_wished = 0;
        self.slots.free_again(&mut self.quarantine);
        self.attached = None;
        self.next_judgement = Timestamp::NEVER;
    }

    /// Asks the core to create the queue on the controller.
    fn attach(&mut self, incarnation: u64) {
        let addresses = self.shared.function.addresses();
        let iovas = self.memory.sq.iova(addresses).zip(self.memory.cq.iova(addresses));
        let Some((sq_iova, cq_iova)) = iovas else { return };
        let limits = self.shared.directory().limits.clone();
        if let Some(limits) = limits {
            self.memory.rebind(self.link.queue_id, &limits);
            self.sgls = limits.sgls;
        }
        self.link.set_attachment(Attachment::Asked);
        let attach = AttachQueue {
            link: Arc::clone(&self.link),
            sq_iova,
            cq_iova,
            sq_entries: self.memory.sq.entries(),
            cq_entries: self.memory.cq.entries(),
            interrupt_vector: self.interrupt_vector,
            incarnation,
            is_first: !self.was_live,
        };
        if self.shared.tell_core(Message::Attach(attach)).is_ok() {
            self.attached = Some(incarnation);
        }
    }
}
