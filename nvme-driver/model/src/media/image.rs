//! What an image is asked to be, and why it may not be opened.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::label::LabelError;

/// Why an image cannot be opened.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The image.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process, or another device of this one, has it open.
    #[error("{} is in use by another software SSD", path.display())]
    InUse {
        /// The image.
        path: PathBuf,
    },
    /// The file is there and is no image that can be used.
    #[error("{}: {source}", path.display())]
    Label {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        source: LabelError,
    },
    /// There is no image, and no size was given to make one.
    #[error("{} does not exist, and without a size it cannot be made", path.display())]
    NoSize {
        /// The image.
        path: PathBuf,
    },
    /// No image can have that shape.
    #[error("an image of {blocks} blocks of {block_bytes} bytes cannot be made")]
    Shape {
        /// Number of blocks.
        blocks: u64,
        /// Bytes of a block.
        block_bytes: u32,
    },
    /// The image has another shape than the one asked for.
    #[error("{} has {blocks} blocks of {block_bytes} bytes, which is not what was asked for", path.display())]
    Differs {
        /// The image.
        path: PathBuf,
        /// Its number of blocks.
        blocks: u64,
        /// Its bytes of a block.
        block_bytes: u32,
    },
}

/// The shape of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Bytes of a block: 512 or 4096. For an image that exists, `None` takes what it has; a new one gets 512.
    pub block_bytes: Option<u32>,
    /// Bytes of all blocks. For an image that exists, `None` takes what it has.
    pub bytes: Option<u64>,
}
