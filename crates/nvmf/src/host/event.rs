//! What a controller's host wants done, and what happened to it.

use block::{Incarnation, Timestamp};
use nvme_spec::{Cqe, Nsid, QueueId};

use super::admin::AdminTicket;
use super::discovery::{DiscoveryError, DiscoveryLog};
use super::failure::Failure;
use super::info::IoQueueParameters;
use super::namespace::NamespaceError;
use super::outgoing::Outgoing;
use crate::wire::rdma::RequestData;

/// Which association something belongs to: what comes late from an earlier one counts for nothing. They count up, attempts included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Association(pub u64);

/// What a controller's host wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostAction {
    /// Open a connection for a queue, with this private data, and post as many receives as it says, each as large as a response.
    /// Answer with `handle_queue_connected` or `handle_queue_refused`.
    ConnectQueue {
        /// Whose.
        association: Association,
        /// The private data. Its queue is the queue; `host_sends` + 1 is how many commands will be in flight at most.
        request: RequestData,
    },
    /// Send a command. Answer with `handle_response`, when its memory can no longer be touched by the controller.
    Send {
        /// Whose.
        association: Association,
        /// On this queue: the admin queue, but for an I/O queue's Connect.
        queue: QueueId,
        /// The command.
        command: Outgoing,
    },
    /// End all connections of the association, those that are being opened included. Answer with `handle_disconnected` when the
    /// controller can no longer touch any memory, and has confirmed the end if it can be reached: a host that comes back without that
    /// could be ahead of its own former writes, since a controller cannot tell it from one that wants a second association.
    Disconnect {
        /// Whose.
        association: Association,
    },
}

/// How the namespaces changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceChange {
    /// There is a new one.
    Added(Nsid),
    /// It has another size, other limits or other abilities.
    Changed(Nsid),
    /// It is gone.
    Removed(Nsid),
    /// Another one is there under its identifier.
    Replaced(Nsid),
    /// It can no longer be used, or not yet.
    Refused(Nsid, NamespaceError),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// There is an association, with these I/O queues. Each time it is another incarnation: the controller may have lost what no
    /// flush covered.
    Live {
        /// The association.
        association: Association,
        /// Counts the associations that became live.
        incarnation: Incarnation,
        /// Its I/O queues: each becomes a `HostIoQueue`.
        queues: Vec<IoQueueParameters>,
    },
    /// Namespaces changed; `HostController::namespaces` has the new state. Comes after `Live` for what changed meanwhile.
    NamespacesChanged(Vec<NamespaceChange>),
    /// The live association ended: nothing may be sent on its queues. Comes before its `Disconnect`.
    Lost {
        /// The association.
        association: Association,
        /// Why.
        why: Failure,
    },
    /// An attempt failed; another follows.
    AttemptFailed {
        /// Why.
        why: Failure,
        /// How many failed in a row.
        failed: u32,
        /// When the next begins.
        next: Timestamp,
    },
    /// The discovery log was read, after `Live` and whenever it changed.
    Discovered(Result<DiscoveryLog, DiscoveryError>),
    /// A command of `HostController::admin` was answered, whatever the status.
    AdminAnswered {
        /// Which.
        ticket: AdminTicket,
        /// The response.
        cqe: Cqe,
        /// What the controller wrote.
        data: Vec<u8>,
    },
    /// A command of `HostController::admin` will not be answered: the association ended.
    AdminLost {
        /// Which.
        ticket: AdminTicket,
    },
    /// The controller is given up for good.
    Dead(Failure),
}
