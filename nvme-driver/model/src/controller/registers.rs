//! The register file, and the life of a controller that CC and CSTS tell of (Base 3.1.4, 3.5, 3.6).
//!
//! ```text
//!              CC.EN = 1                time                 CC.EN = 0               time
//!  Disabled ------------> Enabling -----------------> Ready -----------> Disabling --------> Disabled
//!                            |  CC.EN = 0                                    ^
//!                            +-----------------------------------------------+
//! ```
//! CSTS.RDY is 1 in Ready, and in Disabling when it comes from there. CSTS.CFS (`fatal`) and the shutdown run beside it; Disabled ends both.

use block::Timestamp;
use nvme_spec::registers::{
    ALL_ONES_32, AdminQueueAttributes, Arbitration, Capabilities, CommandSetSelected, CommandSets,
    ControllerConfiguration, ControllerStatus, NSSR_RESET, ReadyTimeouts, Register, ShutdownNotification,
    ShutdownStatus,
};

use super::Controller;
use super::queues::{CompletionQueue, QueueSet, SubmissionQueue};
use crate::faults::{LifeFault, Moment};
use crate::options::ControllerOptions;
use nvme_spec::QueueId;
use nvme_spec::prp::PageSize;

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

    fn due(self) -> Timestamp {
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

/// What a host reads and writes below offset 1000h.
#[derive(Debug)]
pub(super) struct Registers {
    cap: Capabilities,
    cc: ControllerConfiguration,
    aqa: AdminQueueAttributes,
    asq: u64,
    acq: u64,
    interrupt_mask: u32,
    nssro: bool,
    fatal: bool,
    removed: bool,
    /// CSTS.RDY.
    ready: bool,
    life: Life,
    shutdown: Shutdown,
}

impl Registers {
    pub(super) fn new(options: &ControllerOptions) -> Self {
        let mqes = u16::try_from(options.queue_entries_max - 1).unwrap_or(u16::MAX);
        let cap = Capabilities::default()
            .with_mqes(mqes)
            .with_cqr(true)
            .with_to(options.timeout_500ms)
            .with_dstrd(options.doorbell_stride)
            .with_nssrs(true)
            .with_css(CommandSets::NVM)
            .with_mpsmin(PageSize::KIB_4)
            .with_mpsmax(PageSize::KIB_4)
            .with_crms(true, false);
        Self {
            cap,
            cc: ControllerConfiguration::default(),
            aqa: AdminQueueAttributes::default(),
            asq: 0,
            acq: 0,
            interrupt_mask: 0,
            nssro: false,
            fatal: false,
            removed: false,
            ready: false,
            life: Life::Disabled,
            shutdown: Shutdown::None,
        }
    }

    fn status(&self) -> ControllerStatus {
        let shst = match self.shutdown {
            Shutdown::None => ShutdownStatus::Normal,
            Shutdown::Occurring(_) => ShutdownStatus::Occurring,
            Shutdown::Complete => ShutdownStatus::Complete,
        };
        ControllerStatus::default()
            .with_rdy(self.ready)
            .with_cfs(self.fatal)
            .with_shst(shst)
            .with_nssro(self.nssro)
    }

    /// Whether commands are fetched.
    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.life == Life::Ready && !self.fatal && !self.removed && self.shutdown == Shutdown::None
    }

    /// Whether commands in flight may touch memory.
    #[inline]
    pub(super) fn may_complete(&self) -> bool {
        self.ready && !self.fatal && !self.removed && self.shutdown != Shutdown::Complete
    }

    pub(super) fn page_size(&self) -> PageSize {
        self.cc.mps()
    }

    pub(super) fn configuration(&self) -> ControllerConfiguration {
        self.cc
    }

    /// When the next change comes by itself.
    pub(super) fn next_change(&self) -> Timestamp {
        let life = match self.life {
            // A configuration that is not legal never gets ready.
            Life::Enabling(_) if self.fatal => Timestamp::NEVER,
            Life::Enabling(timer) | Life::Disabling(timer) => timer.due(),
            Life::Disabled | Life::Ready => Timestamp::NEVER,
        };
        match self.shutdown {
            Shutdown::Occurring(timer) => life.min(timer.due()),
            _ => life,
        }
    }

    /// Whether a controller can run with this configuration (Base Figure 41).
    fn is_legal(&self, cc: ControllerConfiguration) -> bool {
        cc.css() == Some(CommandSetSelected::Nvm)
            && cc.ams() == Some(Arbitration::RoundRobin)
            && (self.cap.mpsmin()..=self.cap.mpsmax()).contains(&cc.mps())
            && matches!(cc.iosqes(), 0 | 6)
            && matches!(cc.iocqes(), 0 | 4)
            && self.aqa.sq_entries() > 1
            && self.aqa.cq_entries() > 1
    }
}

