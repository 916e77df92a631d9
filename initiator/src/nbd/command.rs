//! Commands: what a client may ask of an export once they have agreed.

use super::export::{Export, TRANSFER_BYTES_MAX};
use super::negotiation::Agreement;
use super::wire::{CommandCode, CommandFlags, Errno, RequestHeader};

/// Most bytes of a refused write that are read and thrown away, so that the connection goes on.
pub const SKIPPED_BYTES_MAX: u32 = 2 * TRANSFER_BYTES_MAX;

/// Some bytes of an export, which may be none. They are inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub offset: u64,
    /// How many.
    pub bytes: u32,
}

/// What to do. The ranges are inside the export, and the export can do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read at most [`TRANSFER_BYTES_MAX`].
    Read(Span),
    /// Write at most [`TRANSFER_BYTES_MAX`], which follow the command.
    Write {
        /// Where.
        span: Span,
        /// Durable when it is acknowledged.
        fua: bool,
    },
    /// The client is going.
    Disconnect,
    /// Make durable what was acknowledged on any connection.
    Flush,
    /// The data is no longer needed.
    Trim {
        /// Where.
        span: Span,
        /// Durable when it is acknowledged.
        fua: bool,
    },
    /// Write zeroes.
    WriteZeroes {
        /// Where.
        span: Span,
        /// Durable when it is acknowledged.
        fua: bool,
        /// The space may be given back.
        may_unmap: bool,
    },
    /// Tell what the first part of this, at least one byte, holds.
    BlockStatus {
        /// Where.
        span: Span,
        /// Only one span.
        one: bool,
    },
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// The same in words.
    pub sentence: &'static str,
}

impl Refusal {
    pub(super) const fn new(errno: Errno, sentence: &'static str) -> Self {
        Self { errno, sentence }
    }
}

/// Bytes that follow a command on the wire.
#[must_use]
pub fn payload_bytes(header: &RequestHeader) -> u32 {
    if header.code == CommandCode::Write { header.bytes } else { 0 }
}

impl Command {
    /// Bytes of data that it moves.
    #[inline]
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        match self {
            Self::Read(span) | Self::Write { span, .. } => span.bytes.into(),
            Self::Disconnect
            | Self::Flush
            | Self::Trim { .. }
            | Self::WriteZeroes { .. }
            | Self::BlockStatus { .. } => 0,
        }
    }

    /// What a header asks for.
    #[inline]
    pub fn read(header: &RequestHeader, export: &Export, agreed: &Agreement) -> Result<Self, Refusal> {
        let known = CommandFlags::from_bits(header.flags);
        let flags = known.ok_or(Refusal::new(Errno::Invalid, "unknown command flags"))?;
        let allowed = allowed_flags(header.code, export, agreed);
        if !allowed.contains(flags) {
            return Err(Refusal::new(Errno::Invalid, "a flag that this command does not have here"));
        }
        let fua = flags.contains(CommandFlags::FUA);
        let span = Span { offset: header.offset, bytes: header.bytes };
        match header.code {
            CommandCode::Read => transfer(span, export, Errno::Invalid).map(Self::Read),
            CommandCode::Write => {
                writable(export)?;
                transfer(span, export, Errno::NoSpace).map(|span| Self::Write { span, fua })
            }
            CommandCode::Disconnect => Ok(Self::Disconnect),
            CommandCode::Flush => Ok(Self::Flush),
            CommandCode::Trim => trim(span, export, fua),
            CommandCode::WriteZeroes => zero(span, export, flags),
            CommandCode::BlockStatus => status(span, export, agreed, flags),
            CommandCode::Unknown(_) => Err(Refusal::new(Errno::Invalid, "unknown command")),
        }
    }
}

/// FUA may stand anywhere ("valid for all commands"); the others belong to one command each.
fn allowed_flags(code: CommandCode, export: &Export, agreed: &Agreement) -> CommandFlags {
    let own = match code {
        CommandCode::Read if agreed.structured => CommandFlags::DF,
        CommandCode::BlockStatus => CommandFlags::REQ_ONE,
        CommandCode::WriteZeroes if export.zeroes_fast() => CommandFlags::NO_HOLE | CommandFlags::FAST_ZERO,
        CommandCode::WriteZeroes => CommandFlags::NO_HOLE,
        _ => CommandFlags::empty(),
    };
    own | CommandFlags::FUA
}

