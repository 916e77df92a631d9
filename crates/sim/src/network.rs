//! A network of hosts that carries datagrams, badly if told so.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use block::Timestamp;

use crate::dice::Dice;

/// Datagrams that have arrived at a host and wait to be taken; more are dropped, as by a socket's buffer.
pub const INBOX_MAX: usize = 512;

/// Most bits that a corruption turns.
const FLIPS_MAX: u64 = 8;

/// How badly. Chances are for a datagram, in a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// It does not arrive.
    pub loss: u32,
    /// It arrives twice.
    pub duplication: u32,
    /// It is late, and others overtake it.
    pub reordering: u32,
    /// Some of its bits are turned, or its end is missing.
    pub corruption: u32,
    /// The shortest time on the way.
    pub delay_min: Duration,
    /// The longest time on the way. Datagrams between two hosts keep their order nevertheless.
    pub delay_max: Duration,
    /// How late a datagram can be that others overtake.
    pub late_max: Duration,
}

impl Faults {
    /// None: everything arrives after 5 us, in order.
    pub const NONE: Self = Self {
        loss: 0,
        duplication: 0,
        reordering: 0,
        corruption: 0,
        delay_min: Duration::from_micros(5),
        delay_max: Duration::from_micros(5),
        late_max: Duration::ZERO,
    };

    /// Chosen by the dice: each fault is absent, rare or frequent; loss up to 10 %.
    #[must_use]
    pub fn by_chance(dice: &mut Dice) -> Self {
        let delay_min = Duration::from_micros(1 + dice.below(50));
        let spread = dice.choose(&[0, 10, 100, 2000]);
        Self {
            loss: dice.choose(&[0, 1_000, 10_000, 50_000, 100_000]),
            duplication: dice.choose(&[0, 1_000, 50_000, 200_000]),
            reordering: dice.choose(&[0, 1_000, 50_000, 200_000]),
            corruption: dice.choose(&[0, 1_000, 20_000, 50_000]),
            delay_min,
            delay_max: delay_min + Duration::from_micros(dice.below(spread + 1)),
            late_max: Duration::from_micros(dice.choose(&[10, 200, 5_000])),
        }
    }
}

/// A datagram that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram<H> {
    /// Who sent it.
    pub from: H,
    /// To whom.
    pub to: H,
    /// What.
    pub bytes: Vec<u8>,
}

/// What a network has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounts {
    /// Datagrams given to it.
    pub sent: u64,
    /// Datagrams put into inboxes.
    pub arrived: u64,
    /// Datagrams lost on the way, also because a way was cut or a host had crashed.
    pub lost: u64,
    /// Datagrams that were doubled.
    pub duplicated: u64,
    /// Datagrams that were made late.
    pub reordered: u64,
    /// Datagrams that were corrupted.
    pub corrupted: u64,
    /// Datagrams that found a full inbox.
    pub overflowed: u64,
}

/// Hosts and the datagrams between them.
#[derive(Debug)]
pub struct Network<H> {
    dice: Dice,
    faults: Faults,
    under_way: BinaryHeap<Reverse<UnderWay<H>>>,
    inboxes: BTreeMap<H, VecDeque<Datagram<H>>>,
    /// When the last datagram that keeps its order arrives, by who sends to whom.
    last_arrivals: BTreeMap<(H, H), Timestamp>,
    cut: BTreeSet<(H, H)>,
    crashed: BTreeSet<H>,
    next_number: u64,
    counts: NetworkCounts,
}

/// In the order of arrival; numbers make the order of those that arrive together certain.
#[derive(Debug, PartialEq, Eq)]
struct UnderWay<H> {
    arrival: Timestamp,
    number: u64,
    datagram: Datagram<H>,
}

impl<H: Eq> Ord for UnderWay<H> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.arrival, self.number).cmp(&(other.arrival, other.number))
    }
}

