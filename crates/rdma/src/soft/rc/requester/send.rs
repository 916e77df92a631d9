//! Sending: which packet is next, and whether it may go.

use block::Timestamp;

use super::work::{Work, packets};
use super::{Phase, Requester};
use crate::soft::rc::Turn;
use crate::soft::rc::context::{Context, Outbox};
use crate::soft::rc::flow::{Flow, PACKET_OVERHEAD_BYTES, ReadBudget};
use crate::soft::rc::parameters::Parameters;
use crate::soft::wire::{Extension, Headers, Opcode, Psn, Reth};
use crate::{RemoteMemory, SendOp};

/// Packets under way at most: fewer than half of all numbers, so that old and new can be told apart (9.7.1).
const PACKETS_IN_FLIGHT_MAX: u64 = 1 << 22;
/// After so many packets an acknowledgement is asked for in the middle of things, so that windows open.
const PACKETS_UNASKED_MAX: u32 = 16;
/// A timeout is doubled so often at most; the standard's timeout bounds it sooner or later.
const BACKOFF_MAX: u32 = 24;

/// How far one step came.
enum Step {
    Sent,
    /// This queue pair's own answers must come first.
    Waits,
    /// A window that is shared is full.
    Blocked,
}

impl Requester {
    #[inline]
    pub(in crate::soft::rc) fn transmit<W>(
        &mut self,
        now: Timestamp,
        parameters: &Parameters,
        context: &mut Context<'_, W>,
        outbox: &mut impl Outbox,
    ) -> Turn {
        let sent_before = self.highest;
        while self.has_work() {
            if !outbox.has_room() {
                return Turn::Again;
            }
            let from = self.next;
            match self.step(now, parameters, context.flow, context.reads, outbox) {
                Step::Sent if from < sent_before => context.counters.packets_resent += 1,
                Step::Sent => {}
                Step::Waits => {
                    self.is_stalled = true;
                    return Turn::Idle;
                }
                Step::Blocked => return Turn::Blocked,
            }
        }
        Turn::Idle
    }

    #[inline]
    fn step(
        &mut self,
        now: Timestamp,
        parameters: &Parameters,
        flow: &mut Flow,
        reads: &mut ReadBudget,
        outbox: &mut impl Outbox,
    ) -> Step {
        let Some(work) = self.works.get(self.cursor) else {
            unreachable!("packet {} of {} belongs to a work", self.next, self.posted)
        };
        if self.unacknowledged < work.waits_for {
            return Step::Waits;
        }
        let index = work.index(self.next);
        let taken = match work.read() {
            Some(remote) => self.ask(remote, index, parameters, reads, outbox),
            None => self.send(index, parameters, flow, outbox),
        };
        match taken {
            Ok(packets) => {
                self.sent(now, packets, flow.rtt().timeout_ns(), parameters);
                Step::Sent
            }
            Err(step) => step,
        }
    }

    /// Sends a packet of a SEND or WRITE.
    #[inline]
    fn send(
        &mut self,
        index: u32,
        parameters: &Parameters,
        flow: &mut Flow,
        outbox: &mut impl Outbox,
    ) -> Result<u32, Step> {
        let work = &self.works[self.cursor];
        let mtu = 1 << self.mtu_shift;
        let offset = index << self.mtu_shift;
        let bytes = (work.bytes - offset).min(mtu);
        let cost = bytes + PACKET_OVERHEAD_BYTES;
        if !flow.admits(cost) {
            return Err(Step::Blocked);
        }
        if self.next - self.unacknowledged >= PACKETS_IN_FLIGHT_MAX {
            return Err(Step::Waits);
        }
        flow.sent(cost);
        self.in_flight += cost;
        let is_last = index + 1 == work.packets;
        self.unasked += 1;
        let ack_request = is_last && work.asks
            || self.unasked >= PACKETS_UNASKED_MAX
            || self.phase == Phase::Probing
            || !flow.admits(mtu + PACKET_OVERHEAD_BYTES);
        if ack_request {
            self.unasked = 0;
        }
        let (opcode, extension) = kind(work, index == 0, is_last);
        let psn = self.psn(self.next);
        let headers =
            Headers { opcode, destination: parameters.peer, psn, ack_request, solicited: false, extension };
        outbox.push(&headers, work.payload(offset, bytes));
        Ok(1)
    }

