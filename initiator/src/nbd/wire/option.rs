//! Options: what client and server say to each other before the first command ("Option types", "Option reply types").

use thiserror::Error;

use super::OPTION_MAGIC;
use super::flags::TransmissionFlags;
use super::reader::Reader;

/// Bytes before an option's data.
pub const OPTION_HEADER_BYTES: usize = 16;

/// Longest string ("a string ... SHOULD NOT be longer than 4096 bytes").
pub const STRING_BYTES_MAX: usize = 4096;

/// What follows the answer to `EXPORT_NAME` unless the client does without.
pub const EXPORT_NAME_ZEROES: usize = 124;

/// The namespace of contexts that the protocol itself defines.
pub const BASE_NAMESPACE: &str = "base:";

/// The context that says which blocks hold data.
pub const BASE_ALLOCATION: &str = "base:allocation";

const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionCode {
    /// Begin with an export, or end: there is no way to refuse.
    ExportName,
    /// End.
    Abort,
    /// Name the exports.
    List,
    /// Tell of an export.
    Info,
    /// Begin with an export.
    Go,
    /// Structured replies from the first command on.
    StructuredReply,
    /// Name the contexts of an export.
    ListMetaContext,
    /// Choose contexts for `BLOCK_STATUS`.
    SetMetaContext,
    /// Anything else, TLS and extended headers among it.
    Unknown(u32),
}

impl OptionCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::ExportName => 1,
            Self::Abort => 2,
            Self::List => 3,
            Self::Info => 6,
            Self::Go => 7,
            Self::StructuredReply => 8,
            Self::ListMetaContext => 9,
            Self::SetMetaContext => 10,
            Self::Unknown(number) => number,
        }
    }
}

impl From<u32> for OptionCode {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::ExportName,
            2 => Self::Abort,
            3 => Self::List,
            6 => Self::Info,
            7 => Self::Go,
            8 => Self::StructuredReply,
            9 => Self::ListMetaContext,
            10 => Self::SetMetaContext,
            _ => Self::Unknown(number),
        }
    }
}

/// An option, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHeader {
    /// What it is.
    pub code: OptionCode,
    /// Bytes of its data, as the client says.
    pub bytes: u32,
}

/// Why an option cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OptionError {
    /// It does not begin as options do.
    #[error("an option that does not begin with IHAVEOPT")]
    Magic,
    /// Its data is not what the option's is.
    #[error("the option's data cannot be read")]
    Data,
}

impl OptionHeader {
    /// Reads it.
    pub fn read(bytes: &[u8; OPTION_HEADER_BYTES]) -> Result<Self, OptionError> {
        let mut reader = Reader::new(bytes);
        match (reader.u64(), reader.u32(), reader.u32()) {
            (Some(OPTION_MAGIC), Some(code), Some(bytes)) => Ok(Self { code: code.into(), bytes }),
            _ => Err(OptionError::Magic),
        }
    }
}

/// What a client wants to know of an export ("Information types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfoKind {
    /// Size and flags; told in any case.
    Export,
    /// Its name as the server has it.
    Name,
    /// A description for people.
    Description,
    /// The least, best and most bytes of a command.
    BlockSize,
}

impl InfoKind {
    const fn number(self) -> u16 {
        match self {
            Self::Export => 0,
            Self::Name => 1,
            Self::Description => 2,
            Self::BlockSize => 3,
        }
    }
}

/// The data of `INFO` and `GO`.
#[derive(Clone, Copy, Debug)]
pub struct InfoRequest<'a> {
    /// The export's name; empty for the default one.
    pub name: &'a [u8],
    kinds: Reader<'a>,
}

impl<'a> InfoRequest<'a> {
    /// Reads it.
    pub fn read(data: &'a [u8]) -> Result<Self, OptionError> {
        let mut reader = Reader::new(data);
        let name = reader.string().ok_or(OptionError::Data)?;
        let count = reader.u16().ok_or(OptionError::Data)?;
        let kinds = reader.bytes(2 * usize::from(count)).ok_or(OptionError::Data)?;
        if !reader.is_at_end() || name.len() > STRING_BYTES_MAX {
            return Err(OptionError::Data);
        }
        Ok(Self { name, kinds: Reader::new(kinds) })
    }

    /// Whether the client asks for this.
    #[must_use]
    pub fn asks_for(&self, kind: InfoKind) -> bool {
        let mut kinds = self.kinds;
        std::iter::from_fn(|| kinds.u16()).any(|number| number == kind.number())
    }
}

/// The data of `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
#[derive(Clone, Copy, Debug)]
pub struct MetaQuery<'a> {
    /// The export's name.
    pub name: &'a [u8],
    queries: Reader<'a>,
}

