//! The register file (Base 3.1.4): what a host reads and writes.

use block::Timestamp;
use nvme_spec::registers::{
    ALL_ONES_32, AdminQueueAttributes, Arbitration, Capabilities, CommandSetSelected, CommandSets,
    ControllerConfiguration, ControllerStatus, NSSR_RESET, ReadyTimeouts, Register, ShutdownNotification,
    ShutdownStatus,
};

use super::Controller;
use super::life::{Life, Shutdown};
use crate::options::ControllerOptions;
use nvme_spec::prp::PageSize;

/// What a host reads and writes below offset 1000h.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) cap: Capabilities,
    pub(super) cc: ControllerConfiguration,
    pub(super) aqa: AdminQueueAttributes,
    pub(super) asq: u64,
    pub(super) acq: u64,
    pub(super) interrupt_mask: u32,
    pub(super) nssro: bool,
    pub(super) fatal: bool,
    pub(super) removed: bool,
    /// CSTS.RDY.
    pub(super) ready: bool,
    pub(super) life: Life,
    pub(super) shutdown: Shutdown,
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
    pub(super) fn is_legal(&self, cc: ControllerConfiguration) -> bool {
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
        if asks && cc.shn() != old.shn() {
            self.begin_shutdown();
        }
    }
}
