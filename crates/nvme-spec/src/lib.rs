//! NVMe bytes and their meaning.
//!
//! Everything here follows the NVM Express Base Specification 2.1, the NVM Command Set Specification 1.1 and
//! the NVMe over PCIe Transport Specification 1.1, which "Base", "NVM" and "PCIe" name. Clauses and figures
//! are cited by title, since their numbers change with every revision.
//!
//! The crate does no I/O, allocates nothing on a command's path and knows both directions: a driver encodes
//! what a controller decodes. Bytes and meaning are separate types: [`sqe::Sqe`] is 64 bytes that may say
//! anything, [`command::NvmCommand`] can only be a valid command. What comes from the other side passes
//! through a length check or a `TryFrom`, and never panics.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation))]

pub mod async_event;
mod bits;
mod bytes;
pub mod command;
pub mod cqe;
pub mod features;
pub mod identify;
pub mod ids;
pub mod lba;
pub mod log;
pub mod protection;
pub mod prp;
pub mod registers;
pub mod reservation;
pub mod sgl;
pub mod sqe;
pub mod status;
mod structure;
pub mod text;

pub use bytes::TooShort;
pub use cqe::Cqe;
pub use ids::{CommandId, ControllerId, Nsid, QueueId};
pub use lba::{BlockCount, Lba, LbaRange};
pub use sqe::Sqe;
pub use status::{Status, StatusCode};
