//! The software SSD: an NVMe controller behind [`nvme_driver::PciFunction`].
//!
//! - [`SoftSsd`] runs on a thread of its own, which sleeps when there is nothing to do.
//! - [`SteppedSsd`] is the same controller without a thread: who drives it says when it works and what time it is.
//! - [`Fault`]s make it late, wrong, stuck or gone; [`Stats`] say what it did to memory.
//! - [`media`] keep the blocks: memory, a file, or a recorder that loses in a power cut what was not synced.
//!
//! The controller is written from the specification and shares no queue code with the driver: one bug must not hide
//! another.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation))]

mod build;
mod controller;
mod data_pointer;
mod doorbells;
pub mod faults;
mod function;
mod interrupts;
mod iommu;
pub mod media;
mod opener;
mod options;
mod soft;
mod ssd;
mod stepped;

pub use build::{BuildError, SsdOptions};
pub use controller::{NamespaceError, Next, Stats};
pub use data_pointer::SglSupport;
pub use faults::{
    Action, CommandFault, Corruption, CriticalWarningBit, Fault, FaultRule, Lie, LifeFault, Moment, Phase,
    Queues, RuleId,
};
pub use iommu::DmaFault;
pub use media::{
    Durability, FileMedia, ImageError, ImageShape, Media, MediaError, MemoryMedia, RecordingMedia,
};
pub use opener::{SOFT_NSID, open_soft_nvme, open_soft_nvme_controller};
pub use options::{ATOMIC_BLOCKS_MAX, ControllerOptions, IO_QUEUE_PAIRS_MAX, NamespaceOptions};
pub use soft::SoftSsd;
pub use ssd::Ssd;
pub use stepped::SteppedSsd;
