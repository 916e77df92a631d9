//! Bringing the controller up, down, and up again (Base 3.5 and 3.6).
//!
//! ```text
//!             begin --(CC.EN is 1 already)--> Settling --(RDY = 1, CFS or due)--+
//!               |                                                              |
//!               |<-------------------------------------------------------------+
//!               v          RDY = 0                RDY = 1               jobs done
//!   +----> Disabling ----------------> Enabling ----------> Initialising ---------> Live
//!   |        |    ^                      |                      |                    |
//!   |        |    +--(function reset)    | due, CFS             | refusal, timeout   | timeout, CFS, lie, wish
//!   |        | due, twice                v                      v                    v
//!   |        |                         +------------------- Halting -----------------+
//!   |        |                                                 | all queues have stopped ringing, or due
//!   +--------|-------------------------------------------------+
//!            |      (more than FAILURES_MAX times without becoming live: Over)
//!            v
//!           Over <---(registers read all ones, from anywhere)
//!            ^
//!            |  SHST complete, or due
//!       ShuttingDown <---(close, from Live with no queue left; from elsewhere straight to Over)
//! ```

use block::Timestamp;
use nvme_spec::registers::{
    ControllerConfiguration, ControllerStatus, Register, ShutdownNotification, ShutdownStatus,
};

use super::Core;
use super::job::Job;
use crate::pci::{PciError, PciFunction};
use crate::phase::{Phase, Stage};
use crate::shared::ResetReason;

/// Attempts to bring a controller up before it is given up.
const FAILURES_MAX: u32 = 3;
/// Health checks in a row after which a controller's failures are forgiven: ten seconds.
const HEALTHY_CHECKS: u32 = 20;
/// How long queues get to stop ringing before the controller is disabled all the same.
const HALT_NS: u64 = 100_000_000;
/// The least time that a controller gets to change CSTS.RDY, whatever it says of itself.
const READY_MIN_MS: u32 = 2_000;
/// The least and the most time that an orderly shutdown gets; RTD3E is between them where it is told.
const SHUTDOWN_MIN_US: u32 = 5_000_000;
const SHUTDOWN_MAX_US: u32 = 60_000_000;

/// Where the core is. Only the methods below assign it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// CC.EN is 1, by whoever had the controller before; waiting for CSTS.RDY to become 1.
    Settling { due: Timestamp },
    /// CC.EN is 0; waiting for CSTS.RDY to become 0.
    Disabling { due: Timestamp, function_reset: bool },
    /// CC.EN is 1; waiting for CSTS.RDY to become 1.
    Enabling { due: Timestamp },
    /// The jobs that make it usable are running.
    Initialising,
    /// Queues can be made and used.
    Live,
    /// Waiting for the queues to stop ringing.
    Halting { due: Timestamp },
    /// CC.SHN is set; waiting for CSTS.SHST.
    ShuttingDown { due: Timestamp },
    /// Nothing happens any more.
    Over,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Settling { .. } => "settling",
            Self::Disabling { .. } => "disabling",
            Self::Enabling { .. } => "enabling",
            Self::Initialising => "initialising",
            Self::Live => "live",
            Self::Halting { .. } => "halting",
            Self::ShuttingDown { .. } => "shutting down",
            Self::Over => "over",
        }
    }
}

