//! One connection: its queue pair, and what the device holds of its work.

use std::collections::{HashMap, VecDeque};
use std::mem;

use block::Timestamp;
use dma::Segment;
use rdma_sys::{ibv_wc, ibv_wc_flags, ibv_wc_opcode};

use crate::connection::{Agreement, ConnectionParameters};
use crate::handle::{Handle, QueuePairId};
use crate::verbs::device::Quirks;
use crate::verbs::objects::Window;
use crate::verbs::queue_pair::{QueuePair, word_of};
use crate::verbs::ring::{Position, Ring};
use crate::verbs::status::work_result;
use crate::work::{Completion, Data, Message, Outcome, Receive, RemoteKey, WorkError};

/// Where a connection is.
///
/// ```text
/// connect: Resolving -> Routing -> Connecting -> Established -> Closed
/// accept:  Accepted -> Accepting ---------------> Established -> Closed
/// ```
/// Every state can go to `Closed`, which is told once. The queue pair is then in its error state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The peer's address is being resolved.
    Resolving,
    /// The route is being resolved.
    Routing,
    /// The request is out.
    Connecting,
    /// A request is to be accepted when the endpoint is polled next.
    Accepted,
    /// The reply is out.
    Accepting,
    /// Work can be posted.
    Established,
    /// Not made, or ended.
    Closed,
}

/// A connection and its queue pair. Dropped from top to bottom: the peer loses its windows, then the device the queue pair,
/// then the memory goes.
pub(super) struct Connection {
    /// Windows that the peer can reach, by key.
    pub(super) windows: HashMap<u32, Bound>,
    pub(super) work: Work,
    pub(super) state: State,
    /// It has been established.
    pub(super) was_made: bool,
    /// What is offered or was asked for: told once the connection is made.
    pub(super) agreement: Agreement,
    /// For `connect` and `accept`, which come after the addresses are resolved or the endpoint is polled.
    pub(super) parameters: ConnectionParameters,
    /// When connecting is given up.
    pub(super) deadline: Timestamp,
    /// The shared receive queue that it takes receives from.
    pub(super) shared: Option<Handle>,
}

/// A window that was bound, with the memory behind it.
pub(super) struct Bound {
    /// Taken out when it ends one way or the other.
    window: Option<Window>,
    /// Kept for as long as the window is bound.
    segment: Option<Segment>,
}

impl Bound {
    pub(super) fn new(window: Window, segment: Segment) -> Self {
        Self { window: Some(window), segment: Some(segment) }
    }

    /// Gives the window back, which was unbound.
    pub(super) fn unbound(mut self) -> Option<Window> {
        self.window.take()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let Some(window) = self.window.take() else { return };
        if let Err(error) = window.end() {
            tracing::error!(%error, "an RDMA device does not let go of a memory window: its memory is kept");
            mem::forget(self.segment.take());
        }
    }
}

/// What an entry of the send queue is.
pub(super) enum Sent {
    /// Work of the endpoint's user.
    User { id: u64, data: Data, signaled: bool },
    /// A window that is bound.
    Bind,
    /// The window of that key is unbound.
    Invalidate(u32),
}

/// A queue pair and what its queues hold.
pub(super) struct Work {
    pub(super) queue_pair: QueuePair,
    pub(super) sends: Ring<Sent>,
    pub(super) receives: Ring<Receive>,
    /// Work that was posted after the end. The device does not see it, as not every driver flushes what comes so late.
    late_sends: VecDeque<(u64, Data)>,
    late_receives: VecDeque<Receive>,
    /// Work of the user that is not told of, and the most there may be.
    pub(super) open: u32,
    pub(super) send_depth: u32,
    pub(super) receive_depth: u32,
    /// Entries of the send queue since the last that reports success.
    unsignaled: u32,
    /// Work has failed: what is left flushes.
    pub(super) has_failed: bool,
    /// What it takes of the completion queue.
    pub(super) entries: u32,
    quirks: Quirks,
}

