//! A queue pair: its state, and its two halves.

use std::collections::VecDeque;

use block::Timestamp;

use super::context::{Context, Outbox, Windows};
use super::failure::{Event, Failure};
use super::flow::{Flow, ReadBudget};
use super::parameters::Parameters;
use super::receive_queue::ReceiveQueue;
use super::requester::Requester;
use super::responder::{self, Names, Responder};
use crate::soft::coverage;
use crate::soft::wire::{Aeth, Extension, Headers, NakCode, Opcode, Packet, Qpn, Syndrome};
use crate::{PostError, QueuePairId, Receive, SendWork, WorkError};

/// The state of a queue pair (10.3.1). It is made for one connection, so the standard's "reset" does not occur.
///
/// ```text
///            connect                  establish
///  ┌──────┐ ────────► ┌──────────────┐ ────────► ┌─────────────┐
///  │ Init │           │ReadyToReceive│           │ ReadyToSend │
///  └──────┘           └──────────────┘           └─────────────┘
///      │ fail                │ fail                     │ fail
///      └─────────────────────┴──────────┬───────────────┘
///                                       ▼
///                                  ┌─────────┐
///                                  │  Error  │
///                                  └─────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Receives can be posted; packets are dropped.
    Init,
    /// The peer is known, and what it wants is carried out.
    ReadyToReceive,
    /// Work can be posted.
    ReadyToSend,
    /// All work flushes; packets are dropped.
    Error,
}

/// How a turn of transmitting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing is left to send for now. A packet, the timer or new work may change that; [`QueuePair::has_work`] tells.
    Idle,
    /// The outbox was full: there is more.
    Again,
    /// The flow window or the read budget is taken by other queue pairs, or by what this one has under way: to be tried again
    /// when any queue pair has handled an answer, a timeout, or failed.
    Blocked,
    /// The peer was refused and has been told; the queue pair went into its error state. Told once.
    Failed(Failure),
}

/// Where receives come from.
#[derive(Debug)]
enum Receives {
    Own(ReceiveQueue),
    Shared,
}

/// A reliably connected queue pair. Before it is dropped, [`Self::release`] gives back what it has taken of windows.
#[derive(Debug)]
pub struct QueuePair {
    names: Names,
    state: State,
    /// Means nothing before [`Self::connect`].
    parameters: Parameters,
    receives: Receives,
    requester: Requester,
    responder: Responder,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Init => "Init",
            Self::ReadyToReceive => "ReadyToReceive",
            Self::ReadyToSend => "ReadyToSend",
            Self::Error => "Error",
        }
    }
}

/// What coverage calls a packet.
const fn packet_name(headers: &Headers) -> &'static str {
    match (headers.opcode, &headers.extension) {
        (Opcode::Acknowledge, Extension::Aeth(Aeth { syndrome: Syndrome::ReceiverNotReady { .. }, .. })) => {
            "RNR NAK"
        }
        (
            Opcode::Acknowledge,
            Extension::Aeth(Aeth { syndrome: Syndrome::Nak(NakCode::SequenceError), .. }),
        ) => "NAK: sequence",
        (Opcode::Acknowledge, Extension::Aeth(Aeth { syndrome: Syndrome::Nak(_), .. })) => "NAK: refused",
        (Opcode::Acknowledge, _) => "ACK",
        (Opcode::ReadRequest, _) => "READ request",
        (Opcode::SendLastInvalidate | Opcode::SendOnlyInvalidate, _) => "SEND with invalidate",
        (opcode, _) if opcode.is_response() => "READ response",
        (
            Opcode::WriteFirst
            | Opcode::WriteMiddle
            | Opcode::WriteLast
            | Opcode::WriteOnly
            | Opcode::WriteLastImmediate
            | Opcode::WriteOnlyImmediate,
            _,
        ) => "WRITE",
        _ => "SEND",
    }
}

impl QueuePair {
    /// A queue pair of that name and number, for `send_depth` pieces of send work. With `receive_depth` it has a receive queue
    /// of its own, without it uses the one that the endpoint lends it.
    #[must_use]
    pub const fn new(id: QueuePairId, number: Qpn, send_depth: u32, receive_depth: Option<u32>) -> Self {
        let receives = match receive_depth {
            Some(depth) => Receives::Own(ReceiveQueue::new(depth)),
            None => Receives::Shared,
        };
        Self {
            names: Names { id, number },
            state: State::Init,
            parameters: Parameters::unconnected(number),
            receives,
            requester: Requester::new(send_depth),
            responder: Responder::new(),
        }
    }

