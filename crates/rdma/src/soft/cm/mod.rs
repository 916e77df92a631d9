//! The connection manager, without I/O and without a clock: messages, calls and `now` go in; messages and events come out.
//!
//! What Linux's `ib_cm` and `rdma_cm` do on the wire, this does (InfiniBand Architecture volume 1, chapter 12, and annex A11),
//! but for the intervals: the first repetition comes after half a second, not after four.
//!
//! One manager belongs to one thread. Several threads share an address: each has a [`Shard`] number, which the names of its
//! connections carry, so that the thread that owns queue pair 1 can [`route`] messages. A request can be answered by another
//! manager than the one that it came to; the reply is then repeated by the one that accepted, and the listener's record sees
//! to repetitions of the request.
//!
//! Against hostile peers: whatever comes in is bounded ([`WAITING_MAX`] requests, of them a listener's backlog;
//! [`ANSWERED_MAX`] answers kept; [`TRANSMIT_MAX`] messages to be sent; connections exist only after the user's call).
//! Messages for a connection count only if they come from its peer's address and name both its parts. A connection that a
//! peer's new one makes stale is looked for on the same thread only: elsewhere its own retries end it.

mod active;
mod ending;
mod event;
mod incoming;
mod listening;
mod outbox;
mod passive;
mod records;
mod route;
mod state;
#[cfg(test)]
mod tests;
mod timeout;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use block::Timestamp;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::PathMtu;
use crate::soft::coverage;
use crate::soft::wire::mad::{CommunicationId, Guid, Mad, MadBytes, MadError, Message, TransactionId};
use crate::soft::wire::{Psn, Qpn};

use incoming::{PeerId, PeerQueuePair};
use outbox::{Outbox, Timer, Timers};
use records::Records;
use state::Connection;

pub use event::{Agreed, CmCounters, CmEvent, ConnectError, LocalQueuePair};
pub use incoming::IncomingRequest;
pub use route::{Route, SHARDS_MAX, Shard, ShardError, route};

/// Requests of a manager that wait to be answered, of all listeners together.
pub const WAITING_MAX: usize = 1024;
/// Answered requests that are remembered, so that their repetitions are known.
pub const ANSWERED_MAX: usize = 1024;
/// How long they are remembered at most: a peer repeats its request for about 70 s, and stops when it has its answer.
pub const ANSWERED_KEPT: Duration = Duration::from_secs(75);
/// Messages that wait to be sent.
pub const TRANSMIT_MAX: usize = 1024;
/// Listeners of a manager.
pub const LISTENERS_MAX: usize = 256;

/// How often a request or a reply is repeated: what rdma_cm does.
pub const REPEATS_MAX: u32 = 15;
/// How often a request to disconnect is repeated: for 21 s. Nobody waits for the answer, only numbers do.
pub const DISCONNECT_REPEATS_MAX: u32 = 6;
/// When a message is first repeated.
pub const REPEAT_FIRST: Duration = Duration::from_millis(500);
/// The longest wait before a repetition.
pub const REPEAT_LONGEST: Duration = Duration::from_millis(4600);
/// How often the peer may ask for patience about one message.
pub const RECEIPTS_MAX: u32 = 4;
/// The most patience that a peer gets at once.
pub const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// After this time the user has not answered a request soon, and its sender is told to have patience.
pub const RECEIPT_AFTER: Duration = Duration::from_secs(1);
/// After this time a request that the user has not answered is rejected.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How often the listening side looks whether a request was answered elsewhere, or dropped.
pub const ANSWER_CHECK: Duration = Duration::from_millis(100);
/// How long nothing of an ended connection is used again (chapter 12.9, timewait); Linux on RoCE waits as long.
pub const TIMEWAIT: Duration = Duration::from_millis(500);
/// A half-open connection younger than this does not make room for another.
pub const HALF_OPEN_MIN: Duration = Duration::from_secs(2);

/// Tries to find a random number that is free: connections are fewer than one in a thousand of the names.
const NAME_TRIES_MAX: u32 = 64;

/// What a manager is made with.
#[derive(Clone, Copy, Debug)]
pub struct CmOptions {
    /// The address of this side: canonical, that is an IPv4 address never mapped into IPv6.
    pub address: IpAddr,
    /// A number that no other process has, and this process never had before it was started anew: random.
    pub guid: Guid,
    /// The thread's number.
    pub shard: Shard,
    /// The largest payload of packets.
    pub mtu: PathMtu,
    /// Most connections, among them those that are being disconnected (of a silent peer for 21 s) or in timewait: more than
    /// there are queue pairs, if these may be made anew at once.
    pub connections_max: u32,
}

