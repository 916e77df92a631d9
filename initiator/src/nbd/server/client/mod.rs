//! One connection: what came in, what goes out, and how far they have come with each other. [`commands`]: what it asks for
//! once they have agreed.

mod commands;
mod inbox;
mod outbox;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use block::{Interest, Timestamp};
use dma::stream::{STREAM_PARTS_MAX, receive, would_block};

use super::clients::{ClientKey, MemoryLine};
use super::engine::{Engine, Order, Reserved};
use crate::nbd::command::{Command, Refusal};
use crate::nbd::negotiation::{Agreement, Negotiation, Progress};
use crate::nbd::wire::{Errno, REQUEST_BYTES};
use inbox::Inbox;
use outbox::Outbox;

/// Most commands of one client that are under way or whose replies it has not taken. It waits to be read beyond.
pub(super) const IN_FLIGHT_MAX: usize = 256;

/// Bytes of a large write that one call takes if they are there: all parts of one call, each at least a page.
const DIRECT_BYTES_SURE: usize = STREAM_PARTS_MAX * 4096;

/// How long a handshake may take.
const HANDSHAKE_NS_MAX: u64 = 10_000_000_000;

/// How long a client that was told everything may take to close.
const LINGER_NS_MAX: u64 = 1_000_000_000;

const SHUTDOWN: Refusal = Refusal { errno: Errno::Shutdown, sentence: "the server is shutting down" };
/// ```text
///   accepted ─► Negotiating ─ agreed ─► Serving ── DISC, end of its bytes, stop ─► Leaving
///                   │ ABORT, end of its bytes, stop                                   │ all replies are out
///                   └────────────────────────────────────────────► Leaving ──────────┤
///   anywhere ── error, silence ─► Gone ◄── its end, or time ── Lingering ◄────────────┘
/// ```
///
/// Leaving: nothing more is read; what is under way ends and is answered. Lingering: our end is closed, and what still
/// comes is thrown away, since to close a socket with unread bytes destroys the replies on their way.
enum State {
    Negotiating { negotiation: Box<Negotiation>, until: Timestamp },
    Serving(Agreement),
    Leaving(Agreement),
    Lingering { until: Timestamp },
    Gone,
}

/// A write's data on its way in.
enum Payload {
    /// Into memory, for a command.
    Data { order: Order, reserved: Reserved, received: u32, bytes: u32 },
    /// To nowhere: the command was refused.
    Skipped { cookie: u64, refusal: Refusal, left: u32 },
}

/// One connection.
pub(super) struct Client {
    socket: OwnedFd,
    state: State,
    inbox: Inbox,
    payload: Option<Payload>,
    /// A command that waits for memory.
    held: Option<Order>,
    outbox: Outbox,
    /// Commands in the engine.
    under_way: usize,
    /// Bytes of their data, and of data on its way in.
    under_way_bytes: u64,
    is_stopping: bool,
    /// The peer sends no more.
    has_ended: bool,
    /// Whether the last write was a large one.
    is_direct: bool,
    /// How many losses this client was told of.
    losses_told: u64,
    /// When bytes last went in or out.
    moved_at: Timestamp,
    /// What the reactor sleeps for.
    pub(super) interest: Option<Interest>,
    /// All that it sent was fetched: a sleep will end when there is more, so asking again before that is for those who spin.
    pub(super) is_drained: bool,
    /// Turns without a byte from it.
    pub(super) quiet_turns: u32,
}

impl Client {
    /// A client that has just come.
    pub(super) fn new(socket: OwnedFd, losses: u64, now: Timestamp) -> Self {
        let (negotiation, greeting) = Negotiation::new();
        let mut outbox = Outbox::default();
        outbox.push_bytes(greeting.to_vec());
        let until = now.after_ns(HANDSHAKE_NS_MAX);
        Self {
            socket,
            state: State::Negotiating { negotiation: Box::new(negotiation), until },
            inbox: Inbox::new(),
            payload: None,
            held: None,
            outbox,
            under_way: 0,
            under_way_bytes: 0,
            is_stopping: false,
            has_ended: false,
            is_direct: false,
            losses_told: losses,
            moved_at: now,
            interest: None,
            is_drained: false,
            quiet_turns: 0,
        }
    }

