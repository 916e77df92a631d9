//! One connection of the small target.

use nvme_spec::QueueId;
use nvmf::controller::{ControllerKey, IoQueue, PendingQueue};

/// What a connection is.
pub enum Session {
    Pending(PendingQueue),
    Admin(ControllerKey),
    Io(Box<IoQueue>),
}

impl Session {
    pub fn of(&self) -> Option<(ControllerKey, QueueId)> {
        match self {
            Self::Admin(key) => Some((*key, QueueId::ADMIN)),
            Self::Io(queue) => Some((queue.controller(), queue.id())),
            Self::Pending(_) => None,
        }
    }

    pub fn belongs_to(&self, key: ControllerKey, with_admin: bool) -> bool {
        match self {
            Self::Admin(admin) => with_admin && *admin == key,
            Self::Io(queue) => queue.controller() == key,
            Self::Pending(_) => false,
        }
    }
}
