//! What all connections of a reactor work with.

use std::sync::Arc;

use block::{BlockRange, Timestamp};
use dma::ScatterList;
use nvme_spec::sqe::SQE_BYTES;

use super::buffers::{Buffers, Class, Need};
use super::counters::Gauges;
use super::devices::Devices;
use super::shares::Shares;
use super::waiting::{Ticket, Turn, Waiting};
use crate::engine::BufferOptions;
use crate::hub::{ConnectionId, ExportSlot, Hub};

/// Bytes on their way from hosts' memory, bounded: half of the bound for each class of chunks, so that neither keeps the other
/// from its turn.
#[derive(Debug)]
pub(super) struct ReadBudget {
    bytes: [u64; 2],
    bytes_max: u64,
}

impl ReadBudget {
    pub(super) const fn new(bytes_max: u64) -> Self {
        Self { bytes: [0; 2], bytes_max: bytes_max / 2 }
    }

    /// Whether so many more may be asked for. A READ that is larger than the bound goes alone.
    #[inline]
    pub(super) fn has_room(&self, need: Need) -> bool {
        let bytes = self.bytes[need.class.index()];
        bytes == 0 || bytes + u64::from(need.bytes) <= self.bytes_max
    }

    #[inline]
    fn begin(&mut self, need: Need) {
        self.bytes[need.class.index()] += u64::from(need.bytes);
    }

    #[inline]
    pub(super) fn end(&mut self, need: Need) {
        self.bytes[need.class.index()] -= u64::from(need.bytes);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

/// See the module's words.
pub(super) struct Core {
    /// The time of this turn.
    pub(super) now: Timestamp,
    pub(super) reactor: u16,
    pub(super) hub: Arc<Hub>,
    pub(super) buffers: Buffers,
    pub(super) devices: Devices,
    pub(super) reads: ReadBudget,
    pub(super) shares: Shares,
    pub(super) gauges: Arc<Gauges>,
    /// By class.
    waiting: [Waiting; 2],
    /// Devices that have their share, while those that wait are gone through.
    full: Vec<ExportSlot>,
    /// For messages that the CPU looks at.
    pub(super) scratch: Vec<u8>,
    pub(super) ranges: Vec<BlockRange>,
    /// Receives of I/O queues, of all ports.
    pub(super) receives: u32,
    /// Which reactor gets the next admin queue.
    next_admin: usize,
    /// In-capsule bytes that were copied.
    pub(super) copied_bytes: u64,
    /// No new commands are taken.
    pub(super) is_draining: bool,
}

/// Bytes of the data of an admin command.
const ADMIN_DATA_BYTES: usize = 4096;

impl Core {
    pub(super) fn new(reactor: u16, hub: Arc<Hub>, buffers: Buffers, options: &BufferOptions) -> Self {
        let in_capsule = usize::try_from(hub.limits().in_capsule_bytes).unwrap_or(0);
        let scratch_bytes = ADMIN_DATA_BYTES.max(SQE_BYTES + in_capsule);
        Self {
            now: hub.clock().now(),
            reactor,
            gauges: hub.gauges(reactor),
            hub,
            buffers,
            devices: Devices::default(),
            shares: Shares::default(),
            reads: ReadBudget::new(options.read_bytes),
            waiting: Default::default(),
            full: Vec::new(),
            scratch: vec![0; scratch_bytes],
            ranges: Vec::new(),
            receives: options.receives,
            next_admin: 0,
            copied_bytes: 0,
            is_draining: false,
        }
    }

    /// A number for the next admin queue: they go round the reactors.
    pub(super) const fn next_admin(&mut self) -> usize {
        self.next_admin = self.next_admin.wrapping_add(1);
        self.next_admin
    }

    /// Memory for a command's data if nobody waits for such, and a place for its bytes on the way if it needs one.
    #[inline]
    pub(super) fn take_now(&mut self, ticket: &Ticket) -> Option<ScatterList> {
        let is_free = self.waiting[ticket.need.class.index()].is_empty()
            && self.is_within_share(ticket)
            && self.is_within_hosts_share(ticket)
            && self.reads_have_room(ticket)
            && self.buffers.has(ticket.need);
        if is_free { self.take(ticket) } else { None }
    }

    /// Waits for memory.
    #[cold]
    pub(super) fn wait(&mut self, ticket: Ticket) {
        self.gauges.waited.add(1);
        self.waiting[ticket.need.class.index()].push(ticket);
    }

    #[inline]
    fn is_within_share(&self, ticket: &Ticket) -> bool {
        let need = ticket.need;
        self.devices.is_within_share(ticket.export, need, self.buffers.chunks(need.class))
    }

    #[inline]
    fn is_within_hosts_share(&self, ticket: &Ticket) -> bool {
        self.shares.is_within(ticket.host, ticket.need, self.buffers.chunks(ticket.need.class))
    }

    #[inline]
    fn reads_have_room(&self, ticket: &Ticket) -> bool {
        !ticket.is_from_host || self.reads.has_room(ticket.need)
    }

    fn take(&mut self, ticket: &Ticket) -> Option<ScatterList> {
        let list = self.buffers.take(ticket.need)?;
        if ticket.is_from_host {
            self.reads.begin(ticket.need);
        }
        if let Some(queue) = self.devices.get_mut(ticket.export) {
            queue.hold(ticket.need);
        }
        self.shares.hold(ticket.host, ticket.need);
        Some(list)
    }

    /// The next command that has waited and can go on, with its memory.
    #[inline]
    pub(super) fn next_granted(&mut self) -> Option<(Ticket, ScatterList)> {
        if self.waiting.iter().all(Waiting::is_empty) {
            return None;
        }
        let ticket = Class::ALL.into_iter().find_map(|class| self.next_waiting(class))?;
        let list = self.take(&ticket);
        assert!(list.is_some(), "only this thread takes from its pools");
        list.map(|list| (ticket, list))
    }

    /// The next one of a class, taken out of its queue. Nobody who wants what another was passed over for goes before that one:
    /// a large command would never find enough room at once.
    fn next_waiting(&mut self, class: Class) -> Option<Ticket> {
        let mut waiting = std::mem::take(&mut self.waiting[class.index()]);
        let mut full = std::mem::take(&mut self.full);
        full.clear();
        let mut are_reads_full = false;
        // Those of one host follow each other.
        let mut full_host = None;
        let next = waiting.next(|ticket| {
            if full_host == Some(ticket.host) || !self.is_within_hosts_share(ticket) {
                full_host = Some(ticket.host);
                return Turn::PassedOver;
            }
            if full.contains(&ticket.export) || !self.is_within_share(ticket) {
                full.push(ticket.export);
                return Turn::PassedOver;
            }
            are_reads_full |= !self.reads_have_room(ticket);
            if are_reads_full && ticket.is_from_host {
                return Turn::PassedOver;
            }
            if self.buffers.has(ticket.need) { Turn::Granted } else { Turn::HoldsUp }
        });
        self.full = full;
        self.waiting[class.index()] = waiting;
        next
    }

    /// Commands that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().map(Waiting::len).sum()
    }

    /// The commands of a connection no longer wait.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        if self.waiting() > 0 {
            self.waiting.iter_mut().for_each(|waiting| waiting.forget(connection));
        }
    }

    /// The commands for a device no longer wait: which ones.
    pub(super) fn forget_export(&mut self, slot: ExportSlot) -> Vec<Ticket> {
        self.waiting.iter_mut().flat_map(|waiting| waiting.forget_export(slot)).collect()
    }
}
