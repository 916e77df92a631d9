//! Commands and the device: what a command needs, what it asks of the device, and what it ends with.
//!
//! One thread's: all clients of an export go through one engine, so a change of a part of a block is serialized without a
//! lock, and a flush covers what any client was told.

mod buffers;
mod change;
mod cover;
mod durability;
mod job;
mod notes;
mod refusals;
mod survey;
#[cfg(test)]
pub(super) mod tests;

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;

use block::{
    Abilities, BlockDevice, BlockQueue, Completion, Geometry, Op, OpenQueueError, QueueOptions, Request,
    SplitDevice, Timestamp, Wait, WakeMode, Waker,
};
use dma::Segment;

use super::ServerError;
use super::counters::Counters;
use super::slab::Slab;
use crate::nbd::command::{Command, Refusal};
use crate::nbd::export::Export;
use crate::nbd::ranges::Ranges;
use crate::nbd::wire::Errno;
pub(super) use buffers::BufferList;
use buffers::Buffers;
use cover::Cover;
use durability::Durability;
pub(super) use job::{Answer, Finished, Order, Reserved};
use job::{Job, Part, Stage, change_of, span_of};
use survey::Surveyor;

/// Bytes of the zeroes that are written again and again for a device that cannot zero.
const ZEROES_BYTES: u64 = 128 << 10;

/// What happened to the device that the server has to act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceEnd {
    /// It is gone.
    Removed,
    /// Its blocks have another size: what clients were told is no longer true.
    Reformatted,
}

/// The device and the commands under way.
pub(super) struct Engine {
    queue: Box<dyn BlockQueue>,
    export: Export,
    geometry: Geometry,
    buffers: Buffers,
    zeroes: Option<Segment>,
    jobs: Slab<Job>,
    ranges: Ranges<u32>,
    ready: Vec<u32>,
    staged: VecDeque<Request>,
    completions: Vec<Completion>,
    finished: VecDeque<Finished>,
    durability: Durability,
    surveyor: Option<Surveyor>,
    counters: Arc<Counters>,
    has_warned: bool,
    failures_told: u32,
    end: Option<DeviceEnd>,
}

impl Engine {
    /// Opens a queue of the device for the calling thread. `waker` wakes it when something else than the queue has news.
    pub(super) fn new(
        device: Arc<dyn BlockDevice>,
        export: Export,
        depth: u32,
        counters: Arc<Counters>,
        waker: Waker,
    ) -> Result<Self, ServerError> {
        let device: Arc<dyn BlockDevice> = Arc::new(SplitDevice::new(device));
        let buffers = Buffers::new(&*device)?;
        let writes_zeroes = !export.is_read_only && !export.zeroes_fast();
        let zeroes = if writes_zeroes { zeroes(&buffers) } else { None };
        let has_extents = device.abilities().contains(Abilities::EXTENTS);
        let surveyor = if has_extents { Some(Surveyor::start(Arc::clone(&device), waker)?) } else { None };
        Ok(Self {
            queue: open_queue(&*device, depth)?,
            export,
            geometry: device.geometry(),
            buffers,
            zeroes,
            jobs: Slab::default(),
            ranges: Ranges::default(),
            ready: Vec::new(),
            staged: VecDeque::new(),
            completions: Vec::new(),
            finished: VecDeque::new(),
            durability: Durability::default(),
            surveyor,
            counters,
            has_warned: false,
            failures_told: 0,
            end: None,
        })
    }

    /// What clients see.
    pub(super) fn export(&self) -> &Export {
        &self.export
    }

    /// Takes the memory that a command needs; `None` if there is not enough now.
    #[inline]
    pub(super) fn reserve(&self, command: &Command) -> Option<Reserved> {
        let cover = Cover::new(span_of(command), self.export.block_size);
        let mut reserved = Reserved { lead: cover.lead, ..Reserved::default() };
        let (data, edges) = match command {
            Command::Read(_) => (true, false),
            Command::Write { .. } => (true, true),
            Command::WriteZeroes { .. } => (false, true),
            Command::Flush | Command::Trim { .. } | Command::BlockStatus { .. } | Command::Disconnect => {
                (false, false)
            }
        };
        if data {
            reserved.data = self.buffers.take(cover.bytes())?;
        }
        if edges && !cover.is_whole() {
            for (place, edge) in reserved.edges.iter_mut().zip(cover.edges()) {
                if edge.is_some() {
                    *place = self.buffers.take(u64::from(self.export.block_size.bytes()))?;
                }
            }
        }
        Some(reserved)
    }

    /// Begins a command with the memory that it needs; a write's data is in it.
    pub(super) fn begin(&mut self, order: Order, reserved: Reserved) {
        let span = span_of(&order.command);
        let cover = Cover::new(span, self.export.block_size);
        if !cover.is_whole() {
            self.note_unaligned(&order.command);
        }
        let id = self.jobs.insert(Job::new(order, cover, reserved));
        match order.command {
            Command::Read(_) => self.read(id),
            Command::Write { .. } | Command::WriteZeroes { .. } | Command::Trim { .. } => {
                self.begin_change(id);
            }
            Command::Flush => self.flush(id),
            Command::BlockStatus { .. } => self.survey(id),
            Command::Disconnect => self.finish(id),
        }
    }

    /// Begins a command of the server's own, which needs no memory.
    pub(super) fn begin_own(&mut self, order: Order) {
        self.begin(order, Reserved::default());
    }

