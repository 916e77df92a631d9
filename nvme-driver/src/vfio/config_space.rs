//! The function's configuration space, of which we use the command register.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bitflags::bitflags;

/// Where the command register is (PCI Express Base 7.5.1.1.3).
const COMMAND_AT: u64 = 0x04;

bitflags! {
    /// The command register (PCI Express Base 7.5.1.1.3). All other bits are kept as they are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct PciCommand: u16 {
        const MEMORY_SPACE = 1 << 1;
        const BUS_MASTER = 1 << 2;
        const _ = !0;
    }
}

/// What a function that does not answer reads as. No command register has this value: five of its bits are always 0.
const NO_ANSWER: PciCommand = PciCommand::all();

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandChange {
    /// The register reads back as it should. DMA that was under way has arrived: what answers a configuration read
    /// comes after the writes that preceded it (PCI Express Base 2.4.1).
    Done,
    /// It reads back otherwise.
    Ignored,
    /// The function does not answer.
    NoAnswer,
}

/// The configuration space: a part of the VFIO device's file.
#[derive(Debug)]
pub(super) struct ConfigSpace {
    /// Where it begins.
    pub(super) offset: u64,
}

impl ConfigSpace {
    /// Lets the function start DMA, or not; and answer reads and writes of its registers in any case. A function that was
    /// reset behind our back has forgotten that it may, and to write back what it says would tell the kernel that its
    /// registers are off limits: the next access to them would end this process with SIGBUS.
    pub(super) fn set_bus_master(&self, device: &File, enabled: bool) -> io::Result<CommandChange> {
        let mut command = self.command(device)?;
        if command == NO_ANSWER {
            return Ok(CommandChange::NoAnswer);
        }
        command.set(PciCommand::BUS_MASTER, enabled);
        command.insert(PciCommand::MEMORY_SPACE);
        device.write_all_at(&command.bits().to_le_bytes(), self.offset + COMMAND_AT)?;
        let now = self.command(device)?;
        Ok(match now {
            NO_ANSWER => CommandChange::NoAnswer,
            now if now.contains(PciCommand::BUS_MASTER) == enabled => CommandChange::Done,
            _ => CommandChange::Ignored,
        })
    }

    fn command(&self, device: &File) -> io::Result<PciCommand> {
        let mut bytes = [0; 2];
        device.read_exact_at(&mut bytes, self.offset + COMMAND_AT)?;
        Ok(PciCommand::from_bits_retain(u16::from_le_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the place of a device, with this command register.
    fn device(command: [u8; 2]) -> (File, ConfigSpace) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[0xee; 16], 1 << 20).unwrap();
        file.write_all_at(&command, (1 << 20) + 4).unwrap();
        (file, ConfigSpace { offset: 1 << 20 })
    }

    fn bytes(file: &File) -> [u8; 8] {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 1 << 20).unwrap();
        bytes
    }

    #[test]
    fn one_bit_changes() {
        let (file, space) = device([0x02, 0x04]);
        assert_eq!(space.set_bus_master(&file, true).unwrap(), CommandChange::Done);
        assert_eq!(bytes(&file), [0xee, 0xee, 0xee, 0xee, 0x06, 0x04, 0xee, 0xee]);
        assert_eq!(space.set_bus_master(&file, false).unwrap(), CommandChange::Done);
        assert_eq!(bytes(&file), [0xee, 0xee, 0xee, 0xee, 0x02, 0x04, 0xee, 0xee]);
    }

    #[test]
    fn a_function_that_was_reset_answers_again() {
        let (file, space) = device([0x00, 0x04]);
        assert_eq!(space.set_bus_master(&file, false).unwrap(), CommandChange::Done);
        assert_eq!(bytes(&file)[4..6], [0x02, 0x04]);
    }

    #[test]
    fn a_function_that_is_gone_is_not_written() {
        let (file, space) = device([0xff, 0xff]);
        assert_eq!(space.set_bus_master(&file, false).unwrap(), CommandChange::NoAnswer);
        assert_eq!(bytes(&file)[4..6], [0xff, 0xff]);
    }
}
