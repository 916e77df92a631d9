//! The host's side: one controller of a subsystem, its queues, and discovery.
//!
//! - [`HostController`] brings an association up, keeps it alive, watches its namespaces and brings it up again after a loss. It
//!   is one thread's; it says what to do by [`HostAction`]s and what happened by [`HostEvent`]s.
//! - [`HostIoQueue`] is one I/O queue, for the thread that owns the queue: operations become commands, responses results. It
//!   needs nothing of the controller but [`IoQueueParameters`].
//! - [`discovery`] reads discovery logs and follows referrals, within bounds.
//!
//! Memory is not seen here. Where a command moves data, the caller gives it an address and a key ([`KeyedMemory`]), or puts the
//! data behind the command ([`Placement::InCapsule`]).

mod admin;
mod association;
mod command;
mod controller;
mod discovering;
pub mod discovery;
mod event;
mod failure;
mod identity;
mod info;
mod io_queue;
mod link;
mod namespace;
mod options;
mod outgoing;
mod reconnect;
mod scan;
mod setup;
mod shutdown;
mod slots;
mod status;

pub use admin::{AdminTicket, PASSTHROUGH_MAX};
pub use command::{DataDirectionOfOp, IoCommand, KeyedMemory, Placement};
pub use controller::{HostController, HostState};
pub use event::{Association, HostAction, HostEvent, NamespaceChange};
pub use failure::{Failure, Unusable};
pub use identity::{HostIdentity, HostIdentityError};
pub use info::{ControllerInfo, IoQueueParameters};
pub use io_queue::{Completed, HostIoQueue, Prepared, QueueError, Slot};
pub use namespace::{NAMESPACES_MAX, Namespace, NamespaceError, NamespaceMap};
pub use options::{ControllerKind, HostOptions, OptionsError, ReconnectOptions};
pub use outgoing::{Outgoing, OutgoingData};
pub use status::{Disposition, disposition, error_of};
