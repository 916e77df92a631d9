//! The controller's core: one thread's state machine that owns the registers and the admin queue.
//!
//! Nothing here blocks, sleeps or reads a clock: [`Core::step`] looks at what there is, acts, and says when it wants to
//! be called again. `worker` calls it from a thread; tests call it with a virtual clock.

mod admin_queue;
mod events;
mod init;
mod job;
mod lifecycle;
mod memory;
mod outside;
mod queues;
mod scan;

use std::collections::VecDeque;
use std::sync::Arc;

use block::Timestamp;
use nvme_spec::registers::Capabilities;

use crate::identity::ControllerInfo;
use crate::pci::PciFunction;
use crate::shared::Shared;
use admin_queue::AdminQueue;
use job::Job;
use lifecycle::State;
use memory::AdminMemory;

pub(crate) use memory::CoreError;

/// How often registers are looked at while the core waits for them to change.
const REGISTER_POLL_NS: u64 = 500_000;
/// How often a live controller's status register is looked at.
const HEALTH_CHECK_NS: u64 = 500_000_000;
/// How often admin completions are looked for when an interrupt should tell: one may be lost.
const ADMIN_DOUBT_NS: u64 = 50_000_000;

/// The core of one controller.
pub(crate) struct Core<F: PciFunction> {
    shared: Arc<Shared<F>>,
    state: State,
    incarnation: u64,
    /// Attempts to bring the controller up since it was last live.
    failures: u32,
    /// Health checks in a row that a live controller has passed.
    healthy: u32,
    /// Event requests that the controller takes, as far as is known.
    event_requests_max: usize,
    capabilities: Capabilities,
    memory: AdminMemory,
    admin: AdminQueue,
    /// Whether admin completions interrupt.
    interrupts: bool,
    jobs: VecDeque<Job>,
    current: Option<Job>,
    info: Option<ControllerInfo>,
    next_health_check: Timestamp,
    /// Whether memory that queues leave behind is to be kept for ever.
    unreachable: bool,
}

impl<F: PciFunction> Core<F> {
    /// Does what there is to do; returns when it wants to be called again at the latest.
    pub(crate) fn step(&mut self, now: Timestamp) -> Timestamp {
        self.take_messages();
        self.step_lifecycle(now);
        self.take_answers(now);
        self.send_aborts(now);
        self.take_admin_call();
        self.start_job(now);
        self.next_wake(now)
    }

    /// Whether the controller is gone or closed, so that no further step does anything.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn next_wake(&mut self, now: Timestamp) -> Timestamp {
        let register_poll = now.after_ns(REGISTER_POLL_NS);
        match self.state {
            State::Over => Timestamp::NEVER,
            State::Settling { .. }
            | State::Disabling { .. }
            | State::Enabling { .. }
            | State::Halting { .. }
            | State::ShuttingDown { .. } => register_poll,
            State::Initialising | State::Live => {
                let busy = self.current.is_some() || self.admin.aborts() > 0;
                let look = match (busy, self.interrupts) {
                    (true, true) => now.after_ns(ADMIN_DOUBT_NS),
                    (true, false) => register_poll,
                    (false, _) => Timestamp::NEVER,
                };
                let due = self.admin.first_due().map_or(Timestamp::NEVER, |(due, _)| due);
                look.min(due).min(self.next_health_check)
            }
        }
    }
}