impl<'a> MetaQuery<'a> {
    /// Reads it.
    pub fn read(data: &'a [u8]) -> Result<Self, OptionError> {
        let mut reader = Reader::new(data);
        let name = reader.string().ok_or(OptionError::Data)?;
        let count = reader.u32().ok_or(OptionError::Data)?;
        let queries = reader;
        for _ in 0..count {
            let query = reader.string().ok_or(OptionError::Data)?;
            if query.len() > STRING_BYTES_MAX {
                return Err(OptionError::Data);
            }
        }
        if !reader.is_at_end() || name.len() > STRING_BYTES_MAX {
            return Err(OptionError::Data);
        }
        Ok(Self { name, queries })
    }

    /// The contexts that the client asks for, in its words.
    pub fn queries(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut queries = self.queries;
        std::iter::from_fn(move || queries.string())
    }
}

/// Least, best and most bytes of a command ("Block size constraints").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    /// Offsets and lengths are best multiples of this.
    pub minimum: u32,
    /// What costs least.
    pub preferred: u32,
    /// Most bytes of a read or write.
    pub maximum: u32,
}

/// An answer to an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionReply<'a> {
    /// Done; the last answer.
    Ack,
    /// One export: its name.
    Server(&'a str),
    /// Size and flags of an export.
    Export {
        /// Its bytes.
        bytes: u64,
        /// What it can do.
        flags: TransmissionFlags,
    },
    /// An export's name, or its description.
    Text(InfoKind, &'a str),
    /// An export's block sizes.
    BlockSize(BlockSizes),
    /// A context and the number that it goes by.
    MetaContext {
        /// Its number; without meaning in a list.
        id: u32,
        /// Its name.
        name: &'a str,
    },
    /// There is no such option here.
    Unsupported(&'a str),
    /// It is wrong, or not now.
    Invalid(&'a str),
    /// There is no such export.
    UnknownExport(&'a str),
    /// The server is going.
    Shutdown(&'a str),
    /// It is too long.
    TooBig(&'a str),
}

/// Bit of the types of answers that are errors.
const ERROR: u32 = 1 << 31;

impl OptionReply<'_> {
    const fn number(&self) -> u32 {
        match self {
            Self::Ack => 1,
            Self::Server(_) => 2,
            Self::Export { .. } | Self::Text(..) | Self::BlockSize(_) => 3,
            Self::MetaContext { .. } => 4,
            Self::Unsupported(_) => ERROR | 1,
            Self::Invalid(_) => ERROR | 3,
            Self::UnknownExport(_) => ERROR | 6,
            Self::Shutdown(_) => ERROR | 7,
            Self::TooBig(_) => ERROR | 9,
        }
    }

    fn write_data(&self, into: &mut Vec<u8>) {
        match *self {
            Self::Ack => {}
            Self::Server(name) => {
                into.extend(length(name).to_be_bytes());
                into.extend(name.as_bytes());
            }
            Self::Export { bytes, flags } => {
                into.extend(InfoKind::Export.number().to_be_bytes());
                into.extend(bytes.to_be_bytes());
                into.extend(flags.bits().to_be_bytes());
            }
            Self::Text(kind, text) => {
                into.extend(kind.number().to_be_bytes());
                into.extend(text.as_bytes());
            }
            Self::BlockSize(sizes) => {
                into.extend(InfoKind::BlockSize.number().to_be_bytes());
                for size in [sizes.minimum, sizes.preferred, sizes.maximum] {
                    into.extend(size.to_be_bytes());
                }
            }
            Self::MetaContext { id, name } => {
                into.extend(id.to_be_bytes());
                into.extend(name.as_bytes());
            }
            Self::Unsupported(text)
            | Self::Invalid(text)
            | Self::UnknownExport(text)
            | Self::Shutdown(text)
            | Self::TooBig(text) => into.extend(text.as_bytes()),
        }
    }
}

fn length(text: &str) -> u32 {
    // Names and sentences of ours: far below 4 GiB.
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// Writes answers to one option.
#[derive(Debug)]
pub struct OptionWriter<'a> {
    /// The option that is answered.
    pub code: OptionCode,
    /// Where the answers go.
    pub into: &'a mut Vec<u8>,
}

impl OptionWriter<'_> {
    /// Adds an answer.
    pub fn reply(&mut self, reply: OptionReply<'_>) {
        self.into.extend(REPLY_MAGIC.to_be_bytes());
        self.into.extend(self.code.number().to_be_bytes());
        self.into.extend(reply.number().to_be_bytes());
        let length_at = self.into.len();
        self.into.extend([0; 4]);
        reply.write_data(self.into);
        let bytes = u32::try_from(self.into.len() - length_at - 4).unwrap_or(u32::MAX);
        self.into[length_at..length_at + 4].copy_from_slice(&bytes.to_be_bytes());
    }
}

/// The answer to `EXPORT_NAME`, which has a form of its own.
pub fn write_export_name_reply(bytes: u64, flags: TransmissionFlags, zeroes: bool, into: &mut Vec<u8>) {
    into.extend(bytes.to_be_bytes());
    into.extend(flags.bits().to_be_bytes());
    if zeroes {
        into.extend([0; EXPORT_NAME_ZEROES]);
    }
}
