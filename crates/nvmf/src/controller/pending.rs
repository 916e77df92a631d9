//! A connection before its Connect.

use block::Timestamp;
use nvme_spec::command::{DataDirection, FABRICS_OPCODE, FabricsType};
use nvme_spec::{CommandId, Cqe, QueueId, Sqe, Status, StatusCode};

use super::limits::{CONNECT_TIMEOUT, Limits};
use super::transfer::{DataPointer, KeyedMemory, Transfer};
use crate::wire::rdma::{AcceptData, RejectStatus, RequestData};
use crate::wire::{CONNECT_DATA_BYTES, CommandCapsule, ConnectCommand, ResponseCapsule};

/// What a host asks for by the private data of a connection: granted, or why not (RDMA, Connection Establishment).
pub fn check_request(request: &RequestData, limits: &Limits) -> Result<AcceptData, RejectStatus> {
    let entries_max =
        if request.queue.is_admin() { limits.admin_queue_entries } else { limits.io_queue_entries };
    if request.queue.0 > limits.io_queues {
        return Err(RejectStatus::InvalidQueueId);
    }
    // HSQSIZE is 0-based, HRQSIZE is not: Linux sends 31 and 32 for its admin queue.
    if request.host_sends == 0 || request.host_sends >= entries_max {
        return Err(RejectStatus::InvalidSubmissionQueueSize);
    }
    if request.host_receives == 0 {
        return Err(RejectStatus::InvalidReceiveQueueSize);
    }
    Ok(AcceptData { controller_receives: request.host_sends + 1 })
}

/// What to do with a capsule that comes before the queue is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingAction {
    /// Its data is in the capsule: `Target::connect`.
    Connect {
        /// The entry.
        sqe: Sqe,
        /// Where in the capsule's data Connect's data begins; it has [`CONNECT_DATA_BYTES`].
        offset: usize,
    },
    /// Its data is to be read from the host's memory first, then `Target::connect`.
    Fetch {
        /// The entry.
        sqe: Sqe,
        /// The data.
        memory: KeyedMemory,
    },
    /// Answer, and go on waiting.
    Respond(ResponseCapsule),
    /// End the connection: one command after the other before any was answered.
    Fatal,
}

/// A connection that is not yet a queue.
///
/// ```text
///                    Connect                          Connected
///  AwaitingConnect ----------> Connecting -------------------------> (AdminQueue or IoQueue)
///        ^                         |
///        +------- refused ---------+          the deadline, in either: close the connection
/// ```
#[derive(Debug)]
pub struct PendingQueue {
    request: RequestData,
    deadline: Timestamp,
    is_connecting: bool,
}

/// A response before a queue has flow control.
pub(super) fn early_response(cid: CommandId, status: Status, invalidate: Option<u32>) -> ResponseCapsule {
    ResponseCapsule { cqe: Cqe::new(QueueId(0), 0, cid, status), invalidate }
}

impl PendingQueue {
    /// A connection that was accepted.
    #[must_use]
    pub fn new(request: RequestData, now: Timestamp) -> Self {
        Self { request, deadline: now.after(CONNECT_TIMEOUT), is_connecting: false }
    }

    /// What it was asked for by.
    #[must_use]
    pub const fn request(&self) -> RequestData {
        self.request
    }

    /// When it is to be closed if no Connect succeeded.
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// The Connect was refused: the host may try another on this connection.
    pub fn refused(&mut self) {
        self.is_connecting = false;
    }

