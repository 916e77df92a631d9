//! A userspace NVMe driver.
//!
//! The driver reaches hardware through one seam, [`PciFunction`]: registers, DMA mappings, interrupts, bus mastering.
//! VFIO implements it for real drives, the software SSD (crate `nvme-model`) for everybody without one.
//!
//! - [`NvmeController::attach`] brings a controller up and gives it a thread that owns its admin queue, keeps event
//!   requests armed, watches its health, and resets it when it must.
//! - [`NvmeNamespace`] is a `block::BlockDevice`. Each thread opens a queue pair of its own; on the I/O path nothing is
//!   shared, locked or allocated.
//! - [`SteppedController`] is the same without a thread, for simulations.
//!
//! Who touches what: the core (`core`) owns registers and the admin queue; a queue (`queue`) owns its rings and its
//! doorbells; they talk through a mailbox (`link`) and one word (`phase`).

mod admin;
mod controller;
mod core;
mod data_pointer;
mod identity;
mod link;
mod namespace;
mod namespace_state;
mod options;
pub mod pci;
mod phase;
mod queue;
mod ring;
mod shared;
mod slots;
pub mod vfio;
mod wake;
mod worker;

pub use admin::{ADMIN_BYTES_MAX, AdminAnswer, AdminError};
pub use controller::{ControllerError, NvmeController, SteppedController};
pub use identity::ControllerInfo;
pub use namespace::{NamespaceError, NvmeNamespace};
pub use options::DriverOptions;
pub use pci::{PciError, PciFunction};
pub use queue::{Census, IoQueue, QUEUE_DEPTH_MAX};
pub use shared::ResetReason;
