//! An endpoint's tables: queue pairs with their connections, and what they share.

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;

use super::flows::Flows;
use super::numbers::Numbers;
use super::timers::Timers;
use super::windows::WindowTable;
use crate::soft::cm::{ConnectionManager, Shard};
use crate::soft::link::Path;
use crate::soft::rc::{Context, QueuePair, ReadBudget, ReceiveQueue};
use crate::soft::wire::Qpn;
use crate::{Completion, Counters, Handle, SharedReceiveQueueId, Slots};

/// Most shared receive queues of an endpoint.
pub(super) const SHARED_RECEIVE_QUEUES_MAX: u32 = 256;

/// How far the connection of a queue pair is.
///
/// ```text
///   connect ──► Connecting ──established──┐
///                   │                     ▼
///   accept ───► Accepting ─established─► Established
///                   │                     │
///                   └──────close──────────┴──► Closed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The connection manager waits for a reply.
    Connecting,
    /// The reply is on its way; the first packet of the peer may be data.
    Accepting,
    /// The user was told that work can be posted.
    Established,
    /// The user was told that it has ended.
    Closed,
}

/// A queue pair of the endpoint.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) queue_pair: QueuePair,
    pub(super) path: Path,
    pub(super) flow: usize,
    pub(super) receives: Option<SharedReceiveQueueId>,
    /// Whether it is in one of the lists of those that have something to send.
    pub(super) is_listed: bool,
    stage: Stage,
}

impl Entry {
    pub(super) const fn new(
        queue_pair: QueuePair,
        path: Path,
        flow: usize,
        receives: Option<SharedReceiveQueueId>,
        stage: Stage,
    ) -> Self {
        Self { queue_pair, path, flow, receives, is_listed: false, stage }
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// The connection is made. Returns whether that is news.
    pub(super) fn establish(&mut self) -> bool {
        let is_news = matches!(self.stage, Stage::Connecting | Stage::Accepting);
        if is_news {
            self.stage = Stage::Established;
        }
        is_news
    }

    /// The connection has ended. Returns whether that is news.
    pub(super) fn close(&mut self) -> bool {
        let is_news = self.stage != Stage::Closed;
        self.stage = Stage::Closed;
        is_news
    }
}

/// A receive queue that several queue pairs use.
#[derive(Debug)]
pub(super) struct SharedReceives {
    pub(super) queue: ReceiveQueue,
    pub(super) users: u32,
}

/// What queue pairs are lent while they act.
#[derive(Debug)]
pub(super) struct Commons {
    pub(super) windows: WindowTable,
    pub(super) shared_receives: Slots<SharedReceives>,
    pub(super) flows: Flows,
    pub(super) reads: ReadBudget,
    pub(super) counters: Counters,
}

impl Commons {
    #[inline]
    pub(super) fn lend<'a>(
        &'a mut self,
        flow: usize,
        receives: Option<SharedReceiveQueueId>,
        completions: &'a mut Vec<Completion>,
    ) -> Context<'a, WindowTable> {
        let shared_receives = match receives {
            Some(id) => self.shared_receives.get_mut(id.into()).map(|shared| &mut shared.queue),
            None => None,
        };
        Context {
            windows: &mut self.windows,
            shared_receives,
            flow: self.flows.at(flow),
            reads: &mut self.reads,
            completions,
            counters: &mut self.counters,
        }
    }
}

/// The tables.
pub(super) struct State {
    pub(super) numbers: Numbers,
    pub(super) queue_pairs: Slots<Entry>,
    pub(super) commons: Commons,
    pub(super) timers: Timers,
    /// Queue pairs that have something to send.
    pub(super) ready: VecDeque<Handle>,
    /// Queue pairs whose sending waits for a window.
    pub(super) blocked: Vec<Handle>,
    /// Whether a window may have opened since [`Self::blocked`] was looked at.
    pub(super) has_opened: bool,
    pub(super) manager: ConnectionManager,
    pub(super) random: StdRng,
}

impl State {
    pub(super) fn new(
        shard: Shard,
        queue_pairs_max: u32,
        manager: ConnectionManager,
        mut random: StdRng,
    ) -> Self {
        Self {
            numbers: Numbers::new(shard, queue_pairs_max, random.next_u32()),
            queue_pairs: Slots::new(queue_pairs_max),
            commons: Commons {
                windows: WindowTable::default(),
                shared_receives: Slots::new(SHARED_RECEIVE_QUEUES_MAX),
                flows: Flows::default(),
                reads: ReadBudget::default(),
                counters: Counters::default(),
            },
            timers: Timers::default(),
            ready: VecDeque::new(),
            blocked: Vec::new(),
            has_opened: false,
            manager,
            random,
        }
    }

    /// The queue pair of that number, if it is one that exists.
    #[inline]
    pub(super) fn find(&mut self, number: Qpn) -> Option<&mut Entry> {
        let entry = self.queue_pairs.slot_mut(self.numbers.slot(number))?;
        if entry.queue_pair.number() == number { Some(entry) } else { None }
    }

    /// Sees to it that a queue pair that has acted acts again: when it has something to send, and when its time comes.
    #[inline]
    pub(super) fn schedule(&mut self, handle: Handle) {
        let Some(entry) = self.queue_pairs.get_mut(handle) else { return };
        if let Some(deadline) = entry.queue_pair.next_timeout() {
            self.timers.arm(handle.slot(), deadline);
        }
        if !entry.is_listed && entry.queue_pair.has_work() {
            entry.is_listed = true;
            self.ready.push_back(handle);
        }
    }
}
