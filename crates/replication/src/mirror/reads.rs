//! Reads: from the fastest leg in sync; from another one if that fails; and never from legs that may differ.

use super::requests::Stage;
use super::{Mirror, Purpose};
use crate::action::{ActionKind, Data};
use crate::error::MirrorError;
use crate::holder::HolderState;
use crate::ids::{HolderId, HolderSet, RequestId};
use crate::mutation::Mutation;
use crate::regions::touched;

impl Mirror {
    pub(super) fn step_read(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        match request.stage {
            Stage::Waiting if request.is_abandoned => self.complete(id, Ok(())),
            Stage::Waiting => self.begin_read(id),
            Stage::Repairing if request.pending.is_empty() => self.enter_stage(id, Stage::Held),
            Stage::Held if request.is_abandoned => self.complete(id, Ok(())),
            // What was made equal must stay so: the generation without a leg that failed meanwhile is durable first.
            Stage::Held if self.has_lease() && (!request.is_repair || self.is_settled()) => {
                self.complete(id, Ok(()));
            }
            Stage::Held | Stage::Repairing | Stage::Reading(_) => {}
            Stage::Marking | Stage::Sent | Stage::Flushing(_) => {
                unreachable!("a read neither writes nor flushes")
            }
        }
    }

    fn begin_read(&mut self, id: RequestId) {
        if !self.has_lease() {
            return;
        }
        if self.must_repair_first(id) {
            if let Some(request) = self.request_mut(id) {
                request.is_repair = true;
            }
            let Some(lock) = self.lock_request(id) else { return };
            if !self.locks.is_granted(lock) || !self.is_settled() {
                return;
            }
            self.locks.hold(lock);
        }
        let Some(request) = self.requests.get(&id) else { return };
        let range = request.range;
        match self.fastest(request.unreadable) {
            Some(leg) => {
                self.enter_stage(id, Stage::Reading(leg));
                let kind = ActionKind::Read { range, data: Data::Request(id) };
                self.emit(leg, kind, Some(Purpose::Read(id)));
            }
            None => self.complete(id, Err(MirrorError::Unreadable)),
        }
    }

    fn must_repair_first(&self, id: RequestId) -> bool {
        let Some(request) = self.requests.get(&id) else { return false };
        let is_unequal = || {
            let mut regions = touched(&self.description.shape, request.range);
            regions.any(|region| self.map.mark_of(region).is_some_and(|mark| mark.is_unequal))
        };
        let must = request.is_repair || (self.in_sync().len() > 1 && is_unequal());
        must && !self.rules.lack(Mutation::ReadWithoutRepair)
    }

    /// The leg in sync that answers reads soonest.
    pub(super) fn fastest(&self, except: HolderSet) -> Option<HolderId> {
        let legs = if self.rules.lack(Mutation::ReadFromSyncing) { self.writable() } else { self.in_sync() };
        legs.minus(except).iter().min_by_key(|leg| self.holder(*leg).latency_ns)
    }

    /// A leg has read a request's blocks.
    pub(super) fn read_done(&mut self, id: RequestId, leg: HolderId) {
        let targets = self.in_sync().without(leg);
        let Some(request) = self.requests.get_mut(&id) else { return };
        if !request.is_repair {
            self.enter_stage(id, Stage::Held);
            return;
        }
        request.pending = targets;
        let range = request.range;
        for target in targets.iter() {
            let kind = ActionKind::Write { range, data: Data::Request(id), fua: false };
            self.emit(target, kind, Some(Purpose::Write(id)));
        }
        self.touch_marks(range);
        self.enter_stage(id, Stage::Repairing);
    }

    /// A leg could not read a request's blocks: another one does, and they are written to this one again.
    pub(super) fn read_failed(&mut self, id: RequestId, leg: HolderId) {
        if let Some(request) = self.request_mut(id) {
            request.unreadable = request.unreadable.with(leg);
            request.is_repair = true;
        }
        self.enter_stage(id, Stage::Waiting);
    }

    /// Reads that a lost leg was working on begin again.
    pub(super) fn read_again(&mut self, id: RequestId, leg: HolderId) {
        if self.requests.get(&id).is_some_and(|request| request.stage == Stage::Reading(leg)) {
            self.enter_stage(id, Stage::Waiting);
        }
    }

    /// Copies are writes too: marks of the range are not cleared by a flush that began before they end.
    pub(super) fn touch_marks(&mut self, range: block::BlockRange) {
        self.tick += 1;
        let tick = self.tick;
        for region in touched(&self.description.shape, range) {
            if let Some(mark) = self.map.mark_mut(region) {
                mark.last_tick = tick;
                mark.is_clean = false;
            }
        }
    }

    /// The latency of a read, into the smoothed one: an eighth of the difference.
    pub(super) fn learn_latency(&mut self, leg: HolderId, latency_ns: u64) {
        let holder = self.holder_mut(leg);
        debug_assert_ne!(holder.state, HolderState::Away, "an answer of nobody");
        holder.latency_ns = match holder.latency_ns {
            0 => latency_ns,
            old => old - old / 8 + latency_ns / 8,
        };
    }
}
