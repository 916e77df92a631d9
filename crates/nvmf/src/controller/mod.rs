//! The controller's side of NVMe over Fabrics: everything a target is, but for connections, memory and devices.
//!
//! - [`PendingQueue`]: a connection until its Connect, which [`Target::connect`] answers.
//! - [`Target`]: subsystems, namespaces, hosts, controllers, admin commands, discovery, keep-alive. One for a daemon, behind a
//!   lock; no I/O command touches it.
//! - [`IoQueue`]: one I/O queue. It belongs to one thread and shares nothing that is ever contended: a snapshot of the
//!   namespaces, and a gate that says whether the controller is enabled.
//!
//! Nothing here knows RDMA: an action says which memory of the host is to be read or written, and which key a response
//! invalidates. A connection's loss is told by [`Target::queue_gone`] when nothing of the queue is in flight any more, so that
//! no write of an old association reaches a device after the same host's next one has begun.

mod admin;
mod association;
mod connect;
mod context;
mod events;
mod features;
mod flow;
mod gate;
mod identify;
mod io;
mod keep_alive;
pub mod limits;
mod logs;
mod namespace;
mod pending;
mod registers;
mod subsystem;
mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transfer;

pub use admin::{AdminAction, Reply};
pub use association::{ControllerKey, DropReason};
pub use connect::{Arrival, Connected};
pub use flow::{QueuePhase, Violation};
pub use io::{IoAction, IoCommand, IoQueue, Slot, status_of};
pub use limits::{Limits, LimitsError};
pub use namespace::{NamespaceError, NamespaceInfo, NamespaceMap};
pub use pending::{PendingAction, PendingQueue, check_request};
pub use registers::ControllerPhase;
pub use subsystem::{CONTROLLER_IDS, SubsystemError, SubsystemOptions};
pub use target::{ControllerStatus, Event, Target};
pub use transfer::{KeyedMemory, Transfer};