    fn read(&mut self, id: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.stage = Stage::Body;
        if job.cover.range.blocks == 0 {
            return self.finish(id);
        }
        let memory = std::mem::take(&mut job.data).into_scatter();
        let range = job.cover.range;
        self.submit(id, Part::Body, Request::new(Op::Read, range, memory));
    }

    fn flush(&mut self, id: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        (job.stage, job.mark) = (Stage::Body, self.durability.mark());
        self.submit(id, Part::Body, Request::flush());
    }

    fn survey(&mut self, id: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.stage = Stage::Body;
        let range = job.cover.range;
        match &mut self.surveyor {
            Some(surveyor) => surveyor.ask(id, range),
            None => {
                job.failure = Some(Refusal::new(Errno::NotSupported, "the device cannot tell"));
                self.finish(id);
            }
        }
    }

    fn submit(&mut self, id: u32, part: Part, request: Request) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.outstanding += 1;
            self.staged.push_back(request.with_tag(part.tag(id)));
        }
    }

    /// Gives the device what it takes, and takes what it gives back. Whether anything happened.
    pub(super) fn turn(&mut self, now: Timestamp) -> bool {
        let staged = self.staged.len();
        if staged > 0 {
            self.queue.submit(&mut self.staged, now);
        }
        let mut completions = std::mem::take(&mut self.completions);
        self.queue.poll(&mut completions, now);
        // Before the completions: a flush that ended together with a loss does not cover what was lost.
        while let Some(event) = self.queue.poll_event() {
            self.on_event(event);
        }
        let happened = !completions.is_empty() || self.staged.len() != staged;
        for completion in completions.drain(..) {
            self.on_completion(completion);
        }
        self.completions = completions;
        self.take_surveys() || happened
    }

    #[inline]
    fn on_completion(&mut self, completion: Completion) {
        let Completion { request, result } = completion;
        let (id, part) = Part::of_tag(request.tag);
        let Some(job) = self.jobs.get_mut(id) else { unreachable!("each request comes back once") };
        job.outstanding -= 1;
        match result {
            Ok(()) if matches!(job.order.command, Command::Read(_)) => {
                let span = span_of(&job.order.command);
                let data = request.data.slice(u64::from(job.cover.lead), u64::from(span.bytes));
                job.answer = data.map(Answer::Data);
            }
            Ok(()) if part != Part::Body => self.take_edge(id, part, request.data),
            Ok(()) => {}
            Err(error) => self.note_failure(id, error),
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.outstanding > 0 {
            return;
        }
        match job.stage {
            Stage::Edges => self.finish_edges(id),
            Stage::Body if change_of(&job.order.command).is_some() => self.finish_body(id),
            Stage::Waiting | Stage::Body | Stage::Sealing => self.finish(id),
        }
    }

    fn take_surveys(&mut self) -> bool {
        let mut any = false;
        while let Some((id, found)) = self.surveyor.as_mut().and_then(Surveyor::poll) {
            any = true;
            let Some(job) = self.jobs.get_mut(id) else { continue };
            let Command::BlockStatus { span, one } = job.order.command else { continue };
            match found.map(|extents| survey::describe(&extents, span, &self.geometry, one)) {
                Ok(described) if !described.is_empty() => job.answer = Some(Answer::Extents(described)),
                Ok(_) => job.failure = Some(Refusal::new(Errno::Io, "the device does not tell")),
                Err(error) => {
                    tracing::warn!("{}: {error}", self.export.description);
                    job.failure = Some(Refusal::new(Errno::Io, "the device cannot tell"));
                }
            }
            self.finish(id);
        }
        any
    }

    /// A job has ended.
    fn finish(&mut self, id: u32) {
        let Some(job) = self.jobs.remove(id) else { return };
        let command = job.order.command;
        if job.failure.is_none() {
            self.note_change(&command);
            if command == Command::Flush {
                self.durability.note_flush(job.mark);
            }
        }
        self.count(&command, job.failure.is_some());
        let answer = match job.failure {
            Some(refusal) => Answer::Refused(refusal),
            None => job.answer.unwrap_or(Answer::Done),
        };
        self.finished.push_back(Finished { order: job.order, answer });
        if change_of(&command).is_some() {
            self.release_blocks(id);
        }
    }

    /// The next command that has ended.
    #[inline]
    pub(super) fn pop_finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    /// Commands that have not ended.
    pub(super) fn under_way(&self) -> usize {
        self.jobs.len()
    }

    /// How often acknowledged writes may have been lost.
    pub(super) fn losses(&self) -> u64 {
        self.durability.losses()
    }

    /// Whether the device has ended, and how.
    pub(super) fn device_end(&self) -> Option<DeviceEnd> {
        self.end
    }

    /// What to sleep on.
    pub(super) fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        self.queue.wake_descriptors(descriptors);
    }

    /// Whether to sleep.
    pub(super) fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        if !self.staged.is_empty() && self.queue.in_flight() < self.queue.depth() {
            return Wait::Poll;
        }
        self.queue.prepare_wait(now)
    }
}

/// A queue as deep as the device allows, up to what was asked for.
fn open_queue(device: &dyn BlockDevice, depth: u32) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
    let options = |depth| QueueOptions { depth, wake: WakeMode::default() };
    match device.open_queue(options(depth)) {
        Err(OpenQueueError::Depth { depth_max, .. }) if (1..depth).contains(&depth_max) => {
            device.open_queue(options(depth_max))
        }
        opened => opened,
    }
}

fn zeroes(buffers: &Buffers) -> Option<Segment> {
    let mut list = buffers.take(ZEROES_BYTES)?;
    list.zero(0, ZEROES_BYTES).ok()?;
    list.into_scatter().into_single().ok()
}
