//! READs of the peer: those that are being answered, and those answered last, which may be asked for again.

use std::collections::VecDeque;

use super::Names;
use super::message::Denial;
use crate::soft::link::PayloadRef;
use crate::soft::rc::context::{Outbox, Windows};
use crate::soft::rc::parameters::Parameters;
use crate::soft::wire::{Aeth, CREDITS_UNLIMITED, Extension, Headers, NakCode, Opcode, Psn, Reth, Syndrome};
use crate::{PathMtu, RemoteKey, Rights};

/// A READ that was asked for.
#[derive(Debug)]
struct Read {
    /// The number of its first packet.
    first: Psn,
    /// How many packets the whole response has.
    packets: u32,
    reth: Reth,
    /// The packet of the response to be sent next.
    next: u32,
    /// Where to stop sending.
    end: u32,
    /// Whether all packets were sent once.
    was_answered: bool,
}

/// How far answering came.
pub(super) enum Answering {
    /// All is said.
    Done,
    /// The outbox is full.
    Full,
    /// The window is gone: the packet that cannot be sent.
    Gone(Psn),
}

/// At most as many as the responder resources that were agreed, oldest first.
#[derive(Debug)]
pub(super) struct Reads {
    reads: VecDeque<Read>,
    /// How many of them have packets to be sent.
    pending: u32,
}

impl Read {
    #[inline]
    const fn is_pending(&self) -> bool {
        self.next < self.end
    }

    /// Makes it answer the packets from `from` to `to`, besides those that it was about to answer.
    fn answer_again(&mut self, from: u32, to: u32) {
        if self.is_pending() {
            (self.next, self.end) = (self.next.min(from), self.end.max(to));
        } else {
            (self.next, self.end) = (from, to);
        }
    }
}

impl Reads {
    pub(super) const fn new() -> Self {
        Self { reads: VecDeque::new(), pending: 0 }
    }

    #[inline]
    pub(super) const fn has_work(&self) -> bool {
        self.pending > 0
    }

    pub(super) fn clear(&mut self) {
        self.reads.clear();
        self.pending = 0;
    }

    /// Notes a READ down, in the place of the oldest if all are taken. That one must have been answered, or the peer has more
    /// outstanding than was agreed. Gives the packets of the response.
    pub(super) fn note(&mut self, first: Psn, reth: Reth, parameters: &Parameters) -> Result<u32, Denial> {
        let packets = reth.bytes.div_ceil(parameters.mtu.bytes()).max(1);
        if packets >= Psn::HALF || parameters.responder_resources == 0 {
            return Err(Denial::Refused(NakCode::InvalidRequest));
        }
        if self.reads.len() >= usize::from(parameters.responder_resources) {
            let oldest = self.reads.pop_front_if(|oldest| oldest.was_answered);
            let oldest = oldest.ok_or(Denial::Refused(NakCode::InvalidRequest))?;
            self.pending -= u32::from(oldest.is_pending());
        }
        if self.reads.capacity() == 0 {
            self.reads.reserve_exact(usize::from(parameters.responder_resources));
        }
        self.reads.push_back(Read { first, packets, reth, next: 0, end: packets, was_answered: false });
        self.pending += 1;
        Ok(packets)
    }

    /// Answers a READ again, whole or in part. It must be a part of one that is still known (9.7.4.4).
    pub(super) fn replay(&mut self, psn: Psn, asked: Reth, mtu: PathMtu) {
        for read in &mut self.reads {
            let from = psn.minus(read.first);
            if from >= read.packets {
                continue;
            }
            let skipped = from * mtu.bytes();
            let is_part = asked.key == read.reth.key
                && asked.address == read.reth.address.wrapping_add(u64::from(skipped))
                && asked.bytes <= read.reth.bytes - skipped;
            if is_part {
                let packets = asked.bytes.div_ceil(mtu.bytes()).max(1);
                self.pending += u32::from(!read.is_pending());
                read.answer_again(from, from + packets);
            }
            return;
        }
    }

    /// Sends responses, in the order of the READs, for as long as there is room.
    #[inline]
    pub(super) fn answer<W: Windows>(
        &mut self,
        msn: u32,
        names: Names,
        parameters: &Parameters,
        windows: &W,
        outbox: &mut impl Outbox,
    ) -> Answering {
        if self.pending == 0 {
            return Answering::Done;
        }
        for read in &mut self.reads {
            if !read.is_pending() {
                continue;
            }
            match read.answer(msn, names, parameters, windows, outbox) {
                Answering::Done => self.pending -= 1,
                other => return other,
            }
        }
        Answering::Done
    }
}

impl Read {
    #[inline]
    fn answer<W: Windows>(
        &mut self,
        msn: u32,
        names: Names,
        parameters: &Parameters,
        windows: &W,
        outbox: &mut impl Outbox,
    ) -> Answering {
        let mtu = parameters.mtu.bytes();
        let start = self.next * mtu;
        let rest = self.reth.bytes - start;
        let address = self.reth.address.wrapping_add(u64::from(start));
        let window = windows.window(RemoteKey(self.reth.key), names.number);
        let memory = window.and_then(|window| window.locate(address, rest, Rights::READ));
        if memory.is_none() && rest > 0 {
            if self.was_answered {
                // A request that was delayed or doubled: the READ may be over for the peer, and the window lawfully unbound.
                self.next = self.end;
                return Answering::Done;
            }
            return Answering::Gone(self.first.advance(self.next));
        }
        let mut done = 0;
        while self.next < self.end {
            if !outbox.has_room() {
                return Answering::Full;
            }
            let bytes = mtu.min(rest - done);
            let payload = match memory {
                Some((segment, offset)) if bytes > 0 => {
                    PayloadRef::Segment { segment, offset: offset + done, bytes }
                }
                _ => PayloadRef::Empty,
            };
            outbox.push(&self.headers(msn, parameters), payload);
            done += bytes;
            self.next += 1;
        }
        self.was_answered = self.was_answered || self.next == self.packets;
        Answering::Done
    }

    /// Answered again from the middle, a response goes on as it would have, with a middle or last packet: what rxe sends and
    /// wants.
    #[inline]
    fn headers(&self, msn: u32, parameters: &Parameters) -> Headers {
        let opcode = match (self.next == 0, self.next + 1 == self.end) {
            (true, true) => Opcode::ReadResponseOnly,
            (true, false) => Opcode::ReadResponseFirst,
            (false, false) => Opcode::ReadResponseMiddle,
            (false, true) => Opcode::ReadResponseLast,
        };
        let extension = match opcode {
            Opcode::ReadResponseMiddle => Extension::None,
            _ => Extension::Aeth(Aeth { syndrome: Syndrome::Ack { credits: CREDITS_UNLIMITED }, msn }),
        };
        Headers {
            opcode,
            destination: parameters.peer,
            psn: self.first.advance(self.next),
            ack_request: false,
            solicited: false,
            extension,
        }
    }
}
