//! From tasks to requests, and from completions to numbers and verdicts.

mod ending;

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use block::{BlockQueue, BlockRange, Completion, MonotonicClock, Op, Request, Timestamp};
use dma::ScatterList;

use super::buffers::Buffers;
use super::slots::{Slots, Work};
use super::source::{Heed, Source, Task};
use super::{JobContext, JobError};
use crate::bench::options::ContinueOn;
use crate::bench::plan::Plan;
use crate::bench::progress::{Counters, Phase};
use crate::bench::statistics::{Recorder, Statistics};
use crate::bench::verify::Checker;
use crate::bench::verify::history::FlushMark;
use crate::bench::workload::{Direction, Io};

/// See the module. It never waits.
pub struct Engine<'a> {
    plan: &'a Plan,
    clock: MonotonicClock,
    counters: &'a Counters,
    notices: Sender<String>,
    job: u32,
    fua: bool,
    serializes: bool,
    continue_on: ContinueOn,
    queue: Box<dyn BlockQueue>,
    slots: Slots,
    buffers: Buffers,
    checker: Option<Checker>,
    /// Made and not yet taken by the queue.
    pending: VecDeque<Request>,
    /// The pending requests' tags, since the queue takes the requests away.
    tags: Vec<usize>,
    completions: Vec<Completion>,
    recorder: Recorder,
    measures: bool,
    /// The error to report.
    error: Option<JobError>,
    has_failed: bool,
}

impl<'a> Engine<'a> {
    /// An idle engine.
    pub fn new(
        context: &JobContext<'a>,
        queue: Box<dyn BlockQueue>,
        buffers: Buffers,
        checker: Option<Checker>,
        depth: usize,
    ) -> Self {
        Self {
            plan: context.plan,
            clock: context.clock,
            counters: context.counters,
            notices: context.notices.clone(),
            job: context.number,
            fua: context.options.fua,
            serializes: context.options.serialize_overlap,
            continue_on: context.options.continue_on_error,
            queue,
            slots: Slots::new(depth),
            buffers,
            checker,
            pending: VecDeque::with_capacity(depth),
            tags: Vec::with_capacity(depth),
            completions: Vec::with_capacity(depth),
            recorder: Recorder::new(Timestamp::default()),
            measures: true,
            error: None,
            has_failed: false,
        }
    }

    /// Measures from now on.
    pub fn restart(&mut self, now: Timestamp) {
        self.recorder.restart(now);
        self.counters.set_phase(Phase::Run);
    }

    /// What follows is not measured.
    pub fn stop_measuring(&mut self) {
        self.measures = false;
    }

    /// Whether something happened after which the job does not go on.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether one more request can be made, as far as slots go.
    pub fn has_room(&self) -> bool {
        !self.slots.is_full()
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.slots.is_idle()
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.slots.taken()
    }

    /// The queue, to wait for.
    pub fn queue(&mut self) -> &mut dyn BlockQueue {
        &mut *self.queue
    }

    /// The numbers, the verification, and the error that ended the job, or else the first.
    pub fn finish(self, now: Timestamp) -> (Statistics, Option<Checker>, Option<JobError>) {
        (self.recorder.finish(now), self.checker, self.error)
    }

