//! What the engine notes: events of the device, errors, and how much was done.

use block::{Event, Geometry, IoError, WriteCache};

use super::job::span_of;
use super::{DeviceEnd, Engine, refusals};
use crate::nbd::command::{Command, Span};
use crate::nbd::server::counters::add;

/// Errors of the device that are told one by one.
const FAILURES_TOLD_MAX: u32 = 16;

impl Engine {
    pub(super) fn on_event(&mut self, event: Event) {
        let device = &self.export.description;
        match event {
            Event::IncarnationChanged(_) => {
                let is_volatile = self.geometry.write_cache == WriteCache::Volatile;
                if is_volatile && self.durability.note_loss() {
                    tracing::warn!(
                        "{device}: it began anew: writes that were acknowledged and that no flush covered may be lost; each \
                         client's next flush will fail"
                    );
                } else {
                    tracing::info!("{device}: it began anew; nothing that was acknowledged is lost");
                }
            }
            Event::Resized(geometry) => self.resize(geometry),
            Event::MediaErrors(errors) => tracing::warn!("{device}: {errors} media errors so far"),
            Event::HealthWarning(warning) => tracing::warn!("{device}: its health: {warning:?}"),
            Event::Removed => {
                tracing::warn!("{device}: it is gone");
                self.end = Some(DeviceEnd::Removed);
            }
        }
    }

    /// Clients have no way to learn of another size, but those that come from now on are told.
    fn resize(&mut self, geometry: Geometry) {
        if geometry.block_size != self.geometry.block_size {
            self.end = Some(DeviceEnd::Reformatted);
            return;
        }
        self.geometry = geometry;
        self.export.bytes = u64::try_from(geometry.bytes()).unwrap_or(self.export.bytes);
        tracing::info!("{}: it has {} bytes now", self.export.description, self.export.bytes);
    }

    pub(super) fn note_failure(&mut self, id: u32, error: IoError) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if self.failures_told < FAILURES_TOLD_MAX {
            self.failures_told += 1;
            let rest =
                if self.failures_told == FAILURES_TOLD_MAX { " (more are counted, not told)" } else { "" };
            tracing::warn!("{}: {:?}: {error}{rest}", self.export.description, job.order.command);
        }
        job.failure.get_or_insert(refusals::refusal(error));
    }

    pub(super) fn note_unaligned(&mut self, command: &Command) {
        add(&self.counters.unaligned, 1);
        if !self.has_warned {
            self.has_warned = true;
            let Span { offset, bytes } = span_of(command);
            tracing::warn!(
                "{}: a client's command of {bytes} bytes at {offset} does not begin and end at blocks of {} bytes: such \
                 writes cost a read besides (said once)",
                self.export.description,
                self.export.block_size.bytes()
            );
        }
    }

    pub(super) fn count(&self, command: &Command, has_failed: bool) {
        let counters = &*self.counters;
        let bytes = u64::from(span_of(command).bytes);
        match command {
            _ if has_failed => add(&counters.errors, 1),
            Command::Read(_) => {
                add(&counters.reads, 1);
                add(&counters.read_bytes, bytes);
            }
            Command::Write { .. } => {
                add(&counters.writes, 1);
                add(&counters.written_bytes, bytes);
            }
            Command::Flush => add(&counters.flushes, 1),
            Command::Trim { .. }
            | Command::WriteZeroes { .. }
            | Command::BlockStatus { .. }
            | Command::Disconnect => {}
        }
    }

    /// A command was refused before it was begun.
    pub(in crate::nbd::server) fn count_refusal(&self) {
        add(&self.counters.errors, 1);
    }

    /// Data was copied.
    #[inline]
    pub(in crate::nbd::server) fn count_copied(&self, bytes: u64) {
        add(&self.counters.copied_bytes, bytes);
    }
}
