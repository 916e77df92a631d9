//! A receive queue that queue pairs share. Its receives complete in any order.

use std::sync::Arc;

use crate::verbs::objects::SharedReceives;
use crate::verbs::ring::Position;
use crate::work::Receive;

/// A shared receive queue. Dropped from top to bottom: the device loses the queue, then the memory goes.
pub(super) struct SharedQueue {
    pub(super) queue: Arc<SharedReceives>,
    /// What was posted, by place.
    posted: Vec<Option<Receive>>,
    /// Places that are free.
    free: Vec<u32>,
    /// Queue pairs that use it.
    pub(super) users: u32,
    pub(super) depth: u32,
}

impl SharedQueue {
    pub(super) fn new(queue: Arc<SharedReceives>, depth: u32) -> Self {
        let posted = (0..depth).map(|_| None).collect();
        Self { queue, posted, free: (0..depth).rev().collect(), users: 0, depth }
    }

    /// Receives that can be posted now.
    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    /// The place that a receive will have if `ahead` others are posted before it.
    pub(super) fn position(&self, ahead: usize) -> Option<Position> {
        let last = self.free.len().checked_sub(ahead + 1)?;
        self.free.get(last).map(|place| Position::from_bits(*place))
    }

    /// Notes a receive that the device took.
    pub(super) fn push(&mut self, receive: Receive) {
        let place = self.free.pop().and_then(|place| self.posted.get_mut(place as usize));
        debug_assert!(place.is_some(), "the device took more receives than it was made for");
        if let Some(place) = place {
            *place = Some(receive);
        }
    }

    /// Takes out the receive at a place, which has completed.
    pub(super) fn take(&mut self, position: Position) -> Option<Receive> {
        let receive = self.posted.get_mut(position.bits() as usize)?.take()?;
        self.free.push(position.bits());
        Some(receive)
    }
}