impl Work {
    pub(super) fn new(
        queue_pair: QueuePair,
        send_depth: u32,
        hardware: u32,
        receives: u32,
        quirks: Quirks,
    ) -> Self {
        Self {
            queue_pair,
            sends: Ring::new(hardware),
            receives: Ring::new(receives),
            late_sends: VecDeque::new(),
            late_receives: VecDeque::new(),
            open: 0,
            send_depth,
            receive_depth: receives,
            unsignaled: 0,
            has_failed: false,
            entries: hardware.saturating_add(receives),
            quirks,
        }
    }

    /// Takes work after the end.
    pub(super) fn send_late(&mut self, id: u64, data: Data) {
        self.open += 1;
        self.late_sends.push_back((id, data));
    }

    /// Takes a receive after the end.
    pub(super) fn receive_late(&mut self, receive: Receive) {
        self.late_receives.push_back(receive);
    }

    /// Receives that can be posted now.
    pub(super) fn receive_room(&self) -> usize {
        self.receives.room().saturating_sub(self.late_receives.len())
    }

    /// Pieces of the user's work that can be posted now.
    pub(super) fn room(&self) -> usize {
        self.sends.room().min(self.send_depth.saturating_sub(self.open) as usize)
    }

    /// Entries of the send queue that are not kept for the user's work.
    pub(super) fn room_for_windows(&self) -> usize {
        self.sends.room().saturating_sub(self.send_depth.saturating_sub(self.open) as usize)
    }

    /// The next entry is reported, as what should have been was not taken.
    pub(super) fn report_next(&mut self) {
        self.unsignaled = self.send_depth;
    }

    /// Whether the hardware is to report the next entry, as the user wishes, or because too many have not been reported:
    /// only a report makes room.
    pub(super) fn is_reported(&mut self, wished: bool) -> bool {
        self.unsignaled = self.unsignaled.saturating_add(1);
        let reported = wished || self.unsignaled >= (self.send_depth / 2).max(1);
        if reported {
            self.unsignaled = 0;
        }
        reported
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.queue_pair.destroy() {
            // The device may still reach the memory of this work.
            mem::forget(mem::replace(&mut self.sends, Ring::new(0)));
            mem::forget(mem::replace(&mut self.receives, Ring::new(0)));
        }
    }
}

/// What a completion means for its connection, beside being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// The peer has sent a message.
    Spoke,
    /// The queue pair is in error: work of this side failed.
    Failed,
    /// The queue pair is in error, but not by work of this side: the peer did something that is being answered.
    Flushed,
}

impl Connection {
    /// Whether the queue pair takes work: once the connection was made. After its end the work flushes.
    pub(super) fn takes_work(&self) -> bool {
        self.was_made
    }

    /// Tells of work that came after the end, behind all that came before it.
    pub(super) fn flush_late(&mut self, handle: Handle, out: &mut impl Extend<Completion>) {
        if self.work.sends.is_empty() {
            self.work.open =
                self.work.open.saturating_sub(u32::try_from(self.work.late_sends.len()).unwrap_or(0));
            out.extend(self.work.late_sends.drain(..).map(|(id, data)| {
                let outcome = Outcome::Sent { result: Err(WorkError::Flushed), data };
                Completion { queue_pair: handle.into(), id, outcome }
            }));
        }
        if self.work.receives.is_empty() {
            out.extend(self.work.late_receives.drain(..).map(|Receive { id, buffer }| {
                let outcome = Outcome::Received { result: Err(WorkError::Flushed), buffer };
                Completion { queue_pair: handle.into(), id, outcome }
            }));
        }
    }

    /// Whether the connection has not ended.
    pub(super) fn is_live(&self) -> bool {
        self.state != State::Closed
    }