/// Replaces one half of a 64-bit register.
fn with_half(whole: u64, upper: bool, half: u32) -> u64 {
    let (keep, shift) = if upper { (0xFFFF_FFFF, 32) } else { (0xFFFF_FFFF_0000_0000, 0) };
    whole & keep | u64::from(half) << shift
}

fn half(whole: u64, upper: bool) -> u32 {
    let [a, b, c, d, e, f, g, h] = whole.to_le_bytes();
    u32::from_le_bytes(if upper { [e, f, g, h] } else { [a, b, c, d] })
}

impl Controller {
    /// Reads a 32-bit register below offset 1000h; all ones if the function is gone, 0 if reserved.
    pub(crate) fn read_register(&self, offset: u32) -> u32 {
        let registers = &self.registers;
        if registers.removed {
            return ALL_ONES_32;
        }
        let timeout = u16::from(self.options.timeout_500ms);
        match Register::containing(offset) {
            Some((Register::Cap, at)) => half(registers.cap.raw(), at == 4),
            Some((Register::Vs, _)) => self.options.version.raw(),
            Some((Register::Intms | Register::Intmc, _)) => registers.interrupt_mask,
            Some((Register::Cc, _)) => registers.cc.raw(),
            Some((Register::Csts, _)) => registers.status().raw(),
            Some((Register::Aqa, _)) => registers.aqa.raw(),
            Some((Register::Asq, at)) => half(registers.asq, at == 4),
            Some((Register::Acq, at)) => half(registers.acq, at == 4),
            Some((Register::Crto, _)) => ReadyTimeouts::new(timeout, 0).raw(),
            _ => 0,
        }
    }

    /// Writes a 32-bit register below offset 1000h. What cannot be written stays.
    pub(crate) fn write_register(&mut self, offset: u32, value: u32) {
        let registers = &mut self.registers;
        if registers.removed {
            return;
        }
        match Register::containing(offset) {
            Some((Register::Intms, _)) => registers.interrupt_mask |= value,
            Some((Register::Intmc, _)) => registers.interrupt_mask &= !value,
            Some((Register::Cc, _)) => self.configure(ControllerConfiguration::from_raw(value)),
            Some((Register::Csts, _)) => {
                registers.nssro &= !ControllerStatus::from_raw(value).nssro();
            }
            Some((Register::Nssr, _)) if value == NSSR_RESET => {
                self.power_on();
                self.registers.nssro = true;
            }
            Some((Register::Aqa, _)) => registers.aqa = AdminQueueAttributes::from_raw(value),
            // Bits 11:0 are reserved: a queue begins on a page.
            Some((Register::Asq, at)) => registers.asq = with_half(registers.asq, at == 4, value) & !0xFFF,
            Some((Register::Acq, at)) => registers.acq = with_half(registers.acq, at == 4, value) & !0xFFF,
            _ => {}
        }
    }

    fn configure(&mut self, cc: ControllerConfiguration) {
        let old = std::mem::replace(&mut self.registers.cc, cc);
        if cc.en() && !old.en() && self.registers.life == Life::Disabled {
            self.begin_enable();
        }
        if old.en() && !cc.en() {
            self.begin_disable();
        }
        let asks = matches!(cc.shn(), Some(ShutdownNotification::Normal | ShutdownNotification::Abrupt));
        if asks && cc.shn() != old.shn() && self.registers.shutdown == Shutdown::None {
            let timer = self.timer_of(Moment::Shutdown, self.options.shutdown_ns);
            self.registers.shutdown = Shutdown::Occurring(timer);
        }
    }

    fn begin_enable(&mut self) {
        let timer = self.timer_of(Moment::Enable, self.options.enable_ns);
        self.registers.life = Life::Enabling(timer);
        if !self.registers.is_legal(self.registers.cc) {
            self.registers.fatal = true;
        }
    }

    fn begin_disable(&mut self) {
        let timer = self.timer_of(Moment::Disable, self.options.disable_ns);
        self.registers.life = Life::Disabling(timer);
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
