//! Bytes and their meaning: every number on the wire, all of them big-endian.

mod errno;
mod flags;
mod option;
mod reader;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use errno::Errno;
pub use flags::{ClientFlags, CommandFlags, ExtentFlags, HandshakeFlags, TransmissionFlags};
pub use option::{
    BASE_ALLOCATION, BASE_NAMESPACE, BlockSizes, EXPORT_NAME_ZEROES, InfoKind, InfoRequest, MetaQuery,
    OPTION_HEADER_BYTES, OptionCode, OptionError, OptionHeader, OptionReply, OptionWriter, STRING_BYTES_MAX,
    write_export_name_reply,
};
pub use reader::Reader;
pub use reply::{REPLY_BYTES_MAX, ReplyHead};
pub use request::{CommandCode, REQUEST_BYTES, RequestHeader};

/// What a server says first, followed by [`OPTION_MAGIC`] and [`HandshakeFlags`].
pub const GREETING_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");

/// What every option begins with.
pub const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");

/// Bytes of the greeting.
pub const GREETING_BYTES: usize = 18;

/// Bytes of the client's answer to it.
pub const CLIENT_FLAGS_BYTES: usize = 4;

/// The greeting.
#[must_use]
pub fn greeting(flags: HandshakeFlags) -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    bytes[..8].copy_from_slice(&GREETING_MAGIC.to_be_bytes());
    bytes[8..16].copy_from_slice(&OPTION_MAGIC.to_be_bytes());
    bytes[16..].copy_from_slice(&flags.bits().to_be_bytes());
    bytes
}
