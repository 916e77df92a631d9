//! The queue itself: submit, poll, deadlines, and what to do when the controller begins anew.

use std::collections::VecDeque;
use std::sync::Arc;

use block::{
    Abilities, Access, Completion, Geometry, IoError, OpenQueueError, QueueOptions, Request, Timestamp,
    WakeMode,
};
use nvme_spec::{CommandId, Cqe, Sqe, Status};

use super::command::{error_of, fill_command};
use super::health::Seen;
use super::waiting::{Waiting, Wish};
use super::{Orphan, QueueMemory};
use crate::link::{Attachment, QueueLink};
use crate::namespace::permitted;
use crate::namespace_state::NamespaceState;
use crate::pci::PciFunction;
use crate::phase::{Phase, Stage};
use crate::shared::{ControllerLimits, ResetReason, Shared};
use crate::slots::Slots;

/// One queue pair, used by one thread.
pub(crate) struct Engine<F: PciFunction> {
    pub(super) shared: Arc<Shared<F>>,
    pub(super) namespace: Arc<NamespaceState>,
    pub(super) link: Arc<QueueLink>,
    pub(super) memory: QueueMemory,
    pub(super) slots: Slots<Waiting>,
    /// What completes at the next poll without the controller.
    pub(super) ended: Vec<Completion>,
    /// Requests taken and not yet given back.
    pub(super) in_flight: usize,
    pub(super) depth: usize,
    pub(super) command_timeout_ns: u64,
    /// The phase that the queue has acted upon.
    pub(super) phase: Phase,
    /// The incarnation in which the controller was asked to create the queue, or has.
    pub(super) attached: Option<u64>,
    /// Whether commands can be rung: the controller is live and has the queue.
    pub(super) live: bool,
    pub(super) was_live: bool,
    pub(super) interrupt_vector: Option<u16>,
    pub(super) sgls: bool,
    pub(super) geometry: Geometry,
    pub(super) abilities: Abilities,
    pub(super) access: Access,
    pub(super) version: u32,
    pub(super) removed: bool,
    /// The newest critical warning bits.
    pub(super) warning: u8,
    /// Aborts that this incarnation was asked for.
    pub(super) aborts_wished: u64,
    /// Slots of completed commands that an abort under way may still name.
    pub(super) quarantine: Vec<u16>,
    pub(super) seen: Seen,
    pub(super) next_judgement: Timestamp,
    pub(super) last_progress: Timestamp,
}

