//! Listeners, and the requests that come to them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::connection::{PeerOffer, PrivateData, REJECT_PRIVATE_BYTES_MAX};
use crate::error::AnswerError;
use crate::handle::ListenerId;
use crate::provider::Request;
use crate::verbs::manager::Id;

/// Most requests of a listener that wait beyond its backlog.
const PARKED_MAX: usize = 1024;

/// A port that is listened on.
pub(super) struct Listener {
    pub(super) id: Id,
    pub(super) port: u16,
    /// Requests that the user has at most before it answers.
    pub(super) backlog: u32,
    /// Requests that the user has.
    waiting: Arc<AtomicU32>,
    /// Requests beyond. Nothing answers them, so their senders ask again; the user gets them when it has answered others.
    parked: VecDeque<(Id, PeerOffer)>,
}

impl Listener {
    pub(super) fn new(id: Id, port: u16, backlog: u32) -> Self {
        Self { id, port, backlog, waiting: Arc::default(), parked: VecDeque::new() }
    }

    /// Keeps a request until the user can have it. Says whether there was room; if not, it is rejected.
    pub(super) fn park(&mut self, id: Id, offer: PeerOffer) -> bool {
        let has_room = self.parked.len() < PARKED_MAX;
        if has_room {
            self.parked.push_back((id, offer));
        }
        has_room
    }

    /// The next request that the user can have now.
    pub(super) fn next(&mut self) -> Option<VerbsRequest> {
        if self.waiting.load(Ordering::Relaxed) >= self.backlog {
            return None;
        }
        let (id, offer) = self.parked.pop_front()?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some(VerbsRequest { id: Some(id), offer, waiting: Arc::clone(&self.waiting) })
    }

    /// Whether requests wait until the user has answered others, maybe in another thread.
    pub(super) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }
}

/// A request to connect. Dropping it rejects it.
pub struct VerbsRequest {
    /// Taken out by the answer.
    id: Option<Id>,
    offer: PeerOffer,
    waiting: Arc<AtomicU32>,
}

impl VerbsRequest {
    pub(super) fn is_from(&self, listener: ListenerId) -> bool {
        self.offer.listener == listener
    }

    /// The identifier, to be accepted.
    pub(super) fn take_id(&mut self) -> Option<Id> {
        self.id.take()
    }

    /// Puts back the identifier that could not be accepted.
    pub(super) fn put_back(&mut self, id: Id) {
        self.id = Some(id);
    }

    /// Rejects with private data.
    pub(super) fn refuse(mut self, private_data: &PrivateData) -> Result<(), AnswerError> {
        if private_data.bytes().len() > REJECT_PRIVATE_BYTES_MAX {
            return Err(AnswerError::PrivateData);
        }
        let mut id = self.id.take().ok_or(AnswerError::Gone)?;
        id.reject(private_data.bytes()).map_err(|_| AnswerError::Gone)
    }
}

impl Request for VerbsRequest {
    fn offer(&self) -> &PeerOffer {
        &self.offer
    }
}

impl Drop for VerbsRequest {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(mut id) = self.id.take()
            && let Err(error) = id.reject(&[])
        {
            tracing::debug!(%error, "a request to connect was withdrawn before it was rejected");
        }
    }
}

impl fmt::Debug for VerbsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerbsRequest").field("offer", &self.offer).finish_non_exhaustive()
    }
}
