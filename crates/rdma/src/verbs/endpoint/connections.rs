//! What the connection manager tells, and how connections begin and end.

use block::Timestamp;

use super::VerbsEndpoint;
use super::connection::State;
use crate::connection::{Agreement, ConnectionError, ConnectionEvent, PeerOffer};
use crate::handle::{Handle, ListenerId};
use crate::verbs::manager::{Conditions, Event, EventKind};
use crate::verbs::status::{connect_failure, rejection};

/// Most events that are taken at once.
const EVENTS_AT_ONCE: usize = 64;

/// How long the word of an end is held back behind what the hardware still has to say to the peer.
const GOODBYE_NS: u64 = 50_000_000;

/// How often requests beyond a backlog are looked at: another thread may have answered those before them.
const PARKED_LOOK_NS: u64 = 10_000_000;

impl VerbsEndpoint {
    /// Takes in what the connection manager has to tell. Says whether it had anything.
    pub(super) fn look_at_manager(&mut self, now: Timestamp) -> bool {
        let mut any = self.give_up_late(now);
        self.say_goodbyes(now);
        for _ in 0..EVENTS_AT_ONCE {
            self.counters.system_calls += 1;
            match self.channel.next() {
                Ok(Some(event)) => self.handle_event(event),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the RDMA connection manager cannot be asked for events");
                    break;
                }
            }
            any = true;
        }
        any | self.hand_over_requests()
    }

    fn handle_event(&mut self, mut event: Event) {
        if let EventKind::Request(conditions) = event.kind {
            return self.request_came(&mut event, conditions);
        }
        let handle = event.note;
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let id = &mut connection.work.queue_pair.id;
        if id.name() != event.id {
            // Of a listener, or of a request that is not answered yet.
            return;
        }
        match (connection.state, event.kind) {
            (State::Closed, _) | (_, EventKind::Other | EventKind::Request(_)) => {}
            (State::Resolving, EventKind::AddressResolved) => {
                connection.state = State::Routing;
                if id.resolve_route().is_err() {
                    self.close(handle, ConnectionError::Unreachable);
                }
            }
            (State::Routing, EventKind::RouteResolved) => {
                connection.state = State::Connecting;
                if id.connect(&connection.parameters).is_err() {
                    self.close(handle, ConnectionError::Unreachable);
                }
            }
            (State::Connecting, EventKind::Established(conditions)) => {
                connection.agreement = Agreement {
                    responder_resources: conditions.responder_resources,
                    initiator_depth: conditions.initiator_depth,
                    private_data: conditions.private_data,
                };
                self.establish(handle);
            }
            (State::Accepting, EventKind::Established(_)) => self.establish(handle),
            (_, EventKind::AddressResolved | EventKind::RouteResolved | EventKind::Established(_)) => {}
            (_, EventKind::NoRoute) => self.close(handle, ConnectionError::Unreachable),
            (_, EventKind::Failed(status)) => self.close(handle, connect_failure(status)),
            (_, EventKind::Rejected(reason, words)) => self.close(handle, rejection(reason, words)),
            (_, EventKind::Disconnected) => self.close(handle, ConnectionError::Disconnected),
            (_, EventKind::DeviceRemoved) => self.close(handle, ConnectionError::DeviceGone),
        }
    }

    fn request_came(&mut self, event: &mut Event, conditions: Conditions) {
        let Some(id) = event.take_request(&self.channel) else { return };
        // Without a listener the identifier is dropped here, which rejects the request.
        let Some(listener) = self.listeners.get_mut(event.note) else { return };
        let (Some(peer), Some(local)) = (id.peer(), id.local()) else { return };
        let offer = PeerOffer {
            listener: ListenerId::from(event.note),
            peer,
            local: std::net::SocketAddr::new(local.ip(), listener.port),
            initiator_depth: conditions.initiator_depth,
            responder_resources: conditions.responder_resources,
            private_data: conditions.private_data,
        };
        if !listener.park(id, offer) {
            self.counters.dropped_requests += 1;
        }
    }

    /// Hands over requests as far as the backlogs allow.
    fn hand_over_requests(&mut self) -> bool {
        let before = self.events.len();
        for (_, listener) in self.listeners.iter_mut() {
            while let Some(request) = listener.next() {
                self.events.push_back(ConnectionEvent::Requested(request));
            }
        }
        self.events.len() > before
    }

    /// When to look again though nothing wakes.
    pub(super) fn next_look(&mut self, now: Timestamp) -> Timestamp {
        if self.listeners.iter_mut().any(|(_, listener)| listener.has_parked()) {
            return now.after_ns(PARKED_LOOK_NS).min(self.next_deadline());
        }
        self.next_deadline()
    }

    /// Accepts the requests for which queue pairs were made since the last poll.
    pub(super) fn accept_due(&mut self) -> bool {
        let due = std::mem::take(&mut self.accepts);
        for handle in &due {
            let Some(connection) = self.connections.get_mut(*handle) else { continue };
            if connection.state != State::Accepted {
                continue;
            }
            connection.state = State::Accepting;
            let queue_pair = &mut connection.work.queue_pair;
            match queue_pair.id.accept(&connection.parameters) {
                Ok(()) => queue_pair.shorten_receiver_wait(),
                Err(error) => {
                    tracing::debug!(%error, "the request to connect was withdrawn before it was accepted");
                    self.close(*handle, ConnectionError::Disconnected);
                }
            }
        }
        !due.is_empty()
    }

    /// The connection is made: told once.
    pub(super) fn establish(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if connection.state == State::Connecting {
            connection.work.queue_pair.shorten_receiver_wait();
        }
        connection.state = State::Established;
        connection.was_made = true;
        self.connecting.retain(|one| *one != handle);
        let event =
            ConnectionEvent::Established { queue_pair: handle.into(), agreement: connection.agreement };
        self.events.push_back(event);
    }

    /// The peer has sent a message, so the connection is made, though its last word on that may still be on its way, or lost.
    pub(super) fn peer_spoke(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if connection.state == State::Accepting {
            connection.work.queue_pair.id.has_spoken();
            self.establish(handle);
        }
    }

    /// Ends a connection, tells the peer, and tells the user once.
    pub(super) fn close(&mut self, handle: Handle, error: ConnectionError) {
        if self.end_quietly(handle) {
            self.events.push_back(ConnectionEvent::Closed { queue_pair: handle.into(), error });
        }
    }

    /// Ends a connection whose queue pair went into its error state without work of ours having failed. That is the answer to
    /// something that the peer did, and is on its way to the peer: the word of the end must not overtake it there.
    pub(super) fn close_flushed(&mut self, handle: Handle) {
        let Some(connection) = self.connections.get_mut(handle) else { return };
        if !matches!(connection.state, State::Accepting | State::Established) {
            return self.close(handle, ConnectionError::QueuePair);
        }
        connection.state = State::Closed;
        if let Err(error) = connection.work.queue_pair.fail() {
            tracing::warn!(%error, "a queue pair cannot be put into its error state; it ends when it is destroyed");
        }
        self.connecting.retain(|one| *one != handle);
        self.goodbyes.push((handle, self.watch.now.after_ns(GOODBYE_NS)));
        let error = ConnectionError::QueuePair;
        self.events.push_back(ConnectionEvent::Closed { queue_pair: handle.into(), error });
    }

    /// Tells peers of ends whose time has come. One that has gone by then was told by that.
    fn say_goodbyes(&mut self, now: Timestamp) {
        let connections = &mut self.connections;
        self.goodbyes.retain(|(handle, when)| {
            let is_due = *when <= now;
            if is_due
                && let Some(connection) = connections.get_mut(*handle)
                && let Err(error) = connection.work.queue_pair.id.disconnect()
            {
                tracing::debug!(%error, "the peer was not told of the end of a connection, it knows");
            }
            !is_due
        });
    }

    /// Ends a connection and tells the peer. Says whether it was there.
    pub(super) fn end_quietly(&mut self, handle: Handle) -> bool {
        let Some(connection) = self.connections.get_mut(handle) else { return false };
        if !connection.is_live() {
            return false;
        }
        let state = std::mem::replace(&mut connection.state, State::Closed);
        self.connecting.retain(|one| *one != handle);
        let queue_pair = &mut connection.work.queue_pair;
        if matches!(state, State::Accepting | State::Established)
            && let Err(error) = queue_pair.id.disconnect()
        {
            tracing::debug!(%error, "the peer was not told of the end of a connection, it knows");
        }
        if state == State::Accepted
            && let Err(error) = queue_pair.id.reject(&[])
        {
            tracing::debug!(%error, "a request to connect was withdrawn before it was rejected");
        }
        if let Err(error) = queue_pair.fail() {
            tracing::warn!(%error, "a queue pair cannot be put into its error state; it ends when it is destroyed");
        }
        true
    }

    fn give_up_late(&mut self, now: Timestamp) -> bool {
        let late: Vec<Handle> =
            self.connecting.iter().copied().filter(|handle| self.deadline_of(*handle) <= now).collect();
        for handle in &late {
            self.close(*handle, ConnectionError::TimedOut);
        }
        !late.is_empty()
    }

    /// When the next connection is given up, or the next peer told of an end.
    fn next_deadline(&self) -> Timestamp {
        let connecting = self.connecting.iter().map(|handle| self.deadline_of(*handle));
        let goodbyes = self.goodbyes.iter().map(|(_, when)| *when);
        connecting.chain(goodbyes).min().unwrap_or(Timestamp::NEVER)
    }

    fn deadline_of(&self, handle: Handle) -> Timestamp {
        self.connections.get(handle).map_or(Timestamp::NEVER, |connection| connection.deadline)
    }
}
