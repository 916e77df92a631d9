//! What comes back: completions, verdicts, errors, events.

use block::{Completion, Event, IoError, Outcome, Timestamp};
use dma::ScatterList;

use super::Engine;
use crate::bench::job::JobError;
use crate::bench::job::slots::{Slot, Work};
use crate::bench::verify::WriteEnd;
use crate::bench::verify::history::FlushMark;
use crate::bench::workload::Direction;

/// Most events that are taken in one turn.
const EVENTS_MAX: usize = 16;

/// Most failed I/O that are told of one by one.
const FAILURES_TOLD_MAX: u64 = 16;

/// An I/O that has ended.
struct Ended<'c> {
    index: usize,
    slot: Slot,
    direction: Direction,
    data: &'c ScatterList,
    result: Result<(), IoError>,
}

impl Engine<'_> {
    /// A request has come back.
    #[inline]
    pub(super) fn complete(&mut self, completion: Completion, now: Timestamp) -> Result<(), JobError> {
        let Completion { request, result } = completion;
        // Tags are slot numbers.
        let index = usize::try_from(request.tag).unwrap_or(usize::MAX);
        let slot = self.slots.give_back(index);
        match (slot.work, result) {
            (Work::Flush(mark), Ok(())) => self.flushed(slot, mark, now),
            (Work::Flush(_), Err(error)) => self.failed("flush", slot, error),
            (Work::Io(direction), result) => {
                let ended = Ended { index, slot, direction, data: &request.data, result };
                self.io_ended(&ended, now)?;
            }
        }
        self.give_back(request.data);
        Ok(())
    }

    fn flushed(&mut self, slot: Slot, mark: FlushMark, now: Timestamp) {
        if let Some(checker) = &mut self.checker {
            checker.end_flush(mark);
        }
        if self.measures {
            self.recorder.synced(slot.submitted, now);
        }
    }

    #[inline]
    fn io_ended(&mut self, ended: &Ended<'_>, now: Timestamp) -> Result<(), JobError> {
        let Ended { slot, direction, result, .. } = *ended;
        if self.measures && result.is_ok() {
            self.recorder.completed(direction, slot.made, slot.submitted, now);
        }
        if self.checker.is_some() {
            self.judge(ended)?;
        }
        if let Err(error) = result {
            let what = match direction {
                Direction::Read => "read",
                Direction::Write => "write",
                Direction::Trim => "trim",
            };
            self.failed(what, slot, error);
        }
        Ok(())
    }

    fn judge(&mut self, ended: &Ended<'_>) -> Result<(), JobError> {
        let Some(checker) = &mut self.checker else { return Ok(()) };
        let Ended { index, slot, direction, data, result } = *ended;
        match (direction, result) {
            (Direction::Read, Ok(())) => {
                if checker.end_read(index, slot.range, data)? > 0 {
                    self.note(JobError::Verify, self.continue_on.verify());
                }
            }
            (Direction::Write, Ok(())) => {
                checker.end_write(index, slot.range, WriteEnd::Done { durable: self.fua });
            }
            (Direction::Write, Err(error)) if error.outcome() == Outcome::NotDone => {
                checker.end_write(index, slot.range, WriteEnd::NotDone);
            }
            (Direction::Write, Err(_)) if data.segments().is_empty() => {
                checker.abandon_write(index, slot.range);
                if checker.is_overwhelmed() {
                    self.note(JobError::Limbo, false);
                }
            }
            (Direction::Write, Err(_)) => checker.end_write(index, slot.range, WriteEnd::Maybe),
            (Direction::Read, Err(_)) | (Direction::Trim, _) => {}
        }
        Ok(())
    }

    fn failed(&mut self, what: &'static str, slot: Slot, error: IoError) {
        self.recorder.failed();
        let offset = u128::from(slot.range.start.0) << self.plan.geometry.block_size.shift();
        let error = JobError::Io { what, offset, error };
        if self.recorder.failures() <= FAILURES_TOLD_MAX && self.continue_on.io() {
            self.tell(&error.to_string());
        }
        self.note(error, self.continue_on.io());
    }

    #[inline]
    fn give_back(&mut self, data: ScatterList) {
        // A shortened view would stay short: its chunk goes back to the pool.
        if data.bytes() == u64::from(self.plan.io_bytes) {
            self.buffers.give_back(data);
        }
    }

    /// Takes what happened to the device.
    #[inline]
    pub(super) fn take_events(&mut self) {
        for _ in 0..EVENTS_MAX {
            let Some(event) = self.queue.poll_event() else { return };
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        if let Some(checker) = &mut self.checker {
            checker.event(event);
        }
        match event {
            Event::IncarnationChanged(incarnation) => {
                self.tell(&format!("the device began anew (incarnation {})", incarnation.0));
            }
            Event::MediaErrors(count) => self.tell(&format!("the device counts {count} media errors")),
            Event::HealthWarning(warning) => self.tell(&format!("the device warns: {warning:?}")),
            Event::Removed => self.note(JobError::Removed, false),
            Event::Resized(geometry) => {
                let fits = self.plan.area.fits(geometry.blocks);
                if fits && geometry.block_size == self.plan.geometry.block_size {
                    self.tell(&format!("the device has {} blocks now", geometry.blocks));
                } else {
                    self.note(JobError::Resized, false);
                }
            }
        }
    }

    /// Keeps the first error, or the first that ends the job.
    fn note(&mut self, error: JobError, goes_on: bool) {
        if self.error.is_none() || !(goes_on || self.has_failed) {
            self.error = Some(error);
        }
        self.has_failed |= !goes_on;
    }

    fn tell(&self, what: &str) {
        // Whoever listens may have gone when the run ends.
        let _ = self.notices.send(format!("job {}: {what}", self.job));
    }
}
