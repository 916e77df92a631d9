//! Answers: what they end, and what they make us send again (9.7.5.1).

use block::Timestamp;

use super::{Phase, Requester, ended};
use crate::soft::rc::context::Context;
use crate::soft::rc::failure::Failure;
use crate::soft::rc::parameters::Parameters;
use crate::soft::wire::{Aeth, NakCode, Opcode, Psn, RnrTimer, Syndrome};
use crate::{Data, QueuePairId, RNR_RETRIES_ENDLESS};

impl Requester {
    /// Takes an ACK or NAK in.
    #[inline]
    pub(in crate::soft::rc) fn handle_acknowledge<W>(
        &mut self,
        now: Timestamp,
        psn: Psn,
        aeth: Aeth,
        (queue_pair, parameters): (QueuePairId, &Parameters),
        context: &mut Context<'_, W>,
    ) -> Result<(), Failure> {
        let Some(packet) = self.packet(psn) else {
            return Ok(());
        };
        let before = self.unacknowledged;
        let end = if matches!(aeth.syndrome, Syndrome::Ack { .. }) { packet + 1 } else { packet };
        let is_read_missing = !self.acknowledge(end, queue_pair, context);
        if self.unacknowledged > before {
            self.progressed(now, parameters, context);
        }
        if !matches!(aeth.syndrome, Syndrome::Ack { .. }) {
            context.counters.naks_received += 1;
        }
        match aeth.syndrome {
            Syndrome::Nak(NakCode::SequenceError) => self.something_was_lost(now, parameters, context),
            Syndrome::Nak(code) => {
                self.refused = packet;
                Err(Failure::RefusedByPeer(code))
            }
            _ if is_read_missing => self.something_was_lost(now, parameters, context),
            Syndrome::ReceiverNotReady { timer } => self.wait_for_receiver(now, timer, parameters, context),
            Syndrome::Ack { .. } => Ok(()),
        }
    }

    /// Takes a packet of a READ's response in. It acknowledges all that was sent before the READ.
    #[inline]
    pub(in crate::soft::rc) fn handle_read_response<W>(
        &mut self,
        now: Timestamp,
        (psn, opcode, payload): (Psn, Opcode, &[u8]),
        (queue_pair, parameters): (QueuePairId, &Parameters),
        context: &mut Context<'_, W>,
    ) -> Result<(), Failure> {
        let Some(packet) = self.packet(psn) else {
            context.counters.out_of_order += 1;
            return Ok(());
        };
        let before = self.unacknowledged;
        let is_in_order = self.acknowledge(packet, queue_pair, context);
        let is_taken = is_in_order && self.take_data(opcode, payload, queue_pair, context);
        if self.unacknowledged > before {
            self.progressed(now, parameters, context);
        }
        match (is_in_order, is_taken) {
            (false, _) => {
                context.counters.out_of_order += 1;
                self.something_was_lost(now, parameters, context)
            }
            (true, false) => {
                context.counters.dropped_malformed += 1;
                Ok(())
            }
            (true, true) => Ok(()),
        }
    }

    /// Puts data where the READ that is first in the queue wants it. Says whether it was that READ's next packet.
    #[inline]
    fn take_data<W>(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        queue_pair: QueuePairId,
        context: &mut Context<'_, W>,
    ) -> bool {
        let Some(work) = self.works.front() else { return false };
        let Data::Memory(list) = &work.work.data else { return false };
        if work.read().is_none() {
            return false;
        }
        let index = work.index(self.unacknowledged);
        let offset = index << self.mtu_shift;
        let left = work.read_request_end(offset) - offset;
        let bytes = left.min(1 << self.mtu_shift);
        let is_last = bytes == left;
        // Answered again from the middle, a response begins with a first packet at some responders, with a middle one at
        // others. What is last must say so everywhere.
        let says_last = matches!(opcode, Opcode::ReadResponseLast | Opcode::ReadResponseOnly);
        if payload.len() != bytes as usize || says_last != is_last {
            return false;
        }
        let copied = match list.segments() {
            [segment] => segment.device_write(offset, payload),
            _ => list.device_write(u64::from(offset), payload),
        };
        if copied.is_err() {
            return false;
        }
        context.counters.bytes_copied += u64::from(bytes);
        if self.unacknowledged < self.next {
            // Less was taken if it was asked for while probing.
            let cost = work.cost(index, index + 1, self.mtu_shift).min(self.reads_in_flight);
            self.reads_in_flight -= cost;
            context.reads.released(cost);
            self.reads_outstanding -= u32::from(is_last);
        }
        self.unacknowledged += 1;
        self.complete_if_done(queue_pair, context);
        true
    }

