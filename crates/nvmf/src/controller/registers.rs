//! The properties of a controller and what writes to CC do (Base, Controller Properties, Controller Initialization, Shutdown).

use nvme_spec::prp::PageSize;
use nvme_spec::registers::{
    Capabilities, CommandSetSelected, CommandSets, ControllerConfiguration, ControllerStatus, ReadyTimeouts,
    ShutdownNotification, ShutdownStatus, Version,
};
use nvme_spec::{Status, StatusCode};

use super::limits::{Limits, READY_TIMEOUT_UNITS};
use crate::wire::{PropertyOffset, PropertySet};

/// Where a controller is.
///
/// ```text
///             EN 0 -> 1              EN 1 -> 0                   I/O queues gone
///  Disabled -----------> Ready --------------------> Resetting ------------------+
///     ^                    |                             ^                       |
///     |                    | SHN                         | EN 1 -> 0             |
///     |                    v      I/O queues gone        |                       |
///     |              ShuttingDown ----------------> ShutDown                     |
///     |                    +------- EN 1 -> 0 -----------^ (Resetting)           |
///     +--------------------------------------------------------------------------+
///
///  any --- a configuration that cannot be, the keep-alive timer ---> Fatal
/// ```
///
/// A CC without EN that is written while Disabled only changes what will count later: Linux writes CC twice. SHN while Disabled
/// completes at once: there is nothing to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerPhase {
    /// CC.EN and CSTS.RDY are 0.
    Disabled,
    /// CC.EN and CSTS.RDY are 1.
    Ready,
    /// CC.EN is 0, CSTS.RDY is 1 until nothing of the I/O queues is left.
    Resetting,
    /// CSTS.SHST says that the shutdown goes on, until nothing of the I/O queues is left.
    ShuttingDown,
    /// CSTS.SHST says that it is complete.
    ShutDown,
    /// CSTS.CFS is 1. Only a new association helps.
    Fatal,
}

/// What a write to CC asks of the rest of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CcEffect {
    /// Nothing.
    None,
    /// The controller is ready now.
    Enabled,
    /// The I/O queues have to go; [`Registers::io_queues_gone`] then.
    CloseIoQueues,
}

/// The properties.
#[derive(Debug)]
pub(super) struct Registers {
    capabilities: Capabilities,
    configuration: ControllerConfiguration,
    phase: ControllerPhase,
    /// SHST, apart from the phase: a controller that is disabled can be shut down.
    is_shut_down: bool,
}

/// What is claimed (VS, and VER of Identify Controller).
pub(super) const VERSION: Version = Version::V2_1;

const IO_SQ_ENTRY_SHIFT: u8 = 6;
const IO_CQ_ENTRY_SHIFT: u8 = 4;

impl Registers {
    pub(super) fn new(limits: &Limits) -> Self {
        let page = PageSize::from_mps(0);
        let capabilities = Capabilities::default()
            .with_mqes(limits.io_queue_entries - 1)
            .with_cqr(true)
            .with_to(READY_TIMEOUT_UNITS)
            .with_css(CommandSets::NVM)
            .with_mpsmin(page)
            .with_mpsmax(page)
            .with_crms(true, false);
        Self {
            capabilities,
            configuration: ControllerConfiguration::default(),
            phase: ControllerPhase::Disabled,
            is_shut_down: false,
        }
    }

    pub(super) const fn phase(&self) -> ControllerPhase {
        self.phase
    }

