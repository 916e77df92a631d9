//! The half of a queue pair that carries out what the peer wants (9.7.4).

mod answer;
mod message;
mod reads;

use super::context::Context;
use super::parameters::Parameters;
use crate::soft::wire::{Headers, NakCode, Psn, Qpn};
use crate::{Completion, Outcome, QueuePairId, Receive, RemoteKey, WorkError};
use reads::Reads;

/// The message that is coming in.
///
/// ```text
///  ┌──────┐ first packet of a SEND   ┌──────┐
///  │      │ ───────────────────────► │ Send │
///  │      │ ◄─────────────────────── └──────┘
///  │ None │        last packet
///  │      │ first packet of a WRITE  ┌───────┐
///  │      │ ───────────────────────► │ Write │
///  └──────┘ ◄─────────────────────── └───────┘
///                  last packet
/// ```
#[derive(Debug)]
enum Incoming {
    /// The next packet begins one.
    None,
    /// A SEND, of which so many bytes are there.
    Send { receive: Receive, bytes: u32 },
    /// A WRITE: where its next byte goes, and how many are to come.
    Write { key: RemoteKey, address: u64, left: u32 },
}

/// What is to be told behind the READ responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing.
    None,
    /// What has been carried out.
    Acknowledge,
    /// Which packet is missing.
    Missing,
    /// That no receive is posted.
    NotReady,
    /// That a request is refused: the last word.
    Refuse,
}

/// A request that was refused.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    code: NakCode,
    psn: Psn,
}

/// Names of the queue pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) id: QueuePairId,
    pub(super) number: Qpn,
}

#[derive(Debug)]
pub(super) struct Responder {
    /// The number of the next packet.
    expected: Psn,
    /// Messages carried out.
    msn: u32,
    /// The last packet of a SEND or WRITE that was carried out: what an ACK can name. It must never name the last packet
    /// of a READ, for some requesters take that for the end of the READ.
    acknowledged: Option<Psn>,
    incoming: Incoming,
    answer: Answer,
    /// What is missing, or that no receive is posted, is told: silence until the packet comes.
    is_told: bool,
    /// The last packet that was dropped because one before it was missing.
    dropped: Psn,
    refusal: Option<Refusal>,
    reads: Reads,
}

impl Responder {
    pub(super) const fn new() -> Self {
        Self {
            expected: Psn::new(0),
            msn: 0,
            acknowledged: None,
            incoming: Incoming::None,
            answer: Answer::None,
            is_told: false,
            dropped: Psn::new(0),
            refusal: None,
            reads: Reads::new(),
        }
    }

    pub(super) fn connect(&mut self, parameters: &Parameters) {
        self.expected = parameters.expected_psn;
    }

    /// The packet that was expected was carried out, and with it that many numbers. What is asked for is answered.
    #[inline]
    fn advance(&mut self, packets: u32, is_asked: bool) {
        self.expected = self.expected.advance(packets);
        self.answer = match self.answer {
            // The gap was filled before it was told, but what was behind it is dropped, and has to come again.
            Answer::Missing if !self.dropped.is_before(self.expected) => return,
            Answer::Acknowledge => Answer::Acknowledge,
            _ if is_asked => Answer::Acknowledge,
            _ => Answer::None,
        };
        self.is_told = false;
    }

    #[inline]
    pub(super) const fn expected(&self) -> Psn {
        self.expected
    }

    /// Whether there is something to send.
    #[inline]
    pub(super) const fn has_work(&self) -> bool {
        !matches!(self.answer, Answer::None) || self.reads.has_work()
    }

    /// After a failure nothing is left to say but why the peer was refused, each time that it asks again.
    pub(super) fn fail(&mut self) {
        self.answer = Answer::None;
        self.reads.clear();
    }

    /// A packet came although the queue pair is in error: if it is the refused one, the refusal was lost.
    pub(super) fn handle_in_error(&mut self, headers: &Headers) {
        if self.refusal.is_some_and(|refusal| refusal.psn == headers.psn) {
            self.answer = Answer::Refuse;
        }
    }

    /// The last word: this packet is refused.
    fn refuse<W>(&mut self, code: NakCode, psn: Psn, context: &mut Context<'_, W>) {
        self.refusal = Some(Refusal { code, psn });
        self.answer = Answer::Refuse;
        context.counters.dropped_malformed += u64::from(code == NakCode::InvalidRequest);
    }

    /// The receive of the message that was coming in.
    pub(super) fn flush<W>(&mut self, queue_pair: QueuePairId, context: &mut Context<'_, W>) {
        if let Incoming::Send { receive, .. } = std::mem::replace(&mut self.incoming, Incoming::None) {
            context.completions.push(failed(queue_pair, receive, WorkError::Flushed));
        }
    }
}

/// A receive that ends without a message.
pub(super) fn failed(queue_pair: QueuePairId, receive: Receive, error: WorkError) -> Completion {
    let outcome = Outcome::Received { result: Err(error), buffer: receive.buffer };
    Completion { queue_pair, id: receive.id, outcome }
}
