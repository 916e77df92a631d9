//! Packets that go out: those queue pairs that have something to send take turns.

use std::net::IpAddr;

use block::Timestamp;

use super::incoming::News;
use super::state::State;
use crate::Completion;
use crate::soft::link::{Link, Path, PayloadRef};
use crate::soft::rc::{Event, Outbox, Turn};
use crate::soft::wire::mad::QUEUE_KEY;
use crate::soft::wire::{Deth, Extension, Headers, Opcode, Psn, Qpn};

/// Most packets of a queue pair before the next one has its turn: a batch that one system call carries.
const PACKETS_PER_TURN: u32 = 16;
/// Most turns before arrivals are looked at again.
const TURNS_MAX: usize = 64;
/// Most messages of the connection manager before arrivals are looked at again.
const MESSAGES_MAX: usize = 32;

/// Most timers that are looked at before arrivals are.
const TIMERS_MAX: usize = 256;

/// A queue pair's way to the link, for one turn.
struct Lane<'a, L> {
    link: &'a mut L,
    path: Path,
    packets_left: u32,
}

impl<L: Link> Outbox for Lane<'_, L> {
    #[inline]
    fn has_room(&self) -> bool {
        self.packets_left > 0 && self.link.has_room()
    }

    #[inline]
    fn push(&mut self, headers: &Headers, payload: PayloadRef<'_>) {
        self.packets_left = self.packets_left.saturating_sub(1);
        self.link.push(&self.path, headers, payload);
    }
}

impl State {
    /// Lets everybody send who can. All packets are out when it returns, and hold no memory. Returns whether anything was done.
    pub(super) fn transmit<L: Link>(
        &mut self,
        link: &mut L,
        completions: &mut Vec<Completion>,
        news: &mut Vec<News>,
        now: Timestamp,
    ) -> bool {
        if self.has_opened {
            self.has_opened = false;
            self.ready.extend(self.blocked.drain(..));
        }
        let mut did_anything = self.send_messages(link, now);
        for _ in 0..TURNS_MAX {
            let Some(handle) = self.ready.pop_front() else { break };
            let Some(entry) = self.queue_pairs.get_mut(handle) else { continue };
            did_anything = true;
            let mut context = self.commons.lend(entry.flow, entry.receives, completions);
            let mut lane = Lane { link: &mut *link, path: entry.path, packets_left: PACKETS_PER_TURN };
            let turn = entry.queue_pair.transmit(now, &mut context, &mut lane);
            let is_full = turn == Turn::Again && lane.packets_left > 0;
            if let Turn::Failed(failure) = turn {
                let event = Event::Failed(failure);
                news.push(News { queue_pair: entry.queue_pair.number(), event });
            }
            entry.is_listed = false;
            self.after_turn(handle, turn);
            if is_full {
                link.flush();
            }
        }
        link.flush();
        did_anything
    }

    fn after_turn(&mut self, handle: crate::Handle, turn: Turn) {
        match turn {
            Turn::Blocked => {
                if let Some(entry) = self.queue_pairs.get_mut(handle) {
                    entry.is_listed = true;
                    if let Some(deadline) = entry.queue_pair.next_timeout() {
                        self.timers.arm(handle.slot(), deadline);
                    }
                }
                self.blocked.push(handle);
            }
            Turn::Failed(_) => {
                self.has_opened = true;
                self.schedule(handle);
            }
            Turn::Again | Turn::Idle => self.schedule(handle),
        }
    }

    fn send_messages<L: Link>(&mut self, link: &mut L, now: Timestamp) -> bool {
        self.manager.handle_timeout(now);
        let mut sent = false;
        for _ in 0..MESSAGES_MAX {
            let Some((peer, message)) = self.manager.poll_transmit() else { break };
            self.send_message(link, peer, &message[..]);
            sent = true;
        }
        sent
    }

    fn send_message<L: Link>(&mut self, link: &mut L, peer: IpAddr, message: &[u8]) {
        let deth = Deth { queue_key: QUEUE_KEY, source: Qpn::CONNECTION_MANAGER };
        let headers = Headers {
            opcode: Opcode::DatagramSendOnly,
            destination: Qpn::CONNECTION_MANAGER,
            // Nobody looks at it: datagrams have no order.
            psn: Psn::new(0),
            ack_request: false,
            solicited: false,
            extension: Extension::Deth(deth),
        };
        link.push(&Path { peer }, &headers, PayloadRef::Bytes(message));
    }

    /// Lets those whose time has come act.
    pub(super) fn run_timers(
        &mut self,
        completions: &mut Vec<Completion>,
        news: &mut Vec<News>,
        now: Timestamp,
    ) -> bool {
        let mut did_anything = false;
        for _ in 0..TIMERS_MAX {
            let Some(slot) = self.timers.pop(now) else { break };
            let Some(entry) = self.queue_pairs.slot_mut(slot) else { continue };
            let handle = entry.queue_pair.id().into();
            if entry.queue_pair.next_timeout().is_some_and(|deadline| deadline <= now) {
                did_anything = true;
                self.has_opened = true;
                let mut context = self.commons.lend(entry.flow, entry.receives, completions);
                if let Some(event) = entry.queue_pair.handle_timeout(now, &mut context) {
                    news.push(News { queue_pair: entry.queue_pair.number(), event });
                }
            }
            self.schedule(handle);
        }
        did_anything
    }
}
