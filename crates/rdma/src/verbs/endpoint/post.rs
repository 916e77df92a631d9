//! Posting work: in batches, each with one call of the driver.
#![allow(unsafe_code, reason = "hands the device work whose memory the endpoint keeps")]

use std::collections::VecDeque;

use super::VerbsEndpoint;
use super::connection::{Connection, Sent};
use crate::error::PostError;
use crate::handle::Handle;
use crate::provider::Device;
use crate::verbs::device::Inner;
use crate::verbs::name::{Kind, WorkName};
use crate::verbs::queue_pair::{BATCH_MAX, Posted, ReceiveBatch, SendBatch, Treatment};
use crate::work::{Data, Receive, SendOp, SendWork};

impl VerbsEndpoint {
    /// More than this wait to be told of already: the user polls first.
    fn is_behind(&self) -> bool {
        self.pending.len() >= self.budget.max as usize
    }

    pub(super) fn post_work(
        &mut self,
        handle: Handle,
        work: &mut VecDeque<SendWork>,
    ) -> Result<(), PostError> {
        let is_behind = self.is_behind();
        let limits = self.device.info().limits;
        let connection = self.connections.get_mut(handle).ok_or(PostError::Gone)?;
        if !connection.takes_work() {
            return Err(PostError::NotConnected);
        }
        if !connection.is_live() {
            let count = if is_behind { 0 } else { connection.work.room().min(work.len()) };
            work.drain(..count).for_each(|one| connection.work.send_late(one.id, one.data));
            connection.flush_late(handle, &mut self.pending);
            return Ok(());
        }
        while !work.is_empty() && connection.work.room() > 0 && !is_behind {
            let room = connection.work.room().min(BATCH_MAX);
            let inner = &self.device.inner;
            self.sends.clear();
            let mut unfit = None;
            for one in work.iter().take(room) {
                if let Some(reason) = unfitness(one, &limits, inner) {
                    unfit = Some(reason);
                    break;
                }
                add(&mut self.sends, handle, connection, one, inner);
            }
            let posted = post_batch(connection, &mut self.sends);
            for _ in 0..posted.taken {
                let Some(SendWork { id, data, signaled, .. }) = work.pop_front() else { break };
                connection.work.open += 1;
                connection.work.sends.push(Sent::User { id, data, signaled });
            }
            if posted.errno != 0 {
                connection.work.report_next();
                return if posted.is_full() { Ok(()) } else { Err(PostError::Device(posted.errno)) };
            }
            if let Some(reason) = unfit {
                return Err(PostError::Unfit(reason));
            }
        }
        Ok(())
    }

