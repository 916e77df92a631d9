//! What every queue has: how many commands are in it, the submission queue's head, whether it may be used yet.

use nvme_spec::{CommandId, Cqe, QueueId, Status};
use thiserror::Error;

/// What a host did to a connection that leaves no way but to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// A message that is no capsule.
    #[error("a message that is too short for a command")]
    CapsuleTooShort,
    /// More commands at once than the queue holds.
    #[error("more commands than the queue holds")]
    QueueOverrun,
    /// A command after the host itself ended the queue.
    #[error("a command on a queue that the host has disconnected")]
    Disconnected,
}

/// Whether a queue may be used.
///
/// ```text
///   Connect, and       authenticated
///   AUTHREQ is set ---> Authenticating ---------+
///                              |                v
///   Connect, else ------------------------->  Live
///                              |                |
///                              +--- Disconnect -+---> Closed
/// ```
///
/// Before there is a queue at all, `PendingQueue` has the states up to Connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueuePhase {
    /// Connected, and nothing else is answered until the host is authenticated.
    Authenticating,
    /// Commands are carried out.
    Live,
    /// The host has disconnected it.
    Closed,
}

/// Flow control of a queue's submission side.
#[derive(Debug)]
pub(super) struct Flow {
    /// Entries of the submission queue; also the most commands in flight, since a host that gets a response may use its
    /// entry at once, and asynchronous event requests leave their entries when they are taken.
    entries: u16,
    in_flight: u16,
    /// `None`: the host asked for no flow control (CATTR bit 2).
    head: Option<u16>,
    phase: QueuePhase,
}

/// SQHD of a queue without flow control (Base, Connect Response).
const HEAD_UNUSED: u16 = 0xffff;

impl Flow {
    /// A queue of `sq_size` + 1 entries (at least 2), whose Connect was its first command and has been answered.
    pub(super) fn new(sq_size: u16, without_flow_control: bool, phase: QueuePhase) -> Self {
        let head = if without_flow_control { None } else { Some(1) };
        Self { entries: sq_size.saturating_add(1), in_flight: 0, head, phase }
    }

    /// SQHD as it is.
    pub(super) fn head(&self) -> u16 {
        self.head.unwrap_or(HEAD_UNUSED)
    }

    pub(super) const fn phase(&self) -> QueuePhase {
        self.phase
    }

    /// The host is who it says.
    pub(super) fn authenticated(&mut self) {
        if self.phase == QueuePhase::Authenticating {
            self.phase = QueuePhase::Live;
        }
    }

    /// The host ended the queue.
    pub(super) fn close(&mut self) {
        self.phase = QueuePhase::Closed;
    }

    pub(super) const fn entries(&self) -> u16 {
        self.entries
    }

    pub(super) const fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// A command came.
    #[inline]
    pub(super) fn take(&mut self) -> Result<(), Violation> {
        if self.phase == QueuePhase::Closed {
            return Err(Violation::Disconnected);
        }
        if self.in_flight == self.entries {
            return Err(Violation::QueueOverrun);
        }
        self.in_flight += 1;
        Ok(())
    }

    /// Commands that end without an answer (asynchronous event requests at a reset).
    pub(super) fn forget(&mut self, commands: u16) {
        self.in_flight = self.in_flight.saturating_sub(commands);
    }

    /// A command is answered. Its entry becomes free with it: SQHD advances by one modulo the queue's entries.
    #[inline]
    pub(super) fn complete(&mut self, cid: CommandId, status: Status) -> Cqe {
        debug_assert!(self.in_flight > 0, "an answer without a command");
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(head) = &mut self.head {
            *head = if *head + 1 >= self.entries { 0 } else { *head + 1 };
        }
        // SQID is reserved on fabrics.
        Cqe::new(QueueId(0), self.head(), cid, status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(sq_size: u16, without: bool) -> Flow {
        Flow::new(sq_size, without, QueuePhase::Live)
    }

    #[test]
    fn sqhd_advances_modulo_sqsize_plus_one_with_each_completion() {
        let mut flow = flow(3, false);
        let heads: Vec<u16> = (0..6)
            .map(|cid| {
                flow.take().unwrap();
                flow.complete(CommandId(cid), Status::SUCCESS).sqhd()
            })
            .collect();
        assert_eq!(heads, [2, 3, 0, 1, 2, 3], "Connect was the first");
    }

    #[test]
    fn sqhd_is_ffff_without_flow_control() {
        let mut flow = flow(3, true);
        flow.take().unwrap();
        assert_eq!(flow.complete(CommandId(0), Status::SUCCESS).sqhd(), 0xffff);
    }

    #[test]
    fn more_commands_than_the_queue_holds_end_it() {
        let mut flow = flow(1, false);
        assert_eq!((flow.take(), flow.take()), (Ok(()), Ok(())));
        assert_eq!(flow.take(), Err(Violation::QueueOverrun));
        flow.complete(CommandId(0), Status::SUCCESS);
        assert_eq!(flow.take(), Ok(()));
    }

    #[test]
    fn phases_by_event() {
        use QueuePhase::{Authenticating, Closed, Live};
        for (before, authenticated, closed, takes) in [
            (Authenticating, Live, Closed, true),
            (Live, Live, Closed, true),
            (Closed, Closed, Closed, false),
        ] {
            let with = |event: fn(&mut Flow)| {
                let mut flow = Flow::new(3, false, before);
                event(&mut flow);
                flow.phase()
            };
            assert_eq!(with(Flow::authenticated), authenticated);
            assert_eq!(with(Flow::close), closed);
            assert_eq!(Flow::new(3, false, before).take().is_ok(), takes);
        }
    }
}
