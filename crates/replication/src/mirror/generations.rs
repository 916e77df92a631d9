//! Generations on their way: whose label is written next, and when a generation counts.

use super::{Mirror, Phase, Purpose};
use crate::action::ActionKind;
use crate::config::Policy;
use crate::generation::{Generation, GenerationName};
use crate::holder::HolderState;
use crate::ids::{HolderId, HolderSet};
use crate::mutation::Mutation;
use crate::wire::label::Label;

impl Mirror {
    /// A new generation with this in-sync set, to which `joiners` are new.
    pub(super) fn start_generation(&mut self, in_sync: HolderSet, joiners: HolderSet) {
        let id = self.next_generation_id();
        let held = self.names_held();
        let Some(current) = &self.current else { return };
        let mut child = current.child(id, &[], &held);
        if self.rules.lack(Mutation::NoAncestors) {
            child.ancestors.clear();
        }
        self.current = Some(child);
        self.promised = in_sync;
        self.joiners = joiners;
        self.is_changing = true;
        self.has_moved = true;
    }

    /// Generations that some holder's label may have.
    pub(super) fn names_held(&self) -> Vec<GenerationName> {
        self.holders
            .iter()
            .flat_map(|holder| holder.generation().into_iter().chain(holder.label_on_its_way))
            .collect()
    }

    fn current_name(&self) -> Option<GenerationName> {
        self.current.as_ref().map(|generation| generation.name)
    }

    fn has_current(&self, holder: HolderId) -> bool {
        self.current_name().is_some() && self.holder(holder).generation() == self.current_name()
    }

    /// Whether everybody but the joiners has the current generation.
    fn is_on_members(&self) -> bool {
        self.promised.minus(self.joiners).iter().all(|holder| self.has_current(holder))
    }

    /// Holders whose label is not the newest get it, members first. A leg that is admitted is named by everybody else's label
    /// before its own names itself, so that it can never speak for the mirror alone; and a writer that dies leaves no
    /// generation on legs that lack something while those that lack nothing do not know of it.
    pub(super) fn step_labels(&mut self) {
        let Some(current) = self.current.clone() else { return };
        let behind = self.holders_where(|holder| {
            holder.takes_labels()
                && holder.label_on_its_way.is_none()
                && holder.generation() != Some(current.name)
        });
        for holder in behind.iter() {
            if self.promised.minus(self.joiners).contains(holder) || self.is_on_members() {
                self.write_label(holder, &current);
            }
        }
    }

    fn write_label(&mut self, holder: HolderId, generation: &Generation) {
        let Some(member) = self.description.members.get(holder.index()) else { return };
        let old = self.holder(holder).label.as_ref();
        let label = Label {
            compatible: old.map_or(0, |label| label.compatible),
            mirror: self.description.mirror,
            holder: member.uuid,
            sequence: old.map_or(0, |label| label.sequence) + 1,
            generation: generation.clone(),
            in_sync: self.promised,
            policy: self.description.policy,
            members: self.description.members.clone(),
            shape: self.description.shape,
            data_offset_bytes: self.description.data_offset_bytes,
            map_offset_bytes: self.description.map_offset_bytes,
        };
        let bytes = label.encode();
        let copy = if self.rules.lack(Mutation::OneLabelCopy) { 0 } else { self.holder(holder).next_copy };
        let known = self.holder_mut(holder);
        known.label_on_its_way = Some(generation.name);
        known.label_to_be = Some(label);
        self.emit(holder, ActionKind::WriteLabel { copy, bytes }, Some(Purpose::WriteLabel));
    }

    /// A label is durable.
    pub(super) fn label_written(&mut self, holder: HolderId) {
        let known = self.holder_mut(holder);
        known.label_on_its_way = None;
        known.label = known.label_to_be.take();
        known.next_copy = 1 - known.next_copy;
        self.has_moved = true;
    }

    /// Whether the current generation is durable where the policy demands.
    fn is_durable_enough(&self) -> bool {
        let has_majority = match self.description.policy {
            Policy::AllMembers => true,
            Policy::Majority => {
                let name = self.current_name();
                let having =
                    self.holders_where(|holder| holder.takes_labels() && holder.generation() == name);
                having.len() >= self.description.majority()
                    || self.rules.lack(Mutation::MajorityWithoutMajority)
            }
        };
        !self.promised.is_empty()
            && has_majority
            && self.is_on_members()
            && self.joiners.iter().all(|holder| self.has_current(holder))
    }

    /// A generation that is durable enough counts.
    pub(super) fn step_generation(&mut self) {
        if !self.is_changing || !self.is_durable_enough() {
            return;
        }
        self.is_changing = false;
        self.joiners = HolderSet::EMPTY;
        self.has_moved = true;
        let promised = self.promised;
        for leg in promised.iter() {
            if matches!(self.holder(leg).state, HolderState::Joining | HolderState::Loaded) {
                self.enter(leg, HolderState::InSync);
                self.map.clear_lacks(leg);
            }
        }
        if self.phase == Phase::Attaching {
            self.attached();
        }
    }
}
