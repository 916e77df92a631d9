//! What a namespace keeps its blocks on.

mod file;
mod image;
pub mod label;
mod memory;
pub mod note;
mod recording;

use thiserror::Error;

pub use file::FileMedia;
pub use image::{ImageError, ImageShape};
pub use memory::MemoryMedia;
pub use recording::RecordingMedia;

/// The medium did not do it.
#[derive(Debug, Error)]
pub enum MediaError {
    /// The blocks could not be read.
    #[error("blocks {start}+{blocks} cannot be read: {source}")]
    Read {
        /// First block.
        start: u64,
        /// Number of blocks.
        blocks: u64,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The blocks could not be written.
    #[error("blocks {start}+{blocks} cannot be written: {source}")]
    Write {
        /// First block.
        start: u64,
        /// Number of blocks.
        blocks: u64,
        /// The system's answer.
        source: std::io::Error,
    },
    /// What was written could not be made durable.
    #[error("the cache cannot be flushed: {source}")]
    Sync {
        /// The system's answer.
        source: std::io::Error,
    },
    /// The note could not be kept.
    #[error("a note of {bytes} bytes cannot be kept: {source}")]
    Note {
        /// Bytes of the note.
        bytes: usize,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The medium cannot have that size.
    #[error("the medium cannot have {blocks} blocks: {reason}")]
    Size {
        /// The size asked for.
        blocks: u64,
        /// Why not.
        reason: String,
    },
}

/// Whether something is to outlive a power cut when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It may stay in a cache until the next [`Media::sync`].
    Cached,
    /// It is durable on return.
    Durable,
}

/// Logical blocks, addressed by number, so that the largest namespace does not overflow. The caller keeps to the size.
pub trait Media: Send {
    /// Bytes of a block.
    fn block_bytes(&self) -> u32;

    /// Number of blocks.
    fn blocks(&self) -> u64;

    /// Reads whole blocks.
    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), MediaError>;

    /// Writes whole blocks.
    fn write(&mut self, start: u64, from: &[u8], durability: Durability) -> Result<(), MediaError>;

    /// Makes blocks read as zeroes, and frees what they took.
    fn deallocate(&mut self, start: u64, blocks: u64, durability: Durability) -> Result<(), MediaError>;

    /// Makes everything written so far durable.
    fn sync(&mut self) -> Result<(), MediaError>;

    /// Changes the size. Blocks that are new read as zeroes.
    fn resize(&mut self, blocks: u64) -> Result<(), MediaError>;

    /// Keeps a note beside the blocks, at most [`note::NOTE_BYTES_MAX`] bytes; it is durable on return.
    fn store_note(&mut self, note: &[u8]) -> Result<(), MediaError>;

    /// The note that was kept last; empty if there was none.
    fn load_note(&self) -> Vec<u8>;

    /// How many blocks take space.
    fn allocated_blocks(&self) -> u64;
}