    /// Sends a READ request, for the rest of the part of a READ that is asked for at once.
    #[inline]
    fn ask(
        &mut self,
        remote: RemoteMemory,
        index: u32,
        parameters: &Parameters,
        reads: &mut ReadBudget,
        outbox: &mut impl Outbox,
    ) -> Result<u32, Step> {
        let work = &self.works[self.cursor];
        let offset = index << self.mtu_shift;
        let bytes = work.read_request_end(offset) - offset;
        let packets = packets(bytes, self.mtu_shift);
        let cost = work.cost(index, index + packets, self.mtu_shift);
        let in_flight = self.next + u64::from(packets) - self.unacknowledged;
        if self.reads_outstanding >= u32::from(parameters.initiator_depth)
            || in_flight > PACKETS_IN_FLIGHT_MAX
        {
            return Err(Step::Waits);
        }
        // A peer that does not answer sends nothing: what it is asked again must not keep others from reading.
        if self.phase != Phase::Probing {
            if !reads.admits(cost) {
                return Err(Step::Blocked);
            }
            reads.asked(cost);
            self.reads_in_flight += cost;
        }
        self.reads_outstanding += 1;
        let address = remote.address.wrapping_add(u64::from(offset));
        let headers = Headers {
            opcode: Opcode::ReadRequest,
            destination: parameters.peer,
            psn: self.psn(self.next),
            // The response is the acknowledgement; an ACK of its last packet would complete the READ without data.
            ack_request: false,
            solicited: false,
            extension: Extension::Reth(Reth { address, key: remote.key.0, bytes }),
        };
        outbox.push(&headers, crate::soft::link::PayloadRef::Empty);
        Ok(packets)
    }

    /// Counts what was sent: positions, the timer, the measurement of the round trip.
    #[inline]
    fn sent(&mut self, now: Timestamp, packets: u32, timeout_ns: u64, parameters: &Parameters) {
        if self.highest == self.unacknowledged {
            self.progress_at = now;
        }
        if self.sample.is_none() && self.next >= self.highest && self.unasked == 0 {
            self.sample = Some((self.next, now));
        }
        self.next += u64::from(packets);
        self.highest = self.highest.max(self.next);
        if self.next == self.works[self.cursor].end() {
            self.cursor += 1;
        }
        if self.deadline == Timestamp::NEVER {
            self.arm(now, timeout_ns, parameters);
        }
    }

    /// Starts the timer: the measured timeout, doubled for each time that it ran out, but not beyond the standard's.
    #[inline]
    pub(super) fn arm(&mut self, now: Timestamp, timeout_ns: u64, parameters: &Parameters) {
        let doubled = timeout_ns.saturating_mul(1 << self.backoff.min(BACKOFF_MAX));
        self.deadline = now.after_ns(doubled.min(parameters.ack_timeout_ns().max(timeout_ns)));
    }

    /// A packet's number on the wire.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "numbers are modulo 2^24, and 2^32 is a multiple of that"
    )]
    pub(super) const fn psn(&self, packet: u64) -> Psn {
        self.first_psn.advance(packet as u32)
    }
}

/// What a packet of a SEND or WRITE is called.
#[inline]
fn kind(work: &Work, is_first: bool, is_last: bool) -> (Opcode, Extension) {
    match (work.work.op, is_first, is_last) {
        (SendOp::Send | SendOp::SendInvalidate(_), true, false) => (Opcode::SendFirst, Extension::None),
        (SendOp::Send | SendOp::SendInvalidate(_), false, false) => (Opcode::SendMiddle, Extension::None),
        (SendOp::Send, false, true) => (Opcode::SendLast, Extension::None),
        (SendOp::Send, true, true) => (Opcode::SendOnly, Extension::None),
        (SendOp::SendInvalidate(key), false, true) => {
            (Opcode::SendLastInvalidate, Extension::Invalidate(key.0))
        }
        (SendOp::SendInvalidate(key), true, true) => {
            (Opcode::SendOnlyInvalidate, Extension::Invalidate(key.0))
        }
        (SendOp::Write(remote) | SendOp::Read(remote), true, _) => {
            let reth = Reth { address: remote.address, key: remote.key.0, bytes: work.bytes };
            (if is_last { Opcode::WriteOnly } else { Opcode::WriteFirst }, Extension::Reth(reth))
        }
        (SendOp::Write(_) | SendOp::Read(_), false, true) => (Opcode::WriteLast, Extension::None),
        (SendOp::Write(_) | SendOp::Read(_), false, false) => (Opcode::WriteMiddle, Extension::None),
    }
}
