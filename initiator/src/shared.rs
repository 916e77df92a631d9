//! What the core's thread and everybody else share: a mailbox, and what is known of the controller.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use block::{MonotonicClock, Waker};
use nvme_spec::{Cqe, Sqe};
use nvmf::host::discovery::{DiscoveryError, DiscoveryLog};
use nvmf::host::{Association, ControllerInfo, Failure, NamespaceMap, OutgoingData};
use rdma::{ConnectionError, Device};

use crate::desk::Desk;
use crate::lane::Lane;
use crate::port::Port;

/// What an admin command's sender is told; nothing if the association was lost.
pub(crate) type AdminReply = Option<(Cqe, Vec<u8>)>;

/// What the core is told.
pub(crate) enum Message<D: Device> {
    /// A queue was opened.
    Opened(Arc<Desk<D>>),
    /// A queue was closed; its lane may still have commands in flight.
    Closed { desk: u64, lane: Option<Box<Lane<D>>> },
    /// A lane has ended; this is what is left of it.
    Ended { desk: u64, port: Box<Port<D>>, awaits_peer: bool },
    /// The owner of a lane found that its association cannot go on.
    Failed { association: Association, failure: Failure },
    /// An admin command.
    Admin { sqe: Sqe, data: OutgoingData, reply: SyncSender<AdminReply> },
    /// End.
    Shutdown,
}

/// How far the controller is, for those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There has been no association yet.
    Starting,
    /// There is an association.
    Live,
    /// There is none now.
    Down,
    /// There will be none any more.
    Dead(Failure),
}

/// What is known of the controller.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) phase: Phase,
    /// Why the newest connection was not made.
    pub(crate) connection: Option<ConnectionError>,
    pub(crate) info: Option<Box<ControllerInfo>>,
    pub(crate) namespaces: NamespaceMap,
    pub(crate) incarnation: u64,
    /// Whether the namespace that was opened is gone for good.
    pub(crate) is_removed: bool,
    /// Queues of the newest association.
    pub(crate) queues: u16,
    /// Queues that are open.
    pub(crate) queues_open: u16,
    pub(crate) discovered: Option<Result<DiscoveryLog, DiscoveryError>>,
}

/// What the core's thread and everybody else share.
pub(crate) struct Shared<D: Device> {
    mail: Mutex<VecDeque<Message<D>>>,
    waker: Waker,
    view: Mutex<View>,
    changed: Condvar,
    next_desk: AtomicU64,
    pub(crate) clock: MonotonicClock,
}

impl<D: Device> Shared<D> {
    pub(crate) fn new(waker: Waker, clock: MonotonicClock) -> Self {
        let view = View {
            phase: Phase::Starting,
            connection: None,
            info: None,
            namespaces: NamespaceMap::new(),
            incarnation: 0,
            is_removed: false,
            queues: 0,
            queues_open: 0,
            discovered: None,
        };
        Self {
            mail: Mutex::default(),
            waker,
            view: Mutex::new(view),
            changed: Condvar::new(),
            next_desk: AtomicU64::new(0),
            clock,
        }
    }

    /// Tells the core. What waits is bounded by what there is to tell: one message for each queue and each step of its life,
    /// and the commands of those who wait for their answers.
    pub(crate) fn tell(&self, message: Message<D>) {
        lock(&self.mail).push_back(message);
        self.waker.wake();
    }

    pub(crate) fn next_message(&self) -> Option<Message<D>> {
        lock(&self.mail).pop_front()
    }

    pub(crate) fn has_mail(&self) -> bool {
        !lock(&self.mail).is_empty()
    }

    /// What is known now.
    pub(crate) fn view(&self) -> View {
        lock(&self.view).clone()
    }

    /// Looks at, or changes, what is known; whoever waits looks again.
    pub(crate) fn with_view<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let result = change(&mut lock(&self.view));
        self.changed.notify_all();
        result
    }

    /// Waits until something is so, or the time has passed.
    pub(crate) fn wait_until<T>(&self, patience: Duration, is_so: impl Fn(&View) -> Option<T>) -> Option<T> {
        let mut found = None;
        let view = lock(&self.view);
        let waited = self.changed.wait_timeout_while(view, patience, |view| {
            found = is_so(view);
            found.is_none()
        });
        drop(waited);
        found
    }

    pub(crate) fn next_desk(&self) -> u64 {
        self.next_desk.fetch_add(1, Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values are replaced as a whole, or by one call that cannot panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
