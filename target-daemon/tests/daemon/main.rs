//! The real program as a process: what an administrator does to it, and what becomes of it.
//!
//! - `rig`: a process and its control socket; `host`: somebody who is attached meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and needs the time and a pause"
)]

mod configuration;
mod host;
mod kept;
mod life;
mod rig;