    /// A completion of the send queue.
    pub(super) fn sent(
        &mut self,
        handle: Handle,
        position: Position,
        completion: &ibv_wc,
        unbound: &mut impl Extend<Window>,
        out: &mut impl Extend<Completion>,
    ) -> Verdict {
        let result = work_result(completion.status);
        while let Some((entry, is_this)) = self.work.sends.pop_through(position) {
            let result = match result {
                _ if is_this => result,
                // Unreported work before the first failure went well; after it the hardware reports each entry, and this is
                // for one that does not.
                _ if self.work.has_failed => Err(WorkError::Flushed),
                _ => Ok(()),
            };
            match entry {
                Sent::User { id, data, signaled } => {
                    self.work.open = self.work.open.saturating_sub(1);
                    if signaled || result.is_err() {
                        let outcome = Outcome::Sent { result, data };
                        out.extend([Completion { queue_pair: handle.into(), id, outcome }]);
                    }
                }
                Sent::Bind => {}
                Sent::Invalidate(key) if result.is_ok() => {
                    unbound.extend(self.windows.remove(&key).and_then(Bound::unbound));
                }
                Sent::Invalidate(_) => {}
            }
        }
        if result.is_ok() {
            return Verdict::Fine;
        }
        self.work.has_failed = true;
        if result == Err(WorkError::Flushed) { Verdict::Flushed } else { Verdict::Failed }
    }

    /// A completion of the queue pair's own receive queue.
    pub(super) fn received(
        &mut self,
        handle: Handle,
        position: Position,
        completion: &ibv_wc,
        unbound: &mut impl Extend<Window>,
        out: &mut impl Extend<Completion>,
    ) -> Verdict {
        while let Some((receive, is_this)) = self.work.receives.pop_through(position) {
            if is_this {
                return self.tell(handle, receive, completion, unbound, out);
            }
            // Receives complete one by one, in order; this is for hardware that flushes without a word.
            let outcome = Outcome::Received { result: Err(WorkError::Flushed), buffer: receive.buffer };
            out.extend([Completion { queue_pair: handle.into(), id: receive.id, outcome }]);
        }
        Verdict::Fine
    }

    /// Tells of a receive that has ended.
    pub(super) fn tell(
        &mut self,
        handle: Handle,
        receive: Receive,
        completion: &ibv_wc,
        unbound: &mut impl Extend<Window>,
        out: &mut impl Extend<Completion>,
    ) -> Verdict {
        let result = work_result(completion.status).map(|()| message_of(completion, self.work.quirks));
        if let Ok(Message { invalidated: Some(key), .. }) = result {
            unbound.extend(self.windows.remove(&key.0).and_then(Bound::unbound));
        }
        // A receive fails by what the peer sent, or is flushed.
        let verdict = if result.is_ok() { Verdict::Spoke } else { Verdict::Flushed };
        let outcome = Outcome::Received { result, buffer: receive.buffer };
        out.extend([Completion { queue_pair: QueuePairId::from(handle), id: receive.id, outcome }]);
        verdict
    }
}

fn message_of(completion: &ibv_wc, quirks: Quirks) -> Message {
    let has = |flag: ibv_wc_flags| completion.wc_flags & flag.0 != 0;
    let word = || word_of(completion);
    let invalidates = has(ibv_wc_flags::IBV_WC_WITH_INV)
        || (quirks.invalidation_has_kernel_flag && has(ibv_wc_flags::IBV_WC_IP_CSUM_OK));
    // A WRITE with immediate data takes a receive, and leaves its buffer alone.
    let is_write = completion.opcode == ibv_wc_opcode::IBV_WC_RECV_RDMA_WITH_IMM;
    Message {
        bytes: if is_write { 0 } else { completion.byte_len },
        invalidated: invalidates.then(|| RemoteKey(word())),
        immediate: has(ibv_wc_flags::IBV_WC_WITH_IMM).then(|| u32::from_be(word())),
    }
}
