//! Messages to be sent, and timers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use block::Timestamp;

use super::TRANSMIT_MAX;
use super::incoming::PeerId;
use crate::soft::wire::Qpn;
use crate::soft::wire::mad::{Mad, MadBytes, Message, TransactionId};

/// Messages that wait to be sent, at most [`TRANSMIT_MAX`]. What does not fit is lost, as it may be on the network, and is
/// healed in the same way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<(IpAddr, MadBytes)>,
    pub(super) sent: u64,
    pub(super) unsent: u64,
}

impl Outbox {
    pub(super) fn push(&mut self, to: IpAddr, message: MadBytes) {
        if self.queue.len() < TRANSMIT_MAX {
            self.queue.push_back((to, message));
        } else {
            self.unsent += 1;
        }
    }

    pub(super) fn say(&mut self, to: IpAddr, transaction: TransactionId, message: Message) {
        self.push(to, Mad { transaction, message }.write());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<(IpAddr, MadBytes)> {
        let next = self.queue.pop_front()?;
        self.sent += 1;
        Some(next)
    }
}

/// Whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Connection(Qpn),
    Record(PeerId),
}

/// At most one moment for each who has a timer. Those who wait are few: an established connection has none.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Timestamp, Timer)>,
    times: BTreeMap<Timer, Timestamp>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Timestamp) {
        self.clear(timer);
        self.by_time.insert((at, timer));
        self.times.insert(timer, at);
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.times.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the first whose time has come.
    pub(super) fn expired(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, timer) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_has_one_moment() {
        let timer = |number: u32| Timer::Connection(Qpn::try_from(number).unwrap());
        let at = Timestamp::from_ns;
        let mut timers = Timers::default();
        timers.set(timer(2), at(10));
        timers.set(timer(3), at(5));
        timers.set(timer(2), at(4));
        assert_eq!((timers.next(), timers.expired(at(3))), (Some(at(4)), None));
        assert_eq!((timers.expired(at(20)), timers.expired(at(20))), (Some(timer(2)), Some(timer(3))));
        assert_eq!((timers.expired(at(20)), timers.next()), (None, None));
    }

    #[test]
    fn the_outbox_is_bounded() {
        let mut outbox = Outbox::default();
        let to = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..TRANSMIT_MAX + 3 {
            outbox.push(to, [0; 256]);
        }
        let popped = std::iter::from_fn(|| outbox.pop()).count();
        assert_eq!((popped, outbox.unsent), (TRANSMIT_MAX, 3));
    }
}
