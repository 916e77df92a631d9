//! What all connections of a reactor work with.

use std::sync::Arc;

use block::{BlockRange, Timestamp};
use dma::ScatterList;

use super::buffers::{Buffers, Class, Need};
use super::counters::Gauges;
use super::devices::Devices;
use super::waiting::{Ticket, Turn, Waiting};
use crate::engine::BufferOptions;
use crate::hub::{ConnectionId, ExportSlot, HostSlot, Hub};

/// Bytes on their way from hosts' memory, bounded.
#[derive(Debug)]
pub(super) struct ReadBudget {
    bytes: u64,
    bytes_max: u64,
}

impl ReadBudget {
    pub(super) const fn new(bytes_max: u64) -> Self {
        Self { bytes: 0, bytes_max }
    }

    /// Whether so many more may be asked for. A READ that is larger than the bound goes alone.
    #[inline]
    pub(super) const fn has_room(&self, bytes: u32) -> bool {
        self.bytes == 0 || self.bytes + bytes as u64 <= self.bytes_max
    }

    #[inline]
    fn begin(&mut self, bytes: u32) {
        self.bytes += u64::from(bytes);
    }

    #[inline]
    pub(super) const fn end(&mut self, bytes: u32) {
        self.bytes -= bytes as u64;
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
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
    pub(super) gauges: Arc<Gauges>,
    /// By class.
    waiting: [Waiting; 2],
    /// For messages and data that the CPU looks at.
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

/// Bytes of the scratch memory: the data of an admin command or of a discard, or an admin capsule.
const SCRATCH_BYTES: usize = 4096;

impl Core {
    pub(super) fn new(reactor: u16, hub: Arc<Hub>, buffers: Buffers, options: &BufferOptions) -> Self {
        Self {
            now: hub.clock().now(),
            reactor,
            gauges: hub.gauges(reactor),
            hub,
            buffers,
            devices: Devices::default(),
            reads: ReadBudget::new(options.read_bytes),
            waiting: Default::default(),
            scratch: vec![0; SCRATCH_BYTES],
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
        if !self.waiting[ticket.need.class.index()].is_empty() || self.judge(ticket) != Turn::Granted {
            return None;
        }
        self.take(ticket)
    }

    /// Waits for memory.
    #[cold]
    pub(super) fn wait(&mut self, host: HostSlot, ticket: Ticket) {
        self.gauges.waited.add(1);
        self.waiting[ticket.need.class.index()].push(host, ticket);
    }

    fn judge(&self, ticket: &Ticket) -> Turn {
        judge(&self.buffers, &self.devices, &self.reads, ticket)
    }

    fn take(&mut self, ticket: &Ticket) -> Option<ScatterList> {
        let list = self.buffers.take(ticket.need)?;
        if ticket.is_from_host {
            self.reads.begin(ticket.need.bytes);
        }
        if let Some(queue) = self.devices.get_mut(ticket.export) {
            queue.hold(ticket.need);
        }
        Some(list)
    }

    /// The next command that has waited and can go on, with its memory.
    #[inline]
    pub(super) fn next_granted(&mut self) -> Option<(Ticket, ScatterList)> {
        if self.waiting.iter().all(Waiting::is_empty) {
            return None;
        }
        let (buffers, devices, reads) = (&self.buffers, &self.devices, &self.reads);
        let next = |waiting: &mut Waiting| waiting.next(|ticket| judge(buffers, devices, reads, ticket));
        let ticket = self.waiting.iter_mut().find_map(next)?;
        let list = self.take(&ticket);
        assert!(list.is_some(), "only this thread takes from its pools");
        list.map(|list| (ticket, list))
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

#[inline]
fn judge(buffers: &Buffers, devices: &Devices, reads: &ReadBudget, ticket: &Ticket) -> Turn {
    let need: Need = ticket.need;
    let class: Class = need.class;
    if !devices.is_within_share(ticket.export, need, buffers.chunks(class))
        || (ticket.is_from_host && !reads.has_room(need.bytes))
    {
        return Turn::PassedOver;
    }
    if buffers.has(need) { Turn::Granted } else { Turn::HoldsUp }
}