impl<F: PciFunction> Core<F> {
    pub(crate) fn state_name(&self) -> &'static str {
        self.state.name()
    }

    /// Whoever had the controller before may have enabled it just now: clearing CC.EN before CSTS.RDY follows has no
    /// defined result. It is no bus master before it has been disabled.
    pub(super) fn begin(&mut self, now: Timestamp) {
        let function = &*self.shared.function;
        let enabled = ControllerConfiguration::from_raw(function.read32(Register::Cc.offset())).en();
        if enabled {
            self.state = State::Settling { due: self.ready_due(now) };
        } else {
            self.disable(now, false);
        }
    }

    fn step_settling(&mut self, due: Timestamp, now: Timestamp) {
        let Some(status) = self.status() else { return };
        if status.rdy() || status.cfs() || now >= due {
            self.disable(now, false);
        }
    }

    fn has_no_queues(&self) -> bool {
        self.shared.directory().links().next().is_none()
    }

    pub(super) fn step_lifecycle(&mut self, now: Timestamp) {
        if self.state == State::Over {
            return;
        }
        self.judge_admin(now);
        self.take_reset_wish(now);
        match self.state {
            State::Live | State::Initialising => self.step_running(now),
            State::Settling { due } => self.step_settling(due, now),
            State::Disabling { due, function_reset } => self.step_disabling(due, function_reset, now),
            State::Enabling { due } => self.step_enabling(due, now),
            State::Halting { due } => self.step_halting(due, now),
            State::ShuttingDown { due } => self.step_shutting_down(due, now),
            State::Over => {}
        }
    }

    /// The status register; `None`, and the end, if the controller is gone.
    fn status(&mut self) -> Option<ControllerStatus> {
        let status = ControllerStatus::from_raw(self.shared.function.read32(Register::Csts.offset()));
        if status.is_removed() {
            self.die("its registers read as all ones: it was removed");
            return None;
        }
        Some(status)
    }

    fn step_running(&mut self, now: Timestamp) {
        let closing = self.shared.is_closing();
        if closing && self.state == State::Live && self.has_no_queues() && self.has_no_work() {
            self.shut_down(now);
            return;
        }
        if closing && self.state == State::Initialising {
            self.end(None);
            return;
        }
        if now < self.next_health_check {
            return;
        }
        self.next_health_check = now.after_ns(super::HEALTH_CHECK_NS);
        let Some(status) = self.status() else { return };
        if status.cfs() {
            self.fail(&ResetReason::FatalStatus, now);
        } else if !status.rdy() {
            self.fail(&ResetReason::Refused { what: "stay ready (CSTS.RDY is 0)" }, now);
        } else if self.state == State::Live {
            self.healthy = self.healthy.saturating_add(1);
            if self.healthy > HEALTHY_CHECKS {
                self.failures = 0;
            }
            self.ask_for_events();
        }
    }

    fn take_reset_wish(&mut self, now: Timestamp) {
        if !matches!(self.state, State::Live | State::Initialising) {
            return;
        }
        let wish = self.shared.directory().take_reset_wish(self.incarnation);
        if let Some(reason) = wish {
            // The controller may be gone, rather than stuck: that is another end.
            if self.status().is_some() {
                self.fail(&reason, now);
            }
        }
    }

    /// An admin command that is overdue means that the controller does not work.
    fn judge_admin(&mut self, now: Timestamp) {
        if !matches!(self.state, State::Live | State::Initialising) {
            return;
        }
        // Answers first: after a pause of our own they are there.
        self.take_answers(now);
        if let Some((due, opcode)) = self.admin.first_due()
            && due <= now
            && matches!(self.state, State::Live | State::Initialising)
            && self.status().is_some()
        {
            self.fail(&ResetReason::AdminTimeout { opcode }, now);
        }
    }

    /// Gives this incarnation up: the queues are to stop, then the controller is disabled.
    pub(super) fn fail(&mut self, reason: &ResetReason, now: Timestamp) {
        self.failures += 1;
        if self.failures > FAILURES_MAX {
            self.die(&format!("{reason}; {FAILURES_MAX} resets did not help"));
            return;
        }
        tracing::warn!(controller = self.shared.function.name(), "resetting the controller: {reason}");
        self.state = State::Halting { due: now.after_ns(HALT_NS) };
        self.announce(Stage::Halting);
    }

    fn step_halting(&mut self, due: Timestamp, now: Timestamp) {
        let stopped = self.shared.directory().links().all(|link| link.has_halted(self.incarnation));
        if !stopped && now < due {
            return;
        }
        // A function that was reset behind our back has forgotten that its registers may be reached: CC would be written
        // into nothing, and CSTS would read as that of a controller that is disabled.
        match self.shared.function.set_bus_master(true) {
            Ok(()) => self.disable(now, false),
            Err(why) => self.die(&why.to_string()),
        }
    }

    fn disable(&mut self, now: Timestamp, function_reset: bool) {
        let function = &*self.shared.function;
        let current = ControllerConfiguration::from_raw(function.read32(Register::Cc.offset()));
        function.write32(Register::Cc.offset(), current.with_en(false).raw());
        self.state = State::Disabling { due: self.ready_due(now), function_reset };
    }

    fn ready_due(&self, now: Timestamp) -> Timestamp {
        now.after_ns(u64::from(self.capabilities.timeout_ms().max(READY_MIN_MS)) * 1_000_000)
    }

    fn step_disabling(&mut self, due: Timestamp, function_reset: bool, now: Timestamp) {
        let Some(status) = self.status() else { return };
        if !status.rdy() {
            self.begin_incarnation();
            if self.shared.is_closing() {
                self.end(None);
                return;
            }
            self.enable(now);
        } else if now >= due && function_reset {
            self.die("it can be neither disabled nor reset (CSTS.RDY stays 1)");
        } else if now >= due {
            tracing::warn!(
                controller = self.shared.function.name(),
                "CSTS.RDY stays 1: resetting the function"
            );
            match self.shared.function.reset() {
                Ok(()) => self.disable(now, true),
                Err(why) => self.die(&format!("it can be neither disabled nor reset: {why}")),
            }
        }
    }

    /// The controller is disabled: it touches no memory of the incarnation that has ended.
    fn begin_incarnation(&mut self) {
        self.incarnation += 1;
        self.bury_orphans();
        self.admin.clear();
        self.memory.shadow.clear();
        self.announce(Stage::Starting);
    }

    fn enable(&mut self, now: Timestamp) {
        // A function reset or a power cycle has taken both away.
        if let Err(why) =
            self.shared.enable_interrupts().and_then(|_| self.shared.function.set_bus_master(true))
        {
            self.die(&why.to_string());
            return;
        }
        let function = &*self.shared.function;
        let Some((attributes, sq, cq)) = self.admin.registers(function.addresses()) else {
            self.die("its admin queue is not mapped");
            return;
        };
        function.write32(Register::Aqa.offset(), attributes.raw());
        function.write64(Register::Asq.offset(), sq);
        function.write64(Register::Acq.offset(), cq);
        // 64-byte submission and 16-byte completion entries (Base Figure 312), round robin, 4 KiB pages, NVM commands.
        let configuration = ControllerConfiguration::from_raw(0).with_entry_sizes(6, 4).with_en(true);
        function.write32(Register::Cc.offset(), configuration.raw());
        self.state = State::Enabling { due: self.enable_due(now) };
    }

    /// CAP.TO, or what CRTO says where the controller has it (Base 3.1.4.17).
    fn enable_due(&self, now: Timestamp) -> Timestamp {
        if !self.capabilities.crwms() {
            return self.ready_due(now);
        }
        let raw = self.shared.function.read32(Register::Crto.offset());
        let crto_ms = nvme_spec::registers::ReadyTimeouts::from_raw(raw).with_media_ms();
        let timeout_ms = crto_ms.max(self.capabilities.timeout_ms()).max(READY_MIN_MS);
        now.after_ns(u64::from(timeout_ms) * 1_000_000)
    }

    fn step_enabling(&mut self, due: Timestamp, now: Timestamp) {
        let Some(status) = self.status() else { return };
        if status.cfs() {
            self.fail(&ResetReason::FatalStatus, now);
        } else if status.rdy() {
            self.state = State::Initialising;
            self.next_health_check = now.after_ns(super::HEALTH_CHECK_NS);
            self.jobs.push_back(Job::first());
        } else if now >= due {
            self.fail(&ResetReason::Refused { what: "become ready (CSTS.RDY stays 0)" }, now);
        }
    }

    /// The last job of the initialisation is done.
    pub(super) fn go_live(&mut self) {
        self.state = State::Live;
        self.healthy = 0;
        self.announce(Stage::Live);
    }

    fn shut_down(&mut self, now: Timestamp) {
        let function = &*self.shared.function;
        let current = ControllerConfiguration::from_raw(function.read32(Register::Cc.offset()));
        function.write32(Register::Cc.offset(), current.with_shn(ShutdownNotification::Normal).raw());
        let wanted_us = self.info.as_ref().map_or(0, |info| info.identify.rtd3e_us);
        let timeout_us = wanted_us.clamp(SHUTDOWN_MIN_US, SHUTDOWN_MAX_US);
        self.state = State::ShuttingDown { due: now.after_ns(u64::from(timeout_us) * 1000) };
    }

    fn step_shutting_down(&mut self, due: Timestamp, now: Timestamp) {
        let Some(status) = self.status() else { return };
        if status.shst() == Some(ShutdownStatus::Complete) {
            self.end(None);
        } else if now >= due {
            self.die("it did not shut down in time");
        }
    }

    /// The end that nobody wished for.
    pub(super) fn die(&mut self, why: &str) {
        tracing::error!(controller = self.shared.function.name(), "the controller is given up: {why}");
        self.end(Some(why));
    }

    /// No more DMA, if that can be had; queues and openers are told.
    fn end(&mut self, epitaph: Option<&str>) {
        // Orphans that are on their way are buried, or kept, with the others.
        self.take_messages();
        let stage = match self.shared.function.set_bus_master(false) {
            Ok(()) | Err(PciError::Gone { .. }) => Stage::Dead,
            Err(why) => {
                tracing::error!("it may still reach memory, which is kept: {why}");
                Stage::Unreachable
            }
        };
        if stage == Stage::Dead {
            self.incarnation += 1;
            self.bury_orphans();
        } else {
            self.keep_orphans();
        }
        self.state = State::Over;
        self.shared.directory().epitaph = epitaph.map(str::to_owned);
        self.announce(stage);
    }

    /// Tells the queues, and wakes those that sleep.
    fn announce(&self, stage: Stage) {
        self.shared.phase.store(Phase::new(self.incarnation, stage));
        self.wake_queues();
    }

    pub(super) fn wake_queues(&self) {
        let directory = self.shared.directory();
        for link in directory.links() {
            link.wake.signal();
        }
    }
}

impl<F: PciFunction> Drop for Core<F> {
    /// A core that is dropped before the end (its thread panicked) must not leave a controller that writes freed memory.
    fn drop(&mut self) {
        if !self.is_over() {
            self.die("its driver was dropped");
        }
    }
}
