//! The half of a queue pair that carries out the work of this side (9.7.5).
//!
//! Packets are counted from 0 in 64 bits, and become 24-bit numbers only on the wire: so nothing in here wraps.
//!
//! ```text
//!        unacknowledged        next             highest          posted
//! ───────────┬───────────────────┬──────────────────┬───────────────┬───►
//!   done     │ under way         │ to be sent again │ to be sent    │
//! ```

mod acknowledge;
mod send;
mod work;

use std::collections::VecDeque;

use block::Timestamp;

use super::context::Context;
use super::failure::Failure;
use super::flow::{Flow, ReadBudget};
use super::parameters::Parameters;
use crate::soft::wire::Psn;
use crate::{Completion, Outcome, PostError, QueuePairId, SendWork, WorkError};
use work::Work;

/// What sending waits for.
///
/// ```text
///              timeout                    receiver not ready
///  ┌─────────┐ ───────► ┌─────────┐ ─────────────────────────┐
///  │ Flowing │          │ Probing │                          ▼
///  └─────────┘ ◄─────── └─────────┘  timer ran out      ┌─────────┐
///    ▲  │       progress     ┌───────────────────────── │ Waiting │
///    │  └────────────────────┼────────────────────────► └─────────┘
///    └───────────────────────┘   receiver not ready
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing but windows.
    Flowing,
    /// Silence made us ask again with one packet: more follow when that was answered.
    Probing,
    /// The receiver is not ready: until the deadline.
    Waiting,
}

#[derive(Debug)]
pub(super) struct Requester {
    works: VecDeque<Work>,
    depth: u32,
    /// The number of packet 0.
    first_psn: Psn,
    mtu_shift: u32,
    unacknowledged: u64,
    next: u64,
    highest: u64,
    posted: u64,
    /// The work that packet `next` belongs to.
    cursor: usize,
    /// The end of the READ that was posted last: what fenced work waits for.
    last_read_end: u64,
    /// READ requests between `unacknowledged` and `next`.
    reads_outstanding: u32,
    /// What this queue pair has taken of the flow window.
    in_flight: u32,
    /// What it has taken of the read budget: nothing for what it asks while probing.
    reads_in_flight: u32,
    /// Packets since an acknowledgement was asked for.
    unasked: u32,
    phase: Phase,
    /// What comes next waits for answers: for READs before it, or because too much is under way.
    is_stalled: bool,
    /// When the timer runs out.
    deadline: Timestamp,
    backoff: u32,
    rnr_left: u8,
    /// Since when there has been no progress.
    progress_at: Timestamp,
    /// The packet whose answer is timed, and when it was sent.
    sample: Option<(u64, Timestamp)>,
    /// Where and when we last began again because something was missing.
    went_back: Option<(u64, Timestamp)>,
    /// The packet that the peer refused.
    refused: u64,
}

impl Requester {
    pub(super) const fn new(depth: u32) -> Self {
        Self {
            works: VecDeque::new(),
            depth,
            first_psn: Psn::new(0),
            mtu_shift: 0,
            unacknowledged: 0,
            next: 0,
            highest: 0,
            posted: 0,
            cursor: 0,
            last_read_end: 0,
            reads_outstanding: 0,
            in_flight: 0,
            reads_in_flight: 0,
            unasked: 0,
            phase: Phase::Flowing,
            is_stalled: false,
            deadline: Timestamp::NEVER,
            backoff: 0,
            rnr_left: 0,
            progress_at: Timestamp::from_ns(0),
            sample: None,
            went_back: None,
            refused: 0,
        }
    }

    pub(super) fn connect(&mut self, parameters: &Parameters) {
        self.first_psn = parameters.send_psn;
        self.mtu_shift = parameters.mtu.bytes().trailing_zeros();
        self.rnr_left = parameters.rnr_retries;
    }

