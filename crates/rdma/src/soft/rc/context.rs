//! What a queue pair is lent by its endpoint while it acts.

use dma::Segment;

use super::flow::{Flow, ReadBudget};
use super::receive_queue::ReceiveQueue;
use crate::soft::link::PayloadRef;
use crate::soft::wire::{Headers, Qpn};
use crate::{Completion, Counters, RemoteKey, Rights};

/// Where packets go. Nothing is copied by `push`: the packets must have left, or been given up, before the endpoint lets a
/// queue pair handle anything again, for that may let the memory go.
pub trait Outbox {
    /// Whether one more packet can be pushed.
    fn has_room(&self) -> bool;

    /// Queues a packet. There must be room.
    fn push(&mut self, headers: &Headers, payload: PayloadRef<'_>);
}

/// Memory that a peer may reach.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The memory.
    pub segment: &'a Segment,
    /// The address by which the peer names its first byte.
    pub address: u64,
    /// What the peer may do.
    pub rights: Rights,
}

impl<'a> Window<'a> {
    /// The place in the segment of `bytes` bytes from `address`, if all of them are inside and `rights` are given.
    #[inline]
    #[must_use]
    pub fn locate(&self, address: u64, bytes: u32, rights: Rights) -> Option<(&'a Segment, u32)> {
        let offset = u32::try_from(address.checked_sub(self.address)?).ok()?;
        let is_inside = offset.checked_add(bytes)? <= self.segment.bytes();
        (is_inside && self.rights.contains(rights)).then_some((self.segment, offset))
    }
}

/// The windows of an endpoint.
pub trait Windows {
    /// The window of that key, if it is bound and belongs to that queue pair.
    fn window(&self, key: RemoteKey, queue_pair: Qpn) -> Option<Window<'_>>;

    /// Takes the window of that key away. Says whether it was there and belonged to that queue pair.
    fn invalidate(&mut self, key: RemoteKey, queue_pair: Qpn) -> bool;
}

/// What an endpoint lends to a queue pair.
#[derive(Debug)]
pub struct Context<'a, W> {
    /// The endpoint's windows.
    pub windows: &'a mut W,
    /// The shared receive queue of the queue pair, if it uses one.
    pub shared_receives: Option<&'a mut ReceiveQueue>,
    /// What may be under way to the peer; shared by all queue pairs to it.
    pub flow: &'a mut Flow,
    /// What may be under way to this endpoint because it reads; shared by all of its queue pairs.
    pub reads: &'a mut ReadBudget,
    /// Completions are appended here.
    pub completions: &'a mut Vec<Completion>,
    /// What happens is counted here.
    pub counters: &'a mut Counters,
}
