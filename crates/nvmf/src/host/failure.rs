//! Why an association ended, or could not be made.

use nvme_spec::identify::ControllerType;
use nvme_spec::{ControllerId, QueueId, Status};
use thiserror::Error;

use crate::wire::ConnectField;
use crate::wire::rdma::RejectStatus;

/// What makes a controller one that this host cannot use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// Pages of 4 KiB are too small for it.
    #[error("its smallest memory page has {bytes} bytes")]
    PageSize {
        /// CAP.MPSMIN in bytes.
        bytes: u64,
    },
    /// Identify data that is cut off.
    #[error("its Identify data is too short")]
    IdentifyData,
    /// Another controller answers than the one that we connected to.
    #[error("it is controller {identified} by Identify and controller {connected} by Connect")]
    ControllerId {
        /// Identify Controller's CNTLID.
        identified: ControllerId,
        /// Connect's.
        connected: ControllerId,
    },
    /// Of another kind than was asked for.
    #[error("it is of type {}, which is another than was asked for", .0.raw())]
    Kind(ControllerType),
    /// KAS is 0: it has no keep-alive, which fabrics need.
    #[error("it has no keep-alive")]
    NoKeepAlive,
    /// SGLS bit 2 is clear: it does not know keyed SGLs, which RDMA needs.
    #[error("it knows no keyed SGLs")]
    NoKeyedSgls,
    /// IOCCSZ is below 4 or IORCSZ below 1: no command or no response fits in its capsules.
    #[error("its capsules are too small: {command} and {response} times 16 bytes")]
    Capsules {
        /// IOCCSZ.
        command: u32,
        /// IORCSZ.
        response: u32,
    },
    /// MAXCMD is 0, which a fabrics controller has to tell.
    #[error("it takes no commands (MAXCMD is 0)")]
    NoCommands,
    /// It wants authentication, which this host has not.
    #[error("it wants authentication")]
    Authentication,
}

/// Why an association ended, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The address did not answer, or there is no way to it.
    #[error("no connection for queue {0}")]
    NoConnection(QueueId),
    /// A connection was refused, by NVMe's own reasons (RDMA, RDMA_CM_REJECT).
    #[error("the connection for queue {queue} was refused: {status}")]
    Rejected {
        /// The queue.
        queue: QueueId,
        /// Why.
        status: RejectStatus,
    },
    /// A queue's connection was lost.
    #[error("the connection of queue {0} was lost")]
    ConnectionLost(QueueId),
    /// Connect was refused.
    #[error("Connect of queue {queue}: {}{}", .status.code().fabrics_name().unwrap_or("refused"), of(*.field))]
    Connect {
        /// The queue.
        queue: QueueId,
        /// Why.
        status: Status,
        /// What the controller did not like, if it is one of Connect's parameters.
        field: Option<ConnectField>,
    },
    /// A command that is needed was refused.
    #[error("{what}: {status}")]
    Refused {
        /// The command.
        what: &'static str,
        /// Why.
        status: Status,
    },
    /// A command, or a step, had no answer in time.
    #[error("{0}: no answer in time")]
    Silent(&'static str),
    /// CSTS.CFS: the controller has failed.
    #[error("the controller reports a fatal error")]
    Fatal,
    /// A keep-alive was not answered with success, or not in time.
    #[error("the keep-alive was not answered")]
    KeepAlive,
    /// What came is not what the protocol allows; the owner of a queue found it, or we did.
    #[error("the controller broke the protocol on queue {0}")]
    Protocol(QueueId),
    /// I/O of a queue had no answer in time: its owner found it.
    #[error("a command of queue {0} had no answer in time")]
    Stalled(QueueId),
    /// We wanted to begin anew.
    #[error("reset by us")]
    Reset,
    /// The controller is of no use.
    #[error("unusable controller: {0}")]
    Unusable(#[from] Unusable),
    /// There was no association for too long: the controller is given up.
    #[error("no association within the time allowed")]
    LossTimeout,
    /// We wanted to end.
    #[error("shut down by us")]
    Shutdown,
}

fn of(field: Option<ConnectField>) -> String {
    field.map_or_else(String::new, |field| format!(" ({field:?})"))
}

impl Failure {
    /// Whether trying again cannot help: Do Not Retry, a controller that is of no use, or we do not want to.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Connect { status, .. } | Self::Refused { status, .. } => status.dnr(),
            Self::Unusable(_) | Self::LossTimeout | Self::Shutdown => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use nvme_spec::StatusCode;

    use super::*;

    #[test]
    fn dnr_is_final_and_rejections_are_not() {
        let connect = |status| Failure::Connect { queue: QueueId(0), status, field: None };
        let busy = StatusCode::FABRICS_CONTROLLER_BUSY;
        assert!(!connect(busy.into()).is_final());
        assert!(connect(Status::permanent(busy)).is_final());
        let rejected = Failure::Rejected { queue: QueueId(0), status: RejectStatus::NoResources };
        assert!(!rejected.is_final());
        assert!(Failure::Unusable(Unusable::NoKeyedSgls).is_final());
        assert!(Failure::LossTimeout.is_final() && Failure::Shutdown.is_final());
    }

    #[test]
    fn failures_read_as_sentences() {
        let failure = Failure::Connect {
            queue: QueueId(3),
            status: Status::permanent(StatusCode::FABRICS_CONNECT_INVALID_PARAMETERS),
            field: Some(ConnectField::ControllerId),
        };
        assert_eq!(failure.to_string(), "Connect of queue 3: Connect Invalid Parameters (ControllerId)");
        let failure = Failure::Refused { what: "Identify", status: StatusCode::INTERNAL_ERROR.into() };
        assert_eq!(failure.to_string(), "Identify: Internal Error (0x006)");
    }
}
