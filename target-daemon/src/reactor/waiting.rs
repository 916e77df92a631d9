//! Commands that wait for buffers: in order for each host and device, in turn between hosts.
//!
//! Between hosts, one command each; in a host, one for each of its devices; for a device, in the order of arrival. A command
//! that waits for something else than memory (its device has its share, too many bytes are being read from hosts) is passed
//! over. One for which there is just not enough memory holds all others up until there is: so large ones do not starve.

use std::collections::VecDeque;

use crate::hub::{ConnectionId, ExportSlot, HostSlot};

use super::buffers::Need;

/// A command that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) connection: ConnectionId,
    /// The command's slot in its queue.
    pub(super) slot: u16,
    pub(super) export: ExportSlot,
    pub(super) host: HostSlot,
    pub(super) need: Need,
    /// Whether the data is to be read from the host's memory.
    pub(super) is_from_host: bool,
}

/// What is to become of a command whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It gets its memory.
    Granted,
    /// Others may go first.
    PassedOver,
    /// Nobody gets anything before it.
    HoldsUp,
}

#[derive(Debug)]
struct Lane {
    export: ExportSlot,
    tickets: VecDeque<Ticket>,
}

#[derive(Debug)]
struct Host {
    slot: HostSlot,
    /// None is empty; the next one in front.
    lanes: VecDeque<Lane>,
}

/// Those that wait for one class of chunks.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// None is without lanes; the next one in front.
    hosts: VecDeque<Host>,
    tickets: usize,
}