fn inside(span: Span, export: &Export, errno: Errno) -> Result<Span, Refusal> {
    if export.contains(span.offset, span.bytes) {
        Ok(span)
    } else {
        Err(Refusal::new(errno, "beyond the end of the export"))
    }
}

fn transfer(span: Span, export: &Export, errno: Errno) -> Result<Span, Refusal> {
    if span.bytes > TRANSFER_BYTES_MAX {
        return Err(Refusal::new(Errno::Invalid, "more than 32 MiB at once"));
    }
    inside(span, export, errno)
}

fn writable(export: &Export) -> Result<(), Refusal> {
    if export.is_read_only { Err(Refusal::new(Errno::Perm, "the export is read-only")) } else { Ok(()) }
}

fn trim(span: Span, export: &Export, fua: bool) -> Result<Command, Refusal> {
    writable(export)?;
    if !export.trims() {
        return Err(Refusal::new(Errno::Invalid, "the device has no discard"));
    }
    inside(span, export, Errno::Invalid).map(|span| Command::Trim { span, fua })
}

fn zero(span: Span, export: &Export, flags: CommandFlags) -> Result<Command, Refusal> {
    writable(export)?;
    let span = inside(span, export, Errno::NoSpace)?;
    let block = u64::from(export.block_size.bytes());
    let end = span.offset + u64::from(span.bytes);
    let has_whole_block = span.offset.next_multiple_of(block) + block <= end;
    if flags.contains(CommandFlags::FAST_ZERO) && !has_whole_block && span.bytes > 0 {
        return Err(Refusal::new(Errno::NotSupported, "a part of a block is zeroed no faster than written"));
    }
    let fua = flags.contains(CommandFlags::FUA);
    Ok(Command::WriteZeroes { span, fua, may_unmap: !flags.contains(CommandFlags::NO_HOLE) })
}

fn status(span: Span, export: &Export, agreed: &Agreement, flags: CommandFlags) -> Result<Command, Refusal> {
    if !agreed.allocation {
        return Err(Refusal::new(Errno::Invalid, "no context was agreed upon"));
    }
    if span.bytes == 0 {
        return Err(Refusal::new(Errno::Invalid, "the status of nothing"));
    }
    let one = flags.contains(CommandFlags::REQ_ONE);
    inside(span, export, Errno::Invalid).map(|span| Command::BlockStatus { span, one })
}

#[cfg(test)]
mod tests {
    use block::{Access, BlockSize, MemDevice};

    use super::*;

    const AGREED: Agreement = Agreement { structured: true, allocation: true };

    fn export(access: Access) -> Export {
        let device = MemDevice::new("mem:64MiB", BlockSize::B4096, 64 << 20, access).unwrap();
        Export::of(&device, "a".parse().unwrap(), false).unwrap()
    }

    fn header(code: CommandCode, flags: u16, offset: u64, bytes: u32) -> RequestHeader {
        RequestHeader { flags, code, cookie: 0, offset, bytes }
    }

    fn read(code: CommandCode, flags: u16, offset: u64, bytes: u32) -> Result<Command, Errno> {
        let header = header(code, flags, offset, bytes);
        Command::read(&header, &export(Access::ReadWrite), &AGREED).map_err(|refusal| refusal.errno)
    }

    const END: u64 = 64 << 20;

    #[test]
    fn beyond_the_end_is_no_space_for_writers_and_wrong_for_others() {
        for (code, errno) in [
            (CommandCode::Read, Errno::Invalid),
            (CommandCode::Write, Errno::NoSpace),
            (CommandCode::WriteZeroes, Errno::NoSpace),
            (CommandCode::Trim, Errno::Invalid),
            (CommandCode::BlockStatus, Errno::Invalid),
        ] {
            assert!(read(code, 0, END - 1, 1).is_ok(), "{code:?}");
            for (offset, bytes) in [(END, 1), (END - 1, 2), (u64::MAX, 1), (u64::MAX - 1, u32::MAX >> 8)] {
                assert_eq!(read(code, 0, offset, bytes), Err(errno), "{code:?}");
            }
        }
    }

