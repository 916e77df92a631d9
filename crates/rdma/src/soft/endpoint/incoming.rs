//! Packets that have come in: to a queue pair, to the connection manager, or on to the endpoint that they belong to.

use std::net::IpAddr;

use block::Timestamp;

use super::shared::{Links, Shared};
use super::state::State;
use crate::Completion;
use crate::soft::cm::{Route, route};
use crate::soft::link::Arrived;
use crate::soft::rc::Event;
use crate::soft::wire::mad::QUEUE_KEY;
use crate::soft::wire::{Extension, Opcode, Packet, Qpn};

/// What came of a packet that the connections have to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) queue_pair: Qpn,
    pub(super) event: Event,
}

/// One endpoint among those of its device.
pub(super) struct Place<'a, K: Links> {
    pub(super) shared: &'a Shared<K>,
    pub(super) shard: u16,
}

impl<K: Links> Place<'_, K> {
    /// Takes in a packet that came to this endpoint's link. News are rare: nearly all packets cause none.
    #[inline]
    pub(super) fn handle_packet(
        &self,
        arrived: Arrived<'_>,
        state: &mut State,
        completions: &mut Vec<Completion>,
        now: Timestamp,
    ) -> Option<News> {
        let Ok(packet) = Packet::parse(arrived.packet) else {
            state.commons.counters.dropped_malformed += 1;
            return None;
        };
        if packet.headers.destination == Qpn::CONNECTION_MANAGER {
            self.handle_message(arrived, &packet, false, state, now);
            return None;
        }
        handle_connected(state, arrived.source, &packet, completions, now)
    }

    /// Takes in a packet that came to the connection manager's link, which all endpoints look after.
    pub(super) fn handle_management(&self, arrived: Arrived<'_>, state: &mut State, now: Timestamp) {
        match Packet::parse(arrived.packet) {
            Ok(packet) if packet.headers.destination == Qpn::CONNECTION_MANAGER => {
                self.handle_message(arrived, &packet, true, state, now);
            }
            Ok(_) => state.commons.counters.dropped_stray += 1,
            Err(_) => state.commons.counters.dropped_malformed += 1,
        }
    }

    fn handle_message(
        &self,
        arrived: Arrived<'_>,
        packet: &Packet<'_>,
        is_first_hand: bool,
        state: &mut State,
        now: Timestamp,
    ) {
        let is_message = packet.headers.opcode == Opcode::DatagramSendOnly
            && matches!(packet.headers.extension, Extension::Deth(deth) if deth.queue_key == QUEUE_KEY);
        if !is_message {
            state.commons.counters.dropped_malformed += 1;
            return;
        }
        let shard = match route(packet.payload) {
            Route::Shard(shard) => self.owner(u16::from(shard.number())),
            Route::Listener(port) => self.shared.listener(port).unwrap_or(self.shard),
            Route::Anyone => self.shard,
            Route::Everyone => {
                if is_first_hand {
                    self.tell_others(arrived);
                }
                self.shard
            }
        };
        if shard == self.shard {
            state.manager.handle_mad(now, arrived.source, packet.payload);
        } else if !self.shared.links.hand_over(shard, arrived) {
            state.commons.counters.dropped_stray += 1;
        }
    }

    /// The endpoint that gives names of that shard; this one, which knows none of them, if none does. Shard 0 is the connection
    /// manager's link: what is handed over to it comes back here, so nothing must be.
    fn owner(&self, shard: u16) -> u16 {
        if (1..self.shared.links.shards()).contains(&shard) { shard } else { self.shard }
    }

    fn tell_others(&self, arrived: Arrived<'_>) {
        for shard in (1..self.shared.links.shards()).filter(|shard| *shard != self.shard) {
            self.shared.links.hand_over(shard, arrived);
        }
    }
}

/// A packet to a queue pair of this endpoint, if it comes from the peer.
#[inline]
fn handle_connected(
    state: &mut State,
    source: IpAddr,
    packet: &Packet<'_>,
    completions: &mut Vec<Completion>,
    now: Timestamp,
) -> Option<News> {
    let number = packet.headers.destination;
    let slot = state.numbers.slot(number);
    let entry = state.queue_pairs.slot_mut(slot).filter(|entry| entry.queue_pair.number() == number);
    let Some(entry) = entry.filter(|entry| entry.path.peer == source) else {
        state.commons.counters.dropped_stray += 1;
        return None;
    };
    let mut context = state.commons.lend(entry.flow, entry.receives, completions);
    let event = entry.queue_pair.handle_packet(now, packet, &mut context);
    // An answer may open a window; a request is answered even by a queue pair whose own work is waiting for one.
    state.has_opened |= packet.headers.opcode.is_response() || event.is_some() || entry.is_listed;
    let handle = entry.queue_pair.id().into();
    state.schedule(handle);
    event.map(|event| News { queue_pair: number, event })
}
