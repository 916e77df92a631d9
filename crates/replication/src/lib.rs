//! The mirror without I/O and without a clock: labels, write-intent map, membership, resync, fencing.
//!
//! The contract is docs/replication.md. [`Mirror`] takes requests, completions, news of links and the time; it gives
//! [`Action`]s for the holders of its labels (legs and a witness), completions of requests, and the next moment at which it
//! wants to be called. It never sees data: actions say whose memory is read or written.
//!
//! The simulation in `tests/simulation` drives this very crate. 2,000 seeds run with `cargo test -p replication`; 100,000 with
//! `REMORA_SEEDS=100000 cargo test --release -p replication --test simulation -- seeds`. A seed that fails is printed, and
//! `REMORA_SEED=n` replays it.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation))]

mod action;
mod attach;
mod config;
mod error;
mod generation;
mod holder;
mod ids;
mod intent;
mod locks;
mod mirror;
mod mutation;
mod regions;
pub mod wire;

pub use action::{Action, ActionKind, Data, Done, LabelCopies, LegError, MapUnit};
pub use attach::Refusal;
pub use config::{ConfigError, Description, LEGS_MAX, Member, Options, Policy, REGIONS_MAX, Role, Shape};
pub use error::MirrorError;
pub use generation::{ANCESTORS_MAX, Generation, GenerationName, Lineage};
pub use holder::{HolderState, LossReason};
pub use ids::{ActionId, HOLDERS_MAX, HolderId, HolderSet, Region, RequestId, WriterKey};
pub use mirror::{Attachment, HolderStatus, Mirror, Phase, Status, coverage};
#[cfg(feature = "mutations")]
pub use mutation::Mutation;