/// Why a port cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// It is listened on.
    #[error("port {0} is taken")]
    PortTaken(u16),
    /// As many listeners as there can be.
    #[error("there are {LISTENERS_MAX} listeners already, which is the most")]
    TooMany,
}

/// A port that is listened on: requests that may wait, and that do.
#[derive(Debug)]
struct Listener {
    backlog: u32,
    waiting: u32,
}

/// The connection manager of one thread.
#[derive(Debug)]
pub struct ConnectionManager {
    options: CmOptions,
    rng: StdRng,
    connections: BTreeMap<Qpn, Connection>,
    by_local_id: BTreeMap<CommunicationId, Qpn>,
    by_peer_id: BTreeMap<PeerId, Qpn>,
    by_peer_queue_pair: BTreeMap<PeerQueuePair, Qpn>,
    listeners: BTreeMap<u16, Listener>,
    records: Records,
    timers: Timers,
    outbox: Outbox,
    events: VecDeque<CmEvent>,
    /// How many of the events are requests: they alone come without the user's doing.
    requests_untold: usize,
    counters: CmCounters,
}

impl ConnectionManager {
    /// A manager without listeners and connections. The numbers that peers must not guess come from `rng`.
    #[must_use]
    pub fn new(options: CmOptions, rng: StdRng) -> Self {
        Self {
            options,
            rng,
            connections: BTreeMap::new(),
            by_local_id: BTreeMap::new(),
            by_peer_id: BTreeMap::new(),
            by_peer_queue_pair: BTreeMap::new(),
            listeners: BTreeMap::new(),
            records: Records::default(),
            timers: Timers::default(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            requests_untold: 0,
            counters: CmCounters::default(),
        }
    }

    /// Takes in the payload of a datagram that came to queue pair 1 from `source` (a canonical address).
    pub fn handle_mad(&mut self, now: Timestamp, source: IpAddr, bytes: &[u8]) {
        self.counters.received += 1;
        match Mad::read(bytes) {
            Ok(mad) => self.handle_message(now, source, mad),
            Err(MadError::Refused { transaction, id, reason }) => {
                self.refuse(source, transaction, id, reason);
            }
            Err(_) => self.counters.malformed += 1,
        }
    }

    fn handle_message(&mut self, now: Timestamp, source: IpAddr, Mad { transaction, message }: Mad) {
        coverage::hit(self.state_name(&message), message.attribute().name());
        match message {
            Message::Request(request) => self.handle_request(now, source, transaction, &request),
            Message::Receipt(receipt) => self.handle_receipt(now, source, &receipt),
            Message::Rejection(rejection) => self.handle_rejection(now, source, &rejection),
            Message::Reply(reply) => self.handle_reply(now, source, transaction, &reply),
            Message::ReadyToUse(ids) => self.handle_ready_to_use(source, ids),
            Message::DisconnectRequest(request) => {
                self.handle_disconnect_request(now, source, transaction, request);
            }
            Message::DisconnectReply(ids) => self.handle_disconnect_reply(now, source, ids),
        }
    }

    /// The state of the connection that a message is about; a request comes before there is one.
    fn state_name(&self, message: &Message) -> &'static str {
        let id = match message {
            Message::Request(_) => None,
            Message::Receipt(receipt) => Some(receipt.remote_id),
            Message::Rejection(rejection) => Some(rejection.remote_id),
            Message::Reply(reply) => Some(reply.remote_id),
            Message::ReadyToUse(ids) | Message::DisconnectReply(ids) => Some(ids.remote),
            Message::DisconnectRequest(request) => Some(request.ids.remote),
        };
        let qpn = id.and_then(|id| self.by_local_id.get(&id));
        qpn.and_then(|qpn| self.connections.get(qpn)).map_or("none", |connection| connection.state.name())
    }

    /// The next message to be sent, and to whom: from queue pair 1 to queue pair 1.
    pub fn poll_transmit(&mut self) -> Option<(IpAddr, MadBytes)> {
        self.outbox.pop()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<CmEvent> {
        loop {
            let event = self.events.pop_front()?;
            let CmEvent::Requested(request) = &event else { return Some(event) };
            self.requests_untold -= 1;
            if !request.is_gone() {
                return Some(event);
            }
        }
    }

    /// Whether nothing waits for [`Self::poll_transmit`] or [`Self::poll_event`].
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.outbox.is_empty() && self.events.is_empty()
    }