    #[test]
    fn nothing_is_something_for_all_but_the_status() {
        for code in [CommandCode::Read, CommandCode::Write, CommandCode::WriteZeroes, CommandCode::Trim] {
            assert!(read(code, 0, END, 0).is_ok(), "{code:?}");
        }
        assert_eq!(read(CommandCode::BlockStatus, 0, 0, 0), Err(Errno::Invalid));
    }

    #[test]
    fn transfers_are_bounded_and_others_are_not() {
        for code in [CommandCode::Read, CommandCode::Write] {
            assert!(read(code, 0, 0, 32 << 20).is_ok());
            assert_eq!(read(code, 0, 0, (32 << 20) + 1), Err(Errno::Invalid));
        }
        assert!(read(CommandCode::WriteZeroes, 0, 0, 64 << 20).is_ok());
        assert!(read(CommandCode::Trim, 0, 0, 64 << 20).is_ok());
    }

    #[test]
    fn each_flag_belongs_to_its_commands() {
        let codes = [
            (CommandCode::Read, 0b0_0101),
            (CommandCode::Write, 0b0_0001),
            (CommandCode::Flush, 0b0_0001),
            (CommandCode::Trim, 0b0_0001),
            (CommandCode::WriteZeroes, 0b1_0011),
            (CommandCode::BlockStatus, 0b0_1001),
        ];
        for (code, allowed) in codes {
            for bit in 0..16u16 {
                let answer = read(code, 1 << bit, 0, 4096);
                assert_eq!(answer.is_ok(), allowed & (1 << bit) != 0, "{code:?} {bit}");
            }
        }
    }

    #[test]
    fn flags_become_meaning() {
        let span = Span { offset: 0, bytes: 4096 };
        let write = Command::Write { span, fua: true };
        assert_eq!(read(CommandCode::Write, 1, 0, 4096), Ok(write));
        let zeroes = |fua, may_unmap| Command::WriteZeroes { span, fua, may_unmap };
        assert_eq!(read(CommandCode::WriteZeroes, 0, 0, 4096), Ok(zeroes(false, true)));
        assert_eq!(read(CommandCode::WriteZeroes, 3, 0, 4096), Ok(zeroes(true, false)));
        assert_eq!(read(CommandCode::BlockStatus, 8, 0, 4096), Ok(Command::BlockStatus { span, one: true }));
    }

    #[test]
    fn fast_zeroing_needs_a_whole_block() {
        assert!(read(CommandCode::WriteZeroes, 16, 1, 8191).is_ok());
        assert_eq!(read(CommandCode::WriteZeroes, 16, 1, 8190), Err(Errno::NotSupported));
        assert!(read(CommandCode::WriteZeroes, 0, 1, 8190).is_ok());
    }

    #[test]
    fn a_read_only_export_takes_no_change() {
        let export = export(Access::Read);
        for code in [CommandCode::Write, CommandCode::WriteZeroes, CommandCode::Trim] {
            let refusal = Command::read(&header(code, 0, 0, 4096), &export, &AGREED).unwrap_err();
            assert_eq!(refusal.errno, Errno::Perm);
        }
        assert!(Command::read(&header(CommandCode::Flush, 0, 0, 0), &export, &AGREED).is_ok());
    }

    #[test]
    fn what_was_not_agreed_upon_is_wrong() {
        let plain = Agreement { structured: false, allocation: false };
        let export = export(Access::ReadWrite);
        for header in [header(CommandCode::Read, 4, 0, 512), header(CommandCode::BlockStatus, 0, 0, 512)] {
            assert_eq!(Command::read(&header, &export, &plain).unwrap_err().errno, Errno::Invalid);
        }
        assert_eq!(read(CommandCode::Unknown(5), 0, 0, 512), Err(Errno::Invalid));
    }
}