impl<F: PciFunction> Engine<F> {
    /// A queue that the controller does not know yet; polling attaches it.
    pub(crate) fn new(
        shared: Arc<Shared<F>>,
        (namespace, access): (Arc<NamespaceState>, Access),
        link: Arc<QueueLink>,
        limits: &ControllerLimits,
        options: QueueOptions,
    ) -> Result<Self, OpenQueueError> {
        let depth_max = (limits.queue_entries_max - 1).min(super::QUEUE_DEPTH_MAX);
        let depth = match u16::try_from(options.depth) {
            Ok(depth) if depth > 0 && options.depth <= depth_max => depth,
            _ => return Err(OpenQueueError::Depth { depth: options.depth, depth_max }),
        };
        let mut memory = QueueMemory::new(&*shared.function, link.queue_id, depth, limits)?;
        let has_vector = usize::from(link.queue_id.0) < shared.vectors.len();
        let interrupt_vector = (options.wake == WakeMode::Interrupt && has_vector).then_some(link.queue_id.0);
        // A controller may hold interrupts back for as long as it is not told that the last ones were seen.
        if interrupt_vector.is_none() {
            memory.cq.tell_late(depth.into());
        }
        let phase = Phase::new(shared.phase.load().incarnation, Stage::Starting);
        let version = namespace.version();
        let shape = namespace.shape();
        let mut engine = Self {
            memory,
            slots: Slots::new(depth),
            ended: Vec::with_capacity(usize::from(depth)),
            in_flight: 0,
            depth: usize::from(depth),
            command_timeout_ns: u64::try_from(shared.options.command_timeout.as_nanos()).unwrap_or(u64::MAX),
            phase,
            attached: None,
            live: false,
            was_live: false,
            interrupt_vector,
            sgls: limits.sgls,
            geometry: shape.geometry,
            abilities: permitted(shape.abilities, access),
            access,
            version,
            removed: namespace.is_removed(),
            warning: 0,
            aborts_wished: 0,
            quarantine: Vec::with_capacity(usize::from(depth)),
            seen: Seen {
                incarnation: phase.incarnation,
                geometry: shape.geometry,
                media_errors: namespace.media_errors(),
                critical_warning: 0,
                removed: false,
            },
            next_judgement: Timestamp::NEVER,
            last_progress: Timestamp::default(),
            shared,
            namespace,
            link,
        };
        engine.follow();
        Ok(engine)
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether the controller has created the queue; an error if it will not.
    pub(crate) fn attachment(&mut self) -> Result<bool, OpenQueueError> {
        self.follow();
        match self.link.attachment() {
            Attachment::Refused(status) => Err(OpenQueueError::Device(status)),
            _ if self.phase.is_over() => Err(OpenQueueError::Gone),
            _ => Ok(self.live),
        }
    }

    pub(crate) fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        self.follow();
        if !self.live || self.removed {
            self.submit_without_device(requests, now);
            return;
        }
        let due = now.after_ns(self.command_timeout_ns);
        let mut sqe = Sqe::default();
        while self.in_flight < self.depth {
            let Some((slot, cid)) = self.slots.next_free() else { break };
            let Some(request) = requests.front() else { break };
            let built = self.build(&mut sqe, request, slot, cid, now);
            let Some(request) = requests.pop_front() else { break };
            self.in_flight += 1;
            match built {
                Ok(()) => {
                    self.next_judgement = self.next_judgement.min(due).min(request.deadline);
                    self.memory.sq.push(&sqe);
                    self.slots.occupy(Waiting::new(request, due));
                }
                Err(error) => self.ended.push(Completion { request, result: Err(error) }),
            }
        }
        if self.memory.sq.ring(&*self.shared.function) {
            self.last_progress = now;
        }
        // Slots that are held for nobody let others wait though there is room.
        if !requests.is_empty() && self.slots.occupied() > self.in_flight {
            self.end_late(requests, now);
        }
    }

    #[inline]
    fn build(
        &self,
        sqe: &mut Sqe,
        request: &Request,
        slot: u16,
        cid: CommandId,
        now: Timestamp,
    ) -> Result<(), IoError> {
        if request.deadline <= now {
            return Err(IoError::TimedOut);
        }
        let ids = (self.namespace.nsid, cid);
        let inline = fill_command(sqe, request, &self.geometry, self.abilities, ids)?;
        let addresses = self.shared.function.addresses();
        match inline {
            None => self.memory.pages.point(sqe, slot, &request.data, addresses, self.sgls)?,
            Some(bytes) => self.memory.pages.point_to_bytes(sqe, slot, addresses, bytes)?,
        }
        Ok(())
    }

    /// While the controller begins anew, requests wait with the submitter, but not beyond their deadlines. On a device
    /// that is gone they fail.
    #[cold]
    fn submit_without_device(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        if !self.phase.is_over() && !self.removed {
            return self.end_late(requests, now);
        }
        while self.in_flight < self.depth {
            let Some(request) = requests.pop_front() else { break };
            self.in_flight += 1;
            self.ended.push(Completion { request, result: Err(IoError::Gone) });
        }
    }

    /// Ends those of the waiting requests whose deadline has passed.
    #[cold]
    fn end_late(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        let mut at = 0;
        while self.in_flight < self.depth && at < requests.len() {
            if requests[at].deadline > now {
                at += 1;
                continue;
            }
            let Some(request) = requests.remove(at) else { break };
            self.in_flight += 1;
            self.ended.push(Completion { request, result: Err(IoError::TimedOut) });
        }
    }

