//! Polling: completions, the event channel, and getting ready to sleep.

use block::{Timestamp, Wait};
use rdma_sys::ibv_wc;

use super::VerbsEndpoint;
use super::connection::Verdict;
use crate::connection::ConnectionError;
use crate::handle::Handle;
use crate::verbs::name::{Kind, WorkName};
use crate::work::Completion;

/// The event channel costs a system call to look at: done so often, or each so many polls.
const MANAGER_EVERY_NS: u64 = 50_000;
const MANAGER_EVERY_POLLS: u32 = 64;

impl VerbsEndpoint {
    pub(super) fn look_everywhere(
        &mut self,
        out: &mut Vec<Completion>,
        completions_max: usize,
        now: Timestamp,
    ) -> bool {
        self.watch.now = now;
        let was_armed = std::mem::take(&mut self.watch.is_armed);
        if was_armed {
            self.counters.system_calls += 1;
            self.completions.take_event();
        }
        let mut any = !self.accepts.is_empty() && self.accept_due();
        let waiting = self.pending.len().min(completions_max);
        out.extend(self.pending.drain(..waiting));
        any |= waiting > 0;
        any |= self.take_completions(completions_max - waiting, out) > 0;
        self.watch.polls += 1;
        let is_due = was_armed
            || self.watch.polls >= MANAGER_EVERY_POLLS
            || now.ns_since(self.watch.looked) >= MANAGER_EVERY_NS;
        if is_due {
            self.watch.polls = 0;
            self.watch.looked = now;
            any |= self.look_at_manager(now);
        }
        any
    }

    /// Takes at most so many completions from the hardware into the list of those that wait. Says how many.
    pub(super) fn gather(&mut self, completions_max: usize) -> usize {
        let mut pending = std::mem::take(&mut self.pending);
        let taken = self.take_completions(completions_max, &mut pending);
        self.pending = pending;
        taken
    }

    /// Takes at most so many completions from the hardware. Says how many, those of nobody included.
    ///
    /// Bounded by what the completion queue holds: nothing is posted meanwhile, so nothing is added for ever.
    fn take_completions(&mut self, completions_max: usize, out: &mut impl Extend<Completion>) -> usize {
        let mut completed = std::mem::take(&mut self.completed);
        let mut taken = 0;
        while taken < completions_max {
            let room = completed.len().min(completions_max - taken);
            let count = self.completions.poll(&mut completed[..room]);
            for completion in &completed[..count] {
                self.complete(completion, out);
            }
            taken += count;
            if count < room {
                break;
            }
        }
        self.completed = completed;
        taken
    }

    fn complete(&mut self, completion: &ibv_wc, out: &mut impl Extend<Completion>) {
        let Some(name) = WorkName::from_bits(completion.wr_id) else {
            tracing::error!(wr_id = completion.wr_id, "a completion of work that nobody posted");
            return;
        };
        let unbound = &mut self.windows;
        let verdict = match name.kind {
            Kind::Shared => return self.complete_shared(name, completion, out),
            Kind::Send => name.owner(&mut self.connections).map(|(handle, connection)| {
                (handle, connection.sent(handle, name.position, completion, unbound, out))
            }),
            Kind::Receive => name.owner(&mut self.connections).map(|(handle, connection)| {
                (handle, connection.received(handle, name.position, completion, unbound, out))
            }),
        };
        // Completions of a queue pair that is gone mean nothing.
        let Some((handle, verdict)) = verdict else { return };
        self.judge(handle, verdict);
        if matches!(verdict, Verdict::Failed | Verdict::Flushed)
            && let Some(connection) = self.connections.get_mut(handle)
        {
            connection.flush_late(handle, out);
        }
    }

    /// Shared receives name their queue; whose message it is says the queue pair's number.
    fn complete_shared(&mut self, name: WorkName, completion: &ibv_wc, out: &mut impl Extend<Completion>) {
        let Some((_, queue)) = name.owner(&mut self.shared) else { return };
        let Some(receive) = queue.take(name.position) else { return };
        let Some(handle) = self.numbers.get(&completion.qp_num).copied() else { return };
        let Some(connection) = self.connections.get_mut(handle) else { return };
        let verdict = connection.tell(handle, receive, completion, &mut self.windows, out);
        self.judge(handle, verdict);
    }

    #[inline]
    fn judge(&mut self, handle: Handle, verdict: Verdict) {
        match verdict {
            Verdict::Fine => {}
            Verdict::Spoke => self.peer_spoke(handle),
            Verdict::Failed => self.close(handle, ConnectionError::QueuePair),
            Verdict::Flushed => self.close_flushed(handle),
        }
    }

    pub(super) fn get_ready_to_sleep(&mut self, now: Timestamp) -> Wait {
        self.watch.now = now;
        self.device.inner.look();
        if !self.pending.is_empty() || !self.events.is_empty() || !self.accepts.is_empty() {
            return Wait::Poll;
        }
        // An event that came after the last poll would end the sleep for nothing.
        self.counters.system_calls += 2;
        self.completions.take_event();
        self.watch.is_armed = true;
        if self.completions.arm().is_err() {
            return Wait::Poll;
        }
        // One more look: what came before the arming gives no event.
        let has_completions = self.gather(super::COMPLETIONS_AT_ONCE) > 0;
        if self.look_at_manager(now) || has_completions {
            return Wait::Poll;
        }
        Wait::Until(self.next_look(now))
    }
}
