//! A device's queue: owned by one thread, never shared, never locked.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use crate::error::IoError;
use crate::event::Event;
use crate::request::Request;
use crate::time::Timestamp;

/// How a queue finds out that commands have completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WakeMode {
    /// By looking. Young commands are not slept on; slow ones are looked at again after growing pauses.
    #[default]
    Polled,
    /// By an interrupt for each completion.
    Interrupt,
}

/// How a queue is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// Most requests in flight at once; at least 1.
    pub depth: u32,
    /// How the queue finds out about completions, where the device has a choice.
    pub wake: WakeMode,
}

/// A request that has ended, given back by value.
#[derive(Debug)]
pub struct Completion {
    /// The request as it was submitted, with its memory.
    pub request: Request,
    /// How it ended.
    pub result: Result<(), IoError>,
}

/// What the owner of a queue may do when it has nothing else to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Poll again: something is there, or will be within microseconds.
    Poll,
    /// Sleep on the queue's descriptors, at most until then, and poll afterwards.
    Until(Timestamp),
}

impl Wait {
    /// What to do when several queues are waited for.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Until(a), Self::Until(b)) => Self::Until(a.min(b)),
            _ => Self::Poll,
        }
    }
}

/// A queue of a device. It belongs to the thread that opened it.
///
/// The contract, held by the conformance suite:
/// - A request that was taken completes exactly once, out of [`Self::poll`], also when it was wrong, when its deadline
///   has passed, and when the device fails or goes.
/// - Requests in flight have no order. A read that overlaps a write in flight may see either content, block by block.
///   What is submitted after a completion was given back sees what that request did, from any queue of the device.
/// - A flush covers every write whose completion was given back, by any queue, before the flush was submitted.
/// - When a request completes with its memory, the device can no longer touch that memory.
/// - When its deadline passes first, it completes with [`IoError::TimedOut`] at the next poll. If the device may still
///   touch the memory, the request comes back without it (an empty scatter list): the queue keeps the segments until the
///   device cannot, and only then do they go back to their pool. So nobody waits for a silent device, and a device that
///   thaws never writes into reused memory.
/// - Dropping a queue abandons its requests: no completion is given, the device ends them as soon as it can, and their
///   memory goes back to its pool when the device can no longer touch it.
/// - Nothing here blocks.
pub trait BlockQueue {
    /// Takes requests from the front for as long as there is room and rings once; leaves the rest in place.
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp);

    /// Appends what has completed, at most [`Self::depth`] completions, and judges deadlines after that.
    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp);

    /// The next thing that happened to the device.
    fn poll_event(&mut self) -> Option<Event>;

    /// Most requests in flight at once.
    fn depth(&self) -> usize;

    /// Requests taken and not yet given back.
    fn in_flight(&self) -> usize;

    /// Adds the descriptors to sleep on (readable means: poll). They stay the same for the queue's life.
    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>);

    /// Gets ready for a sleep, looks once more, and says whether to sleep and for how long at most.
    fn prepare_wait(&mut self, now: Timestamp) -> Wait;
}

impl<Q: BlockQueue + ?Sized> BlockQueue for Box<Q> {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        (**self).submit(requests, now);
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        (**self).poll(completions, now);
    }

    fn poll_event(&mut self) -> Option<Event> {
        (**self).poll_event()
    }

    fn depth(&self) -> usize {
        (**self).depth()
    }

    fn in_flight(&self) -> usize {
        (**self).in_flight()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        (**self).wake_descriptors(descriptors);
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        (**self).prepare_wait(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_busy_queue_keeps_the_reactor_awake() {
        let at = |ns| Wait::Until(Timestamp::from_ns(ns));
        assert_eq!(at(5).and(at(3)), at(3));
        assert_eq!(at(5).and(Wait::Poll), Wait::Poll);
        assert_eq!(Wait::Poll.and(at(5)), Wait::Poll);
    }
}