    /// Whether commands other than fabrics commands are carried out.
    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.phase, ControllerPhase::Ready)
    }

    pub(super) fn get(&self, offset: PropertyOffset) -> Result<u64, Status> {
        Ok(match offset {
            PropertyOffset::Capabilities => self.capabilities.raw(),
            PropertyOffset::Version => u64::from(VERSION.raw()),
            PropertyOffset::Configuration => u64::from(self.configuration.raw()),
            PropertyOffset::Status => u64::from(self.status().raw()),
            PropertyOffset::ReadyTimeouts => {
                u64::from(ReadyTimeouts::new(u16::from(READY_TIMEOUT_UNITS), 0).raw())
            }
            // CAP.NSSRS is 0: the property does not exist.
            PropertyOffset::SubsystemReset => return Err(Status::permanent(StatusCode::INVALID_FIELD)),
        })
    }

    fn status(&self) -> ControllerStatus {
        use ControllerPhase::{Fatal, Ready, Resetting, ShutDown, ShuttingDown};
        let shutdown = match self.phase {
            ShuttingDown => ShutdownStatus::Occurring,
            _ if self.is_shut_down => ShutdownStatus::Complete,
            _ => ShutdownStatus::Normal,
        };
        ControllerStatus::default()
            .with_rdy(matches!(self.phase, Ready | Resetting | ShuttingDown | ShutDown))
            .with_cfs(self.phase == Fatal)
            .with_shst(shutdown)
    }

    /// Writes a property. Only CC can be written.
    pub(super) fn set(&mut self, set: PropertySet) -> Result<CcEffect, Status> {
        if set.offset != PropertyOffset::Configuration {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        }
        let raw = u32::try_from(set.value).map_err(|_| Status::permanent(StatusCode::INVALID_FIELD))?;
        let new = ControllerConfiguration::from_raw(raw);
        let old = std::mem::replace(&mut self.configuration, new);
        Ok(self.configure(old, new))
    }

    fn configure(&mut self, old: ControllerConfiguration, new: ControllerConfiguration) -> CcEffect {
        use ControllerPhase::{Disabled, Fatal, Ready, Resetting, ShutDown, ShuttingDown};
        let asks_for_shutdown =
            matches!(new.shn(), Some(ShutdownNotification::Normal | ShutdownNotification::Abrupt));
        match self.phase {
            Disabled if new.en() => {
                self.is_shut_down = false;
                self.enable(new)
            }
            Disabled => {
                self.is_shut_down |= asks_for_shutdown;
                CcEffect::None
            }
            Ready | ShuttingDown | ShutDown if old.en() && !new.en() => {
                self.phase = Resetting;
                self.is_shut_down = asks_for_shutdown;
                CcEffect::CloseIoQueues
            }
            Ready if asks_for_shutdown => {
                self.phase = ShuttingDown;
                CcEffect::CloseIoQueues
            }
            Ready | ShuttingDown | ShutDown | Resetting | Fatal => CcEffect::None,
        }
    }

    /// A configuration that CAP does not offer has no status to answer with: it is fatal, and CSTS.CFS says so.
    fn enable(&mut self, new: ControllerConfiguration) -> CcEffect {
        let is_possible = new.css() == Some(CommandSetSelected::Nvm)
            && new.mps() == PageSize::from_mps(0)
            && new.ams() == Some(nvme_spec::registers::Arbitration::RoundRobin)
            && (new.iosqes(), new.iocqes()) == (IO_SQ_ENTRY_SHIFT, IO_CQ_ENTRY_SHIFT)
            && !new.crime();
        self.phase = if is_possible { ControllerPhase::Ready } else { ControllerPhase::Fatal };
        if is_possible { CcEffect::Enabled } else { CcEffect::None }
    }

    /// Nothing of the I/O queues is left, so that what waits for that is complete.
    pub(super) fn io_queues_gone(&mut self) {
        match self.phase {
            ControllerPhase::Resetting => self.phase = ControllerPhase::Disabled,
            ControllerPhase::ShuttingDown => {
                self.phase = ControllerPhase::ShutDown;
                self.is_shut_down = true;
            }
            _ => {}
        }
    }

    /// Nothing helps any more.
    pub(super) fn fail(&mut self) {
        self.phase = ControllerPhase::Fatal;
    }
}

#[cfg(test)]
mod tests {
    use super::ControllerPhase::{Disabled, Fatal, Ready, Resetting, ShutDown, ShuttingDown};
    use super::*;

    // What Linux writes: IOCQES 4, IOSQES 6, and then EN.
    const SIZES: u64 = 0x0046_0000;
    const ENABLE: u64 = SIZES | 1;
    const SHUT_DOWN: u64 = ENABLE | 1 << 14;

    fn registers() -> Registers {
        Registers::new(&Limits::default())
    }

    fn write(registers: &mut Registers, value: u64) -> CcEffect {
        registers.set(PropertySet { offset: PropertyOffset::Configuration, value }).unwrap()
    }

    fn csts(registers: &Registers) -> u64 {
        registers.get(PropertyOffset::Status).unwrap()
    }

    #[test]
    fn cap_to_is_not_0_and_mqes_is_0_based() {
        let cap = registers().get(PropertyOffset::Capabilities).unwrap();
        assert_eq!(cap & 0xffff, 127);
        assert_eq!(cap >> 24 & 0xff, 60);
        assert_eq!(cap >> 37 & 0xff, 1, "the NVM command set, and no others to select");
        assert_eq!(cap >> 59 & 0b11, 0b01, "ready with media");
    }

