//! Keeps the books of every queue of an endpoint: what was posted, and that each piece of it ends once and in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::handle::{QueuePairId, SharedReceiveQueueId};
use crate::work::{Completion, Outcome};

/// The books of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    queue_pairs: BTreeMap<QueuePairId, Books>,
    shared: BTreeMap<SharedReceiveQueueId, BTreeSet<u64>>,
}

#[derive(Debug, Default)]
struct Books {
    sends: VecDeque<(u64, bool)>,
    receives: VecDeque<u64>,
    shared: Option<SharedReceiveQueueId>,
    send_failed: bool,
    receive_failed: bool,
    established: bool,
    closed: bool,
    destroyed: bool,
}

impl Ledger {
    pub(super) fn open(&mut self, queue_pair: QueuePairId, shared: Option<SharedReceiveQueueId>) {
        let before = self.queue_pairs.insert(queue_pair, Books { shared, ..Default::default() });
        assert!(before.is_none(), "{queue_pair:?} was the name of another queue pair");
    }

    pub(super) fn open_shared(&mut self, queue: SharedReceiveQueueId) {
        assert!(self.shared.insert(queue, BTreeSet::new()).is_none(), "{queue:?} was used before");
    }

    pub(super) fn close_shared(&mut self, queue: SharedReceiveQueueId) {
        self.shared.remove(&queue);
    }

    pub(super) fn shared_queues(&self) -> Vec<SharedReceiveQueueId> {
        self.shared.keys().copied().collect()
    }

    pub(super) fn sends_posted(&mut self, queue_pair: QueuePairId, taken: &[(u64, bool)]) {
        self.books(queue_pair).sends.extend(taken);
    }

    pub(super) fn receives_posted(&mut self, queue_pair: QueuePairId, taken: &[u64]) {
        self.books(queue_pair).receives.extend(taken);
    }

    pub(super) fn shared_posted(&mut self, queue: SharedReceiveQueueId, taken: &[u64]) {
        self.shared.entry(queue).or_default().extend(taken);
    }

    pub(super) fn established(&mut self, queue_pair: QueuePairId) {
        let books = self.books(queue_pair);
        assert!(!books.established && !books.closed && !books.destroyed, "established late: {books:?}");
        books.established = true;
    }

    pub(super) fn closed(&mut self, queue_pair: QueuePairId) {
        let books = self.books(queue_pair);
        assert!(!books.closed && !books.destroyed, "closed again, or after the end: {books:?}");
        books.closed = true;
    }

    pub(super) fn destroyed(&mut self, queue_pair: QueuePairId) {
        let books = self.books(queue_pair);
        (books.destroyed, books.sends, books.receives) = (true, VecDeque::new(), VecDeque::new());
    }

    /// Queue pairs that were not destroyed.
    pub(super) fn living(&self) -> Vec<QueuePairId> {
        self.queue_pairs.iter().filter(|(_, books)| !books.destroyed).map(|(name, _)| *name).collect()
    }

    /// Whether a queue pair is closed and nothing of it is left.
    pub(super) fn is_at_rest(&self, queue_pair: QueuePairId) -> bool {
        let books = &self.queue_pairs[&queue_pair];
        books.destroyed || (books.closed && books.sends.is_empty() && books.receives.is_empty())
    }

    /// Pieces of send work and receives of its own that a queue pair has.
    pub(super) fn left(&self, queue_pair: QueuePairId) -> (usize, usize) {
        let books = &self.queue_pairs[&queue_pair];
        (books.sends.len(), books.receives.len())
    }

    pub(super) fn completed(&mut self, completion: &Completion) {
        let books = self.queue_pairs.get_mut(&completion.queue_pair).expect("a queue pair of this endpoint");
        assert!(!books.destroyed, "a completion of a queue pair that was destroyed: {completion:?}");
        match &completion.outcome {
            Outcome::Sent { result, .. } => books.sent(completion.id, result.is_ok()),
            Outcome::Received { result, .. } => {
                let shared = books.shared.and_then(|queue| self.shared.get_mut(&queue));
                books.received(completion.id, result.is_ok(), shared);
            }
        }
    }

    fn books(&mut self, queue_pair: QueuePairId) -> &mut Books {
        self.queue_pairs.get_mut(&queue_pair).expect("a queue pair of this endpoint")
    }
}

impl Books {
    fn sent(&mut self, id: u64, succeeded: bool) {
        assert!(!(self.send_failed && succeeded), "work {id} succeeded after other work had failed");
        let at = self.sends.iter().position(|(posted, _)| *posted == id);
        let at =
            at.unwrap_or_else(|| panic!("work {id} is not there, or ended twice; left: {:?}", self.sends));
        let skipped: Vec<_> = self.sends.drain(..=at).take(at).collect();
        assert!(
            skipped.iter().all(|(_, signaled)| !signaled),
            "signaled work ended after what was posted behind it: {skipped:?} before {id}"
        );
        assert!(!self.send_failed || skipped.is_empty(), "{skipped:?} failed and did not say so");
        self.send_failed |= !succeeded;
    }

    fn received(&mut self, id: u64, succeeded: bool, shared: Option<&mut BTreeSet<u64>>) {
        assert!(!(self.receive_failed && succeeded), "receive {id} succeeded after others had failed");
        match shared {
            Some(queue) => assert!(queue.remove(&id), "receive {id} is not there, or ended twice"),
            None => assert_eq!(self.receives.pop_front(), Some(id), "receives end in the order of posting"),
        }
        self.receive_failed |= !succeeded;
    }
}
