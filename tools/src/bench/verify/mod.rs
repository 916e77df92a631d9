//! Verification that knows the history of every block, in-flight writes included.
//!
//! - [`stamp`]: what every written block says about itself.
//! - [`generation`], [`history`]: which writes a block may hold, for each read.
//! - [`checker`]: puts both together for a job's requests.
//! - [`failure`]: what is wrong with a block, in words.
//! - [`state_file`]: the history, kept for a later process.

pub mod checker;
pub mod failure;
pub mod generation;
pub mod history;
pub mod stamp;
pub mod state_file;

pub use checker::{Checker, CheckerShape};
pub use failure::Failure;
pub use history::WriteEnd;
pub use state_file::{SavedHistory, StateFileError};

/// Most blocks whose history a run keeps: a table of 4 GiB.
pub const BLOCKS_MAX: u64 = (4 << 30) / history::BLOCK_BYTES;
