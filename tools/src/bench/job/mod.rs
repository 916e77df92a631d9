//! One job: a thread with a queue of its own.
//!
//! - `source`: what is to be done next.
//! - `engine`: turns it into requests and judges what comes back. It mutates; it never waits.
//! - `rest`: waits.
//! - [`Job`]: the loop around them.

mod buffers;
mod engine;
mod error;
mod rest;
mod slots;
mod source;

use std::sync::mpsc::Sender;

use block::{BlockDevice, MonotonicClock, QueueOptions, Timestamp, WakeMode};

use self::buffers::Buffers;
use self::engine::Engine;
pub use self::error::JobError;
use self::rest::Rest;
use self::source::{Load, Source};
use super::options::{BenchOptions, PollMode};
use super::plan::Plan;
use super::progress::{Counters, Phase};
use super::statistics::Statistics;
use super::stop::Stop;
use super::usage::{Usage, thread_usage};
use super::verify::{Checker, CheckerShape, SavedHistory};

/// Longest wait for I/O in flight once a job is to end. Devices have time limits of their own, which come first.
const DRAIN_NS_MAX: u64 = 60_000_000_000;

/// Longest time for which an idle job can find nothing to submit: a paced one has something each second.
const STALLED_NS_MAX: u64 = 60_000_000_000;

/// What a job needs to know.
pub struct JobContext<'a> {
    /// The command line.
    pub options: &'a BenchOptions,
    /// The options, fitted to the device.
    pub plan: &'a Plan,
    /// The device.
    pub device: &'a dyn BlockDevice,
    /// The clock of all jobs.
    pub clock: MonotonicClock,
    /// The end of all jobs.
    pub stop: &'a Stop,
    /// This job's numbers for the line of progress.
    pub counters: &'a Counters,
    /// Where notices for people go.
    pub notices: Sender<String>,
    /// The job's number.
    pub number: u32,
    /// The run's number.
    pub run: u64,
    /// What an earlier run left.
    pub saved: Option<&'a SavedHistory>,
}

/// What a job found.
pub struct JobOutcome {
    /// What it measured.
    pub statistics: Statistics,
    /// What its thread used.
    pub usage: Usage,
    /// Its verification.
    pub checker: Option<Checker>,
    /// How it ended: the error that ended it, or else the first that it went on after.
    pub end: Result<(), JobError>,
}

/// A job that is ready to run.
pub struct Job<'a> {
    context: JobContext<'a>,
    engine: Engine<'a>,
    rest: Rest,
}

impl<'a> Job<'a> {
    /// Opens the queue, makes the buffers known to the device. On the thread that will run the job.
    pub fn new(context: JobContext<'a>) -> Result<Self, JobError> {
        let JobContext { options, plan, device, number, .. } = context;
        pin(options, number)?;
        let wake = match options.poll {
            PollMode::Always | PollMode::Adaptive => WakeMode::Polled,
            PollMode::Interrupt => WakeMode::Interrupt,
        };
        let queue = device.open_queue(QueueOptions { depth: options.iodepth, wake })?;
        let depth = queue.depth().min(options.iodepth as usize);
        let buffers = Buffers::new(device, depth, plan.io_bytes, options.randseed)?;
        let rest = Rest::new(options.poll, &*queue)?;
        context.stop.add_waker(rest.waker());
        let checker = options.verify.map(|_| checker(&context, depth));
        let engine = Engine::new(&context, queue, buffers, checker, depth);
        Ok(Self { context, engine, rest })
    }

    /// Runs the job to its end.
    #[must_use]
    pub fn run(mut self) -> JobOutcome {
        let before = thread_usage();
        let start = self.context.clock.now();
        self.engine.restart(start);
        let mut load = Load::new(self.context.options, self.context.plan, self.context.number, start);
        let end = self.measure(&mut load);
        let measured_to = self.context.clock.now();
        let usage = thread_usage().since(load.usage_at_start().unwrap_or(before));
        let end = end.and_then(|()| self.after_load());
        if end.is_err() {
            self.context.stop.fail();
        }
        let (statistics, checker, error) = self.engine.finish(measured_to);
        JobOutcome { statistics, usage, checker, end: error.map_or(end, Err) }
    }

