//! Writes: the range, the marks, the legs, the generation; in this order.

use block::{BlockRange, Op};

use super::requests::Stage;
use super::{Mirror, Purpose};
use crate::action::{ActionKind, Data};
use crate::ids::{HolderSet, Region, RequestId};
use crate::mutation::Mutation;
use crate::regions::touched;

/// Sequential streams that are recognized at a time.
const STREAMS_MAX: usize = 8;

impl Mirror {
    pub(super) fn step_write(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        match request.stage {
            Stage::Waiting => self.begin_marks(id),
            Stage::Marking => self.send_write(id),
            Stage::Sent => self.end_write(id),
            Stage::Held => self.acknowledge(id),
            Stage::Reading(_) | Stage::Repairing | Stage::Flushing(_) => {
                unreachable!("a write neither reads nor flushes")
            }
        }
    }

    fn begin_marks(&mut self, id: RequestId) {
        let Some(lock) = self.lock_request(id) else { return };
        let is_granted = self.locks.is_granted(lock) || self.rules.lack(Mutation::NoRangeLocks);
        if !is_granted || !self.is_settled() {
            return;
        }
        let Some(range) = self.requests.get(&id).map(|request| request.range) else { return };
        let regions: Vec<_> = touched(&self.description.shape, range).collect();
        if !self.map.make_room(&regions) {
            self.want_room();
            return;
        }
        self.locks.hold(lock);
        let needs = regions.iter().map(|region| self.mark_for_write(*region)).collect();
        if let Some(request) = self.request_mut(id) {
            request.needs = needs;
        }
        self.mark_ahead(range);
        self.enter_stage(id, Stage::Marking);
    }

    fn mark_for_write(&mut self, region: Region) -> crate::intent::Need {
        let absent = if self.rules.lack(Mutation::ForgetAbsence) { HolderSet::EMPTY } else { self.absent() };
        self.map.mark(region, absent, self.now);
        let Some(mark) = self.map.mark_mut(region) else { unreachable!("it was marked just now") };
        mark.writers += 1;
        mark.is_clean = false;
        mark.need
    }

    /// Marks what a sequential stream will write next, if there is room that nobody needs.
    fn mark_ahead(&mut self, range: BlockRange) {
        let end = range.start.0.saturating_add(range.blocks);
        let is_stream = self.stream_ends.contains(&range.start.0);
        self.stream_ends.retain(|expected| *expected != range.start.0);
        if self.stream_ends.len() == STREAMS_MAX {
            self.stream_ends.pop_front();
        }
        self.stream_ends.push_back(end);
        if !is_stream {
            return;
        }
        let shape = self.description.shape;
        let next = end / u64::from(shape.region_blocks);
        let ahead = (next..u64::from(shape.regions())).take(self.options.intent_ahead as usize);
        for region in ahead.filter_map(|region| u32::try_from(region).ok()).map(Region) {
            let room = self.map.marked() + 1 < self.options.intent_regions_max as usize;
            if room && self.map.mark_of(region).is_none() {
                self.map.mark(region, self.absent(), self.now);
            }
        }
    }

    fn send_write(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        let is_marked = request.needs.iter().all(|need| {
            self.map.is_durable(*need)
                || self.rules.lack(Mutation::SkipMark)
                || (self.rules.lack(Mutation::MarkOnOneLeg) && self.map.is_durable_somewhere(*need))
        });
        if request.is_abandoned {
            self.end_marks(id);
            self.complete(id, Ok(()));
            return;
        }
        if !is_marked || !self.is_settled() {
            return;
        }
        let (op, range) = (request.op, request.range);
        let legs =
            if self.rules.lack(Mutation::ResyncWithoutWrites) { self.in_sync() } else { self.writable() };
        for leg in legs.iter() {
            let kind = self.write_action(id, op, range);
            self.emit(leg, kind, Some(Purpose::Write(id)));
        }
        if let Some(request) = self.request_mut(id) {
            request.pending = legs;
        }
        self.enter_stage(id, Stage::Sent);
    }

    fn write_action(&self, id: RequestId, op: Op, range: BlockRange) -> ActionKind {
        let is_durable = |fua| (fua && !self.rules.lack(Mutation::DropFua)) || self.options.write_through;
        match op {
            Op::Write { fua } => ActionKind::Write { range, data: Data::Request(id), fua: is_durable(fua) },
            Op::WriteZeroes { fua, may_unmap } => {
                ActionKind::WriteZeroes { range, fua: is_durable(fua), may_unmap }
            }
            // Legs need not agree on what discarded blocks read as.
            _ => ActionKind::WriteZeroes { range, fua: is_durable(false), may_unmap: true },
        }
    }

    fn end_write(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        let is_first_enough = self.rules.lack(Mutation::AcknowledgeOnFirstLeg) && request.pending.len() == 1;
        if !request.pending.is_empty() && !is_first_enough {
            return;
        }
        self.end_marks(id);
        self.unlock_request(id);
        self.enter_stage(id, Stage::Held);
    }

    /// The request no longer writes its regions.
    fn end_marks(&mut self, id: RequestId) {
        let Some(range) = self.requests.get(&id).map(|request| request.range) else { return };
        self.tick += 1;
        let (tick, now) = (self.tick, self.now);
        for region in touched(&self.description.shape, range) {
            if let Some(mark) = self.map.mark_mut(region) {
                mark.writers = mark.writers.saturating_sub(1);
                mark.last_tick = tick;
                mark.used_at = now;
            }
        }
    }

    fn acknowledge(&mut self, id: RequestId) {
        if self.is_settled() || self.rules.lack(Mutation::AcknowledgeBeforeGeneration) {
            self.complete(id, Ok(()));
        }
    }
}
