//! What stands before a reply's data ("Simple reply message", "Structured reply chunk message").

use super::errno::Errno;
use super::flags::ExtentFlags;

const SIMPLE_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_MAGIC: u32 = 0x668e_33ef;

/// Flag of a chunk: the last one of its reply.
const DONE: u16 = 1;

const CHUNK_NONE: u16 = 0;
const CHUNK_OFFSET_DATA: u16 = 1;
const CHUNK_BLOCK_STATUS: u16 = 5;
const CHUNK_ERROR: u16 = 32_769;

const CHUNK_HEADER_BYTES: usize = 20;

/// Longest sentence of an error.
const MESSAGE_BYTES_MAX: usize = 60;

/// Most bytes before a reply's data.
pub const REPLY_BYTES_MAX: usize = CHUNK_HEADER_BYTES + 6 + MESSAGE_BYTES_MAX;

/// A reply up to its data: the bytes of a read or of a block status follow it from where they lie.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead {
    bytes: [u8; REPLY_BYTES_MAX],
    used: usize,
}

impl ReplyHead {
    fn empty() -> Self {
        Self { bytes: [0; REPLY_BYTES_MAX], used: 0 }
    }

    #[inline]
    fn add(mut self, bytes: &[u8]) -> Self {
        self.bytes[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
        self
    }

    fn chunk(kind: u16, cookie: u64, bytes: u32) -> Self {
        Self::empty()
            .add(&STRUCTURED_MAGIC.to_be_bytes())
            .add(&DONE.to_be_bytes())
            .add(&kind.to_be_bytes())
            .add(&cookie.to_be_bytes())
            .add(&bytes.to_be_bytes())
    }

    /// A simple reply: done, or not. The data of a successful read follows.
    #[inline]
    #[must_use]
    pub fn simple(cookie: u64, result: Result<(), Errno>) -> Self {
        let number = result.err().map_or(0, Errno::number);
        Self::empty().add(&SIMPLE_MAGIC.to_be_bytes()).add(&number.to_be_bytes()).add(&cookie.to_be_bytes())
    }

    /// The only chunk of a reply that has no data.
    #[must_use]
    pub fn nothing(cookie: u64) -> Self {
        Self::chunk(CHUNK_NONE, cookie, 0)
    }

    /// The only chunk of a read's reply; `bytes` bytes follow (less than 4 GiB by 8).
    #[inline]
    #[must_use]
    pub fn data(cookie: u64, offset: u64, bytes: u32) -> Self {
        Self::chunk(CHUNK_OFFSET_DATA, cookie, bytes.saturating_add(8)).add(&offset.to_be_bytes())
    }

    /// The only chunk of a failed command's reply, with a sentence for people (cut if it is too long).
    #[must_use]
    pub fn error(cookie: u64, errno: Errno, sentence: &str) -> Self {
        let sentence = &sentence.as_bytes()[..sentence.len().min(MESSAGE_BYTES_MAX)];
        let length = u16::try_from(sentence.len()).unwrap_or(0);
        Self::chunk(CHUNK_ERROR, cookie, u32::from(length) + 6)
            .add(&errno.number().to_be_bytes())
            .add(&length.to_be_bytes())
            .add(sentence)
    }

    /// The only chunk of a block status: `extents` pairs of length and flags follow, as [`Self::extent`] makes them.
    #[must_use]
    pub fn block_status(cookie: u64, context: u32, extents: u32) -> Self {
        Self::chunk(CHUNK_BLOCK_STATUS, cookie, extents.saturating_mul(8).saturating_add(4))
            .add(&context.to_be_bytes())
    }

    /// One extent of a block status.
    #[must_use]
    pub fn extent(bytes: u32, flags: ExtentFlags) -> [u8; 8] {
        let mut pair = [0; 8];
        pair[..4].copy_from_slice(&bytes.to_be_bytes());
        pair[4..].copy_from_slice(&flags.bits().to_be_bytes());
        pair
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}