impl Waiting {
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.tickets == 0
    }

    pub(super) const fn len(&self) -> usize {
        self.tickets
    }

    /// Joins the queue.
    pub(super) fn push(&mut self, ticket: Ticket) {
        self.tickets += 1;
        let index = self.hosts.iter().position(|known| known.slot == ticket.host).unwrap_or_else(|| {
            self.hosts.push_back(Host { slot: ticket.host, lanes: VecDeque::new() });
            self.hosts.len() - 1
        });
        let lanes = &mut self.hosts[index].lanes;
        match lanes.iter_mut().find(|lane| lane.export == ticket.export) {
            Some(lane) => lane.tickets.push_back(ticket),
            None => lanes.push_back(Lane { export: ticket.export, tickets: VecDeque::from([ticket]) }),
        }
    }

    /// The next one that is granted, taken out. Nobody is asked about twice.
    pub(super) fn next(&mut self, mut judge: impl FnMut(&Ticket) -> Turn) -> Option<Ticket> {
        for at_host in 0..self.hosts.len() {
            for at_lane in 0..self.hosts[at_host].lanes.len() {
                let front = self.hosts[at_host].lanes[at_lane].tickets.front()?;
                match judge(front) {
                    Turn::Granted => return self.take(at_host, at_lane),
                    Turn::PassedOver => {}
                    Turn::HoldsUp => return None,
                }
            }
        }
        None
    }

    /// Takes the front of a lane; lane and host go to the end of their queues.
    fn take(&mut self, at_host: usize, at_lane: usize) -> Option<Ticket> {
        let mut host = self.hosts.remove(at_host)?;
        let mut lane = host.lanes.remove(at_lane)?;
        let ticket = lane.tickets.pop_front()?;
        self.tickets -= 1;
        if !lane.tickets.is_empty() {
            host.lanes.push_back(lane);
        }
        if !host.lanes.is_empty() {
            self.hosts.push_back(host);
        }
        Some(ticket)
    }

    /// The commands of a connection no longer wait.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.retain(|ticket| ticket.connection != connection);
    }

    /// The commands for a device no longer wait: which ones.
    pub(super) fn forget_export(&mut self, export: ExportSlot) -> Vec<Ticket> {
        let lanes = self.hosts.iter().flat_map(|host| &host.lanes).filter(|lane| lane.export == export);
        let forgotten = lanes.flat_map(|lane| lane.tickets.iter().copied()).collect();
        self.retain(|ticket| ticket.export != export);
        forgotten
    }

    fn retain(&mut self, keep: impl Fn(&Ticket) -> bool) {
        for host in &mut self.hosts {
            host.lanes.iter_mut().for_each(|lane| lane.tickets.retain(&keep));
            host.lanes.retain(|lane| !lane.tickets.is_empty());
        }
        self.hosts.retain(|host| !host.lanes.is_empty());
        let left = self.hosts.iter().flat_map(|host| &host.lanes).map(|lane| lane.tickets.len());
        self.tickets = left.sum();
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffers::Class;
    use super::*;
    use rdma::Slots;

    /// Connections 0, 1, ...
    fn connections() -> Vec<ConnectionId> {
        let mut slots = Slots::new(4);
        (0..4).map(|_| ConnectionId { port: 0, handle: slots.insert(()).unwrap() }).collect()
    }

    fn ticket(host: u32, connection: usize, slot: u16, export: u32) -> Ticket {
        Ticket {
            host: HostSlot(host),
            connection: connections()[connection],
            slot,
            export: ExportSlot(export),
            need: Need { class: Class::Small, chunks: 1, bytes: 512 },
            is_from_host: false,
        }
    }

    fn all(waiting: &mut Waiting) -> Vec<u16> {
        std::iter::from_fn(|| waiting.next(|_| Turn::Granted)).map(|ticket| ticket.slot).collect()
    }

    #[test]
    fn hosts_take_turns_and_each_is_served_in_order() {
        let mut waiting = Waiting::default();
        for slot in 0..6 {
            waiting.push(ticket(1, 0, slot, 0));
        }
        waiting.push(ticket(2, 1, 10, 0));
        waiting.push(ticket(3, 2, 20, 0));
        waiting.push(ticket(2, 1, 11, 0));
        assert_eq!(all(&mut waiting), [0, 10, 20, 1, 11, 2, 3, 4, 5]);
        assert!(waiting.is_empty() && waiting.hosts.is_empty());
    }

    #[test]
    fn a_hosts_devices_take_turns() {
        let mut waiting = Waiting::default();
        for slot in 0..3 {
            waiting.push(ticket(1, 0, slot, 0));
        }
        waiting.push(ticket(1, 0, 10, 1));
        assert_eq!(all(&mut waiting), [0, 10, 1, 2]);
    }

    #[test]
    fn one_that_is_passed_over_holds_nobody_up_and_keeps_its_place() {
        let mut waiting = Waiting::default();
        waiting.push(ticket(1, 0, 0, 7));
        waiting.push(ticket(1, 0, 1, 8));
        waiting.push(ticket(2, 1, 2, 8));
        let full = |ticket: &Ticket| {
            if ticket.export == ExportSlot(7) { Turn::PassedOver } else { Turn::Granted }
        };
        let granted: Vec<_> = std::iter::from_fn(|| waiting.next(full)).map(|ticket| ticket.slot).collect();
        assert_eq!(granted, [1, 2]);
        assert_eq!(all(&mut waiting), [0]);
    }

    #[test]
    fn one_for_which_there_is_too_little_memory_is_the_next() {
        let mut waiting = Waiting::default();
        waiting.push(ticket(1, 0, 0, 0));
        waiting.push(ticket(2, 1, 1, 0));
        let too_little = |ticket: &Ticket| if ticket.slot == 0 { Turn::HoldsUp } else { Turn::Granted };
        assert_eq!(waiting.next(too_little), None);
        assert_eq!(all(&mut waiting), [0, 1]);
    }

    #[test]
    fn a_connection_and_a_device_can_be_forgotten() {
        let mut waiting = Waiting::default();
        waiting.push(ticket(1, 0, 0, 0));
        waiting.push(ticket(1, 1, 1, 0));
        waiting.push(ticket(2, 2, 2, 5));
        waiting.forget(connections()[0]);
        assert_eq!(waiting.len(), 2);
        assert_eq!(waiting.forget_export(ExportSlot(5)), [ticket(2, 2, 2, 5)]);
        assert_eq!(all(&mut waiting), [1]);
    }
}
