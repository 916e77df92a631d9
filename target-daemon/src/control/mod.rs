//! The control socket: how an administrator asks a running target.
//!
//! Each request and each reply is one line of JSON that begins with the protocol's version:
//!
//! ```text
//! {"version":1,"request":"status"}
//! {"version":1,"reply":"status","pid":4711,...}
//! ```
//!
//! - [`protocol`]: requests and replies, as bytes and as meaning; [`status`]: the longest of the replies.
//! - `server`: the socket, its one owner, and its bounds.
//! - [`client`]: the other side, for `remora target`.

pub mod client;
pub mod protocol;
mod server;
pub mod status;

use std::path::PathBuf;

use crate::config::ControlPath;

pub use server::ControlError;
pub(crate) use server::{Answer, Server};

/// Where a target's control socket is if nobody says otherwise; the same for both sides if they are the same user's.
#[must_use]
pub fn default_path() -> Option<PathBuf> {
    match ControlPath::default() {
        ControlPath::Default(path) | ControlPath::At(path) => Some(path),
        ControlPath::None => None,
    }
}
