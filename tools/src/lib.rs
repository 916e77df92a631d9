//! The command `remora`: `remora bench` measures and verifies any block device, in fio's words; `remora drives` looks
//! after NVMe drives, `remora id-ctrl` and its like ask them; `remora rdma` tries RDMA connections; `remora doctor` says what
//! the machine lacks; `remora target` asks a running target.
//!
//! One module for each subcommand; [`devices`] is the one place that says which kinds of device there are.

mod affinity;
pub mod attach;
pub mod bench;
mod cli;
pub mod demo;
pub mod discover;
pub mod doctor;
pub mod drives;
pub mod list;
pub mod nvme;
pub mod rdma;
pub mod target;

pub use cli::{EXIT_FAILED, EXIT_USAGE, run};
pub use target_daemon::devices;