impl<H: Eq> PartialOrd for UnderWay<H> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<H: Copy + Ord> Network<H> {
    /// A network without hosts: they exist as soon as something is sent to them.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            dice: Dice::new(seed),
            faults,
            under_way: BinaryHeap::new(),
            inboxes: BTreeMap::new(),
            last_arrivals: BTreeMap::new(),
            cut: BTreeSet::new(),
            crashed: BTreeSet::new(),
            next_number: 0,
            counts: NetworkCounts::default(),
        }
    }

    /// From now on it is as bad as this.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Nothing passes between two hosts any more.
    pub fn cut(&mut self, a: H, b: H) {
        self.cut.extend([(a, b), (b, a)]);
    }

    /// Every way is open and no fault happens. Hosts that have crashed stay so.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.faults = Faults::NONE;
    }

    /// A host is gone: what is on its way to it is lost, and so is what anybody sends to it.
    pub fn crash(&mut self, host: H) {
        self.crashed.insert(host);
        let lost = self.inboxes.remove(&host).map_or(0, |inbox| inbox.len());
        self.counts.lost += lost as u64;
    }

    /// A host is there again, and knows nothing.
    pub fn restart(&mut self, host: H) {
        self.crashed.remove(&host);
    }

    /// Puts a datagram on its way.
    pub fn send(&mut self, from: H, to: H, bytes: Vec<u8>, now: Timestamp) {
        self.counts.sent += 1;
        let is_gone = self.crashed.contains(&from) || self.cut.contains(&(from, to));
        if is_gone || self.dice.happens(self.faults.loss) {
            self.counts.lost += 1;
            return;
        }
        let datagram = Datagram { from, to, bytes };
        if self.dice.happens(self.faults.duplication) {
            self.counts.duplicated += 1;
            self.launch(datagram.clone(), now);
        }
        self.launch(datagram, now);
    }

    fn launch(&mut self, mut datagram: Datagram<H>, now: Timestamp) {
        if self.dice.happens(self.faults.corruption) {
            self.counts.corrupted += 1;
            self.corrupt(&mut datagram.bytes);
        }
        let arrival = self.arrival(datagram.from, datagram.to, now);
        let number = self.next_number;
        self.next_number += 1;
        self.under_way.push(Reverse(UnderWay { arrival, number, datagram }));
    }

    fn arrival(&mut self, from: H, to: H, now: Timestamp) -> Timestamp {
        let Faults { delay_min, delay_max, late_max, reordering, .. } = self.faults;
        let arrival = now.after(delay_min + self.up_to(delay_max.saturating_sub(delay_min)));
        if self.dice.happens(reordering) {
            self.counts.reordered += 1;
            return arrival.after(self.up_to(late_max));
        }
        let last = self.last_arrivals.entry((from, to)).or_default();
        *last = arrival.max(*last);
        *last
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.dice.below(most + 1))
    }

    fn corrupt(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.push(0);
        } else if self.dice.below(8) == 0 {
            let length = self.dice.index(bytes.len());
            bytes.truncate(length);
        } else {
            for _ in 0..=self.dice.below(FLIPS_MAX) {
                let at = self.dice.index(bytes.len());
                bytes[at] ^= 1 << self.dice.below(8);
            }
        }
    }

    /// The next datagram that has arrived at a host by now.
    pub fn receive(&mut self, host: H, now: Timestamp) -> Option<Datagram<H>> {
        self.settle(now);
        self.inboxes.get_mut(&host)?.pop_front()
    }

    /// Whether something waits at a host, or will have arrived by now.
    pub fn has_arrived(&mut self, host: H, now: Timestamp) -> bool {
        self.settle(now);
        self.inboxes.get(&host).is_some_and(|inbox| !inbox.is_empty())
    }

    /// When the next datagram arrives anywhere, of those that have not by now.
    pub fn next_arrival(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.settle(now);
        self.first_arrival()
    }

    fn first_arrival(&self) -> Option<Timestamp> {
        self.under_way.peek().map(|Reverse(next)| next.arrival)
    }

    /// What it has done.
    #[must_use]
    pub const fn counts(&self) -> NetworkCounts {
        self.counts
    }

    /// Moves what has arrived into inboxes.
    fn settle(&mut self, now: Timestamp) {
        while self.first_arrival().is_some_and(|arrival| arrival <= now) {
            let Some(Reverse(UnderWay { datagram, .. })) = self.under_way.pop() else { return };
            if self.crashed.contains(&datagram.to) || self.cut.contains(&(datagram.from, datagram.to)) {
                self.counts.lost += 1;
                continue;
            }
            let inbox = self.inboxes.entry(datagram.to).or_default();
            if inbox.len() >= INBOX_MAX {
                self.counts.overflowed += 1;
            } else {
                self.counts.arrived += 1;
                inbox.push_back(datagram);
            }
        }
    }
}

#[cfg(test)]
mod tests;
