//! One I/O command that is waited for.
//!
//! ```text
//!          +------------------------ completion ------------------------+
//!          v                                                            |
//!   free --submit--> Sent --command timeout--> Aborting --abort timeout--> Hopeless (a reset was asked for)
//!                      |                          |                           |
//!                      +---- request deadline ----+---------------------------+--> the same, but Withheld: the request
//!                            was given back without its memory, which stays here until the command ends
//! ```

use block::{Completion, IoError, Request, Timestamp};
use dma::ScatterList;

/// How long a command has been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// The controller has time.
    Sent,
    /// An abort was asked for.
    Aborting,
    /// A controller reset was asked for.
    Hopeless,
}

/// What a command keeps.
#[derive(Debug)]
enum Content {
    /// The request, to be completed.
    Held(Request),
    /// The memory of a request that has been given back without it.
    Withheld(ScatterList),
}

/// What a command wants done, its time being over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Abort,
    Reset,
}

/// How many commands of a queue are in which state of the drawing in `queue/waiting.rs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Sent, within their time.
    pub sent: u32,
    /// An abort was asked for.
    pub aborting: u32,
    /// A controller reset was asked for.
    pub hopeless: u32,
    /// Of all these: those whose request was given back without its memory.
    pub withheld: u32,
}

/// One command.
#[derive(Debug)]
pub(super) struct Waiting {
    content: Content,
    patience: Patience,
    /// When `patience` ends.
    due: Timestamp,
}

impl Waiting {
    #[inline]
    pub(super) fn new(request: Request, due: Timestamp) -> Self {
        Self { content: Content::Held(request), patience: Patience::Sent, due }
    }

    /// Whether the controller was asked to end the command before its time.
    #[inline]
    pub(super) fn is_late(&self) -> bool {
        self.patience != Patience::Sent
    }

    /// Counts the command where it belongs.
    pub(super) fn count_in(&self, census: &mut Census) {
        match self.patience {
            Patience::Sent => census.sent += 1,
            Patience::Aborting => census.aborting += 1,
            Patience::Hopeless => census.hopeless += 1,
        }
        if matches!(self.content, Content::Withheld(_)) {
            census.withheld += 1;
        }
    }

    /// When something has to be done about the command if it does not complete.
    pub(super) fn next_due(&self) -> Timestamp {
        match &self.content {
            Content::Held(request) => self.due.min(request.deadline),
            Content::Withheld(_) => self.due,
        }
    }

    /// The request, if it has not been given back yet.
    #[inline]
    pub(super) fn into_request(self) -> Option<Request> {
        match self.content {
            Content::Held(request) => Some(request),
            Content::Withheld(_) => None,
        }
    }

    /// The request without its memory, and the memory.
    pub(super) fn into_parts(self) -> (Option<Request>, ScatterList) {
        match self.content {
            Content::Held(mut request) => {
                let data = std::mem::take(&mut request.data);
                (Some(request), data)
            }
            Content::Withheld(data) => (None, data),
        }
    }

    /// The completion of a request whose deadline has passed; its memory stays here.
    pub(super) fn give_back_late(&mut self, now: Timestamp) -> Option<Completion> {
        let Content::Held(request) = &mut self.content else { return None };
        if request.deadline > now {
            return None;
        }
        let data = std::mem::take(&mut request.data);
        match std::mem::replace(&mut self.content, Content::Withheld(data)) {
            Content::Held(request) => Some(Completion { request, result: Err(IoError::TimedOut) }),
            Content::Withheld(_) => None,
        }
    }

    /// What is to be done at `now`, nobody waiting for the answer any more or its time being over.
    pub(super) fn wish(&self, now: Timestamp) -> Option<Wish> {
        let abandoned = matches!(self.content, Content::Withheld(_));
        match self.patience {
            Patience::Sent if abandoned || self.due <= now => Some(Wish::Abort),
            Patience::Aborting if self.due <= now => Some(Wish::Reset),
            _ => None,
        }
    }

    /// The abort is on its way; the controller has until then, and in any case the time that every command has.
    pub(super) fn aborting(&mut self, until: Timestamp) {
        self.patience = Patience::Aborting;
        self.due = self.due.max(until);
    }

    /// The reset is on its way.
    pub(super) fn hopeless(&mut self) {
        self.patience = Patience::Hopeless;
        self.due = Timestamp::NEVER;
    }

    /// The wish could not be passed on: try again then.
    pub(super) fn postpone(&mut self, until: Timestamp) {
        self.due = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Timestamp = Timestamp::from_ns(100);

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_ns(ns)
    }

    #[test]
    fn a_silent_command_is_aborted_and_then_given_up() {
        let mut command = Waiting::new(Request::flush(), DUE);
        assert_eq!((command.wish(at(99)), command.wish(DUE)), (None, Some(Wish::Abort)));
        command.aborting(at(150));
        assert!(command.is_late());
        assert_eq!((command.wish(at(149)), command.wish(at(150))), (None, Some(Wish::Reset)));
        command.hopeless();
        assert_eq!((command.wish(at(u64::MAX - 1)), command.next_due()), (None, Timestamp::NEVER));
    }

    #[test]
    fn a_deadline_gives_the_request_back_once_and_asks_for_an_abort() {
        let mut command = Waiting::new(Request::flush().with_deadline(at(10)), DUE);
        assert_eq!(command.next_due(), at(10));
        assert!(command.give_back_late(at(9)).is_none());
        let completion = command.give_back_late(at(10)).unwrap();
        assert_eq!(completion.result, Err(IoError::TimedOut));
        assert!(command.give_back_late(at(11)).is_none());
        assert_eq!(command.wish(at(10)), Some(Wish::Abort));
        command.aborting(at(20));
        // A short deadline of one request is no reason to reset everybody's controller before the command timeout.
        assert_eq!((command.wish(at(20)), command.wish(DUE)), (None, Some(Wish::Reset)));
        assert!(command.into_request().is_none());
    }
}
