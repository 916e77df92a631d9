//! One congestion window for each peer, shared by the queue pairs to it.

use std::net::IpAddr;

use crate::soft::rc::Flow;

/// The windows; at most one for each queue pair.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    peer: IpAddr,
    users: u32,
    flow: Flow,
}

impl Flows {
    /// One more queue pair to that peer. Returns where its window is.
    pub(crate) fn join(&mut self, peer: IpAddr) -> usize {
        if let Some(index) = self.entries.iter().position(|entry| entry.users > 0 && entry.peer == peer) {
            self.entries[index].users += 1;
            return index;
        }
        let entry = Entry { peer, users: 1, flow: Flow::default() };
        match self.entries.iter().position(|entry| entry.users == 0) {
            Some(index) => {
                self.entries[index] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        }
    }

    /// A queue pair is gone that has given back what it had under way.
    pub(crate) fn leave(&mut self, index: usize) {
        self.entries[index].users -= 1;
    }

    #[inline]
    pub(crate) fn at(&mut self, index: usize) -> &mut Flow {
        &mut self.entries[index].flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn queue_pairs_to_one_peer_share() {
        let peer = |last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        let mut flows = Flows::default();
        let first = flows.join(peer(1));
        assert_eq!(flows.join(peer(1)), first);
        let other = flows.join(peer(2));
        assert_ne!(other, first);
        flows.leave(first);
        flows.leave(first);
        assert_eq!(flows.join(peer(3)), first, "the place is used again");
        assert_eq!(flows.join(peer(1)), 2);
    }
}