    /// The socket's number.
    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether it is to be dropped.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }

    /// Ends it at once.
    pub(super) fn drop_because(&mut self, reason: &dyn std::fmt::Display) {
        if !self.is_gone() {
            tracing::warn!("a client is disconnected: {reason}");
            self.state = State::Gone;
        }
    }

    /// Whether something that it has sent waits for others: nothing that it does will tell of it, so each turn has to look.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.held.is_some() || !self.inbox.bytes().is_empty()
    }

    /// Whether nothing is read from it now: it has as much under way as it may.
    #[inline]
    fn is_full(&self) -> bool {
        self.held.is_some() || self.under_way + self.outbox.len() >= IN_FLIGHT_MAX
    }

    fn wants_bytes(&self) -> bool {
        match self.state {
            State::Negotiating { .. } => self.outbox.is_empty() && !self.has_ended,
            State::Serving(_) => !self.is_full() && !self.has_ended,
            State::Lingering { .. } => true,
            State::Leaving(_) | State::Gone => false,
        }
    }

    /// What would let it go on; `None` if only the device or the memory can.
    pub(super) fn wanted_interest(&self) -> Option<Interest> {
        match (self.wants_bytes(), !self.outbox.is_empty()) {
            (true, true) => Some(Interest::Either),
            (true, false) => Some(Interest::Readable),
            (false, true) => Some(Interest::Writable),
            (false, false) => None,
        }
    }

    /// Takes what has come, and begins what is complete. Whether anything happened.
    #[inline]
    pub(super) fn take_in(
        &mut self,
        key: ClientKey,
        engine: &mut Engine,
        line: &mut MemoryLine,
        now: Timestamp,
    ) -> bool {
        let held = self.held.is_some() && self.begin_held(key, engine, line);
        let understood = self.understand(key, engine, line, now);
        if self.is_drained || !self.wants_bytes() {
            return held || understood;
        }
        let came = self.fetch(now);
        let understood = came && self.understand(key, engine, line, now) || understood;
        self.note_end();
        held || came || understood
    }

    /// One call for more bytes.
    fn fetch(&mut self, now: Timestamp) -> bool {
        let (buffers, within) = match &mut self.payload {
            Some(Payload::Data { reserved, received, bytes, .. }) => {
                let lead = u64::from(reserved.lead);
                let within = lead + u64::from(*received)..lead + u64::from(*bytes);
                (reserved.data.as_mut_slice(), within)
            }
            _ => (&mut [][..], 0..0),
        };
        let room = self.inbox.room(if self.is_direct { REQUEST_BYTES } else { usize::MAX });
        let expected = usize::try_from(within.end - within.start).unwrap_or(usize::MAX);
        let room_bytes = expected.min(DIRECT_BYTES_SURE) + room.len();
        match receive(self.socket.as_fd(), buffers, within, room) {
            Ok(0) => {
                self.has_ended = true;
                false
            }
            Ok(count) => {
                self.is_drained = count < room_bytes;
                let direct = count.min(expected);
                if let Some(Payload::Data { received, .. }) = &mut self.payload {
                    // No more than was left of the payload, whose length has 32 bits.
                    *received += u32::try_from(direct).unwrap_or(0);
                }
                self.inbox.filled(count - direct);
                self.moved_at = now;
                true
            }
            Err(error) if would_block(&error) => {
                self.is_drained = true;
                false
            }
            Err(error) => {
                self.lose(&error);
                false
            }
        }
    }

    /// The connection broke: nothing unusual.
    fn lose(&mut self, error: &io::Error) {
        tracing::debug!("a client's connection broke: {error}");
        self.state = State::Gone;
    }

    /// What a peer that sends no more leaves behind.
    fn note_end(&mut self) {
        if !self.has_ended || self.held.is_some() {
            return;
        }
        match self.state {
            State::Negotiating { .. } | State::Lingering { .. } => self.state = State::Gone,
            // A command that came in part cannot be answered.
            State::Serving(agreed) if !self.is_full() => self.state = State::Leaving(agreed),
            State::Serving(_) | State::Leaving(_) | State::Gone => {}
        }
    }

    fn understand(
        &mut self,
        key: ClientKey,
        engine: &mut Engine,
        line: &mut MemoryLine,
        now: Timestamp,
    ) -> bool {
        match &mut self.state {
            State::Negotiating { .. } => self.negotiate(engine),
            State::Serving(agreed) => {
                let agreed = *agreed;
                self.serve(key, agreed, engine, line)
            }
            State::Lingering { until } => {
                let is_over = now >= *until;
                self.inbox.consume(self.inbox.bytes().len());
                if is_over {
                    self.state = State::Gone;
                }
                false
            }
            State::Leaving(_) | State::Gone => false,
        }
    }

    fn negotiate(&mut self, engine: &Engine) -> bool {
        let State::Negotiating { negotiation, .. } = &mut self.state else { return false };
        if !self.outbox.is_empty() {
            return false;
        }
        let mut answers = Vec::new();
        match negotiation.receive(self.inbox.bytes(), engine.export(), &mut answers) {
            Ok((used, progress)) => {
                self.inbox.consume(used);
                match progress {
                    Progress::Unfinished => {}
                    Progress::Agreed(agreed) => self.state = State::Serving(agreed),
                    Progress::Ended => self.state = State::Leaving(Agreement::default()),
                }
                self.outbox.push_bytes(answers);
                used > 0
            }
            Err(error) => {
                self.drop_because(&error);
                false
            }
        }
    }

    fn agreed(&self) -> Option<Agreement> {
        match self.state {
            State::Serving(agreed) | State::Leaving(agreed) => Some(agreed),
            State::Negotiating { .. } | State::Lingering { .. } | State::Gone => None,
        }
    }

    /// Sends what there is to send. Whether the socket took anything.
    #[inline]
    pub(super) fn send(&mut self, now: Timestamp) -> bool {
        if self.outbox.is_empty() || self.is_gone() {
            return false;
        }
        match self.outbox.send(self.socket.as_fd()) {
            Ok(any) => {
                if any {
                    self.moved_at = now;
                }
                any
            }
            Err(error) => {
                self.lose(&error);
                true
            }
        }
    }

    /// Goes on with a client that leaves, or that takes too long.
    pub(super) fn look_at_time(&mut self, now: Timestamp) {
        match self.state {
            State::Leaving(_) if self.under_way == 0 && self.outbox.is_empty() => {
                // It may have gone already: then the next look at the socket says so.
                let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
                self.payload = None;
                self.state = if self.has_ended {
                    State::Gone
                } else {
                    State::Lingering { until: now.after_ns(LINGER_NS_MAX) }
                };
            }
            State::Negotiating { until, .. } if now >= until => {
                self.drop_because(&"its handshake takes too long");
            }
            State::Lingering { until } if now >= until => self.state = State::Gone,
            _ => {}
        }
    }

    /// When to look at it again, whatever happens.
    pub(super) fn look_at(&self) -> Timestamp {
        match self.state {
            State::Negotiating { until, .. } | State::Lingering { until } => until,
            State::Serving(_) | State::Leaving(_) | State::Gone => Timestamp::NEVER,
        }
    }

    /// No more commands are carried out.
    pub(super) fn stop(&mut self, engine: &Engine) {
        self.is_stopping = true;
        if let State::Negotiating { negotiation, .. } = &mut self.state {
            negotiation.shut_down();
        }
        if let (Some(order), Some(agreed)) = (self.held.take(), self.agreed()) {
            engine.count_refusal();
            match order.command {
                Command::Write { span, .. } if span.bytes > 0 => {
                    let (cookie, left) = (order.cookie, span.bytes);
                    self.payload = Some(Payload::Skipped { cookie, refusal: SHUTDOWN, left });
                }
                _ => self.reply_error(order.cookie, SHUTDOWN, agreed),
            }
        }
    }

    /// Whether a write's data is on its way in.
    pub(super) fn is_receiving(&self) -> bool {
        self.payload.is_some()
    }

    /// Nothing more is read from it; what it is owed goes out.
    pub(super) fn leave(&mut self) {
        match self.state {
            State::Negotiating { .. } => self.state = State::Leaving(Agreement::default()),
            State::Serving(agreed) => self.state = State::Leaving(agreed),
            State::Leaving(_) | State::Lingering { .. } | State::Gone => {}
        }
    }

    /// How long it has held memory without taking or sending a byte, in nanoseconds.
    pub(super) fn stalled_ns(&self, now: Timestamp) -> u64 {
        let is_receiving = matches!(self.payload, Some(Payload::Data { .. }));
        if is_receiving || self.outbox.memory_bytes() > 0 { now.ns_since(self.moved_at) } else { 0 }
    }
}
