//! A queue of a remote namespace.
//!
//! ```text
//!   submit ──► waiting ──lane has room──► lane ──answered──► ended ──► poll
//!                 ▲                        │
//!                 └────association lost────┘   (or ended, with Reset, if the opener wants no I/O to be held)
//! ```

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use block::{
    BlockQueue, Completion, Event, Incarnation, IoError, QueueOptions, Request, Sleeper, Timestamp, Wait,
};
use nvme_spec::Nsid;
use rdma::{Device, Endpoint};

use crate::desk::{Desk, Known, LinkState};
use crate::handle::Handle;
use crate::lane::{Begun, Ended, Lane, Pending, may_repeat};
use crate::regions::Regions;
use crate::shared::Message;

/// How often a request is sent again after a loss of the association under it.
const LOSSES_MAX: u8 = 5;

/// How a queue treats its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueRules {
    pub(crate) nsid: Nsid,
    /// Whether I/O fails while there is no association.
    pub(crate) fail_fast: bool,
    /// How long a command may take.
    pub(crate) io_timeout_ns: u64,
}

/// A queue of a remote namespace.
pub(crate) struct Queue<D: Device> {
    handle: Arc<Handle<D>>,
    rules: QueueRules,
    regions: Arc<Regions>,
    desk: Arc<Desk<D>>,
    /// Its descriptor is the queue's: those of the lane's endpoint come and go inside.
    sleeper: Sleeper,
    known: Known,
    told: Told,
    lane: Option<Box<Lane<D>>>,
    /// The lane's time less that of this queue's user.
    clock_offset: u64,
    depth: usize,
    /// Taken and not given back.
    in_flight: usize,
    waiting: VecDeque<Pending>,
    ended: VecDeque<Completion>,
    /// When deadlines are to be looked at.
    look_at: Timestamp,
}

/// What the queue's owner was told.
#[derive(Clone, Copy, Debug)]
struct Told {
    incarnation: u64,
    geometry: block::Geometry,
    is_removed: bool,
}

impl<D: Device> Queue<D> {
    pub(crate) fn new(
        handle: Arc<Handle<D>>,
        rules: QueueRules,
        regions: Arc<Regions>,
        (desk, known): (Arc<Desk<D>>, Known),
        sleeper: Sleeper,
        options: QueueOptions,
    ) -> Self {
        let depth = options.depth as usize;
        let told =
            Told { incarnation: known.incarnation, geometry: known.geometry, is_removed: known.is_removed };
        Self {
            handle,
            rules,
            regions,
            desk,
            sleeper,
            known,
            told,
            lane: None,
            clock_offset: 0,
            depth,
            in_flight: 0,
            waiting: VecDeque::with_capacity(depth),
            ended: VecDeque::with_capacity(depth),
            look_at: Timestamp::NEVER,
        }
    }

    /// The lane's time.
    #[inline]
    fn lane_time(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_ns(now.as_ns().wrapping_add(self.clock_offset))
    }

    /// Takes one request, wherever it goes.
    #[inline]
    fn take(&mut self, request: Request, now: Timestamp) {
        self.in_flight += 1;
        if let Err(error) = self.check(&request, now) {
            self.ended.push_back(Completion { request, result: Err(error) });
            return;
        }
        self.look_at = self.look_at.min(request.deadline);
        let pending = Pending { request, losses: 0 };
        if self.waiting.is_empty() {
            self.begin(pending, now);
        } else {
            self.waiting.push_back(pending);
        }
    }

    #[inline]
    fn check(&self, request: &Request, now: Timestamp) -> Result<(), IoError> {
        if self.known.is_removed {
            return Err(IoError::Gone);
        }
        self.known.abilities.check(request.op)?;
        request.check(&self.known.geometry)?;
        if request.op.has_range() {
            request.check_size(&self.known.geometry)?;
        }
        if !self.regions.know(&request.data) {
            return Err(block::InvalidRequest::NotAttached.into());
        }
        if request.deadline <= now { Err(IoError::TimedOut) } else { Ok(()) }
    }

    /// Sends a request, or has it wait, or ends it.
    #[inline]
    fn begin(&mut self, pending: Pending, now: Timestamp) {
        let Some(lane) = &mut self.lane else { return self.hold(pending) };
        match lane.begin(pending, self.rules.nsid, now) {
            Begun::Sent => self.look_at = self.look_at.min(now.after_ns(self.rules.io_timeout_ns)),
            Begun::NoRoom(pending) => self.waiting.push_back(pending),
            Begun::Failed(request, error) => {
                self.ended.push_back(Completion { request, result: Err(error) });
            }
        }
    }

