//! Why a connection is rejected.

/// The reason of a rejection (12.6.7.2). Those that we give or act upon have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// 1: no queue pair could be had.
    NoQueuePair,
    /// 3: something else could not be had.
    NoResources,
    /// 4: the awaited message did not come; the additional information is the GUID of who waited.
    Timeout,
    /// 5: the request asks for what is not supported.
    Unsupported,
    /// 6: a communication id is not valid.
    InvalidCommunicationId,
    /// 8: nobody listens.
    NoService,
    /// 9: the transport is not the reliable connection.
    InvalidTransport,
    /// 10: the queue pair is of a connection that the other side still holds, or holds in timewait.
    StaleConnection,
    /// 12: the GID is not that of the sender, or not ours.
    InvalidGid,
    /// 26: the path MTU is not supported; the additional information is the largest that is.
    InvalidMtu,
    /// 28: the consumer rejects, with private data.
    Consumer,
    /// Another.
    Other(u16),
}

impl From<u16> for RejectReason {
    fn from(code: u16) -> Self {
        match code {
            1 => Self::NoQueuePair,
            3 => Self::NoResources,
            4 => Self::Timeout,
            5 => Self::Unsupported,
            6 => Self::InvalidCommunicationId,
            8 => Self::NoService,
            9 => Self::InvalidTransport,
            10 => Self::StaleConnection,
            12 => Self::InvalidGid,
            26 => Self::InvalidMtu,
            28 => Self::Consumer,
            other => Self::Other(other),
        }
    }
}

impl From<RejectReason> for u16 {
    fn from(reason: RejectReason) -> Self {
        match reason {
            RejectReason::NoQueuePair => 1,
            RejectReason::NoResources => 3,
            RejectReason::Timeout => 4,
            RejectReason::Unsupported => 5,
            RejectReason::InvalidCommunicationId => 6,
            RejectReason::NoService => 8,
            RejectReason::InvalidTransport => 9,
            RejectReason::StaleConnection => 10,
            RejectReason::InvalidGid => 12,
            RejectReason::InvalidMtu => 26,
            RejectReason::Consumer => 28,
            RejectReason::Other(code) => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_name() {
        for code in 0..=u16::MAX {
            assert_eq!(u16::from(RejectReason::from(code)), code);
        }
        assert_eq!(RejectReason::from(28), RejectReason::Consumer);
        assert_eq!(RejectReason::from(2), RejectReason::Other(2));
    }
}
