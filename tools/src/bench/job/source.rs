//! What a job is to do next.

use std::time::Duration;

use block::{Lba, Timestamp};

use super::engine::Engine;
use super::slots::Slots;
use crate::bench::options::BenchOptions;
use crate::bench::pace::Pace;
use crate::bench::plan::{Plan, ios_max};
use crate::bench::usage::{Usage, thread_usage};
use crate::bench::verify::Checker;
use crate::bench::workload::{Direction, Io, Workload};

/// How many I/O are passed over at a time because their blocks cannot be written now.
const TRIES_MAX: u32 = 16;

/// A task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// An I/O.
    Io(Io),
    /// A flush.
    Flush,
}

/// What a source heeds when it makes a task.
#[derive(Clone, Copy, Debug)]
pub struct Heed<'a> {
    /// The verification, if there is one.
    pub checker: Option<&'a Checker>,
    /// What is in flight, if nothing may collide with it.
    pub in_flight: Option<&'a Slots>,
}

/// Where tasks come from.
pub trait Source {
    /// The next task, if there is one now.
    fn next(&mut self, now: Timestamp, heed: Heed<'_>) -> Option<Task>;

    /// Whether there will be no more.
    fn is_done(&mut self, now: Timestamp) -> bool;

    /// When to look again if nothing completes before; `has_room` for another task now.
    fn wake(&self, has_room: bool) -> Timestamp {
        let _ = has_room;
        Timestamp::NEVER
    }

    /// Whether it is so short that it is carried out even when a signal says to end.
    fn is_brief(&self) -> bool {
        false
    }

    /// A turn of the loop begins.
    fn turn(&mut self, now: Timestamp, engine: &mut Engine<'_>) {
        let _ = (now, engine);
    }
}

/// The workload, within its time, its number of I/O, and its rate.
#[derive(Debug)]
pub struct Load {
    workload: Workload,
    /// Drawn already: it waits for what it collides with. Passing it over would leave its blocks out.
    held: Option<Io>,
    pace: Option<Pace>,
    ios_max: u64,
    ios: u64,
    flush_every: u64,
    writes: u64,
    /// Writes at the last flush.
    flushed_at: u64,
    ramp_until: Option<Timestamp>,
    runtime: Option<Duration>,
    until: Timestamp,
    measured_from: Option<Usage>,
}

impl Load {
    /// A job's workload, from now on.
    #[must_use]
    pub fn new(options: &BenchOptions, plan: &Plan, job: u32, now: Timestamp) -> Self {
        let measured_at = now.after(options.ramp_time);
        Self {
            workload: Workload::new(options, plan.job_area(job), plan.io_blocks, job),
            held: None,
            pace: options.rate_iops.map(|rate| Pace::new(rate.get(), now)),
            ios_max: ios_max(options, plan, job).map_or(u64::MAX, u64::from),
            ios: 0,
            flush_every: u64::from(options.fsync),
            writes: 0,
            flushed_at: 0,
            ramp_until: (measured_at > now).then_some(measured_at),
            runtime: options.runtime,
            until: options.runtime.map_or(Timestamp::NEVER, |runtime| measured_at.after(runtime)),
            measured_from: None,
        }
    }

    /// Whether the measurement has not begun.
    #[must_use]
    pub fn ramps(&self) -> bool {
        self.ramp_until.is_some()
    }

    /// What the thread had used when the ramp ended, if there was one.
    #[must_use]
    pub fn usage_at_start(&self) -> Option<Usage> {
        self.measured_from
    }

    fn wants_flush(&self) -> bool {
        self.flush_every > 0 && self.writes - self.flushed_at >= self.flush_every
    }
}

impl Source for Load {
    #[inline]
    fn next(&mut self, now: Timestamp, heed: Heed<'_>) -> Option<Task> {
        if self.wants_flush() {
            self.flushed_at = self.writes;
            return Some(Task::Flush);
        }
        if self.ios >= self.ios_max || self.pace.as_ref().is_some_and(|pace| pace.due(now) == 0) {
            return None;
        }
        for _ in 0..TRIES_MAX {
            let io = self.held.take().unwrap_or_else(|| self.workload.next_io());
            if heed.in_flight.is_some_and(|slots| slots.collides(io)) {
                self.held = Some(io);
                return None;
            }
            if io.direction == Direction::Write {
                if heed.checker.is_some_and(|checker| !checker.may_write(io.range)) {
                    continue;
                }
                self.writes += 1;
            }
            self.ios += 1;
            self.pace.iter_mut().for_each(Pace::issue);
            return Some(Task::Io(io));
        }
        None
    }

    fn is_done(&mut self, now: Timestamp) -> bool {
        (self.ios >= self.ios_max && !self.wants_flush()) || now >= self.until
    }

    fn wake(&self, has_room: bool) -> Timestamp {
        // Without room, or while it is held, the next one may be overdue, and only a completion helps.
        let waits_for_time = has_room && self.held.is_none();
        let due = self.pace.as_ref().filter(|_| waits_for_time).map_or(Timestamp::NEVER, Pace::next);
        due.min(self.until).min(self.ramp_until.unwrap_or(Timestamp::NEVER))
    }

    fn turn(&mut self, now: Timestamp, engine: &mut Engine<'_>) {
        if self.ramp_until.is_some_and(|until| now >= until) {
            self.ramp_until = None;
            self.ios = 0;
            // The turn may be late; what is measured is as long as asked all the same.
            self.until = self.runtime.map_or(Timestamp::NEVER, |runtime| now.after(runtime));
            self.measured_from = Some(thread_usage());
            engine.restart(now);
        }
    }
}

/// Reading back all that was written.
#[derive(Debug)]
pub struct ReadBack {
    next: Option<Lba>,
}

impl From<Lba> for ReadBack {
    fn from(first: Lba) -> Self {
        Self { next: Some(first) }
    }
}

impl Source for ReadBack {
    fn next(&mut self, _now: Timestamp, heed: Heed<'_>) -> Option<Task> {
        let range = heed.checker?.next_written(self.next?);
        let Some(range) = range else {
            self.next = None;
            return None;
        };
        self.next = range.end();
        Some(Task::Io(Io { direction: Direction::Read, range }))
    }

    fn is_done(&mut self, _now: Timestamp) -> bool {
        self.next.is_none()
    }
}

/// One task.
#[derive(Debug)]
pub struct Once {
    task: Option<Task>,
}

impl Once {
    /// A flush.
    #[must_use]
    pub fn flush() -> Self {
        Self { task: Some(Task::Flush) }
    }
}

impl Source for Once {
    fn next(&mut self, _now: Timestamp, _heed: Heed<'_>) -> Option<Task> {
        self.task.take()
    }

    fn is_done(&mut self, _now: Timestamp) -> bool {
        self.task.is_none()
    }

    fn is_brief(&self) -> bool {
        true
    }
}