    /// All packets up to `end` have arrived, but for READs, which are done when their data is there. Says whether none of
    /// these was in the way.
    #[inline]
    fn acknowledge<W>(&mut self, end: u64, queue_pair: QueuePairId, context: &mut Context<'_, W>) -> bool {
        while self.unacknowledged < end {
            let Some(work) = self.works.front() else {
                unreachable!("packet {} of {} belongs to a work", self.unacknowledged, self.posted)
            };
            if work.read().is_some() {
                return false;
            }
            let upto = end.min(work.end());
            let counted = upto.min(self.next);
            if self.unacknowledged < counted {
                let (from, to) = (work.index(self.unacknowledged), work.index(counted));
                let cost = work.cost(from, to, self.mtu_shift);
                self.in_flight -= cost;
                context.flow.arrived(cost);
            }
            self.unacknowledged = upto;
            self.complete_if_done(queue_pair, context);
        }
        true
    }

    #[inline]
    fn complete_if_done<W>(&mut self, queue_pair: QueuePairId, context: &mut Context<'_, W>) {
        if self.works.front().is_some_and(|work| work.end() <= self.unacknowledged)
            && let Some(work) = self.works.pop_front()
        {
            self.cursor = self.cursor.saturating_sub(1);
            if work.work.signaled {
                context.completions.push(ended(queue_pair, work.work, Ok(())));
            }
        }
    }

    /// The peer has answered something new: patience is renewed, and what it has need not be sent again.
    #[inline]
    fn progressed<W>(&mut self, now: Timestamp, parameters: &Parameters, context: &mut Context<'_, W>) {
        if let Some((packet, sent_at)) = self.sample
            && packet < self.unacknowledged
        {
            context.flow.rtt().measured(now.ns_since(sent_at));
            self.sample = None;
        }
        if self.next < self.unacknowledged {
            self.next = self.unacknowledged;
            self.cursor = 0;
        }
        self.progress_at = now;
        self.backoff = 0;
        self.rnr_left = parameters.rnr_retries;
        self.phase = Phase::Flowing;
        self.is_stalled = false;
        if self.unacknowledged < self.next {
            self.arm(now, context.flow.rtt().timeout_ns(), parameters);
        } else {
            self.deadline = Timestamp::NEVER;
        }
    }

    /// Something is missing at the other side, or a response here: all from there is sent again. What tells of the same loss
    /// once more is ignored; if that was wrong, the timer puts it right.
    fn something_was_lost<W>(
        &mut self,
        now: Timestamp,
        parameters: &Parameters,
        context: &mut Context<'_, W>,
    ) -> Result<(), Failure> {
        if self.phase == Phase::Waiting || self.is_known_loss(now, context) {
            return Ok(());
        }
        self.check_patience(now, parameters)?;
        self.went_back = Some((self.unacknowledged, now));
        self.begin_again(context.flow, context.reads);
        context.flow.lost(now);
        Ok(())
    }

    fn is_known_loss<W>(&self, now: Timestamp, context: &mut Context<'_, W>) -> bool {
        self.next == self.unacknowledged
            || self.went_back.is_some_and(|(packet, at)| {
                packet == self.unacknowledged || now.ns_since(at) < context.flow.rtt().smoothed_ns()
            })
    }

    /// The receiver has no receive posted: the same again when its timer has run out (9.7.5.2.8).
    fn wait_for_receiver<W>(
        &mut self,
        now: Timestamp,
        timer: RnrTimer,
        parameters: &Parameters,
        context: &mut Context<'_, W>,
    ) -> Result<(), Failure> {
        if self.phase == Phase::Waiting {
            return Ok(());
        }
        if parameters.rnr_retries < RNR_RETRIES_ENDLESS {
            self.rnr_left = self.rnr_left.checked_sub(1).ok_or(Failure::ReceiverNotReady)?;
        }
        self.begin_again(context.flow, context.reads);
        self.phase = Phase::Waiting;
        self.progress_at = now;
        self.deadline = now.after(timer.duration());
        Ok(())
    }

    /// Which packet has that number; `None` if it is none that waits for an answer.
    #[inline]
    fn packet(&self, psn: Psn) -> Option<u64> {
        let ahead = u64::from(psn.minus(self.psn(self.unacknowledged)));
        (ahead < self.highest - self.unacknowledged).then_some(self.unacknowledged + ahead)
    }
}
