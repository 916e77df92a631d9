//! What a queue tells its owner besides completions: events, and when there is nothing to do.

use std::os::fd::{AsFd, BorrowedFd, RawFd};

use block::{Event, Timestamp, Wait};

use super::engine::Engine;
use super::health::Seen;
use super::waiting::Census;
use crate::pci::PciFunction;
use crate::wake::Wake;

/// How long commands are young: their completions are looked for without sleeping.
const YOUNG_NS: u64 = 100_000;
/// The pauses between looks at older commands, when no interrupt tells.
const PAUSE_MIN_NS: u64 = 50_000;
const PAUSE_MAX_NS: u64 = 1_000_000;
/// How long an interrupt is believed to be coming, with commands in flight.
const DOUBT_NS: u64 = 100_000_000;

impl<F: PciFunction> Engine<F> {
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        let phase = self.phase;
        let now = Seen {
            incarnation: phase.incarnation,
            geometry: self.geometry,
            media_errors: self.namespace.media_errors(),
            critical_warning: self.warning,
            removed: phase.is_over() || self.removed,
        };
        self.seen.next_event(&now)
    }

    pub(crate) fn census(&mut self) -> Census {
        let mut census = Census::default();
        self.slots.commands().for_each(|(_, command)| command.count_in(&mut census));
        census
    }

    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.link.wake.as_fd()
    }

    pub(crate) fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        descriptors.push(self.link.wake.raw());
        descriptors.extend(self.vector().map(|vector| vector.raw()));
    }

    fn vector(&self) -> Option<&Wake> {
        self.shared.vectors.get(usize::from(self.interrupt_vector?))
    }

    pub(crate) fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        // Consume first, look then: a signal that comes after the look makes the descriptor readable again.
        self.link.wake.consume();
        if let Some(vector) = self.vector() {
            vector.consume();
        }
        let before = self.followed();
        self.follow();
        // Whatever was signalled has been consumed, so the owner has to look now: for an event, or for room.
        if before != self.followed() {
            return Wait::Poll;
        }
        if !self.ended.is_empty() || (self.live && self.memory.cq.is_ready()) || now >= self.next_judgement {
            return Wait::Poll;
        }
        if !self.live || self.slots.occupied() == 0 {
            return Wait::Until(self.next_judgement);
        }
        if self.interrupt_vector.is_some() {
            return Wait::Until(self.next_judgement.min(now.after_ns(DOUBT_NS)));
        }
        let age_ns = now.ns_since(self.last_progress);
        if age_ns < YOUNG_NS {
            return Wait::Poll;
        }
        let pause = now.after_ns((age_ns / 4).clamp(PAUSE_MIN_NS, PAUSE_MAX_NS));
        Wait::Until(self.next_judgement.min(pause))
    }
}
