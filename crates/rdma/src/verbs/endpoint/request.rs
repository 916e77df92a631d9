//! Listeners, and the requests that come to them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::connection::{PeerOffer, PrivateData, REJECT_PRIVATE_BYTES_MAX};
use crate::error::AnswerError;
use crate::handle::ListenerId;
use crate::provider::Request;
use crate::verbs::manager::Id;

/// A port that is listened on.
pub(super) struct Listener {
    pub(super) id: Id,
    pub(super) port: u16,
    pub(super) backlog: u32,
    /// Requests that wait to be answered.
    pub(super) waiting: Arc<AtomicU32>,
}

/// A request to connect. Dropping it rejects it.
pub struct VerbsRequest {
    /// Taken out by the answer.
    id: Option<Id>,
    offer: PeerOffer,
    waiting: Arc<AtomicU32>,
}

impl VerbsRequest {
    /// A request that came to a listener; `None` if too many wait, and then it is refused.
    pub(super) fn new(id: Id, offer: PeerOffer, listener: &Listener) -> Option<Self> {
        let waiting = Arc::clone(&listener.waiting);
        let others = waiting.fetch_add(1, Ordering::Relaxed);
        let request = Self { id: Some(id), offer, waiting };
        if others < listener.backlog { Some(request) } else { None }
    }

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
