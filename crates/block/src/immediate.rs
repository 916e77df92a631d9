//! The queue of devices that carry out a request while it is submitted.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::error::{IoError, OpenQueueError};
use crate::event::Event;
use crate::queue::{BlockQueue, Completion, QueueOptions, Wait};
use crate::request::Request;
use crate::time::Timestamp;

/// Deepest queue. Nothing but the list of completions grows with it.
pub(crate) const DEPTH_MAX: u32 = 65_536;

/// A device that needs no time.
pub(crate) trait Execute: Send + Sync {
    /// Checks a request and carries it out.
    fn execute(&self, request: &Request) -> Result<(), IoError>;
}

/// A queue whose requests have ended when [`BlockQueue::submit`] returns, and are given back at the next poll.
pub(crate) struct ImmediateQueue<D> {
    device: Arc<D>,
    depth: usize,
    ended: VecDeque<Completion>,
}

impl<D: Execute> ImmediateQueue<D> {
    pub(crate) fn open(device: Arc<D>, options: QueueOptions) -> Result<Self, OpenQueueError> {
        let QueueOptions { depth, .. } = options;
        if depth == 0 || depth > DEPTH_MAX {
            return Err(OpenQueueError::Depth { depth, depth_max: DEPTH_MAX });
        }
        Ok(Self { device, depth: depth as usize, ended: VecDeque::with_capacity(depth as usize) })
    }
}

impl<D: Execute> BlockQueue for ImmediateQueue<D> {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        while self.ended.len() < self.depth {
            let Some(request) = requests.pop_front() else { return };
            let result =
                if request.deadline <= now { Err(IoError::TimedOut) } else { self.device.execute(&request) };
            self.ended.push_back(Completion { request, result });
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, _now: Timestamp) {
        completions.extend(self.ended.drain(..));
    }

    fn poll_event(&mut self) -> Option<Event> {
        None
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn in_flight(&self) -> usize {
        self.ended.len()
    }

    fn wake_descriptors(&self, _descriptors: &mut Vec<RawFd>) {}

    fn prepare_wait(&mut self, _now: Timestamp) -> Wait {
        if self.ended.is_empty() { Wait::Until(Timestamp::NEVER) } else { Wait::Poll }
    }
}
