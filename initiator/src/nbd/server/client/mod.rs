//! One connection: what came in, what goes out, and how far they have come with each other.

mod inbox;
mod outbox;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use block::{Interest, Timestamp};
use dma::stream::{STREAM_PARTS_MAX, receive, would_block};

use super::clients::{ClientKey, MemoryLine};
use super::engine::{Answer, BufferList, Engine, Finished, Order, Reserved};
use crate::nbd::command::{Command, Refusal, SKIPPED_BYTES_MAX, payload_bytes};
use crate::nbd::negotiation::{ALLOCATION_ID, Agreement, Negotiation, Progress};
use crate::nbd::wire::{Errno, REQUEST_BYTES, ReplyHead, RequestHeader};
use inbox::Inbox;
use outbox::{Body, Outbox};

/// Most commands of one client that are under way or whose replies it has not taken. It waits to be read beyond.
pub(super) const IN_FLIGHT_MAX: usize = 256;

/// Writes from this on are received where the device takes them from; what follows them is fetched as far as the next
/// command only, so that its data can be received in place too. Smaller ones cost less if copied.
const DIRECT_BYTES_MIN: u32 = 32 << 10;

/// Bytes of a large write that one call takes if they are there: all parts of one call, each at least a page.
const DIRECT_BYTES_SURE: usize = STREAM_PARTS_MAX * 4096;

/// Most bytes of memory that one client ties up with several commands: a quarter of what there is, so that clients who take no
/// replies do not stop the others. One command alone may need more.
const SHARE_BYTES_MAX: u64 = 16 << 20;

/// How long a handshake may take.
const HANDSHAKE_NS_MAX: u64 = 10_000_000_000;

/// How long a client that was told everything may take to close.
const LINGER_NS_MAX: u64 = 1_000_000_000;