    /// When [`Self::handle_timeout`] is to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// What was counted since the manager was made.
    #[must_use]
    pub fn counters(&self) -> CmCounters {
        CmCounters { sent: self.outbox.sent, unsent: self.outbox.unsent, ..self.counters }
    }

    /// How many connections there are, those in timewait among them.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether that queue pair has a connection here, be it in timewait: its number is not free.
    #[must_use]
    pub fn holds(&self, qpn: Qpn) -> bool {
        self.connections.contains_key(&qpn)
    }

    /// The connection that this side calls `id`, if the message about it comes from its peer.
    fn find(&mut self, source: IpAddr, id: CommunicationId) -> Option<Qpn> {
        let qpn = self.by_local_id.get(&id).copied();
        let connection = qpn.and_then(|qpn| self.connections.get(&qpn));
        match connection {
            Some(connection) if connection.address == source => qpn,
            Some(_) => {
                self.counters.wrong_source += 1;
                None
            }
            None => {
                self.counters.unexpected += 1;
                None
            }
        }
    }

    /// Enters a connection. Its queue pair has none, and there is room.
    fn enter(&mut self, qpn: Qpn, connection: Connection) {
        self.by_local_id.insert(connection.local_id, qpn);
        self.connections.insert(qpn, connection);
        self.enter_peer(qpn);
    }

    /// Makes a connection known by its peer's names.
    fn enter_peer(&mut self, qpn: Qpn) {
        let Some(connection) = self.connections.get(&qpn) else { return };
        if let (Some(id), Some(queue_pair)) = (connection.peer_id(), connection.peer_queue_pair()) {
            self.by_peer_id.insert(id, qpn);
            self.by_peer_queue_pair.insert(queue_pair, qpn);
        }
    }

    /// Takes a connection away.
    fn remove(&mut self, qpn: Qpn) {
        self.timers.clear(Timer::Connection(qpn));
        let Some(connection) = self.connections.remove(&qpn) else { return };
        self.by_local_id.remove(&connection.local_id);
        remove_own(&mut self.by_peer_id, connection.peer_id(), qpn);
        remove_own(&mut self.by_peer_queue_pair, connection.peer_queue_pair(), qpn);
        self.events.push_back(CmEvent::TimewaitOver { qpn });
    }

    /// Whether a queue pair can have a connection now.
    fn check_queue_pair(&self, qpn: Qpn) -> Result<(), ConnectError> {
        if qpn <= Qpn::CONNECTION_MANAGER || self.holds(qpn) {
            return Err(ConnectError::QueuePair(qpn));
        }
        Ok(())
    }

    /// Makes sure that there is room for one more connection.
    fn make_room(&mut self, now: Timestamp) -> Result<(), ConnectError> {
        let has_room = |manager: &Self| manager.connections.len() < manager.options.connections_max as usize;
        if has_room(self) || (self.reap_half_open(now).is_some() && has_room(self)) {
            return Ok(());
        }
        Err(ConnectError::TooMany(self.options.connections_max))
    }

    /// A name for a connection that no other has.
    fn new_name(&mut self) -> Option<CommunicationId> {
        (0..NAME_TRIES_MAX).find_map(|_| {
            let name = self.options.shard.name(self.rng.random());
            (name != CommunicationId::UNKNOWN && !self.by_local_id.contains_key(&name)).then_some(name)
        })
    }

    fn new_psn(&mut self) -> Psn {
        Psn::new(self.rng.random())
    }

    fn new_transaction(&mut self) -> TransactionId {
        TransactionId(self.rng.random())
    }

    fn tell(&mut self, event: CmEvent) {
        self.events.push_back(event);
    }

    fn set_timer(&mut self, qpn: Qpn, at: Timestamp) {
        self.timers.set(Timer::Connection(qpn), at);
    }
}

/// Removes a name, unless it means another connection by now.
fn remove_own<K: Ord>(names: &mut BTreeMap<K, Qpn>, name: Option<K>, qpn: Qpn) {
    if let Some(name) = name
        && names.get(&name) == Some(&qpn)
    {
        names.remove(&name);
    }
}
