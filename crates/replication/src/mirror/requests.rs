//! Requests under way: what they wait for, and how they end.

use block::{BlockRange, Op, Timestamp};

use super::{Mirror, Phase};
use crate::config::Policy;
use crate::error::MirrorError;
use crate::ids::{HolderId, HolderSet, RequestId};
use crate::intent::Need;
use crate::locks::LockId;
use crate::regions::touched;

/// How far a request is.
///
/// ```text
/// write: Waiting (for its range, room in the map, a settled generation) -> Marking -> Sent -> Held (for the generation)
/// read:  Waiting (for the lease; for its range if that is repaired first) -> Reading [-> Repairing] -> Held
/// flush: Waiting -> Flushing -> Held
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Marking,
    Sent,
    Reading(HolderId),
    Repairing,
    Flushing(u64),
    Held,
}

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) op: Op,
    pub(super) range: BlockRange,
    pub(super) since: Timestamp,
    pub(super) stage: Stage,
    pub(super) lock: Option<LockId>,
    /// Legs that have not answered.
    pub(super) pending: HolderSet,
    /// States of the map that must be durable first.
    pub(super) needs: Vec<Need>,
    /// Legs that cannot read the blocks.
    pub(super) unreadable: HolderSet,
    /// The range is made equal before the answer.
    pub(super) is_repair: bool,
    /// It has failed, and is kept only until legs no longer use its data.
    pub(super) is_abandoned: bool,
}

impl Request {
    pub(super) const fn new(op: Op, range: BlockRange, since: Timestamp) -> Self {
        Self {
            op,
            range,
            since,
            stage: Stage::Waiting,
            lock: None,
            pending: HolderSet::EMPTY,
            needs: Vec::new(),
            unreadable: HolderSet::EMPTY,
            is_repair: false,
            is_abandoned: false,
        }
    }
}

impl Mirror {
    pub(super) fn check_request(&self, op: Op, range: BlockRange) -> Result<(), MirrorError> {
        let shape = self.description.shape;
        match self.phase {
            Phase::Fenced => return Err(MirrorError::Fenced),
            Phase::Attaching => return Err(MirrorError::NotAttached),
            Phase::Serving => {}
        }
        if !op.has_range() {
            return Ok(());
        }
        if range.blocks == 0 || !range.fits(shape.blocks) {
            return Err(MirrorError::Range);
        }
        let regions_max = (self.options.intent_regions_max / 2).max(1) as usize;
        if op.changes_data() && touched(&shape, range).count() > regions_max {
            return Err(MirrorError::TooLarge);
        }
        Ok(())
    }

    /// Every request goes as far as it can.
    pub(super) fn step_requests(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        let ids: Vec<_> = self.requests.keys().copied().collect();
        for id in ids {
            let Some(request) = self.requests.get(&id) else { continue };
            match request.op {
                Op::Flush => self.step_flush_request(id),
                op if op.changes_data() => self.step_write(id),
                _ => self.step_read(id),
            }
        }
    }

    pub(super) fn request_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.requests.get_mut(&id)
    }

    pub(super) fn enter_stage(&mut self, id: RequestId, stage: Stage) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.stage = stage;
            self.has_moved = true;
        }
    }

    /// The request's place among the ranges; it takes one if it has none.
    pub(super) fn lock_request(&mut self, id: RequestId) -> Option<LockId> {
        let request = self.requests.get_mut(&id)?;
        let locks = &mut self.locks;
        Some(*request.lock.get_or_insert_with(|| locks.queue(request.range)))
    }

    pub(super) fn unlock_request(&mut self, id: RequestId) {
        if let Some(lock) = self.requests.get_mut(&id).and_then(|request| request.lock.take()) {
            self.locks.release(lock);
        }
    }

    /// Ends a request.
    pub(super) fn complete(&mut self, id: RequestId, result: Result<(), MirrorError>) {
        self.unlock_request(id);
        if let Some(request) = self.requests.remove(&id) {
            self.has_moved = true;
            if !request.is_abandoned {
                self.completions.push_back((id, result));
            }
        }
    }

    /// Ends all requests.
    pub(super) fn fail_all(&mut self, why: MirrorError) {
        let ids: Vec<_> = self.requests.keys().copied().collect();
        ids.into_iter().for_each(|id| self.complete(id, Err(why)));
    }

    /// Fails a request whose patience has ended. What legs still work on keeps its range until they are done.
    pub(super) fn abandon(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if request.is_abandoned {
            return;
        }
        match request.stage {
            Stage::Waiting | Stage::Held | Stage::Flushing(_) => {
                self.complete(id, Err(MirrorError::NoMajority))
            }
            Stage::Marking | Stage::Sent | Stage::Reading(_) | Stage::Repairing => {
                request.is_abandoned = true;
                self.completions.push_back((id, Err(MirrorError::NoMajority)));
            }
        }
    }

    /// Requests whose patience has ended, because there is no majority.
    pub(super) fn abandon_impatient(&mut self) {
        let Some(patience) = self.options.quorum_timeout else { return };
        if self.description.policy != Policy::Majority || self.is_settled() {
            return;
        }
        let now = self.now;
        let is_late = |request: &Request| !request.is_abandoned && request.since.after(patience) <= now;
        let late: Vec<_> =
            self.requests.iter().filter(|(_, request)| is_late(request)).map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.abandon(id));
    }
}
