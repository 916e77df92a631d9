//! Remote namespaces as block devices: `rdma://HOST[:PORT]/NQN?ns=N`.
//!
//! [`open_rdma`] is the opener. Behind a device is a controller: a thread of its own, the core, drives the protocol
//! ([`nvmf::host::HostController`]) with the admin queue, keeps the association alive, and makes a new one after a loss. Each I/O
//! queue is a lane (an endpoint, its queue pair, and the commands in flight), which the core connects and hands by value to the
//! thread that opens a queue; after a loss the lane goes back.
//!
//! ```text
//!   threads of queues            core's thread
//!   Queue ── Lane ◄── Desk ────── Core ── Port (admin queue)
//!     └────────── Message ──────►  │
//!                             HostController
//! ```
//!
//! [`AdminClient`] and [`discover`] are for tools. [`nbd`] is for programs that we did not write.

#![forbid(unsafe_code)]

mod adapter;
mod admin_client;
mod attach;
mod core;
mod desk;
mod discover;
mod error;
mod handle;
mod identity;
mod lane;
mod namespace;
pub mod nbd;
mod open;
mod options;
mod port;
mod queue;
mod regions;
mod resolve;
mod shared;

pub use admin_client::{ADMIN_BYTES_MAX, AdminAnswer, AdminClient, AdminData};
pub use discover::{Discovery, Service, discover};
pub use error::{AdminError, ConnectError};
pub use identity::{IdentityError, host_identity};
pub use open::open_rdma;
pub use options::{DEPTH_MAX, QUEUES_MAX, RemoteOptions, RemoteOptionsError};
pub use resolve::{ResolveError, resolve};