    /// Takes a capsule. Before a Connect every other command is out of sequence (Base, Connect Command).
    pub fn handle_capsule(&mut self, capsule: &CommandCapsule<'_>) -> PendingAction {
        let sqe = capsule.sqe;
        if self.is_connecting {
            return PendingAction::Fatal;
        }
        let pointer = DataPointer::read(&sqe);
        let invalidate = pointer.ok().and_then(|pointer| pointer.invalidate());
        let refuse = |status| PendingAction::Respond(early_response(sqe.cid(), status, invalidate));
        if sqe.opcode() != FABRICS_OPCODE || sqe.fctype() != FabricsType::Connect.raw() {
            return refuse(Status::permanent(StatusCode::COMMAND_SEQUENCE_ERROR));
        }
        if ConnectCommand::from_sqe(&sqe).record_format != 0 {
            return refuse(Status::permanent(StatusCode::FABRICS_INCOMPATIBLE_FORMAT));
        }
        let (direction, bytes) = (DataDirection::HostToController, CONNECT_DATA_BYTES as u64);
        match pointer.and_then(|pointer| pointer.resolve(direction, bytes, capsule.data.len())) {
            Ok(Transfer::InCapsule { offset, .. }) => {
                self.is_connecting = true;
                PendingAction::Connect { sqe, offset }
            }
            Ok(Transfer::FromHost(memory)) => {
                self.is_connecting = true;
                PendingAction::Fetch { sqe, memory }
            }
            Ok(Transfer::None | Transfer::ToHost(_)) => {
                refuse(Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID))
            }
            Err(status) => refuse(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{IO_CONNECT, io_connect_capsule};
    use nvme_spec::{ControllerId, Nsid};

    fn request(queue: u16, host_receives: u16, host_sends: u16) -> RequestData {
        RequestData { queue: QueueId(queue), host_receives, host_sends, controller: ControllerId(0) }
    }

    #[test]
    fn hsqsize_is_0_based_and_hrqsize_is_not() {
        let limits = Limits::default();
        let granted = check_request(&request(0, 32, 31), &limits).unwrap();
        assert_eq!(granted.controller_receives, 32, "what Linux asks for its admin queue");
        assert_eq!(check_request(&request(1, 128, 127), &limits).unwrap().controller_receives, 128);
        for (refused, why) in [
            (request(1, 128, 128), RejectStatus::InvalidSubmissionQueueSize),
            (request(1, 128, 0), RejectStatus::InvalidSubmissionQueueSize),
            (request(1, 0, 127), RejectStatus::InvalidReceiveQueueSize),
            (request(65, 128, 127), RejectStatus::InvalidQueueId),
        ] {
            assert_eq!(check_request(&refused, &limits), Err(why));
        }
    }

    #[test]
    fn the_first_command_must_be_connect() {
        let mut queue = PendingQueue::new(request(1, 32, 31), Timestamp::default());
        let identify = Sqe::new(6, CommandId(3), Nsid(0));
        let action = queue.handle_capsule(&CommandCapsule { sqe: identify, data: &[] });
        let status = Status::permanent(StatusCode::COMMAND_SEQUENCE_ERROR);
        assert_eq!(action, PendingAction::Respond(early_response(CommandId(3), status, None)));
    }

    #[test]
    fn an_io_connect_may_carry_its_data_in_the_capsule() {
        let mut queue = PendingQueue::new(request(1, 32, 31), Timestamp::default());
        let bytes = io_connect_capsule(IO_CONNECT);
        let capsule = CommandCapsule::read(&bytes).unwrap();
        let action = queue.handle_capsule(&capsule);
        assert_eq!(action, PendingAction::Connect { sqe: capsule.sqe, offset: 0 });
        assert_eq!(queue.handle_capsule(&capsule), PendingAction::Fatal, "before it was answered");
        queue.refused();
        assert!(matches!(queue.handle_capsule(&capsule), PendingAction::Connect { .. }));
    }

    #[test]
    fn connects_of_another_format_or_length_are_refused() {
        let refusal = |change: fn(&mut Vec<u8>)| {
            let mut bytes = io_connect_capsule(IO_CONNECT);
            change(&mut bytes);
            let mut queue = PendingQueue::new(request(1, 32, 31), Timestamp::default());
            match queue.handle_capsule(&CommandCapsule::read(&bytes).unwrap()) {
                PendingAction::Respond(response) => response.cqe.status(),
                other => panic!("{other:?}"),
            }
        };
        let format = Status::permanent(StatusCode::FABRICS_INCOMPATIBLE_FORMAT);
        assert_eq!(refusal(|bytes| bytes[40] = 1), format);
        let length = Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID);
        assert_eq!(refusal(|bytes| bytes[32] = 4), length);
        let offset = Status::permanent(StatusCode::SGL_OFFSET_INVALID);
        assert_eq!(refusal(|bytes| bytes.truncate(64 + 1023)), offset);
    }

    #[test]
    fn a_connection_without_connect_has_a_deadline() {
        let queue = PendingQueue::new(request(0, 32, 31), Timestamp::from_ns(5));
        assert_eq!(queue.deadline(), Timestamp::from_ns(5).after(CONNECT_TIMEOUT));
    }
}