    /// There is no lane.
    fn hold(&mut self, pending: Pending) {
        match self.refusal() {
            Some(error) => self.ended.push_back(Completion { request: pending.request, result: Err(error) }),
            None => self.waiting.push_back(pending),
        }
    }

    /// How requests end that have no lane; `None` if they wait.
    fn refusal(&self) -> Option<IoError> {
        match self.known.link {
            _ if self.known.is_removed => Some(IoError::Gone),
            LinkState::Dead => Some(IoError::Gone),
            LinkState::Left => Some(IoError::Reset),
            LinkState::Down if self.rules.fail_fast => Some(IoError::Reset),
            LinkState::Up | LinkState::Down => None,
        }
    }

    /// Sends what waits, as far as there is room.
    fn refill(&mut self, now: Timestamp) {
        while let Some(lane) = &mut self.lane
            && lane.has_room()
            && let Some(pending) = self.waiting.pop_front()
        {
            let before = self.waiting.len();
            self.begin(pending, now);
            if self.waiting.len() > before {
                // It stays the first: nobody overtakes it.
                self.waiting.rotate_right(1);
                break;
            }
        }
        if let Some(lane) = &mut self.lane {
            lane.post();
        }
    }

    /// Sees what the core has left.
    #[cold]
    fn take_news(&mut self, now: Timestamp) {
        self.desk.begin_look();
        // Only to take back the call that woke us; nothing is waited for, and a failure wakes once too often.
        let _ = self.sleeper.sleep_until(now, now);
        let (known, lane) = self.desk.look();
        self.known = known;
        let is_over = |lane: &Lane<D>| known.ended.is_some_and(|ended| lane.association() <= ended);
        if self.lane.as_deref().is_some_and(is_over) {
            self.give_up_lane(self.lane_time(now));
        }
        if let Some(lane) = lane {
            self.adopt(lane, now);
        }
        if self.lane.is_none() && self.refusal().is_some() {
            let waiting = std::mem::take(&mut self.waiting);
            waiting.into_iter().for_each(|pending| self.hold(pending));
        }
        self.refill(now);
    }

    fn adopt(&mut self, lane: Box<Lane<D>>, now: Timestamp) {
        self.give_up_lane(self.lane_time(now));
        self.clock_offset = self.handle.shared().clock.now().as_ns().wrapping_sub(now.as_ns());
        let mut descriptors = Vec::new();
        lane.port().endpoint.wake_descriptors(&mut descriptors);
        for descriptor in descriptors {
            if let Err(error) = self.sleeper.add(descriptor) {
                tracing::warn!(%error, "a queue cannot sleep on its endpoint");
            }
        }
        self.lane = Some(lane);
    }

    /// Ends the lane, if there is one: what had no answer waits for the next one, or ends.
    fn give_up_lane(&mut self, lane_now: Timestamp) {
        let Some(lane) = self.lane.take() else { return };
        self.forget_descriptors(&lane);
        let Ended { port, awaits_peer, answered, unanswered } = lane.end(lane_now);
        self.handle.shared().tell(Message::Ended {
            desk: self.desk.number,
            port: Box::new(port),
            awaits_peer,
        });
        self.ended.extend(answered);
        for Pending { request, losses } in unanswered {
            if self.rules.fail_fast || losses >= LOSSES_MAX || !may_repeat(request.op) {
                self.ended.push_back(Completion { request, result: Err(IoError::Reset) });
            } else {
                self.waiting.push_back(Pending { request, losses: losses + 1 });
            }
        }
    }

    fn forget_descriptors(&mut self, lane: &Lane<D>) {
        let mut descriptors = Vec::new();
        lane.port().endpoint.wake_descriptors(&mut descriptors);
        for descriptor in descriptors {
            // It was added when the lane came.
            let _ = self.sleeper.remove(descriptor);
        }
    }

    /// Polls the lane. If it has failed the core is told, and ends the association.
    #[inline]
    fn poll_lane(&mut self, now: Timestamp) {
        let lane_now = self.lane_time(now);
        let Some(lane) = &mut self.lane else { return };
        lane.poll(&mut self.ended, lane_now);
        if lane.broken().is_some() {
            self.lane_broke(now);
        }
    }

