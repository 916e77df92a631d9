//! The life of a controller that CC and CSTS tell of (Base 3.5 and 3.6). Only the methods here change it.
//!
//! ```text
//!              CC.EN = 1                time                 CC.EN = 0               time
//!  Disabled ------------> Enabling -----------------> Ready -----------> Disabling --------> Disabled
//!                            |  CC.EN = 0                                    ^
//!                            +-----------------------------------------------+
//! ```
//! CSTS.RDY is 1 in Ready, and in Disabling when it comes from there. CSTS.CFS (`fatal`) and the shutdown run beside it;
//! Disabled ends both.

use block::Timestamp;
use nvme_spec::QueueId;

use super::Controller;
use super::queues::{CompletionQueue, QueueSet, SubmissionQueue};
use super::registers::Registers;
use crate::faults::{LifeFault, Moment};

/// When something is to happen. Registers are written at no known time, so a wait begins with the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// So many nanoseconds after the next step.
    Wait(u64),
    /// Then.
    At(Timestamp),
    /// Never: a fault.
    Never,
}

impl Timer {
    /// Whether it is time. A wait starts here.
    fn is_due(&mut self, now: Timestamp) -> bool {
        if let Self::Wait(ns) = *self {
            *self = Self::At(now.after_ns(ns));
        }
        matches!(self, Self::At(at) if *at <= now)
    }

    pub(super) fn due(self) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Wait(_) => Timestamp::default(),
            Self::Never => Timestamp::NEVER,
        }
    }
}

/// The state that the module's head draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// No queues, no DMA.
    Disabled,
    /// CSTS.RDY is 0 still.
    Enabling(Timer),
    /// Commands are fetched.
    Ready,
    /// CSTS.RDY is 1 still; what is in flight may complete.
    Disabling(Timer),
}

/// CSTS.SHST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// None was asked for.
    None,
    /// It goes on.
    Occurring(Timer),
    /// It is done.
    Complete,
}

impl Controller {
    pub(super) fn begin_enable(&mut self) {
        let timer = self.timer_of(Moment::Enable, self.options.enable_ns);
        self.registers.life = Life::Enabling(timer);
        if !self.registers.is_legal(self.registers.cc) {
            self.registers.fatal = true;
        }
    }

    pub(super) fn begin_disable(&mut self) {
        let timer = self.timer_of(Moment::Disable, self.options.disable_ns);
        self.registers.life = Life::Disabling(timer);
    }

    /// CC.SHN. A second notification changes nothing.
    pub(super) fn begin_shutdown(&mut self) {
        if self.registers.shutdown == Shutdown::None {
            let timer = self.timer_of(Moment::Shutdown, self.options.shutdown_ns);
            self.registers.shutdown = Shutdown::Occurring(timer);
        }
    }

    /// How long a change takes, faults included.
    fn timer_of(&mut self, moment: Moment, ns: u64) -> Timer {
        match self.faults.on_moment(moment) {
            None => Timer::Wait(ns),
            Some(LifeFault::Stuck) => Timer::Never,
            Some(LifeFault::Slow { ns }) => Timer::Wait(ns),
            Some(LifeFault::Act(action)) => {
                self.act(action);
                Timer::Wait(ns)
            }
        }
    }

    /// Takes the changes for which it is time.
    pub(super) fn advance_life(&mut self, now: Timestamp) {
        if let Shutdown::Occurring(timer) = &mut self.registers.shutdown
            && timer.is_due(now)
        {
            self.complete_shutdown();
        }
        let due = match &mut self.registers.life {
            Life::Enabling(timer) | Life::Disabling(timer) => timer.is_due(now),
            Life::Disabled | Life::Ready => false,
        };
        match self.registers.life {
            Life::Enabling(_) if due && !self.registers.fatal => self.become_ready(),
            Life::Disabling(_) if due => self.become_disabled(),
            _ => {}
        }
    }

    fn become_ready(&mut self) {
        let registers = &mut self.registers;
        let sq_entries = u32::from(registers.aqa.sq_entries());
        let cq_entries = u32::from(registers.aqa.cq_entries());
        let admin = QueueId::ADMIN;
        self.queues.submission[0] = Some(SubmissionQueue::new(admin, registers.asq, sq_entries));
        let mut cq = CompletionQueue::new(admin, registers.acq, cq_entries, Some(0));
        cq.users = 1;
        self.queues.completion[0] = Some(cq);
        self.doorbells.clear_all();
        registers.life = Life::Ready;
        registers.ready = true;
    }

    /// Everything that a Controller Level Reset clears (Base 3.7.2).
    fn become_disabled(&mut self) {
        self.registers.life = Life::Disabled;
        self.registers.ready = false;
        self.registers.fatal = false;
        self.registers.shutdown = Shutdown::None;
        self.queues = QueueSet::new(self.options.io_queue_pairs);
        self.held.clear();
        self.interrupts.clear();
        self.doorbells.clear_all();
        self.shadow = None;
        self.lose_session();
        if self.registers.cc.en() {
            self.begin_enable();
        }
    }

    fn complete_shutdown(&mut self) {
        self.registers.shutdown = Shutdown::Complete;
        self.sync_all();
    }

    /// As after power-on, or a function level reset.
    pub(crate) fn power_on(&mut self) {
        let removed = self.registers.removed;
        self.registers = Registers::new(&self.options);
        self.registers.removed = removed;
        self.become_disabled();
    }

    /// As after a loss of power. What media lost by it is theirs to know.
    pub(crate) fn power_cycle(&mut self) {
        self.iommu.enable(false);
        self.power_on();
        self.namespaces.all_mut().for_each(super::namespace::Namespace::lose_power);
    }

    /// CSTS.CFS: nothing is processed until a reset.
    pub(super) fn fail(&mut self) {
        self.registers.fatal = true;
        self.interrupts.clear();
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.registers.removed
    }

    /// Surprise removal.
    pub(super) fn remove(&mut self) {
        self.registers.removed = true;
        self.interrupts.clear();
    }
}
