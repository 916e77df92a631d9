//! What the controller's core shares with its queues and devices.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_queue::ArrayQueue;
use nvme_spec::command::AdminCommand;
use nvme_spec::registers::DoorbellStride;
use nvme_spec::{CommandId, Nsid, QueueId};

use crate::admin::{ADMIN_CALLS_MAX, AdminAnswer, AdminCall, AdminError};
use crate::link::QueueLink;
use crate::namespace_state::NamespaceState;
use crate::options::DriverOptions;
use crate::pci::{PciError, PciFunction};
use crate::phase::{Phase, PhaseCell, Stage};
use crate::queue::Orphan;
use crate::ring::ShadowDoorbells;
use crate::wake::Wake;

/// Most messages that wait for the core. Each queue has at most one attach and one orphan under way, and its identifier
/// is not given out again before the orphan has ended.
const MESSAGES_MAX: usize = 2 * DriverOptions::QUEUES_MAX as usize;

/// Why a controller is to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// An I/O command was neither completed nor aborted in time.
    CommandTimeout {
        /// Its queue.
        queue: QueueId,
        /// Its identifier.
        command: CommandId,
    },
    /// An admin command was not completed in time.
    AdminTimeout {
        /// Its opcode.
        opcode: u8,
    },
    /// CSTS.CFS was set.
    FatalStatus,
    /// A completion that answers no command, or names another queue.
    StrayCompletion {
        /// The queue that it was found in.
        queue: QueueId,
        /// The identifier that it names.
        command: CommandId,
    },
    /// The controller refused what every controller must do.
    Refused {
        /// What it refused.
        what: &'static str,
    },
    /// Somebody asked for it.
    Requested,
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandTimeout { queue, command } => {
                write!(f, "command {command} of queue {queue} was neither completed nor aborted in time")
            }
            Self::AdminTimeout { opcode } => {
                write!(f, "admin command {opcode:#04x} was not completed in time")
            }
            Self::FatalStatus => f.write_str("the controller reports a fatal status (CSTS.CFS)"),
            Self::StrayCompletion { queue, command } => {
                write!(f, "a completion in queue {queue} answers no command (identifier {command})")
            }
            Self::Refused { what } => write!(f, "the controller refused to {what}"),
            Self::Requested => f.write_str("a reset was asked for"),
        }
    }
}

/// What queues tell the core.
#[derive(Debug)]
pub(crate) enum Message {
    /// Create the queue pair on the controller.
    Attach(AttachQueue),
    /// The queue was dropped; see to its end.
    Orphan(Box<Orphan>),
}

/// The queue pair to create.
#[derive(Debug)]
pub(crate) struct AttachQueue {
    pub(crate) link: Arc<QueueLink>,
    pub(crate) sq_iova: u64,
    pub(crate) cq_iova: u64,
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) interrupt_vector: Option<u16>,
    /// The incarnation that it is wanted in.
    pub(crate) incarnation: u64,
    /// Whether the controller has never had this queue: then it may refuse.
    pub(crate) is_first: bool,
}

/// What queues and devices need to know of a controller; learned when it is initialised.
#[derive(Clone, Debug)]
pub(crate) struct ControllerLimits {
    pub(crate) queue_entries_max: u32,
    pub(crate) io_queues: u16,
    pub(crate) stride: DoorbellStride,
    pub(crate) sgls: bool,
    pub(crate) shadow: Option<Arc<ShadowDoorbells>>,
}

/// What changes rarely, behind one lock that no I/O path takes.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) limits: Option<ControllerLimits>,
    pub(crate) namespaces: BTreeMap<Nsid, Arc<NamespaceState>>,
    /// Namespaces that are there and that this driver does not serve, with the reason.
    pub(crate) refused: BTreeMap<Nsid, crate::namespace::NamespaceError>,
    queues: BTreeMap<QueueId, Arc<QueueLink>>,
    reset_wish: Option<(u64, ResetReason)>,
    pub(crate) info: Option<crate::identity::ControllerInfo>,
    /// Why the controller is dead.
    pub(crate) epitaph: Option<String>,
}