    #[test]
    fn crto_is_there_since_crms_says_so() {
        assert_eq!(registers().get(PropertyOffset::ReadyTimeouts), Ok(60));
        assert_eq!(registers().get(PropertyOffset::Version), Ok(0x0002_0100));
    }

    #[test]
    fn nssr_does_not_exist_and_others_cannot_be_written() {
        let invalid = Status::permanent(StatusCode::INVALID_FIELD);
        assert_eq!(registers().get(PropertyOffset::SubsystemReset), Err(invalid));
        for offset in [
            PropertyOffset::Capabilities,
            PropertyOffset::Version,
            PropertyOffset::Status,
            PropertyOffset::SubsystemReset,
            PropertyOffset::ReadyTimeouts,
        ] {
            assert_eq!(registers().set(PropertySet { offset, value: 0 }), Err(invalid));
        }
    }

    #[test]
    fn cc_is_written_twice_and_the_first_write_is_no_reset() {
        let mut registers = registers();
        assert_eq!(write(&mut registers, SIZES), CcEffect::None);
        assert_eq!((registers.phase(), csts(&registers)), (Disabled, 0));
        assert_eq!(write(&mut registers, ENABLE), CcEffect::Enabled);
        assert_eq!((registers.phase(), csts(&registers)), (Ready, 1));
        assert_eq!(registers.get(PropertyOffset::Configuration), Ok(ENABLE));
    }

    #[test]
    fn a_configuration_that_cannot_be_is_fatal() {
        for wrong in [1, ENABLE | 6 << 4, ENABLE | 1 << 7, ENABLE | 1 << 11, ENABLE | 1 << 24] {
            let mut registers = registers();
            assert_eq!(write(&mut registers, wrong), CcEffect::None);
            assert_eq!((registers.phase(), csts(&registers)), (Fatal, 2), "{wrong:#x}");
        }
    }

    /// A controller in this phase, by the shortest way.
    fn in_phase(phase: ControllerPhase) -> Registers {
        let mut registers = registers();
        if phase == Fatal {
            registers.fail();
        } else if phase != Disabled {
            write(&mut registers, ENABLE);
        }
        match phase {
            Resetting => {
                write(&mut registers, SIZES);
            }
            ShuttingDown => {
                write(&mut registers, SHUT_DOWN);
            }
            ShutDown => {
                write(&mut registers, SHUT_DOWN);
                registers.io_queues_gone();
            }
            Disabled | Ready | Fatal => {}
        }
        assert_eq!(registers.phase(), phase);
        registers
    }

    #[test]
    fn every_phase_with_every_event() {
        // (phase, CSTS) before, then the phase after: EN = 0, EN = 1, SHN, the I/O queues are gone, failure.
        for (phase, csts_before, after) in [
            (Disabled, 0b0000, [Disabled, Ready, Ready, Disabled, Fatal]),
            (Ready, 0b0001, [Resetting, Ready, ShuttingDown, Ready, Fatal]),
            (Resetting, 0b0001, [Resetting, Resetting, Resetting, Disabled, Fatal]),
            (ShuttingDown, 0b0101, [Resetting, ShuttingDown, ShuttingDown, ShutDown, Fatal]),
            (ShutDown, 0b1001, [Resetting, ShutDown, ShutDown, ShutDown, Fatal]),
            (Fatal, 0b0010, [Fatal; 5]),
        ] {
            assert_eq!(csts(&in_phase(phase)), csts_before, "{phase:?}");
            let events: [fn(&mut Registers); 5] = [
                |registers| {
                    write(registers, SIZES);
                },
                |registers| {
                    write(registers, ENABLE);
                },
                |registers| {
                    write(registers, SHUT_DOWN);
                },
                Registers::io_queues_gone,
                Registers::fail,
            ];
            for (event, expected) in events.into_iter().zip(after) {
                let mut registers = in_phase(phase);
                event(&mut registers);
                assert_eq!(registers.phase(), expected, "from {phase:?}");
            }
        }
    }

    #[test]
    fn a_reset_after_a_shutdown_clears_shst() {
        let mut registers = in_phase(ShutDown);
        assert_eq!(write(&mut registers, SIZES), CcEffect::CloseIoQueues);
        registers.io_queues_gone();
        assert_eq!((registers.phase(), csts(&registers)), (Disabled, 0));
        write(&mut registers, SIZES | 1 << 14);
        assert_eq!(csts(&registers), 0b1000, "nothing to shut down: complete at once");
        assert_eq!(write(&mut registers, ENABLE), CcEffect::Enabled);
        assert_eq!(csts(&registers), 1);
    }
}
