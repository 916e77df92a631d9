//! How much of the data buffers each host holds: from when a command gets them until the host has its response.
//!
//! A host that takes no data (it is stopped, or its network is) must not hold all memory until its connection counts as lost.

use super::buffers::Need;
use crate::hub::HostSlot;

/// Of each class of chunks, the commands of one host hold at most so many quarters, if there are other hosts.
const SHARE_QUARTERS: u32 = 3;

/// Hosts by number; those beyond share nothing with anybody and are not counted. A hub gives out low numbers first.
const HOSTS_MAX: usize = 1 << 15;

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// I/O queues of the host on this reactor.
    queues: u32,
    /// Chunks by class.
    held: [u32; 2],
}

/// See the module's words.
#[derive(Debug, Default)]
pub(super) struct Shares {
    hosts: Vec<Share>,
    /// Hosts with I/O queues.
    present: u32,
}

impl Shares {
    #[inline]
    fn get_mut(&mut self, host: HostSlot) -> Option<&mut Share> {
        self.hosts.get_mut(usize::try_from(host.0).ok()?)
    }

    /// An I/O queue of the host came.
    pub(super) fn joined(&mut self, host: HostSlot) {
        let index = usize::try_from(host.0).unwrap_or(HOSTS_MAX);
        if index < HOSTS_MAX && index >= self.hosts.len() {
            self.hosts.resize(index + 1, Share::default());
        }
        if let Some(share) = self.get_mut(host) {
            share.queues += 1;
            self.present += u32::from(share.queues == 1);
        }
    }

    /// An I/O queue of the host is gone.
    pub(super) fn left(&mut self, host: HostSlot) {
        if let Some(share) = self.get_mut(host) {
            share.queues -= 1;
            self.present -= u32::from(share.queues == 0);
        }
    }

    #[inline]
    pub(super) fn hold(&mut self, host: HostSlot, need: Need) {
        if let Some(share) = self.get_mut(host) {
            share.held[need.class.index()] += need.chunks;
        }
    }

    #[inline]
    pub(super) fn let_go(&mut self, host: HostSlot, need: Need) {
        if let Some(share) = self.get_mut(host) {
            share.held[need.class.index()] -= need.chunks;
        }
    }

    /// What all hosts hold, and how many there are.
    #[cfg(test)]
    pub(super) fn in_all(&self) -> (u32, u32) {
        (self.hosts.iter().map(|share| share.held[0] + share.held[1]).sum(), self.present)
    }

    /// Whether a host may have chunks, of `chunks` in all. One that holds none may, however many it needs.
    #[inline]
    pub(super) fn is_within(&self, host: HostSlot, need: Need, chunks: u32) -> bool {
        if self.present < 2 {
            return true;
        }
        let share = usize::try_from(host.0).ok().and_then(|index| self.hosts.get(index));
        let held = share.map_or(0, |share| share.held[need.class.index()]);
        held == 0 || u64::from(held + need.chunks) * 4 <= u64::from(chunks) * u64::from(SHARE_QUARTERS)
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffers::Class;
    use super::*;

    const NEED: Need = Need { class: Class::Large, chunks: 8, bytes: 1 << 20 };

    #[test]
    fn one_host_alone_may_have_everything_and_of_two_none() {
        let (one, two) = (HostSlot(0), HostSlot(3));
        let mut shares = Shares::default();
        shares.joined(one);
        shares.joined(one);
        (0..4).for_each(|_| shares.hold(one, NEED));
        assert!(shares.is_within(one, NEED, 32), "nobody else is there");
        shares.joined(two);
        assert!(!shares.is_within(one, NEED, 32));
        assert!(shares.is_within(two, NEED, 8), "the first one always");
        shares.let_go(one, NEED);
        shares.let_go(one, NEED);
        assert!(shares.is_within(one, NEED, 32), "24 of 32");
        shares.let_go(one, NEED);
        shares.let_go(one, NEED);
        shares.left(one);
        shares.left(one);
        (0..4).for_each(|_| shares.hold(two, NEED));
        assert!(shares.is_within(two, NEED, 32));
    }
}