    /// Takes events and completions. Returns how many completions there were, and the time.
    #[inline]
    pub fn poll(&mut self, now: Timestamp) -> Result<(usize, Timestamp), JobError> {
        self.queue.poll(&mut self.completions, now);
        // Events come first: a reset explains what a read of the same turn found.
        self.take_events();
        let now = self.clock.now();
        let found = self.completions.len();
        if found == 0 {
            return Ok((0, now));
        }
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.complete(completion, now)?;
        }
        self.completions = completions;
        if self.measures {
            self.recorder.close(found, now);
            self.counters.set_ios(self.recorder.ios());
        }
        Ok((found, now))
    }

    /// Makes requests as long as there are tasks and room, and submits them. Returns how many, and the time.
    #[inline]
    pub fn fill(&mut self, source: &mut dyn Source, now: Timestamp) -> Result<(usize, Timestamp), JobError> {
        let old = self.pending.len();
        while !self.slots.is_full() && self.make_next(source, now)? {}
        if self.pending.is_empty() {
            return Ok((0, now));
        }
        // Stamping blocks is not the device's time.
        let made = if self.checker.is_some() { self.clock.now() } else { now };
        Ok(self.submit(old, made))
    }

    /// Submits what the queue had no room for. Returns how many it took.
    pub fn submit_rest(&mut self, now: Timestamp) -> usize {
        if self.pending.is_empty() { 0 } else { self.submit(self.pending.len(), now).0 }
    }

    /// Makes the next request; `false` if there is none to make or no memory for it.
    #[inline]
    fn make_next(&mut self, source: &mut dyn Source, now: Timestamp) -> Result<bool, JobError> {
        if !self.buffers.is_ready() {
            return Ok(false);
        }
        let in_flight = self.serializes.then_some(&self.slots);
        match source.next(now, Heed { checker: self.checker.as_ref(), in_flight }) {
            None => return Ok(false),
            Some(Task::Flush) => self.make_flush(),
            Some(Task::Io(io)) => self.make_io(io)?,
        }
        Ok(true)
    }

    fn make_flush(&mut self) {
        let mark = self.checker.as_mut().map_or_else(FlushMark::default, Checker::begin_flush);
        if let Some(slot) = self.slots.take(Work::Flush(mark), BlockRange::default()) {
            self.pending.push_back(Request::flush().with_tag(slot as u64));
        }
    }

    #[inline]
    fn make_io(&mut self, io: Io) -> Result<(), JobError> {
        let Some(slot) = self.slots.take(Work::Io(io.direction), io.range) else { return Ok(()) };
        let (op, data) = match io.direction {
            Direction::Read => (Op::Read, self.read_buffer(slot, io.range)?),
            Direction::Write => (Op::Write { fua: self.fua }, self.write_buffer(slot, io.range)?),
            Direction::Trim => (Op::Discard, ScatterList::default()),
        };
        self.pending.push_back(Request::new(op, io.range, data).with_tag(slot as u64));
        Ok(())
    }

    #[inline]
    fn read_buffer(&mut self, slot: usize, range: BlockRange) -> Result<ScatterList, JobError> {
        if let Some(checker) = &mut self.checker {
            checker.begin_read(slot, range);
        }
        let list = self.buffers.take()?;
        // The last blocks that are read back in a row may be fewer than those of an I/O.
        let bytes = self.plan.geometry.block_size.bytes_of(range.blocks).unwrap_or(u64::MAX);
        Ok(if list.bytes() == bytes { list } else { list.slice(0, bytes).unwrap_or(list) })
    }

    #[inline]
    fn write_buffer(&mut self, slot: usize, range: BlockRange) -> Result<ScatterList, JobError> {
        let Some(checker) = &mut self.checker else { return self.buffers.take() };
        let mut buffer = self.buffers.take_to_fill()?;
        checker.begin_write(slot, range, &mut buffer)?;
        Ok(buffer.into_segment().into())
    }

    #[inline]
    fn submit(&mut self, old: usize, made: Timestamp) -> (usize, Timestamp) {
        self.tags.clear();
        // Tags are slot numbers.
        self.tags.extend(self.pending.iter().map(|request| usize::try_from(request.tag).unwrap_or(0)));
        for tag in &self.tags[old..] {
            self.slots.get_mut(*tag).made = made;
        }
        let in_flight = self.queue.in_flight();
        self.queue.submit(&mut self.pending, made);
        let taken = self.tags.len() - self.pending.len();
        let now = self.clock.now();
        for tag in &self.tags[..taken] {
            self.slots.get_mut(*tag).submitted = now;
        }
        if taken > 0 && self.measures {
            self.recorder.submitted(taken, in_flight);
        }
        (taken, now)
    }
}