    pub(crate) fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        self.follow();
        let before = completions.len();
        if self.live {
            self.reap(completions);
        }
        // Completions first: after a pause of our own they are there, and nothing has timed out.
        if now >= self.next_judgement {
            self.judge(now);
        }
        completions.append(&mut self.ended);
        let given_back = completions.len() - before;
        if given_back > 0 {
            self.in_flight -= given_back;
            self.last_progress = now;
        }
    }

    /// Takes what the controller has completed.
    fn reap(&mut self, completions: &mut Vec<Completion>) {
        for _ in 0..=self.depth {
            let Some(entry) = self.memory.cq.pop() else { break };
            self.complete(entry, completions);
        }
        self.memory.cq.ring_if_due(&*self.shared.function);
    }

    #[inline]
    pub(super) fn complete(&mut self, entry: Cqe, completions: &mut Vec<Completion>) {
        let of_this_queue = entry.sqid() == self.link.queue_id;
        let Some(command) = (if of_this_queue { self.slots.release(entry.cid()) } else { None }) else {
            self.stray(entry);
            return;
        };
        if command.is_late() {
            self.quarantine.extend(self.slots.take_last_free());
        }
        let status = entry.status();
        let result = if status.is_success() { Ok(()) } else { Err(self.error_of(status, &command)) };
        if let Some(request) = command.into_request() {
            completions.push(Completion { request, result });
        }
    }

    #[cold]
    fn error_of(&self, status: Status, command: &Waiting) -> IoError {
        let error = error_of(status, command.is_late());
        if status.is_media_error() && error != IoError::Miscompare {
            self.namespace.count_media_error();
        }
        error
    }

    /// Aborts name commands by identifier. When all have been answered, none can hit a slot's next command.
    #[cold]
    pub(super) fn end_quarantine(&mut self) {
        if self.link.aborts_answered() == self.aborts_wished {
            self.slots.free_again(&mut self.quarantine);
        }
    }

    /// A controller that answers what was not asked has lost its state, or lies: only a reset makes it known again.
    #[cold]
    pub(super) fn stray(&self, entry: Cqe) {
        let (queue, command) = (self.link.queue_id, entry.cid());
        tracing::error!(%queue, %command, "a completion answers no command");
        self.shared.wish_reset(self.phase.incarnation, ResetReason::StrayCompletion { queue, command });
    }

    /// Gives back what is past its deadline, asks for aborts and, when those do not help, for a reset.
    #[cold]
    fn judge(&mut self, now: Timestamp) {
        let mut next = Timestamp::NEVER;
        let abort_until = now.after(self.shared.options.abort_timeout);
        for (id, command) in self.slots.commands() {
            self.ended.extend(command.give_back_late(now));
            match command.wish(now) {
                Some(Wish::Abort) if self.link.wish_abort(self.phase.incarnation, id) => {
                    self.aborts_wished += 1;
                    command.aborting(abort_until);
                    self.shared.core_wake.signal();
                }
                // The mailbox is full of wishes: the core needs time.
                Some(Wish::Abort) => command.postpone(abort_until),
                Some(Wish::Reset) => {
                    command.hopeless();
                    let reason = ResetReason::CommandTimeout { queue: self.link.queue_id, command: id };
                    self.shared.wish_reset(self.phase.incarnation, reason);
                }
                None => {}
            }
            next = next.min(command.next_due());
        }
        self.next_judgement = next;
    }

    /// What the core needs to see to the queue's end.
    pub(crate) fn into_orphan(self) -> Orphan {
        // Nobody rings it any more, in whatever incarnation.
        self.link.acknowledge_halt(u64::MAX - 1);
        Orphan { link: self.link, incarnation: self.attached, slots: self.slots, memory: self.memory }
    }
}