    /// What the lane wants, in its own time. What it only has to say, as an acknowledgement, it says first.
    fn prepare_lane(&mut self, now: Timestamp) -> Wait {
        let lane_now = self.lane_time(now);
        match self.lane.as_mut().map(|lane| lane.prepare_wait(lane_now)) {
            None => Wait::Until(Timestamp::NEVER),
            Some(Wait::Poll) if self.in_flight == 0 => {
                self.poll_lane(now);
                let lane = self.lane.as_mut().filter(|_| self.ended.is_empty());
                lane.map_or(Wait::Poll, |lane| lane.prepare_wait(lane_now))
            }
            Some(wait) => wait,
        }
    }

    #[cold]
    fn lane_broke(&mut self, now: Timestamp) {
        let Some(lane) = &self.lane else { return };
        let Some(failure) = lane.broken() else { return };
        let association = lane.association();
        // Until the core says otherwise: what is submitted in between is treated as it will be.
        self.known.link = LinkState::Down;
        // First, so that the core does not take the lane's end for a wish for another.
        self.handle.shared().tell(Message::Failed { association, failure });
        self.give_up_lane(self.lane_time(now));
    }

    /// Judges deadlines, of requests that wait and of those on their way.
    #[cold]
    fn judge(&mut self, now: Timestamp) {
        let mut next = Timestamp::NEVER;
        for _ in 0..self.waiting.len() {
            let Some(pending) = self.waiting.pop_front() else { break };
            if pending.request.deadline <= now {
                self.ended.push_back(Completion { request: pending.request, result: Err(IoError::TimedOut) });
            } else {
                next = next.min(pending.request.deadline);
                self.waiting.push_back(pending);
            }
        }
        if let Some(lane) = &mut self.lane {
            next = next.min(lane.judge(now, self.rules.io_timeout_ns, &mut self.ended));
            if lane.broken().is_some() {
                self.lane_broke(now);
            }
        }
        self.look_at = next;
    }
}

impl<D: Device> BlockQueue for Queue<D> {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        while self.in_flight < self.depth {
            let Some(request) = requests.pop_front() else { break };
            self.take(request, now);
        }
        if let Some(lane) = &mut self.lane {
            lane.post();
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        if self.desk.has_news() {
            // What a new lane brings is polled the next time: the owner hears of the new incarnation before.
            self.take_news(now);
        } else {
            self.poll_lane(now);
        }
        if !self.waiting.is_empty() {
            self.refill(now);
        }
        if self.look_at <= now {
            self.judge(now);
        }
        let count = self.ended.len().min(self.depth);
        self.in_flight -= count;
        completions.extend(self.ended.drain(..count));
    }

    fn poll_event(&mut self) -> Option<Event> {
        let (told, known) = (&mut self.told, &self.known);
        if told.incarnation != known.incarnation {
            told.incarnation = known.incarnation;
            return Some(Event::IncarnationChanged(Incarnation(known.incarnation)));
        }
        if told.geometry != known.geometry {
            told.geometry = known.geometry;
            return Some(Event::Resized(known.geometry));
        }
        if told.is_removed != known.is_removed {
            told.is_removed = known.is_removed;
            return Some(Event::Removed);
        }
        None
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        descriptors.push(self.sleeper.as_raw_fd());
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        let has_room = self.lane.as_ref().is_some_and(|lane| lane.has_room());
        let could_send = has_room && !self.waiting.is_empty();
        if !self.ended.is_empty() || could_send || self.desk.has_news() {
            return Wait::Poll;
        }
        let offset = self.clock_offset;
        let lane = match self.prepare_lane(now) {
            Wait::Poll => return Wait::Poll,
            Wait::Until(Timestamp::NEVER) => Timestamp::NEVER,
            Wait::Until(at) => Timestamp::from_ns(at.as_ns().wrapping_sub(offset)),
        };
        Wait::Until(lane.min(self.look_at))
    }
}

impl<D: Device> Drop for Queue<D> {
    fn drop(&mut self) {
        let (_, unused) = self.desk.look();
        if unused.is_some() {
            // The one before has ended.
            self.give_up_lane(self.handle.shared().clock.now());
        }
        let lane = self.lane.take();
        if let Some(lane) = &lane {
            self.forget_descriptors(lane);
        }
        let shared = self.handle.shared();
        shared.tell(Message::Closed { desk: self.desk.number, lane: lane.or(unused) });
        shared.with_view(|view| view.queues_open = view.queues_open.saturating_sub(1));
    }
}