const SHUTDOWN: Refusal = Refusal { errno: Errno::Shutdown, sentence: "the server is shutting down" };
const LOST: Refusal =
    Refusal { errno: Errno::Io, sentence: "the device began anew: writes may have been lost" };

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

    /// Commands, for as long as there are any and more may begin.
    fn serve(
        &mut self,
        key: ClientKey,
        agreed: Agreement,
        engine: &mut Engine,
        line: &mut MemoryLine,
    ) -> bool {
        let mut any = false;
        loop {
            if self.payload.is_some() {
                if !self.take_payload(agreed, engine) {
                    return any;
                }
                any = true;
            }
            if self.is_full() || !matches!(self.state, State::Serving(_)) {
                return any;
            }
            let Some(bytes) = self.inbox.bytes().first_chunk::<REQUEST_BYTES>() else { return any };
            let Some(header) = RequestHeader::read(bytes) else {
                self.drop_because(&"what it sent is no command");
                return any;
            };
            self.inbox.consume(REQUEST_BYTES);
            self.on_header(&header, key, agreed, engine, line);
            any = true;
        }
    }

    fn on_header(
        &mut self,
        header: &RequestHeader,
        key: ClientKey,
        agreed: Agreement,
        engine: &mut Engine,
        line: &mut MemoryLine,
    ) {
        let command = Command::read(header, engine.export(), &agreed);
        let command = if self.is_stopping && command != Ok(Command::Disconnect) {
            command.and(Err(SHUTDOWN))
        } else {
            command
        };
        match command {
            Ok(Command::Disconnect) => self.state = State::Leaving(agreed),
            Ok(command) => {
                self.held = Some(Order { client: Some(key), cookie: header.cookie, command });
                self.begin_held(key, engine, line);
            }
            Err(refusal) => self.refuse(header, refusal, agreed, engine),
        }
    }

    fn refuse(&mut self, header: &RequestHeader, refusal: Refusal, agreed: Agreement, engine: &Engine) {
        engine.count_refusal();
        let left = payload_bytes(header);
        if left > SKIPPED_BYTES_MAX {
            return self.drop_because(&format_args!("a write of {left} bytes"));
        }
        if left > 0 {
            self.payload = Some(Payload::Skipped { cookie: header.cookie, refusal, left });
        } else {
            self.reply_error(header.cookie, refusal, agreed);
        }
    }

    /// Begins the command that waits for memory, if it is its turn and there is some.
    fn begin_held(&mut self, key: ClientKey, engine: &mut Engine, line: &mut MemoryLine) -> bool {
        let Some(order) = self.held else { return false };
        let tied_bytes = self.under_way_bytes + self.outbox.memory_bytes();
        let bytes = order.command.data_bytes();
        if tied_bytes > 0 && tied_bytes + bytes > SHARE_BYTES_MAX {
            return false;
        }
        let reserved = if line.is_first(key) { engine.reserve(&order.command) } else { None };
        let Some(reserved) = reserved else {
            line.join(key);
            return false;
        };
        line.leave(key);
        self.held = None;
        self.under_way_bytes += bytes;
        match order.command {
            Command::Write { span, .. } if span.bytes > 0 => {
                self.is_direct = span.bytes >= DIRECT_BYTES_MIN;
                self.payload = Some(Payload::Data { order, reserved, received: 0, bytes: span.bytes });
            }
            _ => {
                self.is_direct = false;
                self.begin(order, reserved, engine);
            }
        }
        true
    }

    fn begin(&mut self, order: Order, reserved: Reserved, engine: &mut Engine) {
        self.under_way += 1;
        engine.begin(order, reserved);
    }

    /// Moves payload out of the inbox. Whether it is complete.
    fn take_payload(&mut self, agreed: Agreement, engine: &mut Engine) -> bool {
        match &mut self.payload {
            Some(Payload::Data { reserved, received, bytes, .. }) => {
                let here = self.inbox.bytes();
                let count = here.len().min((*bytes - *received) as usize);
                let at = u64::from(reserved.lead) + u64::from(*received);
                if copy_in(&mut reserved.data, at, &here[..count]).is_err() {
                    self.drop_because(&"the memory for its data cannot be reached");
                    return false;
                }
                // At most what was left, whose length has 32 bits.
                *received += u32::try_from(count).unwrap_or(0);
                let is_complete = received == bytes;
                engine.count_copied(count as u64);
                self.inbox.consume(count);
                if is_complete && let Some(Payload::Data { order, reserved, .. }) = self.payload.take() {
                    self.begin(order, reserved, engine);
                }
                is_complete
            }
            Some(Payload::Skipped { cookie, refusal, left }) => {
                let count = self.inbox.bytes().len().min(*left as usize);
                *left -= u32::try_from(count).unwrap_or(*left);
                let (is_complete, cookie, refusal) = (*left == 0, *cookie, *refusal);
                self.inbox.consume(count);
                if is_complete {
                    self.payload = None;
                    self.reply_error(cookie, refusal, agreed);
                }
                is_complete
            }
            None => true,
        }
    }

    fn agreed(&self) -> Option<Agreement> {
        match self.state {
            State::Serving(agreed) | State::Leaving(agreed) => Some(agreed),
            State::Negotiating { .. } | State::Lingering { .. } | State::Gone => None,
        }
    }

    fn reply_error(&mut self, cookie: u64, refusal: Refusal, agreed: Agreement) {
        let head = if agreed.structured {
            ReplyHead::error(cookie, refusal.errno, refusal.sentence)
        } else {
            ReplyHead::simple(cookie, Err(refusal.errno))
        };
        self.outbox.push(head, Body::Nothing);
    }

    /// A command has ended: its reply goes out.
    #[inline]
    pub(super) fn answer(&mut self, finished: Finished, losses: u64) {
        self.under_way -= 1;
        self.under_way_bytes -= finished.order.command.data_bytes();
        let Some(agreed) = self.agreed() else { return };
        let Finished { order: Order { cookie, command, .. }, mut answer } = finished;
        if command == Command::Flush && self.losses_told < losses {
            self.losses_told = losses;
            answer = Answer::Refused(LOST);
        }
        match (answer, command) {
            (Answer::Refused(refusal), _) => self.reply_error(cookie, refusal, agreed),
            (Answer::Data(data), Command::Read(span)) => {
                let head = if agreed.structured {
                    ReplyHead::data(cookie, span.offset, span.bytes)
                } else {
                    ReplyHead::simple(cookie, Ok(()))
                };
                self.outbox.push(head, Body::Memory(data));
            }
            (Answer::Extents(extents), _) => {
                let count = u32::try_from(extents.len()).unwrap_or(u32::MAX);
                let head = ReplyHead::block_status(cookie, ALLOCATION_ID, count);
                let bytes = extents.iter().flat_map(|(bytes, flags)| ReplyHead::extent(*bytes, *flags));
                self.outbox.push(head, Body::Bytes(bytes.collect()));
            }
            // A read of nothing.
            (_, Command::Read(_)) if agreed.structured => {
                self.outbox.push(ReplyHead::nothing(cookie), Body::Nothing);
            }
            _ => self.outbox.push(ReplyHead::simple(cookie, Ok(())), Body::Nothing),
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

fn copy_in(into: &mut BufferList, at: u64, bytes: &[u8]) -> Result<(), dma::AccessError> {
    if bytes.is_empty() { Ok(()) } else { into.write(at, bytes) }
}
