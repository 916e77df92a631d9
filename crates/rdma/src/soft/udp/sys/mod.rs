//! What the operating system is asked beyond what rustix covers. All unsafe code of the sockets is in here.

pub(super) mod incoming;
mod name;
pub(super) mod options;
pub(super) mod outgoing;