    /// Takes work from the front while there is room; READs if so many may be outstanding. The last of a batch asks for an
    /// acknowledgement, signaled or not, so that its memory is let go some day.
    pub(super) fn post(
        &mut self,
        works: &mut VecDeque<SendWork>,
        initiator_depth: u8,
    ) -> Result<(), PostError> {
        let mut result = Ok(());
        let before = self.posted;
        while self.works.len() < self.depth as usize
            && let Some(work) = works.pop_front()
        {
            match work::fit(&work, initiator_depth) {
                Ok(bytes) => self.append(work, bytes),
                Err(why) => {
                    works.push_front(work);
                    result = Err(PostError::Unfit(why));
                    break;
                }
            }
        }
        if self.posted > before
            && let Some(last) = self.works.back_mut()
        {
            last.asks = true;
        }
        result
    }

    fn append(&mut self, work: SendWork, bytes: u32) {
        let waits_for = if work.fenced { self.last_read_end } else { 0 };
        let work = Work::new(work, self.posted, waits_for, bytes, self.mtu_shift);
        self.posted = work.end();
        if work.read().is_some() {
            self.last_read_end = self.posted;
        }
        self.works.push_back(work);
    }

    /// Whether anything could be sent if windows allow.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.next < self.posted
            && !self.is_stalled
            && match self.phase {
                Phase::Flowing => true,
                Phase::Probing => self.next == self.unacknowledged,
                Phase::Waiting => false,
            }
    }

    #[inline]
    pub(super) const fn has_any(&self) -> bool {
        self.unacknowledged < self.posted
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        (self.deadline != Timestamp::NEVER).then_some(self.deadline)
    }

    pub(super) fn handle_timeout<W>(
        &mut self,
        now: Timestamp,
        parameters: &Parameters,
        context: &mut Context<'_, W>,
    ) -> Result<(), Failure> {
        if now < self.deadline {
            return Ok(());
        }
        self.deadline = Timestamp::NEVER;
        if self.phase == Phase::Waiting {
            self.phase = Phase::Flowing;
            return Ok(());
        }
        context.counters.timeouts += 1;
        self.check_patience(now, parameters)?;
        self.begin_again(context.flow, context.reads);
        if self.backoff == 0 {
            context.flow.lost(now);
        }
        self.backoff += 1;
        self.phase = Phase::Probing;
        Ok(())
    }

    fn check_patience(&self, now: Timestamp, parameters: &Parameters) -> Result<(), Failure> {
        if now.ns_since(self.progress_at) >= parameters.patience_ns() {
            return Err(Failure::RetriesExceeded);
        }
        Ok(())
    }

    /// Nothing counts as under way any more: all that is not acknowledged is sent again.
    fn begin_again(&mut self, flow: &mut Flow, reads: &mut ReadBudget) {
        self.release(flow, reads);
        self.next = self.unacknowledged;
        self.cursor = 0;
        self.reads_outstanding = 0;
        self.is_stalled = false;
        self.unasked = 0;
        self.sample = None;
        self.deadline = Timestamp::NEVER;
    }

    /// Gives back what was taken of the windows.
    pub(super) fn release(&mut self, flow: &mut Flow, reads: &mut ReadBudget) {
        flow.released(std::mem::take(&mut self.in_flight));
        reads.released(std::mem::take(&mut self.reads_in_flight));
    }

    /// Ends all work that is left, in order; what the failure is about ends with its cause.
    pub(super) fn flush<W>(
        &mut self,
        queue_pair: QueuePairId,
        failure: Failure,
        context: &mut Context<'_, W>,
    ) {
        self.begin_again(context.flow, context.reads);
        let cause = failure.of_work();
        let culprit =
            if matches!(failure, Failure::RefusedByPeer(_)) { self.refused } else { self.unacknowledged };
        self.unacknowledged = self.posted;
        self.next = self.posted;
        self.highest = self.posted;
        for work in self.works.drain(..) {
            let is_culprit = (work.first..work.end()).contains(&culprit);
            let error = cause.filter(|_| is_culprit).unwrap_or(WorkError::Flushed);
            context.completions.push(ended(queue_pair, work.work, Err(error)));
        }
    }
}

fn ended(queue_pair: QueuePairId, work: SendWork, result: Result<(), WorkError>) -> Completion {
    Completion { queue_pair, id: work.id, outcome: Outcome::Sent { result, data: work.data } }
}