/// Shared by the core, the devices and the queues of one controller.
#[derive(Debug)]
pub(crate) struct Shared<F> {
    pub(crate) function: Arc<F>,
    pub(crate) options: DriverOptions,
    pub(crate) phase: PhaseCell,
    /// Wakes the core's thread.
    pub(crate) core_wake: Wake,
    pub(crate) messages: ArrayQueue<Message>,
    pub(crate) admin_calls: ArrayQueue<AdminCall>,
    /// The critical warning bits of the newest health log.
    pub(crate) critical_warning: AtomicU8,
    /// Interrupt vectors: number 0 is the admin queue's, number `n` queue `n`'s.
    pub(crate) vectors: Vec<Wake>,
    pub(crate) closing: AtomicBool,
    directory: Mutex<Directory>,
}

impl<F: PciFunction> Shared<F> {
    pub(crate) fn new(
        function: Arc<F>,
        options: DriverOptions,
        vectors: Vec<Wake>,
    ) -> Result<Self, rustix::io::Errno> {
        Ok(Self {
            function,
            options,
            phase: PhaseCell::new(Phase::new(0, Stage::Starting)),
            core_wake: Wake::new()?,
            messages: ArrayQueue::new(MESSAGES_MAX),
            admin_calls: ArrayQueue::new(ADMIN_CALLS_MAX),
            critical_warning: AtomicU8::new(0),
            vectors,
            closing: AtomicBool::new(false),
            directory: Mutex::default(),
        })
    }

    /// Enables MSI-X, before CC.EN is set and again after a function reset. `false` if the function has none.
    pub(crate) fn enable_interrupts(&self) -> Result<bool, PciError> {
        let descriptors: Vec<_> = self.vectors.iter().map(AsFd::as_fd).collect();
        if descriptors.is_empty() {
            return Ok(false);
        }
        self.function.set_interrupts(&descriptors).map(|()| true)
    }

    pub(crate) fn directory(&self) -> MutexGuard<'_, Directory> {
        // Its fields are replaced as wholes; a panic of another thread leaves none half written.
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the core a message and wakes it. A full mailbox is a broken bound, see [`MESSAGES_MAX`].
    pub(crate) fn tell_core(&self, message: Message) -> Result<(), Message> {
        self.messages.push(message)?;
        self.core_wake.signal();
        Ok(())
    }

    /// Asks the core to send a command that returns `bytes` bytes.
    pub(crate) fn begin_admin(&self, command: AdminCommand, bytes: u32) -> Result<AdminAnswer, AdminError> {
        let (call, answer) = AdminCall::new(command, bytes)?;
        self.admin_calls.push(call).map_err(|_| AdminError::Busy)?;
        self.core_wake.signal();
        Ok(answer)
    }

    /// Asks for an end of this incarnation; the first reason counts.
    pub(crate) fn wish_reset(&self, incarnation: u64, reason: ResetReason) {
        let mut directory = self.directory();
        if directory.reset_wish.is_none_or(|(other, _)| other < incarnation) {
            directory.reset_wish = Some((incarnation, reason));
        }
        self.core_wake.signal();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl Directory {
    /// Why this incarnation is to end. Wishes about earlier ones have been fulfilled.
    pub(crate) fn take_reset_wish(&mut self, incarnation: u64) -> Option<ResetReason> {
        let (of, reason) = self.reset_wish.take()?;
        (of == incarnation).then_some(reason)
    }

    /// A mailbox with a queue identifier that is free.
    pub(crate) fn new_link(&mut self) -> Result<Arc<QueueLink>, LinkError> {
        let io_queues = self.limits.as_ref().ok_or(LinkError::NotReady)?.io_queues;
        let free = (1..=io_queues).map(QueueId).find(|id| !self.queues.contains_key(id));
        let link = QueueLink::new(free.ok_or(LinkError::TooMany(io_queues))?).map_err(LinkError::Os)?;
        self.queues.insert(link.queue_id, Arc::clone(&link));
        Ok(link)
    }

    pub(crate) fn free_link(&mut self, link: &QueueLink) {
        self.queues.remove(&link.queue_id);
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<QueueLink>> {
        self.queues.values()
    }
}

/// Why there is no queue identifier.
#[derive(Debug)]
pub(crate) enum LinkError {
    NotReady,
    TooMany(u16),
    Os(rustix::io::Errno),
}
