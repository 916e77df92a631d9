//! The controller: an NVM subsystem with one port, written from the specification.
//!
//! It does no waiting and reads no clock. A host's register accesses and doorbells go in; [`Controller::step`] does what
//! is to be done at a moment and says when the next one is. It shares no queue code with the driver.

mod abort;
mod admin;
mod attach;
mod events;
mod execute;
mod features;
mod held;
mod identify;
mod life;
mod logs;
mod namespace;
mod nvm;
mod queue_commands;
mod queues;
mod registers;
mod reservation_commands;
mod reservations;
mod serve;
mod shadow;
mod stats;
mod transfer;

use std::sync::Arc;

use block::Timestamp;
use nvme_spec::{Sqe, Status};

pub use namespace::NamespaceError;
pub use stats::Stats;

use crate::data_pointer::Extents;
use crate::doorbells::Doorbells;
use crate::faults::{Action, FaultPlan, Lie, Phase};
use crate::interrupts::Interrupts;
use crate::iommu::Iommu;
use crate::options::ControllerOptions;

use events::AsyncEvents;
use features::Features;
use held::HeldCommands;
use logs::Logs;
use namespace::Namespaces;
use queues::QueueSet;
use registers::Registers;
use shadow::Shadow;

/// When a controller wants to be stepped again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When a doorbell or a register is written.
    Idle,
    /// Then, or when a doorbell or a register is written.
    At(Timestamp),
    /// At once: there is more to do.
    Again,
}

/// What a command ends with: dword 0 of its completion, or an error.
pub(crate) type Answer = Result<u32, Status>;

/// The controller.
pub(crate) struct Controller {
    pub(crate) options: ControllerOptions,
    pub(crate) iommu: Iommu,
    pub(crate) interrupts: Interrupts,
    pub(crate) faults: FaultPlan,
    pub(crate) namespaces: Namespaces,
    doorbells: Arc<Doorbells>,
    registers: Registers,
    queues: QueueSet,
    held: HeldCommands,
    shadow: Option<Shadow>,
    features: Features,
    events: AsyncEvents,
    logs: Logs,
    stats: Stats,
    /// The time of this step.
    now: Timestamp,
    /// Where the current command's data is; kept for its allocation.
    extents: Extents,
    /// The current command's data on its way; kept for its allocation.
    buffer: Vec<u8>,
    /// What is to happen in a later phase of the current command.
    act: Option<(Phase, Action)>,
    /// What the current command is to lie about.
    lie: Option<Lie>,
}

impl Controller {
    pub(crate) fn new(options: ControllerOptions, doorbells: Arc<Doorbells>) -> Self {
        Self {
            registers: Registers::new(&options),
            queues: QueueSet::new(options.io_queue_pairs),
            features: Features::new(&options),
            iommu: Iommu::default(),
            interrupts: Interrupts::default(),
            faults: FaultPlan::new(0),
            namespaces: Namespaces::default(),
            doorbells,
            held: HeldCommands::default(),
            shadow: None,
            events: AsyncEvents::default(),
            logs: Logs::default(),
            stats: Stats::default(),
            now: Timestamp::default(),
            extents: Extents::default(),
            buffer: Vec::new(),
            act: None,
            lie: None,
            options,
        }
    }

    /// Does what is to be done now.
    pub(crate) fn step(&mut self, now: Timestamp) -> Next {
        self.now = now;
        self.advance_life(now);
        self.take_doorbells();
        if self.registers.may_complete() {
            self.look_at_shadows();
            self.complete_due();
        }
        let more = self.registers.is_running() && self.fetch_round();
        if self.registers.may_complete() {
            self.report_events();
        }
        self.interrupts.flush();
        if more { Next::Again } else { self.next() }
    }

    fn next(&self) -> Next {
        let held = self.next_held();
        match held.min(self.registers.next_change()) {
            Timestamp::NEVER => Next::Idle,
            at if at <= self.now => Next::Again,
            at => Next::At(at),
        }
    }

    /// When a held command can complete: now, if it became due in this step.
    fn next_held(&self) -> Timestamp {
        if !self.registers.may_complete() {
            return Timestamp::NEVER;
        }
        if self.held.has_due(self.now, |sqid| self.queues.has_room(sqid)) {
            return self.now;
        }
        self.held.next_due(self.now)
    }

    /// What was counted so far.
    pub(crate) fn stats(&self) -> Stats {
        let (interrupts, interrupts_lost) = self.interrupts.counts();
        Stats {
            dma_accesses: self.iommu.accesses(),
            dma_faults: self.iommu.fault_count(),
            interrupts,
            interrupts_lost,
            held: self.held.len(),
            ..self.stats
        }
    }

    /// What a Controller Level Reset ends besides queues and commands.
    fn lose_session(&mut self) {
        self.features = Features::new(&self.options);
        self.events.reset();
    }

    /// Makes something happen.
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Remove => {
                self.remove();
                self.iommu.enable(false);
            }
            Action::Fatal => self.fail(),
            Action::Detach(nsid) => self.detach(nsid),
            Action::Attach(nsid) => self.attach(nsid),
            Action::Resize(nsid, blocks) => self.resize(nsid, blocks),
            Action::CriticalWarning(bit) => self.warn(bit),
            Action::Preempt(nsid) => self.be_preempted(nsid),
        }
    }

    /// Lets a fault's action happen if it is for this phase. Returns whether the controller still works.
    fn pass(&mut self, phase: Phase) -> bool {
        if let Some((at, action)) = self.act
            && at == phase
        {
            self.act = None;
            self.act(action);
        }
        self.registers.may_complete()
    }
}

/// A command that was fetched.
#[derive(Clone, Copy, Debug)]
struct Fetched {
    sqid: nvme_spec::QueueId,
    sqe: Sqe,
}
