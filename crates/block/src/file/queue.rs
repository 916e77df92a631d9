//! A queue of a file: deadlines, completions and events around an [`Engine`].

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::engine::{DEPTH_MAX, Engine};
use super::job::Job;
use super::reaper;
use super::shared::Shared;
use crate::error::{IoError, OpenQueueError};
use crate::event::{Event, Incarnation};
use crate::queue::{BlockQueue, Completion, QueueOptions, Wait};
use crate::request::Request;
use crate::time::Timestamp;

/// How often a queue that is in use looks at the file's size.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// How soon a queue looks again when the kernel took no more submissions.
const HELD_UP_PAUSE: Duration = Duration::from_millis(1);

/// A queue of a file. What the kernel still holds when it is dropped goes to the reaper.
pub(super) struct FileQueue {
    /// Taken by drop only.
    core: Option<Core>,
}

struct Core {
    shared: Arc<Shared>,
    engine: Engine,
    depth: usize,
    /// Taken, and waiting for the kernel to give back what belongs to requests whose deadline passed.
    waiting: VecDeque<Request>,
    ended: VecDeque<Completion>,
    /// Requests taken and not yet given back.
    taken: usize,
    /// No deadline of a request, waiting or in the engine, is before this.
    deadline: Timestamp,
    now: Timestamp,
    measured: Timestamp,
    seen: Seen,
}

/// What this queue has reported.
#[derive(Clone, Copy)]
struct Seen {
    blocks: u64,
    lost_writes: u64,
    media_errors: u64,
    gone: bool,
}

impl Seen {
    fn now(shared: &Shared) -> Self {
        let learned = &shared.learned;
        Self {
            blocks: shared.blocks.load(Ordering::Acquire),
            lost_writes: learned.lost_writes.load(Ordering::Acquire),
            media_errors: learned.media_errors.load(Ordering::Acquire),
            gone: learned.gone.load(Ordering::Acquire),
        }
    }
}

impl FileQueue {
    pub(super) fn open(shared: &Arc<Shared>, options: QueueOptions) -> Result<Self, OpenQueueError> {
        let QueueOptions { depth, .. } = options;
        if depth == 0 || depth > DEPTH_MAX {
            return Err(OpenQueueError::Depth { depth, depth_max: DEPTH_MAX });
        }
        let engine = Engine::new(depth, Arc::clone(shared))
            .map_err(|error| OpenQueueError::Resources { what: "io_uring", reason: error.to_string() })?;
        let core = Core {
            shared: Arc::clone(shared),
            engine,
            depth: depth as usize,
            waiting: VecDeque::with_capacity(depth as usize),
            ended: VecDeque::with_capacity(depth as usize),
            taken: 0,
            deadline: Timestamp::NEVER,
            now: Timestamp::default(),
            measured: Timestamp::default(),
            seen: Seen::now(shared),
        };
        Ok(Self { core: Some(core) })
    }

    fn core(&mut self) -> &mut Core {
        let Some(core) = &mut self.core else { unreachable!("only drop takes it") };
        core
    }

    fn core_ref(&self) -> &Core {
        let Some(core) = &self.core else { unreachable!("only drop takes it") };
        core
    }
}

impl Drop for FileQueue {
    fn drop(&mut self) {
        if let Some(core) = self.core.take() {
            reaper::adopt(core.engine);
        }
    }
}

impl BlockQueue for FileQueue {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        self.core().submit(requests, now);
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        self.core().poll(completions, now);
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.core().poll_event()
    }

    fn depth(&self) -> usize {
        self.core_ref().depth
    }

    fn in_flight(&self) -> usize {
        self.core_ref().taken
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        descriptors.push(self.core_ref().engine.descriptor());
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        self.core().prepare_wait(now)
    }
}

impl Core {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        self.now = now;
        while self.taken < self.depth {
            let Some(request) = requests.pop_front() else { break };
            self.taken += 1;
            let checked =
                if request.deadline <= now { Err(IoError::TimedOut) } else { self.shared.check(&request) };
            match checked {
                Ok(()) => {
                    self.deadline = self.deadline.min(request.deadline);
                    self.waiting.push_back(request);
                }
                Err(error) => self.ended.push_back(Completion { request, result: Err(error) }),
            }
        }
        self.start_waiting();
    }

    /// Gives the kernel what it has room for.
    fn start_waiting(&mut self) {
        while self.engine.has_room() {
            let Some(request) = self.waiting.pop_front() else { break };
            self.engine.start(Job::new(request, self.shared.block_size, &self.shared.learned));
        }
        self.engine.submit(&mut |job, result| end(&mut self.ended, job, result));
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        self.now = now;
        self.engine.reap(&mut |job, result| end(&mut self.ended, job, result));
        // After the answers: a pause of ours times nothing out that the kernel has done.
        if now >= self.deadline {
            self.expire(now);
        }
        self.start_waiting();
        self.taken -= self.ended.len();
        completions.extend(self.ended.drain(..));
    }

    fn expire(&mut self, now: Timestamp) {
        let ended = &mut self.ended;
        let timed_out = |request| Completion { request, result: Err(IoError::TimedOut) };
        self.deadline = self.engine.expire(now, &mut |request| ended.push_back(timed_out(request)));
        for _ in 0..self.waiting.len() {
            let Some(request) = self.waiting.pop_front() else { break };
            if request.deadline <= now {
                self.ended.push_back(timed_out(request));
            } else {
                self.deadline = self.deadline.min(request.deadline);
                self.waiting.push_back(request);
            }
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        if self.now.since(self.measured) >= MEASURE_EVERY {
            self.measured = self.now;
            self.shared.measure();
        }
        let now = Seen::now(&self.shared);
        let seen = &mut self.seen;
        if now.gone != seen.gone {
            seen.gone = now.gone;
            Some(Event::Removed)
        } else if now.lost_writes != seen.lost_writes {
            seen.lost_writes = now.lost_writes;
            Some(Event::IncarnationChanged(Incarnation(now.lost_writes)))
        } else if now.blocks != seen.blocks {
            seen.blocks = now.blocks;
            Some(Event::Resized(self.shared.geometry()))
        } else if now.media_errors != seen.media_errors {
            seen.media_errors = now.media_errors;
            Some(Event::MediaErrors(now.media_errors))
        } else {
            None
        }
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        self.now = now;
        if !self.ended.is_empty() || self.engine.has_completion() || now >= self.deadline {
            return Wait::Poll;
        }
        let pause = if self.engine.is_held_up() { HELD_UP_PAUSE } else { MEASURE_EVERY };
        Wait::Until(self.deadline.min(now.after(pause)))
    }
}

/// A job that was given back at its deadline has nothing more to say; its memory goes with it.
fn end(ended: &mut VecDeque<Completion>, job: Job, result: Result<(), IoError>) {
    if !job.given_back {
        ended.push_back(Completion { request: job.request, result });
    }
}
