//! Admin commands, whole.

use super::feature::{GetFeatures, SetFeatures};
use super::identify::Identify;
use super::log_page::GetLogPage;
use super::opcode::AdminOpcode;
use super::queue::{CreateIoCq, CreateIoSq};
use super::{INVALID_OPCODE, check_common};
use crate::bits::{high16, join16, low16};
use crate::ids::{CommandId, Nsid, QueueId};
use crate::sqe::Sqe;
use crate::status::Status;

/// An admin command. [`AdminOpcode`] names more than can be built and decoded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdminCommand {
    /// Delete I/O Submission Queue.
    DeleteIoSq(QueueId),
    /// Create I/O Submission Queue.
    CreateIoSq(CreateIoSq),
    /// Get Log Page.
    GetLogPage(GetLogPage),
    /// Delete I/O Completion Queue.
    DeleteIoCq(QueueId),
    /// Create I/O Completion Queue.
    CreateIoCq(CreateIoCq),
    /// Identify.
    Identify(Identify),
    /// Abort. Bit 0 of the completion's dword 0 is clear if the command was aborted.
    Abort {
        /// The submission queue of the command to abort.
        sqid: QueueId,
        /// The command to abort.
        cid: CommandId,
    },
    /// Set Features.
    SetFeatures(SetFeatures),
    /// Get Features.
    GetFeatures(GetFeatures),
    /// Asynchronous Event Request.
    AsyncEventRequest,
    /// Keep Alive.
    KeepAlive,
    /// Doorbell Buffer Config: each buffer is one memory page, page aligned.
    DoorbellBufferConfig {
        /// PRP1: the shadow doorbells, which the host writes.
        shadow: u64,
        /// PRP2: the EventIdx values, which the controller writes.
        event_idx: u64,
    },
}

impl AdminCommand {
    /// Its opcode.
    #[must_use]
    pub const fn opcode(&self) -> AdminOpcode {
        match self {
            Self::DeleteIoSq(_) => AdminOpcode::DeleteIoSq,
            Self::CreateIoSq(_) => AdminOpcode::CreateIoSq,
            Self::GetLogPage(_) => AdminOpcode::GetLogPage,
            Self::DeleteIoCq(_) => AdminOpcode::DeleteIoCq,
            Self::CreateIoCq(_) => AdminOpcode::CreateIoCq,
            Self::Identify(_) => AdminOpcode::Identify,
            Self::Abort { .. } => AdminOpcode::Abort,
            Self::SetFeatures(_) => AdminOpcode::SetFeatures,
            Self::GetFeatures(_) => AdminOpcode::GetFeatures,
            Self::AsyncEventRequest => AdminOpcode::AsyncEventRequest,
            Self::KeepAlive => AdminOpcode::KeepAlive,
            Self::DoorbellBufferConfig { .. } => AdminOpcode::DoorbellBufferConfig,
        }
    }

    /// Its entry. The data pointer is left empty, but for the queues and buffers that are the command itself.
    #[must_use]
    pub const fn sqe(&self, cid: CommandId) -> Sqe {
        let bare = Sqe::new(self.opcode().raw(), cid, Nsid::NONE);
        match self {
            Self::DeleteIoSq(qid) | Self::DeleteIoCq(qid) => bare.with_cdw10(qid.0 as u32),
            Self::CreateIoSq(command) => command.sqe(cid),
            Self::CreateIoCq(command) => command.sqe(cid),
            Self::GetLogPage(command) => command.sqe(cid),
            Self::Identify(command) => command.sqe(cid),
            Self::Abort { sqid, cid: aborted } => bare.with_cdw10(join16(sqid.0, aborted.0)),
            Self::SetFeatures(command) => command.sqe(cid),
            Self::GetFeatures(command) => command.sqe(cid),
            Self::AsyncEventRequest | Self::KeepAlive => bare,
            Self::DoorbellBufferConfig { shadow, event_idx } => bare.with_prps(*shadow, *event_idx),
        }
    }
}

impl TryFrom<&Sqe> for AdminCommand {
    type Error = Status;

    /// The error is Invalid Command Opcode for an opcode that is not modelled, Invalid Queue Size for a queue
    /// of one entry, Invalid Field in Command for reserved values, all with Do Not Retry.
    fn try_from(sqe: &Sqe) -> Result<Self, Status> {
        check_common(sqe)?;
        let low_qid = QueueId(low16(sqe.cdw10()));
        match AdminOpcode::try_from(sqe.opcode())? {
            AdminOpcode::DeleteIoSq => Ok(Self::DeleteIoSq(low_qid)),
            AdminOpcode::CreateIoSq => CreateIoSq::from_sqe(sqe).map(Self::CreateIoSq),
            AdminOpcode::GetLogPage => GetLogPage::from_sqe(sqe).map(Self::GetLogPage),
            AdminOpcode::DeleteIoCq => Ok(Self::DeleteIoCq(low_qid)),
            AdminOpcode::CreateIoCq => CreateIoCq::from_sqe(sqe).map(Self::CreateIoCq),
            AdminOpcode::Identify => Ok(Self::Identify(Identify::from_sqe(sqe))),
            AdminOpcode::Abort => Ok(Self::Abort { sqid: low_qid, cid: CommandId(high16(sqe.cdw10())) }),
            AdminOpcode::SetFeatures => Ok(Self::SetFeatures(SetFeatures::from_sqe(sqe))),
            AdminOpcode::GetFeatures => GetFeatures::from_sqe(sqe).map(Self::GetFeatures),
            AdminOpcode::AsyncEventRequest => Ok(Self::AsyncEventRequest),
            AdminOpcode::KeepAlive => Ok(Self::KeepAlive),
            AdminOpcode::DoorbellBufferConfig => {
                Ok(Self::DoorbellBufferConfig { shadow: sqe.prp1(), event_idx: sqe.prp2() })
            }
            _ => Err(INVALID_OPCODE),
        }
    }
}
