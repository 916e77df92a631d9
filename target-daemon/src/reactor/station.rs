//! A port with its connections: what happened to which, and what they have to send.

mod admission;

use block::Timestamp;
use rdma::{Completion, ConnectionError, CreateError, Data, Handle, Outcome, PostError, QueuePairId, Slots};

use super::connection::{Connection, End, Message, Tag, WorkId};
use super::core::Core;
use super::port::{Port, PortEvent};
use super::receives::{ReceiveKind, Receives};

/// Completions that are taken in at once.
const COMPLETIONS_PER_TURN: usize = 128;

/// Queue pairs of a port, at most.
pub(crate) const QUEUE_PAIRS_MAX: u32 = 8192;

/// Connections of a port that are kept though their queue pairs are gone, since devices still work for them.
const DRAINING_MAX: u32 = QUEUE_PAIRS_MAX;

/// See the module's words.
pub(super) struct Station {
    index: u16,
    pub(super) port: Box<dyn Port>,
    connections: Slots<Connection>,
    /// By the queue pairs' slots.
    by_queue_pair: Vec<Option<Handle>>,
    receives: Receives,
    /// Those that have something to send.
    flagged: Vec<Handle>,
    completions: Vec<Completion>,
}

impl Station {
    pub(super) fn new(
        index: u16,
        mut port: Box<dyn Port>,
        core: &Core,
        io_receives: u32,
    ) -> Result<Self, CreateError> {
        let receives = Receives::new(&mut *port, &core.buffers, io_receives)?;
        Ok(Self {
            index,
            port,
            connections: Slots::new(QUEUE_PAIRS_MAX + DRAINING_MAX),
            by_queue_pair: Vec::new(),
            receives,
            flagged: Vec::new(),
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN),
        })
    }

    /// Takes in what has arrived and completed. Whether there was anything.
    #[inline]
    pub(super) fn poll(&mut self, now: Timestamp) -> bool {
        self.port.poll(&mut self.completions, COMPLETIONS_PER_TURN, now)
    }

    /// Does what follows from it.
    #[inline]
    pub(super) fn handle(&mut self, core: &mut Core) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.handle_completion(core, completion);
        }
        self.completions = completions;
        let mut has_events = false;
        while let Some(event) = self.port.next_event() {
            has_events = true;
            self.handle_event(core, event);
        }
        has_events
    }

    fn find(&self, queue_pair: QueuePairId) -> Option<Handle> {
        let slot = usize::try_from(Handle::from(queue_pair).slot()).ok()?;
        self.by_queue_pair.get(slot).copied().flatten()
    }

    #[inline]
    fn handle_completion(&mut self, core: &mut Core, completion: Completion) {
        let handle = self.find(completion.queue_pair);
        let connection = handle.and_then(|handle| self.connections.get_mut(handle));
        let handled = match (completion.outcome, connection) {
            (Outcome::Received { result: Ok(message), buffer }, Some(connection)) => {
                let kind = ReceiveKind::of(completion.id);
                let message = Message { kind, buffer, bytes: message.bytes };
                connection.handle_message(core, &mut self.receives, message)
            }
            (Outcome::Received { buffer, .. }, _) => {
                self.receives.give_back(ReceiveKind::of(completion.id), buffer);
                Ok(())
            }
            (Outcome::Sent { result: Ok(()), data }, Some(connection)) => {
                match (WorkId::unpack(completion.id), data) {
                    (WorkId::Read(slot), Data::Memory(data)) => connection.handle_read(core, slot, data),
                    (id, data) => {
                        // Its memory is free before others ask for it.
                        drop(data);
                        connection.handle_sent(core, id)
                    }
                }
            }
            // The connection's end follows.
            (Outcome::Sent { .. }, _) => Ok(()),
        };
        let Some(handle) = handle else { return };
        match handled {
            Ok(()) => self.flag(handle),
            Err(end) => self.end(core, handle, end),
        }
    }

    /// Notes that a connection may have something to send.
    #[inline]
    fn flag(&mut self, handle: Handle) {
        if let Some(connection) = self.connections.get_mut(handle)
            && !connection.is_flagged
            && !connection.out.is_empty()
        {
            connection.is_flagged = true;
            self.flagged.push(handle);
        }
    }

    fn handle_event(&mut self, core: &mut Core, event: PortEvent) {
        match event {
            PortEvent::Asked(offer) => self.asked(core, &offer),
            PortEvent::PassedOn(offer) => self.admit(core, &offer),
            PortEvent::Established(queue_pair) => {
                if let Some(handle) = self.find(queue_pair) {
                    self.flag(handle);
                }
            }
            PortEvent::Closed(queue_pair, error) => {
                if let Some(handle) = self.find(queue_pair) {
                    self.lost(core, handle, error);
                }
            }
        }
    }

    /// Ends a connection: this side's decision.
    fn end(&mut self, core: &mut Core, handle: Handle, end: End) {
        let Some(connection) = self.connections.get(handle) else { return };
        let (peer, host) = (connection.arrival().peer, connection.host().map(tracing::field::display));
        if end.is_violation() {
            core.gauges.violations.add(1);
            tracing::warn!(host, queue = %connection.queue(), %peer, reason = %end, "connection closed");
        } else {
            tracing::info!(host, queue = %connection.queue(), %peer, reason = %end, "connection closed");
        }
        self.remove(core, handle);
    }

    /// Closes a connection because the target says so.
    pub(super) fn close(&mut self, core: &mut Core, handle: Handle, why: &str) {
        let Some(connection) = self.connections.get(handle).filter(|connection| connection.is_open()) else {
            return;
        };
        let (peer, host) = (connection.arrival().peer, connection.host().map(tracing::field::display));
        tracing::info!(host, queue = %connection.queue(), %peer, reason = why, "connection closed");
        self.remove(core, handle);
    }

    /// A connection has ended.
    fn lost(&mut self, core: &mut Core, handle: Handle, error: ConnectionError) {
        let Some(connection) = self.connections.get(handle) else { return };
        let (peer, host) = (connection.arrival().peer, connection.host().map(tracing::field::display));
        tracing::info!(host, queue = %connection.queue(), %peer, reason = %error, "connection ended");
        self.remove(core, handle);
    }

    /// Destroys a connection's queue pair. The connection stays for as long as devices work for it.
    fn remove(&mut self, core: &mut Core, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if !connection.is_open() {
            return;
        }
        let queue_pair = connection.queue_pair();
        self.port.destroy(queue_pair, core.now);
        if let Some(entry) = usize::try_from(Handle::from(queue_pair).slot())
            .ok()
            .and_then(|slot| self.by_queue_pair.get_mut(slot))
        {
            *entry = None;
        }
        connection.lost(core);
        self.forget_if_gone(handle);
    }

    fn forget_if_gone(&mut self, handle: Handle) {
        if self.connections.get(handle).is_some_and(Connection::is_gone) {
            self.connections.remove(handle);
        }
    }

    /// Does something with a connection, if it is still there.
    #[inline]
    pub(super) fn with(&mut self, handle: Handle, act: impl FnOnce(&mut Connection)) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        act(connection);
        self.flag(handle);
        self.forget_if_gone(handle);
    }

    /// Does something with every connection.
    pub(super) fn with_all(&mut self, mut act: impl FnMut(&mut Connection)) {
        let handles: Vec<Handle> = self.connections.iter_mut().map(|(handle, _)| handle).collect();
        handles.into_iter().for_each(|handle| self.with(handle, &mut act));
    }

    /// A device has done what it was given for a connection.
    #[inline]
    pub(super) fn handle_device(&mut self, core: &mut Core, tag: Tag, done: block::Completion) {
        let Some(connection) = self.connections.slot_mut(tag.connection) else { return };
        connection.handle_device(core, tag, done);
        let handle = connection.id().handle;
        if connection.is_gone() {
            self.connections.remove(handle);
        } else {
            self.flag(handle);
        }
    }

    /// Posts what is to be received and sent: one batch for each queue pair.
    #[inline]
    pub(super) fn flush(&mut self, core: &mut Core) {
        self.receives.post(&mut *self.port, &core.buffers);
        if self.flagged.is_empty() {
            return;
        }
        let mut flagged = std::mem::take(&mut self.flagged);
        for handle in flagged.drain(..) {
            let Some(connection) = self.connections.get_mut(handle) else { continue };
            connection.is_flagged = false;
            let queue_pair = connection.queue_pair();
            match self.port.post_send(queue_pair, connection.out.batch()) {
                // What is left goes when the connection is made, or when something completes.
                Ok(()) | Err(PostError::NotConnected | PostError::Gone) => {}
                Err(error @ (PostError::Unfit(_) | PostError::Device(_))) => {
                    tracing::error!(%error, "the RDMA device does not take work");
                    self.close(core, handle, "the RDMA device does not take work");
                }
            }
        }
        self.flagged = flagged;
    }

    /// What depends on the time.
    pub(super) fn tick(&mut self, core: &mut Core) {
        let mut ended = Vec::new();
        self.with_all(|connection| {
            let end = if connection.expire(core.now) {
                Err(End::Silent)
            } else if connection.is_deaf(core.now) {
                Err(End::Deaf)
            } else {
                connection.pump(core)
            };
            ended.extend(end.err().map(|end| (connection.id().handle, end)));
        });
        ended.into_iter().for_each(|(handle, end)| self.end(core, handle, end));
    }

    /// Ends I/O queues that have nothing left to do. How many are left.
    pub(super) fn drain(&mut self, core: &mut Core) -> usize {
        let mut left = 0;
        let mut quiet = Vec::new();
        for (handle, connection) in self.connections.iter_mut() {
            if connection.is_io() && connection.is_quiet() {
                quiet.push(handle);
            } else if !connection.is_quiet() {
                left += 1;
            }
        }
        quiet.into_iter().for_each(|handle| self.close(core, handle, "the target ends"));
        left
    }

    /// Ends all connections.
    pub(super) fn close_all(&mut self, core: &mut Core) {
        let handles: Vec<Handle> = self.connections.iter_mut().map(|(handle, _)| handle).collect();
        handles.into_iter().for_each(|handle| self.close(core, handle, "the target ends"));
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }
}
