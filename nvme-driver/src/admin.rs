//! Admin commands from outside: what a command line asks a controller, beside what the driver itself does.
//!
//! The core's thread executes them, one at a time between its own. Nobody waits on the core's side: what is asked goes
//! into a bounded mailbox, and the answer into a channel of its own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use nvme_spec::Status;
use nvme_spec::command::AdminCommand;
use thiserror::Error;

use crate::data_pointer::PAGE_BYTES;

/// Most admin commands from outside that wait for the core.
pub(crate) const ADMIN_CALLS_MAX: usize = 16;

/// Most bytes that one command returns: the core has one page for them.
pub const ADMIN_BYTES_MAX: u32 = PAGE_BYTES;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AdminError {
    /// The command would change what the driver relies on.
    #[error("only Identify, Get Log Page and Get Features may be sent beside the driver's own commands")]
    NotAllowed,
    /// It would return more than [`ADMIN_BYTES_MAX`] bytes.
    #[error("a command returns at most {ADMIN_BYTES_MAX} bytes, not {bytes}")]
    TooLarge {
        /// Bytes asked for.
        bytes: u32,
    },
    /// Too many wait.
    #[error("{ADMIN_CALLS_MAX} admin commands are waiting already")]
    Busy,
    /// The controller refused it.
    #[error("the controller refused: {0}")]
    Refused(Status),
    /// The controller was reset, or has gone, before it answered.
    #[error("the controller was reset, or has gone, before it answered")]
    Lost,
    /// No answer came in time.
    #[error("the controller did not answer in time")]
    TimedOut,
}

/// A command on its way to the core.
#[derive(Debug)]
pub(crate) struct AdminCall {
    pub(crate) command: AdminCommand,
    pub(crate) bytes: u32,
    answer: SyncSender<Result<Vec<u8>, AdminError>>,
}

/// Where the answer to an admin command will be.
#[derive(Debug)]
pub struct AdminAnswer(Receiver<Result<Vec<u8>, AdminError>>);

impl AdminCall {
    /// A command that returns `bytes` bytes, and where its answer will be.
    pub(crate) fn new(command: AdminCommand, bytes: u32) -> Result<(Self, AdminAnswer), AdminError> {
        let only_reads = matches!(
            command,
            AdminCommand::Identify(_) | AdminCommand::GetLogPage(_) | AdminCommand::GetFeatures(_)
        );
        if !only_reads {
            return Err(AdminError::NotAllowed);
        }
        let length = match &command {
            AdminCommand::GetLogPage(page) => {
                u32::try_from(page.length.bytes()).unwrap_or(u32::MAX).max(bytes)
            }
            _ => bytes,
        };
        if length > ADMIN_BYTES_MAX {
            return Err(AdminError::TooLarge { bytes: length });
        }
        let (answer, receiver) = sync_channel(1);
        Ok((Self { command, bytes, answer }, AdminAnswer(receiver)))
    }

    /// Answers. A call that is dropped without an answer tells that it is lost.
    pub(crate) fn answer(self, answer: Result<Vec<u8>, AdminError>) {
        // Whoever asked may have lost patience, and then nobody wants it.
        let _ = self.answer.try_send(answer);
    }
}

impl AdminAnswer {
    /// The answer, if there is one already.
    ///
    /// # Errors
    /// [`AdminError`], from the controller or because of its end.
    pub fn try_take(&self) -> Option<Result<Vec<u8>, AdminError>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(AdminError::Lost)),
        }
    }

    pub(crate) fn wait(&self, timeout: Duration) -> Result<Vec<u8>, AdminError> {
        self.0.recv_timeout(timeout).unwrap_or_else(|why| match why {
            RecvTimeoutError::Timeout => Err(AdminError::TimedOut),
            RecvTimeoutError::Disconnected => Err(AdminError::Lost),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::command::{Cns, DwordCount, GetLogPage, Identify, LogPageId};
    use nvme_spec::{Nsid, QueueId};

    fn log(bytes: u64) -> AdminCommand {
        AdminCommand::GetLogPage(GetLogPage::new(
            LogPageId::ERROR_INFORMATION,
            DwordCount::from_bytes(bytes).unwrap(),
        ))
    }

    fn refusal(command: AdminCommand, bytes: u32) -> Option<AdminError> {
        AdminCall::new(command, bytes).err()
    }

    #[test]
    fn what_changes_the_controller_is_refused() {
        assert_eq!(refusal(AdminCommand::DeleteIoSq(QueueId(1)), 0), Some(AdminError::NotAllowed));
        assert_eq!(refusal(AdminCommand::KeepAlive, 0), Some(AdminError::NotAllowed));
    }

    #[test]
    fn no_command_writes_beyond_the_page() {
        assert_eq!(refusal(log(4096), 4096), None);
        assert_eq!(refusal(log(4100), 512), Some(AdminError::TooLarge { bytes: 4100 }));
        let identify = AdminCommand::Identify(Identify::new(Cns::CONTROLLER, Nsid::NONE));
        assert_eq!(refusal(identify, 4097), Some(AdminError::TooLarge { bytes: 4097 }));
    }

    #[test]
    fn a_dropped_call_is_a_lost_one() {
        let (call, answer) = AdminCall::new(log(512), 512).unwrap();
        assert_eq!(answer.try_take(), None);
        drop(call);
        assert_eq!(answer.try_take(), Some(Err(AdminError::Lost)));
        assert_eq!(answer.wait(Duration::ZERO), Err(AdminError::Lost));
    }
}
