//! `remora-target`: exports block devices over NVMe/RDMA.
//!
//! - [`engine`]: the data path. Everything else is around it.
//! - [`config`]: what the target is told to do, by a file or a command line; `export`: from there to what is served.
//! - `daemon`: the thread that starts, changes and ends all of it; `state`: what changed at run time, kept over restarts.
//! - [`control`]: the socket by which an administrator asks; `metrics`, `log`: what it tells unasked.
//! - [`devices`]: which kinds of device there are.
//!
//! [`main`] is the whole program.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation))]

mod cli;
pub mod config;
pub mod control;
mod daemon;
pub mod devices;
pub mod engine;
mod export;
mod hub;
mod log;
mod metrics;
mod reactor;
mod signals;
mod state;

pub use cli::{EXIT_FAILED, EXIT_USAGE, main};
