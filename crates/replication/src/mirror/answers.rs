//! What comes in from holders: links, and the ends of actions.

use block::Timestamp;

use super::coverage::Event;
use super::{Flight, Mirror, Phase, Purpose};
use crate::action::{ActionKind, Done, LegError};
use crate::holder::{HolderState, LossReason};
use crate::ids::{ActionId, HolderId};
use crate::mutation::Mutation;

impl Mirror {
    /// A holder has an association, a new one.
    pub fn handle_link_up(&mut self, now: Timestamp, holder: HolderId) {
        self.now = now;
        if self.phase == Phase::Fenced || holder.index() >= self.holders.len() {
            return;
        }
        self.count(holder, Event::LinkUp);
        if self.holder(holder).state != HolderState::Away {
            self.lose(holder, LossReason::Link);
        }
        let was_claimed = self.holder(holder).was_claimed;
        self.holder_mut(holder).refusal = None;
        self.enter(holder, HolderState::Claiming);
        let kind = ActionKind::Claim { key: self.attachment.key, takeover: !was_claimed };
        if self.rules.lack(Mutation::NoFence)
            || (was_claimed && self.rules.lack(Mutation::ReconnectWithoutClaim))
        {
            self.claimed(holder);
        } else {
            self.emit(holder, kind, Some(Purpose::Claim));
        }
        self.pump();
    }

    /// A holder's association ended, or the holder was reset: what it had not made durable may be gone.
    pub fn handle_link_down(&mut self, now: Timestamp, holder: HolderId) {
        self.now = now;
        if self.phase == Phase::Fenced || holder.index() >= self.holders.len() {
            return;
        }
        self.count(holder, Event::LinkDown);
        if self.holder(holder).state != HolderState::Away {
            self.lose(holder, LossReason::Link);
        }
        self.pump();
    }

    /// An action ended. What belongs to an association that is lost is not listened to.
    pub fn handle_completion(&mut self, now: Timestamp, id: ActionId, result: Result<Done, LegError>) {
        self.now = now;
        let Some(flight) = self.flights.get(&id).copied() else { return };
        match result {
            Ok(done) => {
                self.flights.remove(&id);
                self.succeeded(flight, &done);
            }
            Err(LegError::Unreadable) if matches!(flight.purpose, Purpose::Read(_) | Purpose::CopyRead) => {
                self.flights.remove(&id);
                self.unreadable(flight);
            }
            // It is among those that the loss of the holder ends.
            Err(why) => self.failed(flight, why),
        }
        self.pump();
    }

    fn succeeded(&mut self, flight: Flight, done: &Done) {
        let Flight { holder, begun, purpose } = flight;
        self.has_moved = true;
        self.count(holder, event_of(purpose));
        let known = self.holder_mut(holder);
        known.heard_at = known.heard_at.max(Some(begun));
        match (purpose, done) {
            (Purpose::Claim, _) => self.claimed(holder),
            (Purpose::ReadLabel, Done::Label(copies)) => self.label_read(holder, copies),
            (Purpose::WriteLabel, _) => self.label_written(holder),
            (Purpose::ReadMap, Done::Map(units)) => self.map_read(holder, units),
            (Purpose::WriteMap { first, count }, _) => self.map.written(holder, first, count),
            (Purpose::Read(id), _) => {
                self.learn_latency(holder, self.now.ns_since(begun));
                self.read_done(id, holder);
            }
            (Purpose::Write(id), _) => self.leg_done(id, holder),
            (Purpose::Flush(id), _) => self.flushed(id, holder),
            (Purpose::CopyRead, _) => self.copy_read(holder),
            (Purpose::CopyWrite, _) => self.copy_written(holder),
            (Purpose::Ping, _) => {}
            // An answer to another question.
            (Purpose::ReadLabel | Purpose::ReadMap, _) => self.lose(holder, LossReason::Failed),
        }
    }

    fn unreadable(&mut self, flight: Flight) {
        self.count(flight.holder, Event::Unreadable);
        match flight.purpose {
            Purpose::Read(id) => self.read_failed(id, flight.holder),
            _ => self.copy_unreadable(flight.holder),
        }
    }

    fn failed(&mut self, flight: Flight, why: LegError) {
        if why == LegError::Conflict && !self.rules.lack(Mutation::ConflictIsFailure) {
            self.count(flight.holder, Event::Conflict);
            self.fence();
        } else {
            self.count(flight.holder, Event::Failed);
            self.lose(flight.holder, LossReason::Failed);
        }
    }

    fn claimed(&mut self, holder: HolderId) {
        self.holder_mut(holder).was_claimed = true;
        self.enter(holder, HolderState::Checking);
        self.emit(holder, ActionKind::ReadLabel, Some(Purpose::ReadLabel));
    }

    /// A leg has done its part of a write or of a repair.
    pub(super) fn leg_done(&mut self, id: crate::ids::RequestId, leg: HolderId) {
        if let Some(request) = self.request_mut(id) {
            request.pending = request.pending.without(leg);
            self.has_moved = true;
        }
    }
}

const fn event_of(purpose: Purpose) -> Event {
    match purpose {
        Purpose::Claim => Event::Claimed,
        Purpose::ReadLabel => Event::LabelRead,
        Purpose::WriteLabel => Event::LabelWritten,
        Purpose::ReadMap => Event::MapRead,
        Purpose::WriteMap { .. } => Event::MapWritten,
        Purpose::Read(_) | Purpose::CopyRead => Event::Read,
        Purpose::Write(_) | Purpose::CopyWrite => Event::Written,
        Purpose::Flush(_) => Event::Flushed,
        Purpose::Ping => Event::Pinged,
    }
}
