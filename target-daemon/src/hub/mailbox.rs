//! What threads tell a reactor.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use block::{BlockDevice, OpenQueueError, Waker};
use nvmf::wire::ResponseCapsule;

use super::exports::ExportSlot;
use super::routes::ConnectionId;
use crate::reactor::Cells;

/// Something to do.
pub(crate) enum Message {
    /// Send a response on an admin queue.
    Respond { connection: ConnectionId, response: ResponseCapsule },
    /// Close a connection.
    Close { connection: ConnectionId, why: &'static str },
    /// Connects that were held may be tried again.
    RetryHeld,
    /// Open a queue of a device.
    OpenExport {
        slot: ExportSlot,
        device: Arc<dyn BlockDevice>,
        answer: SyncSender<Result<Arc<Cells>, OpenQueueError>>,
    },
    /// Close a queue when nothing is being done on it any more, or after that long anyway.
    CloseExport { slot: ExportSlot, patience: Duration, answer: SyncSender<()> },
    /// Take no more connections and commands; answer when everything is answered.
    Drain { answer: SyncSender<()> },
    /// Close everything and end.
    Stop,
}

/// A reactor's messages. There is no fixed bound on their number, since none may be lost; what bounds it is what can be said: a
/// few words for each connection, and one at a time for each namespace.
pub(crate) struct Mailbox {
    messages: Mutex<Vec<Message>>,
    /// Spares the reader the lock.
    has_any: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { messages: Mutex::default(), has_any: AtomicBool::new(false), waker }
    }

    /// Leaves a message.
    pub(crate) fn send(&self, message: Message) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push(message);
        self.has_any.store(true, Ordering::Release);
        drop(messages);
        self.waker.wake();
    }

    /// Whether there is nothing to take.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_any.load(Ordering::Acquire)
    }

    /// Takes the messages, in order.
    pub(crate) fn take(&self) -> Vec<Message> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_any.store(false, Ordering::Release);
        mem::take(&mut *messages)
    }
}
