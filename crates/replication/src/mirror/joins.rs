//! Legs that return: from knowing what they lack to being in sync again.

use super::{Mirror, Phase};
use crate::holder::HolderState;
use crate::ids::{HolderId, HolderSet};
use crate::intent::LoadedMap;
use crate::mutation::Mutation;

impl Mirror {
    /// A leg's map is known: it takes writes from now on, and what it lacks is copied. What its own map marks is
    /// among that already, as long as every rule was kept; it costs little to be sure.
    pub(super) fn begin_sync(&mut self, leg: HolderId, own: &LoadedMap) {
        self.map.add_lacks(leg, own.intents());
        let marked: Vec<_> = self.map.marks().map(|(region, _)| region).collect();
        if !self.rules.lack(Mutation::ForgetMarksAtLoss) && !self.rules.lack(Mutation::ForgetAbsence) {
            self.map.add_lacks(leg, marked);
        }
        let dirty = self.map.lacks(leg).clone();
        self.holder_mut(leg).dirty = dirty;
        self.enter(leg, HolderState::Syncing);
    }

    /// Legs that lack nothing are admitted.
    pub(super) fn step_joins(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        let is_clean = |leg: &crate::holder::Holder| leg.dirty.is_empty();
        let synced = self.holders_where(|leg| leg.state == HolderState::Syncing && is_clean(leg));
        for leg in synced.iter().filter(|leg| !self.is_copied_to(*leg)).collect::<Vec<_>>() {
            self.begin_join(leg);
        }
        for leg in self.holders_where(|leg| leg.state == HolderState::Joining).iter() {
            self.go_on_with_join(leg);
        }
    }

    fn begin_join(&mut self, leg: HolderId) {
        if self.rules.lack(Mutation::JoinWithoutMap) {
            self.map.add_complete_leg(leg);
        } else {
            self.map.add_leg(leg);
        }
        self.enter(leg, HolderState::Joining);
    }

    fn go_on_with_join(&mut self, leg: HolderId) {
        if self.rules.lack(Mutation::JoinWithoutGeneration) {
            self.enter(leg, HolderState::InSync);
            return;
        }
        let is_durable = self.holder(leg).copied.is_empty() || self.rules.lack(Mutation::JoinWithoutFlush);
        if !is_durable {
            self.flush_for_ourselves();
        } else if self.map.is_whole_on(leg) && self.is_settled() {
            let joiner = HolderSet::EMPTY.with(leg);
            self.start_generation(self.promised.or(joiner), joiner);
        }
    }
}
