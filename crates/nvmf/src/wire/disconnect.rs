//! Disconnect: ends an I/O queue by itself (Base, Disconnect Command).

use nvme_spec::command::FabricsType;
use nvme_spec::{CommandId, Sqe};

use super::bytes::{entry, put, u16_at};

const RECORD_FORMAT: usize = 40;

/// The fields of the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DisconnectCommand {
    /// RECFMT; 0 is the only one there is. Another is answered with Connect Incompatible Format.
    pub record_format: u16,
}

impl DisconnectCommand {
    /// Reads the entry of a Disconnect command: every value means something.
    #[must_use]
    pub fn from_sqe(sqe: &Sqe) -> Self {
        Self { record_format: u16_at(&sqe.to_bytes(), RECORD_FORMAT) }
    }

    /// The entry.
    #[must_use]
    pub fn to_sqe(self, cid: CommandId) -> Sqe {
        entry(FabricsType::Disconnect.raw(), cid, |bytes| {
            put(bytes, RECORD_FORMAT, self.record_format.to_le_bytes());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_bytes() {
        let mut bytes = [0; 64];
        bytes[0] = 0x7f;
        bytes[2..5].copy_from_slice(&[0x34, 0x12, 0x08]);
        assert_eq!(DisconnectCommand::default().to_sqe(CommandId(0x1234)).to_bytes(), bytes);
        bytes[40..42].copy_from_slice(&[0x02, 0x01]);
        let read = DisconnectCommand::from_sqe(&Sqe::from_bytes(&bytes));
        assert_eq!(read, DisconnectCommand { record_format: 0x0102 });
    }
}
