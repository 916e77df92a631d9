//! Time: silent holders, pings, the lease, patience, and marks that are no longer used.

use block::Timestamp;

use super::attaching::Stage;
use super::coverage::Event;
use super::{Mirror, Phase, Purpose};
use crate::action::ActionKind;
use crate::config::Policy;
use crate::holder::{Holder, LossReason};

impl Mirror {
    /// The moment at which [`Self::handle_timeout`] wants to be called, if nothing happens before.
    #[must_use]
    pub fn next_timeout(&self) -> Timestamp {
        if self.phase == Phase::Fenced {
            return Timestamp::NEVER;
        }
        // Flights are in the order in which they began, so the first is the first that is late.
        let late = self.flights.values().next().map(|flight| flight.begun.after(self.options.leg_timeout));
        let ping = self.holders.iter().filter(|holder| holder.takes_labels());
        let ping = ping.map(|holder| holder.pinged_at.after_ns(self.ping_every_ns())).min();
        let attach = match self.stage {
            Stage::Waiting { until } => Some(until),
            Stage::Gathering => {
                Some(self.attaching_since.after(self.options.leg_timeout)).filter(|end| *end > self.now)
            }
            _ => None,
        };
        let scan = (self.phase == Phase::Serving).then_some(self.idle_scan_at);
        let all = [late, ping, attach, scan, self.copy_due(), self.patience_end()];
        all.into_iter().flatten().min().unwrap_or(Timestamp::NEVER)
    }

    fn patience_end(&self) -> Option<Timestamp> {
        let patience = self.options.quorum_timeout?;
        let waits = self.description.policy == Policy::Majority && !self.is_settled();
        let waiting = self.requests.values().filter(|request| waits && !request.is_abandoned);
        waiting.map(|request| request.since.after(patience)).min()
    }

    fn ping_every_ns(&self) -> u64 {
        let lease = self.options.lease.as_nanos() / 4;
        let silence = self.options.leg_timeout.as_nanos() / 2;
        u64::try_from(lease.min(silence)).unwrap_or(u64::MAX).max(1)
    }

    /// Time has passed. The caller has given every completion that was there before it asks.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = now;
        if self.phase == Phase::Fenced {
            return;
        }
        self.lose_silent();
        self.ping();
        self.scan_idle();
        self.abandon_impatient();
        self.pump();
    }

    fn lose_silent(&mut self) {
        let (timeout, now) = (self.options.leg_timeout, self.now);
        while let Some((id, flight)) = self.flights.first_key_value().map(|(id, flight)| (*id, *flight)) {
            if flight.begun.after(timeout) > now {
                break;
            }
            self.count(flight.holder, Event::Silent);
            self.lose(flight.holder, LossReason::Silent);
            self.flights.remove(&id);
        }
    }

    fn ping(&mut self) {
        let (every, now) = (self.ping_every_ns(), self.now);
        for holder in self.holders_where(Holder::takes_labels).iter() {
            if self.holder(holder).pinged_at.after_ns(every) <= now {
                self.holder_mut(holder).pinged_at = now;
                self.emit(holder, ActionKind::Ping, Some(Purpose::Ping));
            }
        }
    }

    /// Marks that were not used for a while are cleared; if no flush has covered them yet, one is begun.
    fn scan_idle(&mut self) {
        let (idle, now) = (self.options.intent_idle, self.now);
        if self.phase != Phase::Serving || self.idle_scan_at > now {
            return;
        }
        self.idle_scan_at = now.after(idle);
        let is_idle = |mark: &crate::intent::Mark| mark.writers == 0 && mark.used_at.after(idle) <= now;
        let idle: Vec<_> =
            self.map.marks().filter(|(_, mark)| is_idle(mark)).map(|(r, mark)| (r, mark.is_clean)).collect();
        for (region, _) in idle.iter().filter(|(_, is_clean)| *is_clean) {
            self.map.clear(*region);
        }
        if idle.iter().any(|(_, is_clean)| !is_clean) {
            self.flush_for_ourselves();
        }
    }
}