    /// Its state.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Its name.
    #[inline]
    #[must_use]
    pub const fn id(&self) -> QueuePairId {
        self.names.id
    }

    /// Its number.
    #[inline]
    #[must_use]
    pub const fn number(&self) -> Qpn {
        self.names.number
    }

    /// What was agreed; means nothing in [`State::Init`].
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The peer is known: ready to receive. In any state but [`State::Init`] nothing happens.
    pub fn connect(&mut self, parameters: &Parameters) {
        coverage::hit(self.state.name(), "connect");
        if self.state == State::Init {
            self.parameters = *parameters;
            self.requester.connect(parameters);
            self.responder.connect(parameters);
            self.state = State::ReadyToReceive;
        }
    }

    /// The peer is ready: ready to send. In any state but [`State::ReadyToReceive`] nothing happens.
    pub fn establish(&mut self) {
        coverage::hit(self.state.name(), "establish");
        if self.state == State::ReadyToReceive {
            self.state = State::ReadyToSend;
        }
    }

    /// Goes into the error state: all work is flushed into the context's completions, and what was taken of windows is given
    /// back. Nothing happens if it is there already.
    pub fn fail<W>(&mut self, failure: Failure, context: &mut Context<'_, W>) {
        coverage::hit(self.state.name(), "fail");
        if self.state == State::Error {
            return;
        }
        self.state = State::Error;
        self.responder.fail();
        self.flush(failure, context);
    }

    fn flush<W>(&mut self, failure: Failure, context: &mut Context<'_, W>) {
        self.requester.flush(self.names.id, failure, context);
        self.responder.flush(self.names.id, context);
        if let Receives::Own(receives) = &mut self.receives {
            while let Some(receive) = receives.take() {
                context.completions.push(responder::failed(self.names.id, receive, WorkError::Flushed));
            }
        }
    }

    /// Gives back what was taken of windows, and forgets all work without completing it: to be called before it is dropped.
    pub fn release(&mut self, flow: &mut Flow, reads: &mut ReadBudget) {
        coverage::hit(self.state.name(), "destroy");
        self.requester.release(flow, reads);
        self.state = State::Error;
    }

    /// Takes work from the front while there is room. In the error state it is taken, and flushed by the next
    /// [`Self::transmit`].
    pub fn post_send(&mut self, works: &mut VecDeque<SendWork>) -> Result<(), PostError> {
        coverage::hit(self.state.name(), "post send work");
        match self.state {
            State::Init | State::ReadyToReceive => Err(PostError::NotConnected),
            State::ReadyToSend => self.requester.post(works, self.parameters.initiator_depth),
            // What only flushes need not fit what was agreed, if anything was.
            State::Error => self.requester.post(works, u8::MAX),
        }
    }

    /// Takes receives from the front while there is room; none if receives are shared. In the error state they are taken, and
    /// flushed by the next [`Self::transmit`].
    pub fn post_receive(&mut self, receives: &mut VecDeque<Receive>) -> Result<(), PostError> {
        coverage::hit(self.state.name(), "post receive");
        match &mut self.receives {
            Receives::Own(queue) => queue.post(receives),
            Receives::Shared if receives.is_empty() => {}
            Receives::Shared => return Err(PostError::Unfit("the receive queue is shared")),
        }
        Ok(())
    }

    /// Takes in a packet that came from the peer's address to this queue pair.
    #[inline]
    pub fn handle_packet<W: Windows>(
        &mut self,
        now: Timestamp,
        packet: &Packet<'_>,
        context: &mut Context<'_, W>,
    ) -> Option<Event> {
        let headers = &packet.headers;
        coverage::hit(self.state.name(), packet_name(headers));
        match (self.state, headers.opcode) {
            (State::ReadyToReceive | State::ReadyToSend, Opcode::DatagramSendOnly) => {
                context.counters.dropped_malformed += 1;
                None
            }
            (State::ReadyToReceive | State::ReadyToSend, opcode) if !opcode.is_response() => {
                self.handle_request(packet, context)
            }
            (State::ReadyToSend, _) => match self.handle_response(now, packet, context) {
                Ok(()) => None,
                Err(failure) => {
                    self.fail(failure, context);
                    Some(Event::Failed(failure))
                }
            },
            (State::Error, opcode) if !opcode.is_response() => {
                self.responder.handle_in_error(headers);
                None
            }
            _ => {
                context.counters.dropped_stray += 1;
                None
            }
        }
    }

