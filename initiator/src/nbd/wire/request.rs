//! The header of a command ("Request message").

use super::reader::Reader;

/// Bytes of the header.
pub const REQUEST_BYTES: usize = 28;

const REQUEST_MAGIC: u32 = 0x2560_9513;

/// What is to be done ("Request types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandCode {
    /// Read.
    Read,
    /// Write; the data follows.
    Write,
    /// The last command: there is no reply.
    Disconnect,
    /// Make durable what was acknowledged.
    Flush,
    /// The data is no longer needed.
    Trim,
    /// Write zeroes; no data follows.
    WriteZeroes,
    /// Tell which blocks hold data.
    BlockStatus,
    /// Anything else.
    Unknown(u16),
}

impl From<u16> for CommandCode {
    fn from(number: u16) -> Self {
        match number {
            0 => Self::Read,
            1 => Self::Write,
            2 => Self::Disconnect,
            3 => Self::Flush,
            4 => Self::Trim,
            6 => Self::WriteZeroes,
            7 => Self::BlockStatus,
            _ => Self::Unknown(number),
        }
    }
}

/// A command as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Flags; not all bits need have a meaning.
    pub flags: u16,
    /// What is to be done.
    pub code: CommandCode,
    /// The client's mark, given back with the reply.
    pub cookie: u64,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u32,
}

impl RequestHeader {
    /// Reads it; `None` if it does not begin as commands do: then nothing that follows can be understood.
    #[inline]
    #[must_use]
    pub fn read(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u32()? != REQUEST_MAGIC {
            return None;
        }
        Some(Self {
            flags: reader.u16()?,
            code: reader.u16()?.into(),
            cookie: reader.u64()?,
            offset: reader.u64()?,
            bytes: reader.u32()?,
        })
    }
}
