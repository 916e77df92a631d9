//! What an I/O queue and the controller's core share: two mailboxes, no lock on the I/O path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use nvme_spec::{CommandId, QueueId, Status};
use rustix::io::Errno;

use crate::wake::Wake;

/// Most abort wishes of one queue that wait for the core. A wish that finds no room is made again at the next look.
const ABORT_WISHES_MAX: usize = 16;

/// How far the controller's side of a queue pair is.
///
/// ```text
///   Absent --(queue asks)--> Asked --(core: both queues created)--> Created
///     ^                        |                                       |
///     |                        +--(controller refuses)--> Refused      |
///     +---------------(incarnation ends)-------------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    Absent,
    Asked,
    Created,
    Refused(Status),
}

const ABSENT: u32 = 0;
const ASKED: u32 = 1;
const CREATED: u32 = 2;
/// A refusal is this plus the status' 15 bits.
const REFUSED: u32 = 1 << 16;

/// One queue pair's mailbox.
#[derive(Debug)]
pub(crate) struct QueueLink {
    pub(crate) queue_id: QueueId,
    /// Wakes the queue's owner.
    pub(crate) wake: Wake,
    attachment: AtomicU32,
    /// The incarnation whose halt the queue has seen; one more, so that 0 means none.
    halted: AtomicU64,
    /// Wishes, each with the incarnation that it is about.
    abort_wishes: ArrayQueue<(u64, CommandId)>,
    /// Aborts of this incarnation that have been answered.
    aborts_answered: AtomicU64,
}

impl QueueLink {
    pub(crate) fn new(queue_id: QueueId) -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self {
            queue_id,
            wake: Wake::new()?,
            attachment: AtomicU32::new(ABSENT),
            halted: AtomicU64::new(0),
            abort_wishes: ArrayQueue::new(ABORT_WISHES_MAX),
            aborts_answered: AtomicU64::new(0),
        }))
    }

    pub(crate) fn attachment(&self) -> Attachment {
        match self.attachment.load(Ordering::Acquire) {
            ABSENT => Attachment::Absent,
            ASKED => Attachment::Asked,
            CREATED => Attachment::Created,
            word => Attachment::Refused(Status::from_raw(u16::try_from(word - REFUSED).unwrap_or(u16::MAX))),
        }
    }

    /// Moves to another state of the drawing above.
    pub(crate) fn set_attachment(&self, attachment: Attachment) {
        let word = match attachment {
            Attachment::Absent => ABSENT,
            Attachment::Asked => ASKED,
            Attachment::Created => CREATED,
            Attachment::Refused(status) => REFUSED + u32::from(status.raw()),
        };
        self.attachment.store(word, Ordering::Release);
    }

    /// The queue's word that it rings no more in this incarnation.
    pub(crate) fn acknowledge_halt(&self, incarnation: u64) {
        self.halted.store(incarnation + 1, Ordering::Release);
    }

    pub(crate) fn has_halted(&self, incarnation: u64) -> bool {
        self.halted.load(Ordering::Acquire) > incarnation
    }

    /// Asks the core to abort a command. `false` if too many wishes wait.
    pub(crate) fn wish_abort(&self, incarnation: u64, command: CommandId) -> bool {
        self.abort_wishes.push((incarnation, command)).is_ok()
    }

    /// The core's word that an abort has been answered: it hits nothing any more.
    pub(crate) fn abort_answered(&self) {
        self.aborts_answered.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn aborts_answered(&self) -> u64 {
        self.aborts_answered.load(Ordering::Acquire)
    }

    /// A new incarnation begins with no abort under way.
    pub(crate) fn forget_aborts(&self) {
        self.aborts_answered.store(0, Ordering::Release);
    }

    pub(crate) fn next_abort_wish(&self) -> Option<(u64, CommandId)> {
        self.abort_wishes.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::StatusCode;

    #[test]
    fn every_attachment_comes_back() {
        let link = QueueLink::new(QueueId(3)).unwrap();
        let refused = Attachment::Refused(Status::permanent(StatusCode::INVALID_QUEUE_SIZE));
        for attachment in [Attachment::Asked, Attachment::Created, refused, Attachment::Absent] {
            link.set_attachment(attachment);
            assert_eq!(link.attachment(), attachment);
        }
    }

    #[test]
    fn abort_wishes_are_bounded() {
        let link = QueueLink::new(QueueId(1)).unwrap();
        let taken = (0..100).filter(|cid| link.wish_abort(0, CommandId(*cid))).count();
        assert_eq!(taken, ABORT_WISHES_MAX);
        assert_eq!(link.next_abort_wish(), Some((0, CommandId(0))));
    }

    #[test]
    fn a_halt_is_acknowledged_for_its_own_incarnation() {
        let link = QueueLink::new(QueueId(1)).unwrap();
        assert!(!link.has_halted(0));
        link.acknowledge_halt(0);
        assert!(link.has_halted(0) && !link.has_halted(1));
    }
}
