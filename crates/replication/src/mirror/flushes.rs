//! Flushes: of users, and of the mirror itself when marks are to be cleared or a leg is to be admitted.

use super::requests::Stage;
use super::{Mirror, Phase, Purpose};
use crate::action::ActionKind;
use crate::ids::{HolderSet, RequestId};
use crate::mutation::Mutation;

/// A flush under way.
#[derive(Clone, Debug)]
pub(super) struct Flush {
    /// Whose; the mirror's own if nobody's.
    request: Option<RequestId>,
    /// What ended before this tick is covered.
    tick: u64,
    /// Legs that it went to.
    covered: HolderSet,
    pub(super) pending: HolderSet,
}

impl Mirror {
    pub(super) fn step_flush_request(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        match request.stage {
            Stage::Waiting if self.is_settled() => {
                let flush = self.begin_flush(Some(id));
                self.enter_stage(id, Stage::Flushing(flush));
            }
            Stage::Held if self.is_settled() || self.rules.lack(Mutation::AcknowledgeBeforeGeneration) => {
                self.complete(id, Ok(()));
            }
            _ => {}
        }
    }

    fn begin_flush(&mut self, request: Option<RequestId>) -> u64 {
        let id = self.next_flush;
        self.next_flush += 1;
        self.tick += 1;
        let mut legs = self.writable();
        if self.rules.lack(Mutation::FlushOneLeg) {
            legs = legs.iter().take(1).collect();
        }
        let covered = self.writable();
        self.flushes.insert(id, Flush { request, tick: self.tick, covered, pending: legs });
        legs.iter().for_each(|leg| self.emit(leg, ActionKind::Flush, Some(Purpose::Flush(id))));
        id
    }

    /// Begins a flush of the mirror's own, if none is under way.
    pub(super) fn flush_for_ourselves(&mut self) {
        let is_under_way = self.flushes.values().any(|flush| flush.request.is_none());
        if !is_under_way && self.phase == Phase::Serving && !self.is_changing {
            self.begin_flush(None);
        }
    }

    /// Somebody waits for room in the map, and nothing is clean.
    pub(super) fn want_room(&mut self) {
        let has_idle =
            self.map.marks().any(|(_, mark)| mark.writers == 0 && !mark.is_clean && !mark.is_unequal);
        if has_idle {
            self.flush_for_ourselves();
        }
    }

    pub(super) fn flushed(&mut self, id: u64, leg: crate::ids::HolderId) {
        if let Some(flush) = self.flushes.get_mut(&id) {
            flush.pending = flush.pending.without(leg);
            self.has_moved = true;
        }
    }

    /// Flushes that every leg has answered end.
    pub(super) fn step_flushes(&mut self) {
        let done: Vec<_> =
            self.flushes.iter().filter(|(_, flush)| flush.pending.is_empty()).map(|(id, _)| *id).collect();
        for id in done {
            let Some(flush) = self.flushes.remove(&id) else { continue };
            self.has_moved = true;
            self.note_clean(&flush);
            if let Some(request) = flush.request {
                self.enter_stage(request, Stage::Held);
            }
        }
    }

    /// Regions that were not written since the flush began are clean; copies that ended before it are durable.
    fn note_clean(&mut self, flush: &Flush) {
        for leg in flush.covered.and(self.writable()).iter() {
            let holder = self.holder_mut(leg);
            let durable: Vec<_> = holder
                .copied
                .iter()
                .filter(|(_, tick)| **tick < flush.tick)
                .map(|(region, _)| *region)
                .collect();
            for region in durable {
                self.holder_mut(leg).copied.remove(&region);
                self.map.remove_lack(leg, region);
            }
        }
        if !self.writable().is_subset_of(flush.covered) {
            return;
        }
        let (early, under_write) =
            (self.rules.lack(Mutation::ClearEarly), self.rules.lack(Mutation::ClearUnderWrite));
        for (_, mark) in self.map.marks_mut() {
            let is_covered = (mark.last_tick < flush.tick || early) && (mark.writers == 0 || under_write);
            mark.is_clean |= is_covered && !mark.is_unequal;
        }
        if early || under_write {
            let clean: Vec<_> = self.map.marks().filter(|(_, mark)| mark.is_clean).map(|(r, _)| r).collect();
            clean.into_iter().for_each(|region| self.map.clear(region));
        }
    }
}