    fn measure(&mut self, load: &mut Load) -> Result<(), JobError> {
        let phase = if load.ramps() { Phase::Ramp } else { Phase::Run };
        self.context.counters.set_phase(phase);
        self.drive(load)
    }

    /// Reads back what was written and makes it durable, as the options ask.
    fn after_load(&mut self) -> Result<(), JobError> {
        self.engine.stop_measuring();
        let options = self.context.options;
        if options.verify_state_save.is_some() {
            self.drive(&mut source::Once::flush())?;
        }
        if options.verify.is_some() && options.do_verify && !self.context.stop.is_set() {
            self.context.counters.set_phase(Phase::Verify);
            let first = self.context.plan.job_area(self.context.number).start;
            self.drive(&mut source::ReadBack::from(first))?;
        }
        Ok(())
    }

    /// The loop: look, submit, rest.
    fn drive(&mut self, source: &mut dyn Source) -> Result<(), JobError> {
        let mut now = self.context.clock.now();
        let mut busy_at = now;
        while !self.is_over(source, now) {
            let (found, after) = self.engine.poll(now)?;
            source.turn(after, &mut self.engine);
            let (submitted, after) = self.engine.fill(source, after)?;
            now = after;
            if found + submitted > 0 {
                busy_at = now;
                self.rest.busy(now);
                continue;
            }
            if self.engine.is_idle() && now.ns_since(busy_at) > STALLED_NS_MAX {
                return Err(JobError::Stalled);
            }
            let wake = source.wake(self.engine.has_room());
            self.rest.rest(self.engine.queue(), now, wake)?;
        }
        self.drain(now)
    }

    /// Waits for what is in flight, for a bounded time.
    fn drain(&mut self, mut now: Timestamp) -> Result<(), JobError> {
        let until = now.after_ns(DRAIN_NS_MAX);
        while !self.engine.is_idle() {
            let (found, after) = self.engine.poll(now)?;
            let submitted = self.engine.submit_rest(after);
            now = after;
            if found + submitted > 0 {
                self.rest.busy(now);
            } else if now >= until {
                return Err(JobError::Drain { in_flight: self.engine.in_flight() });
            } else {
                self.rest.rest(self.engine.queue(), now, until)?;
            }
        }
        self.give_up_if_failed();
        Ok(())
    }

    fn is_over(&mut self, source: &mut dyn Source, now: Timestamp) -> bool {
        self.give_up_if_failed();
        let stopped = self.context.stop.is_set() && !source.is_brief();
        self.engine.has_failed() || stopped || source.is_done(now)
    }

    /// When one job has failed the others need not go on.
    fn give_up_if_failed(&self) {
        if self.engine.has_failed() {
            self.context.stop.fail();
        }
    }
}

fn pin(options: &BenchOptions, job: u32) -> Result<(), JobError> {
    let Some(cpus) = &options.cpus_allowed else { return Ok(()) };
    let id = cpus.0[job as usize % cpus.0.len()];
    if crate::affinity::pin(id) { Ok(()) } else { Err(JobError::Pin { cpu: id }) }
}

fn checker(context: &JobContext<'_>, slots: usize) -> Checker {
    let plan = context.plan;
    let mut checker = Checker::new(CheckerShape {
        area: plan.job_area(context.number),
        block_size: plan.geometry.block_size,
        io_blocks: plan.io_blocks as usize,
        slots,
        write_cache: plan.geometry.write_cache,
        run: context.run,
        job: context.number,
    });
    if let Some(saved) = context.saved {
        saved.restore_into(&mut checker);
    }
    checker
}

#[cfg(test)]
mod tests;