    pub(super) fn post_own_receives(
        &mut self,
        handle: Handle,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError> {
        let is_behind = self.is_behind();
        let connection = self.connections.get_mut(handle).ok_or(PostError::Gone)?;
        if connection.shared.is_some() && !receives.is_empty() {
            return Err(PostError::Unfit("the queue pair takes its receives from a shared receive queue"));
        }
        if !connection.is_live() {
            let count = if is_behind { 0 } else { connection.work.receive_room().min(receives.len()) };
            receives.drain(..count).for_each(|receive| connection.work.receive_late(receive));
            connection.flush_late(handle, &mut self.pending);
            return Ok(());
        }
        while !receives.is_empty() && connection.work.receives.room() > 0 && !is_behind {
            let room = connection.work.receives.room();
            let ring = &connection.work.receives;
            let name = |ahead| Some(WorkName::new(Kind::Receive, handle, ring.position(ahead)));
            let fits = fill(&mut self.receives, receives, room, &self.device.inner, name);
            let posted = if self.receives.len() == 0 {
                Posted { taken: 0, errno: 0 }
            } else {
                // SAFETY: every buffer goes into the ring below, where it stays until its completion or until the queue pair is
                // destroyed; a DmaBuf has no other owner. Regions are attached, as `piece` found their keys.
                unsafe { connection.work.queue_pair.post_receive(&mut self.receives) }
            };
            for _ in 0..posted.taken {
                let Some(receive) = receives.pop_front() else { break };
                connection.work.receives.push(receive);
            }
            settle(&posted, fits)?;
            if posted.errno != 0 {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn post_shared_receives(
        &mut self,
        handle: Handle,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError> {
        let is_behind = self.is_behind();
        let shared = self.shared.get_mut(handle).ok_or(PostError::Gone)?;
        while !receives.is_empty() && shared.room() > 0 && !is_behind {
            let name = |ahead| Some(WorkName::new(Kind::Shared, handle, shared.position(ahead)?));
            let fits = fill(&mut self.receives, receives, shared.room(), &self.device.inner, name);
            let posted = if self.receives.len() == 0 {
                Posted { taken: 0, errno: 0 }
            } else {
                // SAFETY: every buffer goes into the queue's places below, where it stays until its completion or until the
                // queue is destroyed; a DmaBuf has no other owner.
                unsafe { shared.queue.post(&mut self.receives) }
            };
            for _ in 0..posted.taken {
                let Some(receive) = receives.pop_front() else { break };
                shared.push(receive);
            }
            settle(&posted, fits)?;
            if posted.errno != 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Posts the batch of a connection.
pub(super) fn post_batch(connection: &mut Connection, batch: &mut SendBatch) -> Posted {
    if batch.len() == 0 {
        return Posted { taken: 0, errno: 0 };
    }
    // SAFETY: callers put the data of what was taken into the connection's ring, where it stays until its completion or until
    // the queue pair is destroyed; windows likewise into the connection. `SendWork` gave up the right to change the data, and
    // regions are attached, as their keys were found.
    unsafe { connection.work.queue_pair.post_send(batch) }
}

/// Why the device cannot carry out a piece of work.
fn unfitness(work: &SendWork, limits: &crate::device::DeviceLimits, inner: &Inner) -> Option<&'static str> {
    let list = match &work.data {
        Data::Inline(_) if matches!(work.op, SendOp::Read(_)) => {
            return Some("a read into the request itself");
        }
        Data::Inline(_) => return None,
        Data::Memory(list) => list,
    };
    if list.bytes() > u64::from(limits.message_bytes_max) {
        return Some("more bytes than a message can have");
    }
    if list.segments().len() > limits.segments_max as usize {
        return Some("more segments than the device takes");
    }
    if list.segments().iter().any(|segment| inner.piece(segment).is_none()) {
        return Some("memory that is not attached to the device");
    }
    None
}

fn add(batch: &mut SendBatch, handle: Handle, connection: &mut Connection, work: &SendWork, inner: &Inner) {
    let position = connection.work.sends.position(batch.len());
    let name = WorkName::new(Kind::Send, handle, position);
    let treatment = Treatment { signaled: connection.work.is_reported(work.signaled), fenced: work.fenced };
    match &work.data {
        Data::Inline(data) => batch.inline(name, work.op, treatment, *data),
        Data::Memory(list) => {
            // Segments of no bytes are left out: drivers take a length of 0 for 2 GiB.
            let segments = list.segments().iter().filter(|segment| segment.bytes() > 0);
            let pieces = segments.filter_map(|segment| inner.piece(segment));
            batch.memory(name, work.op, treatment, pieces);
        }
    }
}

/// Fills a batch with as many receives as there is room for. Says whether the one where it stopped, if any, fits.
fn fill(
    batch: &mut ReceiveBatch,
    receives: &VecDeque<Receive>,
    room: usize,
    inner: &Inner,
    name: impl Fn(usize) -> Option<WorkName>,
) -> bool {
    batch.clear();
    for receive in receives.iter().take(room.min(BATCH_MAX)) {
        let Some(piece) = inner.piece_of_buffer(&receive.buffer) else { return false };
        let Some(name) = name(batch.len()) else { return true };
        batch.push(name, piece);
    }
    true
}

/// What the user is told of a batch of receives.
fn settle(posted: &Posted, fits: bool) -> Result<(), PostError> {
    if posted.errno != 0 && !posted.is_full() {
        return Err(PostError::Device(posted.errno));
    }
    if posted.errno == 0 && !fits {
        return Err(PostError::Unfit("memory that is not attached to the device"));
    }
    Ok(())
}
