//! An I/O queue pair of one thread.
//!
//! [`Engine`] is the queue; [`IoQueue`] owns one, and hands it to the controller's core as an [`Orphan`] when it is
//! dropped with commands in flight. Requests here are within the namespace's limits; the split wrapper above sees to it.

mod command;
mod engine;
mod health;
mod incarnation;
mod memory;
mod rest;
mod waiting;

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

use block::{BlockQueue, Completion, Event, OpenQueueError, Request, Timestamp, Wait};

use crate::controller::Handle;
use crate::link::QueueLink;
use crate::pci::PciFunction;
use crate::shared::Message;
use crate::slots::{SLOTS_MAX, Slots};

pub(crate) use engine::Engine;
use memory::QueueMemory;
pub use waiting::Census;
use waiting::Waiting;

/// Most requests in flight of one queue; a controller may allow fewer.
pub const QUEUE_DEPTH_MAX: u32 = SLOTS_MAX;

/// What is left of a dropped queue: rings and memory that the controller may still touch.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) link: Arc<QueueLink>,
    /// The incarnation in which the controller was asked to create the queue.
    pub(crate) incarnation: Option<u64>,
    slots: Slots<Waiting>,
    memory: QueueMemory,
}

impl Orphan {
    /// Lets go of all memory. The caller knows that the controller can no longer touch it.
    pub(crate) fn bury(mut self) {
        drop(self.slots.release_all());
        drop(self.memory);
    }

    /// Keeps all memory for ever, since nobody knows that the controller can no longer touch it.
    pub(crate) fn keep(self) {
        std::mem::forget((self.slots, self.memory));
    }
}

/// A queue of a namespace. It takes requests within the namespace's limits.
pub struct IoQueue<F: PciFunction> {
    /// `None` only while it is being dropped.
    engine: Option<Box<Engine<F>>>,
    controller: Arc<Handle<F>>,
}

impl<F: PciFunction> IoQueue<F> {
    pub(crate) fn new(engine: Engine<F>, controller: Arc<Handle<F>>) -> Self {
        Self { engine: Some(Box::new(engine)), controller }
    }

    /// Whether the controller has created the queue; an error if it will not.
    pub fn attachment(&mut self) -> Result<bool, OpenQueueError> {
        self.engine.as_mut().map_or(Err(OpenQueueError::Gone), |engine| engine.attachment())
    }

    /// The commands in flight by state, for diagnosis.
    pub fn census(&mut self) -> Census {
        self.engine.as_mut().map_or_else(Census::default, |engine| engine.census())
    }

    /// What becomes readable when the attachment may have changed.
    pub(crate) fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.engine.as_ref().map(|engine| engine.wake())
    }
}

impl<F: PciFunction> BlockQueue for IoQueue<F> {
    #[inline]
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        if let Some(engine) = &mut self.engine {
            engine.submit(requests, now);
        }
    }

    #[inline]
    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        if let Some(engine) = &mut self.engine {
            engine.poll(completions, now);
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.engine.as_mut().and_then(|engine| engine.poll_event())
    }

    fn depth(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.depth())
    }

    fn in_flight(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.in_flight())
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        if let Some(engine) = &self.engine {
            engine.wake_descriptors(descriptors);
        }
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        self.engine.as_mut().map_or(Wait::Until(Timestamp::NEVER), |engine| engine.prepare_wait(now))
    }
}

impl<F: PciFunction> Drop for IoQueue<F> {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else { return };
        let shared = self.controller.shared();
        let orphan = Box::new(engine.into_orphan());
        if let Err(Message::Orphan(orphan)) = shared.tell_core(Message::Orphan(orphan)) {
            tracing::error!(queue = %orphan.link.queue_id, "the core's mailbox is full: a dropped queue's memory is kept");
            orphan.keep();
        }
    }
}
