//! How a server ends: nothing that was acknowledged is lost, and clients are told.

use std::sync::atomic::Ordering;

use block::Timestamp;

use super::{Phase, RECEIVE_NS_MAX, Reactor};
use crate::nbd::command::Command;
use crate::nbd::server::StopError;
use crate::nbd::server::client::Client;
use crate::nbd::server::engine::{Answer, DeviceEnd, Order};

/// How long commands that are under way may take when the server stops. The device's own deadlines are shorter, except that
/// a remote one may be held until its target is back.
const DRAIN_NS_MAX: u64 = 10_000_000_000;

/// How long the last flush may take.
const FLUSH_NS_MAX: u64 = 30_000_000_000;

/// How long clients may take to get their last replies, and to close.
const PART_NS_MAX: u64 = 3_000_000_000;

impl Reactor {
    /// What time and the owner ask for. Whether anything happened.
    pub(super) fn advance(&mut self, now: Timestamp) -> bool {
        self.accept_again(now);
        if self.line.first().is_some() {
            self.drop_stalled(now);
        }
        let before = self.phase;
        match before {
            Phase::Serving => self.look_for_end(now),
            Phase::Draining { since } => self.drain(since, now),
            Phase::Flushing { until } if now >= until => {
                self.note(StopError::NotFlushed { reason: "it took too long" });
                self.part(now);
            }
            Phase::Parting { until } if now >= until || self.clients.len() == 0 => self.phase = Phase::Done,
            Phase::Flushing { .. } | Phase::Parting { .. } | Phase::Done => {}
        }
        self.phase != before
    }

    fn look_for_end(&mut self, now: Timestamp) {
        let device_end = self.engine.device_end();
        if device_end.is_none() && !self.shared.stop.load(Ordering::Acquire) {
            return;
        }
        match device_end {
            Some(DeviceEnd::Removed) => self.note(StopError::Removed),
            Some(DeviceEnd::Reformatted) => self.note(StopError::Reformatted),
            None => {}
        }
        for listener in self.listeners.drain(..) {
            // Closing would do; this keeps the books.
            let _ = self.sleeper.remove(listener.descriptor());
        }
        self.clients.keys(&mut self.keys);
        for key in &self.keys {
            if let Some(client) = self.clients.get_mut(*key) {
                client.stop(&self.engine);
            }
            self.line.leave(*key);
        }
        self.phase = Phase::Draining { since: now };
    }

    fn drain(&mut self, since: Timestamp, now: Timestamp) {
        let elapsed_ns = now.ns_since(since);
        let is_receiving = self.clients.iter().any(Client::is_receiving);
        let is_late = elapsed_ns >= DRAIN_NS_MAX;
        if self.engine.under_way() > 0 && !is_late {
            return;
        }
        if is_receiving && elapsed_ns < RECEIVE_NS_MAX {
            return;
        }
        if self.engine.under_way() > 0 {
            self.note(StopError::Unfinished { commands: self.engine.under_way() });
        }
        if self.engine.export().is_read_only || self.engine.device_end() == Some(DeviceEnd::Removed) {
            return self.part(now);
        }
        let flush = Order { client: None, cookie: 0, command: Command::Flush };
        self.engine.begin_own(flush);
        self.phase = Phase::Flushing { until: now.after_ns(FLUSH_NS_MAX) };
    }

    /// The last flush has ended.
    pub(super) fn on_flushed(&mut self, answer: &Answer) {
        if let Answer::Refused(refusal) = answer {
            self.note(StopError::NotFlushed { reason: refusal.sentence });
        }
        if let Phase::Flushing { .. } = self.phase {
            self.part(self.clock.now());
        }
    }

    fn part(&mut self, now: Timestamp) {
        self.clients.keys(&mut self.keys);
        for key in &self.keys {
            if let Some(client) = self.clients.get_mut(*key) {
                client.leave();
            }
        }
        self.phase = Phase::Parting { until: now.after_ns(PART_NS_MAX) };
    }

    /// The first thing that went wrong is told.
    fn note(&mut self, error: StopError) {
        if self.error.is_some() {
            tracing::warn!("{error}");
        } else {
            self.error = Some(error);
        }
    }
}
