//! What the listening side remembers of requests: those that wait for the user, and, for a while, those that were answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use block::Timestamp;

use super::incoming::{PeerId, Ticket};
use super::{ANSWERED_KEPT, ANSWERED_MAX};
use crate::soft::wire::mad::TransactionId;

/// A request that came.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) ticket: Arc<Ticket>,
    pub(super) transaction: TransactionId,
    pub(super) port: u16,
    pub(super) came: Timestamp,
    /// Whether the peer was told to have patience.
    pub(super) receipted: bool,
    answered: Option<Timestamp>,
}

impl Record {
    pub(super) const fn new(
        ticket: Arc<Ticket>,
        transaction: TransactionId,
        port: u16,
        came: Timestamp,
    ) -> Self {
        Self { ticket, transaction, port, came, receipted: false, answered: None }
    }

    pub(super) const fn waits(&self) -> bool {
        self.answered.is_none()
    }
}

/// The records, by the peers' names of what they ask for.
#[derive(Debug, Default)]
pub(super) struct Records {
    records: BTreeMap<PeerId, Record>,
    /// Oldest answer first; at most [`ANSWERED_MAX`].
    answered: VecDeque<PeerId>,
}

impl Records {
    pub(super) fn waiting(&self) -> usize {
        self.records.len() - self.answered.len()
    }

    pub(super) fn waiting_peers(&self, port: u16) -> Vec<PeerId> {
        let at_port =
            |(peer, record): (&PeerId, &Record)| (record.waits() && record.port == port).then_some(*peer);
        self.records.iter().filter_map(at_port).collect()
    }

    pub(super) fn insert(&mut self, peer: PeerId, record: Record) {
        self.records.insert(peer, record);
    }

    /// The record of a request that waits, or was answered not long ago.
    pub(super) fn get_mut(&mut self, peer: &PeerId, now: Timestamp) -> Option<&mut Record> {
        self.forget_old(now);
        self.records.get_mut(peer)
    }

    /// Notes that a request that waited has been answered, and says at which port it waited.
    pub(super) fn answered(&mut self, peer: PeerId, now: Timestamp) -> Option<u16> {
        let record = self.records.get_mut(&peer).filter(|record| record.waits())?;
        record.answered = Some(now);
        let port = record.port;
        self.answered.push_back(peer);
        self.forget_old(now);
        Some(port)
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some(oldest) = self.answered.front() {
            let since = self.records.get(oldest).and_then(|record| record.answered).unwrap_or_default();
            if self.answered.len() <= ANSWERED_MAX && now.since(since) < ANSWERED_KEPT {
                return;
            }
            self.records.remove(oldest);
            self.answered.pop_front();
        }
    }
}
