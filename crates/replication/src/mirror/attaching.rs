//! Attaching: labels are gathered until they are enough, the maps of the members are read and made one, and a generation of
//! this attachment is made durable before anything is served.

use std::collections::BTreeMap;

use block::Timestamp;

use super::{Mirror, Phase, Purpose};
use crate::action::ActionKind;
use crate::attach::{self, Plan, Refusal};
use crate::config::{Policy, Role};
use crate::error::MirrorError;
use crate::generation::{Generation, Lineage};
use crate::holder::{Holder, HolderState, LossReason};
use crate::ids::{HolderId, HolderSet};
use crate::intent::{IntentMap, LoadedMap};
use crate::mutation::Mutation;
use crate::wire::label::Label;

/// How far an attachment is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Labels are being read.
    Gathering,
    /// The maps of the members are being read.
    Loading { maps: BTreeMap<HolderId, LoadedMap>, newest: Generation },
    /// The members get the map that is the union of theirs.
    Unifying { newest: Generation },
    /// The generation of the attachment is on its way.
    Committing,
    /// A writer that cannot hear of the takeover may read until then.
    Waiting { until: Timestamp },
    /// Done.
    Attached,
}

impl Mirror {
    /// A holder's label was read.
    pub(super) fn label_read(&mut self, holder: HolderId, copies: &crate::action::LabelCopies) {
        let (label, next_copy) = match Label::newest(copies) {
            Ok(found) => found,
            Err(why) => return self.refuse(holder, Refusal::Label(why)),
        };
        if let Err(why) = attach::check_identity(&self.description, holder, &label) {
            return self.refuse(holder, why);
        }
        let planned = match &self.stage {
            Stage::Loading { newest, .. } | Stage::Unifying { newest } => Some(newest),
            _ => self.current.as_ref(),
        };
        let lineage = planned.map(|planned| planned.lineage(&label.generation));
        let is_planning = self.phase == Phase::Attaching && self.current.is_none();
        let name = label.generation.name;
        let known = self.holder_mut(holder);
        known.next_copy = next_copy;
        known.label_on_its_way = None;
        known.label_to_be = None;
        known.label = Some(label);
        match lineage {
            // What was planned did not know of this label: another writer's generation may count, and this one's does not yet.
            Some(Lineage::Older) if is_planning => self.restart(),
            Some(Lineage::Diverged) if self.phase == Phase::Attaching => self.restart(),
            Some(Lineage::Diverged) if self.is_changing => self.fence(),
            // Somebody has been here since: whoever that was has taken over.
            Some(Lineage::Older) => self.fence(),
            Some(Lineage::Diverged) if self.description.policy == Policy::AllMembers => {
                let Some(one) = self.current.as_ref().map(|current| current.name) else { return };
                let one_holder = self.promised.first().unwrap_or(holder);
                self.refuse(
                    holder,
                    Refusal::SplitBrain { one, one_holder, other: name, other_holder: holder },
                );
            }
            _ => self.enter(holder, HolderState::Known),
        }
    }

    fn refuse(&mut self, holder: HolderId, why: Refusal) {
        self.holder_mut(holder).refusal = Some(why);
        self.enter(holder, HolderState::Refused);
    }

    /// Goes on with attaching; once attached, with holders that return.
    pub(super) fn step_attach(&mut self) {
        self.welcome();
        match &self.stage {
            Stage::Gathering => self.gather(),
            Stage::Loading { .. } => self.unify(),
            Stage::Unifying { .. } => self.commit_attachment(),
            Stage::Waiting { until } if *until <= self.now => self.serve(),
            Stage::Committing | Stage::Waiting { .. } | Stage::Attached => {}
        }
    }

    /// The witness needs no map; legs that are known and no members are read their map once the mirror is attached.
    fn welcome(&mut self) {
        for holder in self.holders_where(|holder| holder.state == HolderState::Known).iter() {
            let role = self.description.members[holder.index()].role;
            let is_attached = self.phase == Phase::Serving;
            match role {
                Role::Witness if is_attached => self.enter(holder, HolderState::Witnessing),
                Role::Leg if is_attached && self.returns_in_sync(holder) => {
                    self.map.add_complete_leg(holder);
                    self.enter(holder, HolderState::InSync);
                }
                Role::Leg if is_attached => self.load(holder),
                Role::Witness | Role::Leg => {}
            }
        }
    }

    fn returns_in_sync(&self, leg: HolderId) -> bool {
        self.rules.lack(Mutation::ReturnInSync) && self.promised.contains(leg)
    }

    fn load(&mut self, leg: HolderId) {
        self.enter(leg, HolderState::Loading);
        self.emit(leg, ActionKind::ReadMap, Some(Purpose::ReadMap));
    }

    /// What is missing to attach, if anything is.
    pub(super) fn plan(&self) -> Result<Plan, Refusal> {
        let known = self.holders_where(|holder| holder.state == HolderState::Known);
        let labels: Vec<_> =
            known.iter().filter_map(|id| self.holder(id).label.as_ref().map(|label| (id, label))).collect();
        let plan = attach::decide(&self.description, &labels);
        match plan {
            Err(Refusal::Members { members, .. }) if self.rules.lack(Mutation::AttachWithoutMembers) => {
                let members = members.and(known);
                let leg = members.first().ok_or(Refusal::Nobody)?;
                let newest = self.holder(leg).label.as_ref().ok_or(Refusal::Nobody)?.generation.clone();
                Ok(Plan { newest, members, is_partial: false })
            }
            _ if self.rules.lack(Mutation::AttachToAnyGeneration) => {
                let (_, label) = labels.first().ok_or(Refusal::Nobody)?;
                let members = label.in_sync.and(known);
                let plan = Plan { newest: label.generation.clone(), members, is_partial: false };
                if members.is_empty() { Err(Refusal::Nobody) } else { Ok(plan) }
            }
            plan => plan,
        }
    }

