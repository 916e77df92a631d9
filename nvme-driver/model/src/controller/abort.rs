//! Abort (Base 5.1.1).

use nvme_spec::command::AdminOpcode;
use nvme_spec::{CommandId, Nsid, QueueId, Sqe, Status, StatusCode};

use super::{Answer, Controller, Fetched};

/// Dword 0 of Abort's completion when the command was not aborted.
const NOT_ABORTED: u32 = 1;

impl Controller {
    /// Ends a command that is held, lost ones too. One that has completed goes on.
    pub(super) fn abort(&mut self, sqid: QueueId, cid: CommandId) -> Answer {
        if self.queues.sq(sqid).is_none() {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        }
        if sqid.is_admin() && self.events.drop_request(cid) {
            return self.end_event_request(cid);
        }
        let Some(held) = self.held.take(sqid, cid) else { return Ok(NOT_ABORTED) };
        let command = Fetched { sqid: held.sqid, sqe: held.sqe };
        self.finish(command, Err(Status::new(StatusCode::ABORT_REQUESTED)));
        Ok(0)
    }

    fn end_event_request(&mut self, cid: CommandId) -> Answer {
        let sqe = Sqe::new(AdminOpcode::AsyncEventRequest.raw(), cid, Nsid::NONE);
        let command = Fetched { sqid: QueueId::ADMIN, sqe };
        self.finish(command, Err(Status::new(StatusCode::ABORT_REQUESTED)));
        Ok(0)
    }
}
