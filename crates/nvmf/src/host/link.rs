//! What belongs to one association, and goes with it.

use block::Timestamp;
use nvme_spec::registers::{Capabilities, ReadyTimeouts, Version};
use nvme_spec::{CommandId, ControllerId, Cqe, QueueId};

use super::admin::InFlight;
use super::discovery::DiscoveryReader;
use super::event::NamespaceChange;
use super::info::{ControllerInfo, IoQueueParameters};
use super::options::ADMIN_ENTRIES;
use super::scan::Scan;
use super::slots::Slots;

/// The identifier of an I/O queue's Connect command; the queue has no other command then.
pub(super) const CONNECT_CID: CommandId = CommandId(0);

/// How far an I/O queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IoProgress {
    /// Its connection is being opened.
    Opening,
    /// Its Connect has no answer yet.
    Connecting,
    /// It is there.
    Connected,
}

/// An I/O queue that is on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct IoQueueState {
    pub(super) parameters: IoQueueParameters,
    pub(super) progress: IoProgress,
    /// When the step that it is in has taken too long.
    pub(super) due: Timestamp,
}

impl IoQueueState {
    /// Its Connect was answered with success.
    pub(super) fn connected(&mut self, cqe: &Cqe) {
        // FFFFh: no flow control (Base, Connect Response, SQHD).
        self.parameters.head = Some(cqe.sqhd()).filter(|head| *head != u16::MAX);
        self.progress = IoProgress::Connected;
        self.due = Timestamp::NEVER;
    }
}

/// What belongs to one association, and goes with it.
#[derive(Debug)]
pub(super) struct Link {
    /// Admin commands without an answer: one less than the queue has entries, so its flow control never matters.
    pub(super) admin: Slots<InFlight>,
    /// When the connection of the admin queue has taken too long.
    pub(super) open_due: Timestamp,
    pub(super) controller: ControllerId,
    pub(super) capabilities: Capabilities,
    pub(super) ready_timeouts: ReadyTimeouts,
    pub(super) version: Version,
    /// When CSTS is to be read again.
    pub(super) look_at: Timestamp,
    /// When CSTS must say what is waited for.
    pub(super) patience: Timestamp,
    pub(super) keep_alive_at: Timestamp,
    pub(super) info: Option<Box<ControllerInfo>>,
    pub(super) io: Vec<IoQueueState>,
    pub(super) queue_count: u16,
    pub(super) scan: Option<Box<Scan>>,
    /// Namespaces changed since the scan began.
    pub(super) scan_again: bool,
    /// Found before the association was live.
    pub(super) changes: Vec<NamespaceChange>,
    pub(super) discovery: Option<DiscoveryReader>,
    /// The log changed since its reading began.
    pub(super) discover_again: bool,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            admin: Slots::new(ADMIN_ENTRIES - 1),
            open_due: Timestamp::NEVER,
            controller: ControllerId::DYNAMIC,
            capabilities: Capabilities::default(),
            ready_timeouts: ReadyTimeouts::default(),
            version: Version::default(),
            look_at: Timestamp::NEVER,
            patience: Timestamp::NEVER,
            keep_alive_at: Timestamp::NEVER,
            info: None,
            io: Vec::new(),
            queue_count: 0,
            scan: None,
            scan_again: false,
            changes: Vec::new(),
            discovery: None,
            discover_again: false,
        }
    }

    /// When something of it has to be looked at.
    pub(super) fn next_timeout(&self) -> Timestamp {
        let commands = self.admin.iter().map(|(.., command)| command.due);
        let queues = self.io.iter().map(|queue| queue.due);
        let rest = [self.open_due, self.look_at, self.keep_alive_at];
        commands.chain(queues).chain(rest).min().unwrap_or(Timestamp::NEVER)
    }

    /// The I/O queue of this number.
    pub(super) fn io_queue(&mut self, queue: QueueId) -> Option<&mut IoQueueState> {
        self.io.iter_mut().find(|state| state.parameters.queue == queue)
    }
}