    #[inline]
    fn handle_request<W: Windows>(
        &mut self,
        packet: &Packet<'_>,
        context: &mut Context<'_, W>,
    ) -> Option<Event> {
        let before = self.responder.expected();
        let (names, parameters) = (self.names, &self.parameters);
        match &mut self.receives {
            Receives::Own(receives) => {
                self.responder.handle_request(packet, names, parameters, receives, context);
            }
            Receives::Shared => {
                // The queue is lent apart from the context, which the responder needs whole.
                if let Some(receives) = context.shared_receives.take() {
                    self.responder.handle_request(packet, names, parameters, receives, context);
                    context.shared_receives = Some(receives);
                }
            }
        }
        let is_first = self.state == State::ReadyToReceive && self.responder.expected() != before;
        is_first.then_some(Event::Established)
    }

    #[inline]
    fn handle_response<W>(
        &mut self,
        now: Timestamp,
        packet: &Packet<'_>,
        context: &mut Context<'_, W>,
    ) -> Result<(), Failure> {
        let headers = &packet.headers;
        let names = (self.names.id, &self.parameters);
        match (headers.opcode, headers.extension) {
            (Opcode::Acknowledge, Extension::Aeth(aeth)) => {
                self.requester.handle_acknowledge(now, headers.psn, aeth, names, context)
            }
            (opcode, _) => {
                let response = (headers.psn, opcode, packet.payload);
                self.requester.handle_read_response(now, response, names, context)
            }
        }
    }

    /// Whether [`Self::transmit`] has something to do, windows permitting.
    #[inline]
    #[must_use]
    pub fn has_work(&self) -> bool {
        match self.state {
            State::Init => false,
            State::ReadyToReceive => self.responder.has_work(),
            State::ReadyToSend => self.responder.has_work() || self.requester.has_work(),
            State::Error => self.responder.has_work() || self.has_posted(),
        }
    }

    fn has_posted(&self) -> bool {
        let has_receives = matches!(&self.receives, Receives::Own(receives) if !receives.is_empty());
        has_receives || self.requester.has_any()
    }

    /// Sends what there is to send: answers first, then work, for as long as the outbox has room and windows are open.
    #[inline]
    pub fn transmit<W: Windows>(
        &mut self,
        now: Timestamp,
        context: &mut Context<'_, W>,
        outbox: &mut impl Outbox,
    ) -> Turn {
        match self.state {
            State::Init => Turn::Idle,
            State::ReadyToReceive | State::ReadyToSend => {
                let turn = self.responder.transmit(self.names, &self.parameters, context, outbox);
                if let Turn::Failed(failure) = turn {
                    self.fail(failure, context);
                }
                if turn != Turn::Idle || self.state != State::ReadyToSend {
                    return turn;
                }
                self.requester.transmit(now, &self.parameters, context, outbox)
            }
            State::Error => {
                if self.has_posted() {
                    self.flush(Failure::Closed, context);
                }
                // The failure was told when it happened.
                match self.responder.transmit(self.names, &self.parameters, context, outbox) {
                    Turn::Failed(_) => Turn::Idle,
                    turn => turn,
                }
            }
        }
    }

    /// When [`Self::handle_timeout`] is to be called.
    #[inline]
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        if self.state == State::ReadyToSend { self.requester.next_timeout() } else { None }
    }

    /// The time has come; too early is no error.
    pub fn handle_timeout<W>(&mut self, now: Timestamp, context: &mut Context<'_, W>) -> Option<Event> {
        coverage::hit(self.state.name(), "timeout");
        if self.state != State::ReadyToSend {
            return None;
        }
        let failure = self.requester.handle_timeout(now, &self.parameters, context).err()?;
        self.fail(failure, context);
        Some(Event::Failed(failure))
    }
}