    fn gather(&mut self) {
        let Ok(plan) = self.plan() else { return };
        // A member that is late for a moment should not cost a resync.
        let is_early = self.attaching_since.after(self.options.leg_timeout) > self.now;
        if plan.is_partial && is_early {
            return;
        }
        plan.members.iter().for_each(|leg| self.load(leg));
        self.stage = Stage::Loading { maps: BTreeMap::new(), newest: plan.newest };
    }

    /// A leg's map was read.
    pub(super) fn map_read(&mut self, leg: HolderId, units: &[Option<crate::action::MapUnit>]) {
        let map = LoadedMap::decode(self.description.mirror, &self.description.shape, units);
        if let Stage::Loading { maps, .. } = &mut self.stage {
            maps.insert(leg, map);
            self.enter(leg, HolderState::Loaded);
        } else {
            self.begin_sync(leg, &map);
        }
    }

    /// All maps are read: their union is the map.
    fn unify(&mut self) {
        if !self.holders_where(|holder| holder.state == HolderState::Loading).is_empty() {
            return;
        }
        let Stage::Loading { maps, newest } = std::mem::replace(&mut self.stage, Stage::Gathering) else {
            return;
        };
        let members = self.holders_where(|holder| holder.state == HolderState::Loaded);
        let lacking = self.description.legs().minus(members);
        self.map = IntentMap::new(self.description.shape, self.options.intent_regions_max);
        for (_, map) in maps.iter().filter(|(leg, _)| members.contains(**leg)) {
            self.map.load(map, lacking, self.now);
        }
        self.tick += 1;
        let tick = self.tick;
        let is_unequal = members.len() > 1 && !self.rules.lack(Mutation::AttachWithoutRepair);
        for (_, mark) in self.map.marks_mut() {
            mark.is_unequal = is_unequal;
            mark.last_tick = tick;
        }
        members.iter().for_each(|leg| self.map.add_leg(leg));
        self.stage = Stage::Unifying { newest };
        self.has_moved = true;
    }

    /// The members have the map: the generation of this attachment follows.
    fn commit_attachment(&mut self) {
        let members = self.holders_where(|holder| holder.state == HolderState::Loaded);
        if !members.iter().all(|leg| self.map.is_whole_on(leg)) {
            return;
        }
        let Stage::Unifying { newest } = std::mem::replace(&mut self.stage, Stage::Committing) else {
            return;
        };
        if self.rules.lack(Mutation::AttachWithoutGeneration) {
            self.current = Some(newest);
            self.promised = members;
            members.iter().for_each(|leg| self.enter(leg, HolderState::InSync));
            self.attached();
            return;
        }
        let id = self.next_generation_id();
        let seen: Vec<&Generation> = self
            .holders
            .iter()
            .filter_map(|holder| holder.label.as_ref())
            .map(|label| &label.generation)
            .collect();
        self.current = Some(newest.child(id, &seen, &self.names_held()));
        self.promised = members;
        self.joiners = HolderSet::EMPTY;
        self.is_changing = true;
        self.has_moved = true;
    }

    /// The generation of this attachment is durable.
    pub(super) fn attached(&mut self) {
        let is_everybody_told = self.description.legs().iter().all(|leg| self.holder(leg).was_claimed);
        let waits = self.description.policy == Policy::Majority
            && !is_everybody_told
            && !self.rules.lack(Mutation::NoTakeoverWait);
        let until = if waits { self.now.after(self.options.lease) } else { self.now };
        self.stage = Stage::Waiting { until };
        self.has_moved = true;
    }

    fn serve(&mut self) {
        self.stage = Stage::Attached;
        self.phase = Phase::Serving;
        self.has_moved = true;
    }

    /// Nobody is in sync any more: requests fail, and everything begins anew with whoever returns.
    pub(super) fn restart(&mut self) {
        let up = self.holders_where(|holder| holder.state != HolderState::Away);
        for holder in up.iter() {
            self.holder_mut(holder).state = HolderState::Away;
            self.holder_mut(holder).loss = Some(LossReason::Restart);
            self.emit(holder, ActionKind::Close, None);
        }
        self.flights.clear();
        self.flushes.clear();
        self.copy = None;
        self.fail_all(MirrorError::NoLegs);
        self.locks.clear();
        self.map = IntentMap::new(self.description.shape, self.options.intent_regions_max);
        for holder in &mut self.holders {
            let fresh = Holder { was_claimed: holder.was_claimed, loss: holder.loss, ..Holder::new() };
            *holder = fresh;
        }
        self.phase = Phase::Attaching;
        self.stage = Stage::Gathering;
        self.attaching_since = self.now;
        self.incarnation += 1;
        self.current = None;
        self.promised = HolderSet::EMPTY;
        self.joiners = HolderSet::EMPTY;
        self.is_changing = false;
        self.has_moved = true;
    }
}
