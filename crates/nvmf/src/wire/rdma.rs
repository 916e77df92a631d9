//! The private data of RDMA connections: which queue a connection is for, before any capsule (RDMA, Connection Establishment).

use nvme_spec::{ControllerId, QueueId};
use thiserror::Error;

use super::bytes::{put, u16_at};

/// The port that NVMe over RDMA is known by.
pub const PORT: u16 = 4420;

/// What a request and an acceptance carry.
pub const PRIVATE_DATA_BYTES: usize = 32;

/// What a rejection carries.
pub const REJECT_BYTES: usize = 4;

/// Why a connection is refused (RDMA, RDMA_CM_REJECT, STS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum RejectStatus {
    /// 1: the private data has another length.
    #[error("invalid length of the private data")]
    InvalidLength,
    /// 2: RECFMT is not 0.
    #[error("invalid record format")]
    InvalidRecordFormat,
    /// 3: the queue cannot be had.
    #[error("invalid queue identifier")]
    InvalidQueueId,
    /// 4: HSQSIZE is too large.
    #[error("invalid submission queue size")]
    InvalidSubmissionQueueSize,
    /// 5: HRQSIZE is too small.
    #[error("invalid receive queue size")]
    InvalidReceiveQueueSize,
    /// 6: no more connections.
    #[error("no resources")]
    NoResources,
    /// 7: the host serves fewer RDMA READs than are needed.
    #[error("invalid number of inbound RDMA READs (IRD)")]
    InvalidInboundReads,
    /// 8: the host wants to have more RDMA READs outstanding than can be.
    #[error("invalid number of outbound RDMA READs (ORD)")]
    InvalidOutboundReads,
    /// Another.
    #[error("status {0}")]
    Other(u16),
}

impl From<u16> for RejectStatus {
    fn from(raw: u16) -> Self {
        match raw {
            1 => Self::InvalidLength,
            2 => Self::InvalidRecordFormat,
            3 => Self::InvalidQueueId,
            4 => Self::InvalidSubmissionQueueSize,
            5 => Self::InvalidReceiveQueueSize,
            6 => Self::NoResources,
            7 => Self::InvalidInboundReads,
            8 => Self::InvalidOutboundReads,
            other => Self::Other(other),
        }
    }
}

impl From<RejectStatus> for u16 {
    fn from(status: RejectStatus) -> Self {
        match status {
            RejectStatus::InvalidLength => 1,
            RejectStatus::InvalidRecordFormat => 2,
            RejectStatus::InvalidQueueId => 3,
            RejectStatus::InvalidSubmissionQueueSize => 4,
            RejectStatus::InvalidReceiveQueueSize => 5,
            RejectStatus::NoResources => 6,
            RejectStatus::InvalidInboundReads => 7,
            RejectStatus::InvalidOutboundReads => 8,
            RejectStatus::Other(raw) => raw,
        }
    }
}

impl RejectStatus {
    /// The private data of a rejection.
    #[must_use]
    pub fn to_bytes(self) -> [u8; REJECT_BYTES] {
        let mut bytes = [0; REJECT_BYTES];
        put(&mut bytes, 2, u16::from(self).to_le_bytes());
        bytes
    }

    /// Reads the private data of a rejection; `None` if it is none of NVMe's.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..REJECT_BYTES)?;
        (u16_at(bytes, 0) == 0).then(|| u16_at(bytes, 2).into())
    }
}

/// What a host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestData {
    /// QID: 0 for the admin queue.
    pub queue: QueueId,
    /// HRQSIZE: receives that the host has posted for responses. Counted from 1.
    pub host_receives: u16,
    /// HSQSIZE: commands that the host has in flight at most, less one.
    pub host_sends: u16,
    /// CNTLID, for I/O queues; means nothing for the admin queue.
    pub controller: ControllerId,
}

impl RequestData {
    /// Reads the private data of a request; what lies behind its 32 bytes is the connection manager's padding.
    pub fn read(bytes: &[u8]) -> Result<Self, RejectStatus> {
        let bytes = bytes.get(..PRIVATE_DATA_BYTES).ok_or(RejectStatus::InvalidLength)?;
        if u16_at(bytes, 0) != 0 {
            return Err(RejectStatus::InvalidRecordFormat);
        }
        Ok(Self {
            queue: QueueId(u16_at(bytes, 2)),
            host_receives: u16_at(bytes, 4),
            host_sends: u16_at(bytes, 6),
            controller: ControllerId(u16_at(bytes, 8)),
        })
    }

    /// The private data.
    #[must_use]
    pub fn to_bytes(self) -> [u8; PRIVATE_DATA_BYTES] {
        let mut bytes = [0; PRIVATE_DATA_BYTES];
        put(&mut bytes, 2, self.queue.0.to_le_bytes());
        put(&mut bytes, 4, self.host_receives.to_le_bytes());
        put(&mut bytes, 6, self.host_sends.to_le_bytes());
        put(&mut bytes, 8, self.controller.0.to_le_bytes());
        bytes
    }
}

/// What a controller grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptData {
    /// CRQSIZE: receives that the controller has posted for commands.
    pub controller_receives: u16,
}

impl AcceptData {
    /// Reads the private data of an acceptance; `None` if it is none of NVMe's.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..PRIVATE_DATA_BYTES)?;
        (u16_at(bytes, 0) == 0).then(|| Self { controller_receives: u16_at(bytes, 2) })
    }

    /// The private data.
    #[must_use]
    pub fn to_bytes(self) -> [u8; PRIVATE_DATA_BYTES] {
        let mut bytes = [0; PRIVATE_DATA_BYTES];
        put(&mut bytes, 2, self.controller_receives.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_32_bytes_and_may_be_padded() {
        let request = RequestData {
            queue: QueueId(0x0102),
            host_receives: 0x0304,
            host_sends: 0x0506,
            controller: ControllerId(0x0708),
        };
        let mut bytes = [0; 56];
        bytes[..10].copy_from_slice(&[0, 0, 2, 1, 4, 3, 6, 5, 8, 7]);
        assert_eq!(request.to_bytes()[..], bytes[..32]);
        assert_eq!(RequestData::read(&bytes), Ok(request), "the connection manager pads");
        assert_eq!(RequestData::read(&bytes[..32]), Ok(request));
        assert_eq!(RequestData::read(&bytes[..31]), Err(RejectStatus::InvalidLength));
        bytes[1] = 1;
        assert_eq!(RequestData::read(&bytes), Err(RejectStatus::InvalidRecordFormat));
    }

    #[test]
    fn acceptances_say_how_many_receives() {
        let accept = AcceptData { controller_receives: 0x0180 };
        let mut bytes = [0; 196];
        bytes[2..4].copy_from_slice(&[0x80, 0x01]);
        assert_eq!(accept.to_bytes()[..], bytes[..32]);
        assert_eq!(AcceptData::read(&bytes), Some(accept));
        assert_eq!(AcceptData::read(&bytes[..31]), None);
        bytes[0] = 1;
        assert_eq!(AcceptData::read(&bytes), None);
    }

    #[test]
    fn rejections_say_why() {
        assert_eq!(RejectStatus::NoResources.to_bytes(), [0, 0, 6, 0]);
        assert_eq!(RejectStatus::read(&[0, 0, 4, 0, 0]), Some(RejectStatus::InvalidSubmissionQueueSize));
        assert_eq!(RejectStatus::read(&[1, 0, 4, 0]), None);
        assert_eq!(RejectStatus::read(&[0, 0, 4]), None);
        for raw in 0..12 {
            assert_eq!(u16::from(RejectStatus::from(raw)), raw);
        }
    }
}
