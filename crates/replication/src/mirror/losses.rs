//! The loss of a holder: what it was doing, what it now lacks, and the generation that says so.

use super::{Flight, Mirror, Phase, Purpose};
use crate::action::ActionKind;
use crate::holder::{HolderState, LossReason};
use crate::ids::{ActionId, HolderId, HolderSet, Region};
use crate::mutation::Mutation;

impl Mirror {
    /// A holder is lost. A leg was written to since its last flush in marked regions only, so that is what it lacks.
    pub(super) fn lose(&mut self, holder: HolderId, why: LossReason) {
        self.has_moved = true;
        if why != LossReason::Link {
            self.emit(holder, ActionKind::Close, None);
        }
        // A leg that was only loaded has no writes of this attachment, but those of earlier ones that are marked.
        let had_marks = self.holder(holder).takes_writes() || self.holder(holder).takes_marks();
        self.note_absence(holder, had_marks);
        let lost = self.holder_mut(holder);
        lost.state = HolderState::Away;
        lost.loss = Some(why);
        lost.heard_at = None;
        lost.dirty.clear();
        lost.copied.clear();
        self.map.remove_leg(holder);
        self.forget_flights(holder);
        self.leave_set(holder, why);
    }

    fn note_absence(&mut self, leg: HolderId, had_marks: bool) {
        if !had_marks || self.rules.lack(Mutation::ForgetMarksAtLoss) {
            return;
        }
        let marked: Vec<Region> = self.map.marks().map(|(region, _)| region).collect();
        let copied: Vec<Region> = self.holder(leg).copied.keys().copied().collect();
        self.map.add_lacks(leg, marked.into_iter().chain(copied));
    }

    /// Nothing that the holder was doing is waited for.
    fn forget_flights(&mut self, holder: HolderId) {
        if self.rules.lack(Mutation::LateCompletionCounts) {
            return;
        }
        let lost: Vec<(ActionId, Flight)> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.holder == holder)
            .map(|(id, f)| (*id, *f))
            .collect();
        for (id, flight) in lost {
            self.flights.remove(&id);
            match flight.purpose {
                Purpose::Read(request) => self.read_again(request, holder),
                Purpose::Write(request) => self.leg_done(request, holder),
                Purpose::Flush(flush) => self.flushed(flush, holder),
                Purpose::CopyRead => self.copy_again(holder),
                Purpose::CopyWrite => self.copy_written(holder),
                Purpose::Claim
                | Purpose::ReadLabel
                | Purpose::WriteLabel
                | Purpose::ReadMap
                | Purpose::WriteMap { .. }
                | Purpose::Ping => {}
            }
        }
        self.copy_loses(holder);
    }

    /// A member of the set leaves it by a new generation; with the last one everything begins anew.
    fn leave_set(&mut self, holder: HolderId, why: LossReason) {
        let is_member = self.promised.contains(holder);
        if is_member && self.rules.lack(Mutation::ReturnInSync) && why == LossReason::Link {
            return;
        }
        if is_member {
            let (left, joiners) = (self.promised.without(holder), self.joiners.without(holder));
            if left.minus(joiners).is_empty() {
                self.restart();
            } else {
                self.start_generation(left, joiners);
            }
        } else if self.phase == Phase::Attaching && self.is_nobody_left() {
            self.restart();
        }
    }

    /// Whether the members that an attachment began with are all lost.
    fn is_nobody_left(&self) -> bool {
        let members = self.holders_where(|holder| {
            matches!(holder.state, HolderState::Loading | HolderState::Loaded | HolderState::InSync)
        });
        let is_gathering = matches!(self.stage, super::attaching::Stage::Gathering);
        !is_gathering && members == HolderSet::EMPTY
    }
}
