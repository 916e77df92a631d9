//! One turn of an endpoint: packets out, packets in, timers, and what follows for connections.

use std::sync::TryLockError;

use block::Timestamp;

use super::SoftEndpoint;
use super::connections::SoftRequest;
use super::incoming::Place;
use super::shared::Links;
use crate::soft::cm::CmEvent;
use crate::soft::link::Link;
use crate::{Completion, ConnectionEvent};

/// Most batches of packets that are taken in before the user sees what has completed.
const BATCHES_PER_TURN: usize = 4;
/// For how many turns timers and the connection manager wait until all packets have been taken in.
const TURNS_PUT_OFF_MAX: u32 = 8;
/// How often a busy endpoint looks after the connection manager's link; a sleeping one is woken by it.
const MANAGEMENT_INTERVAL_NS: u64 = 50_000;

impl<K: Links> SoftEndpoint<K> {
    /// See the module [`super`] for the order.
    pub(super) fn turn(
        &mut self,
        completions: &mut Vec<Completion>,
        completions_max: usize,
        now: Timestamp,
    ) -> bool {
        self.now = now;
        let before = completions.len();
        let given = completions_max.min(self.waiting.len());
        completions.extend(self.waiting.drain(..given));
        let mut did_anything = self.send(completions, now);
        did_anything |= self.receive_management(now) > 0;
        let mut is_drained = false;
        for _ in 0..BATCHES_PER_TURN {
            if is_drained || completions.len() - before >= completions_max {
                break;
            }
            let count = self.receive(completions, now);
            is_drained = count == 0 || !self.link.may_have_more();
            did_anything |= count != 0;
        }
        if self.may_judge(is_drained) {
            did_anything |= self.state.run_timers(completions, &mut self.news, now);
            self.handle_news(completions, now);
            did_anything |= self.handle_events(completions);
        }
        if did_anything && completions.len() == before {
            self.send(completions, now);
        }
        did_anything || completions.len() != before
    }

    pub(super) fn send(&mut self, completions: &mut Vec<Completion>, now: Timestamp) -> bool {
        let did_anything = self.state.transmit(&mut self.link, completions, &mut self.news, now);
        self.handle_news(completions, now);
        did_anything
    }

    fn receive(&mut self, completions: &mut Vec<Completion>, now: Timestamp) -> usize {
        let place = Place { shared: &*self.shared, shard: self.shard };
        let (state, news) = (&mut self.state, &mut self.news);
        let count = self.link.receive(|arrived| {
            news.extend(place.handle_packet(arrived, state, completions, now));
        });
        self.handle_news(completions, now);
        count
    }

    /// Looks after the connection manager's link, unless another endpoint is just doing that. Returns how many packets came.
    fn receive_management(&mut self, now: Timestamp) -> usize {
        if now < self.next_management {
            return 0;
        }
        self.next_management = now.after_ns(MANAGEMENT_INTERVAL_NS);
        let mut link = match self.shared.management.try_lock() {
            Ok(link) => link,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return 0,
        };
        let place = Place { shared: &*self.shared, shard: self.shard };
        let (state, before) = (&mut self.state, link.counters());
        let count = link.receive(|arrived| place.handle_management(arrived, state, now));
        // The link is everybody's; whoever looks after it counts.
        let (after, counters) = (link.counters(), &mut self.state.commons.counters);
        counters.packets_received += after.packets_received - before.packets_received;
        counters.dropped_icrc += after.dropped_icrc - before.dropped_icrc;
        counters.dropped_malformed += after.dropped_malformed - before.dropped_malformed;
        counters.system_calls += after.system_calls - before.system_calls;
        count
    }

    /// Carries what packets and timeouts have brought to the connections.
    fn handle_news(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        while let Some(news) = self.news.pop() {
            self.events.extend(self.state.handle_news(news, completions, now));
        }
    }

    /// Whether timers and the connection manager have their say in this turn: when the socket is empty, unless it never is.
    ///
    /// What a peer sent before it disconnected counts, and it may still be in the socket when the message of the connection
    /// manager has overtaken it on another. What a timer waits for may be there too, if this process was stopped for a while.
    fn may_judge(&mut self, is_drained: bool) -> bool {
        let may_judge = is_drained || self.turns_put_off >= TURNS_PUT_OFF_MAX;
        self.turns_put_off = if may_judge { 0 } else { self.turns_put_off + 1 };
        may_judge
    }

    /// Does what the connection manager says, and tells the user. Whether there was anything.
    fn handle_events(&mut self, completions: &mut Vec<Completion>) -> bool {
        let before = self.events.len();
        while let Some(event) = self.state.manager.poll_event() {
            match event {
                CmEvent::Requested(incoming) => {
                    let port = incoming.local().port();
                    let listener = self.listeners.iter_mut().find(|(_, listened)| **listened == port);
                    // A request for a listener that has just gone is dropped, and thereby rejected.
                    let request = listener.map(|(handle, _)| SoftRequest::new(handle.into(), incoming));
                    self.events.extend(request.map(ConnectionEvent::Requested));
                }
                event => self.events.extend(self.state.handle_event(event, completions)),
            }
        }
        self.events.len() != before
    }

    /// Sends what is still owed to peers, acknowledgements above all: a connection is about to end on this side.
    pub(super) fn settle(&mut self, now: Timestamp) {
        let mut completions = std::mem::take(&mut self.waiting);
        self.send(&mut completions, now);
        self.waiting = completions;
    }
}
