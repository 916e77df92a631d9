//! What the hardware's and the connection manager's numbers mean.

use std::ffi::c_int;

use rdma_sys::ibv_wc_status as status;

use crate::connection::{ConnectionError, PrivateData};
use crate::work::WorkError;

/// Reasons to reject (InfiniBand Architecture volume 1, 12.6.7.2).
const INVALID_SERVICE_ID: u16 = 8;
const CONSUMER_DEFINED: u16 = 28;

/// The meaning of a completion's status.
#[inline]
pub(super) fn work_result(value: status::Type) -> Result<(), WorkError> {
    let error = match value {
        status::IBV_WC_SUCCESS => return Ok(()),
        status::IBV_WC_WR_FLUSH_ERR => WorkError::Flushed,
        status::IBV_WC_LOC_LEN_ERR
        | status::IBV_WC_LOC_QP_OP_ERR
        | status::IBV_WC_LOC_PROT_ERR
        | status::IBV_WC_LOC_ACCESS_ERR
        | status::IBV_WC_MW_BIND_ERR => WorkError::Local,
        status::IBV_WC_REM_INV_REQ_ERR => WorkError::RemoteInvalidRequest,
        status::IBV_WC_REM_ACCESS_ERR => WorkError::RemoteAccess,
        status::IBV_WC_REM_OP_ERR => WorkError::RemoteOperation,
        status::IBV_WC_RETRY_EXC_ERR => WorkError::RetriesExceeded,
        status::IBV_WC_RNR_RETRY_EXC_ERR => WorkError::ReceiverNotReady,
        other => WorkError::Device(other),
    };
    Err(error)
}

/// The meaning of a rejection.
pub(super) fn rejection(reason: u16, private_data: PrivateData) -> ConnectionError {
    match reason {
        CONSUMER_DEFINED => ConnectionError::Refused(private_data),
        INVALID_SERVICE_ID => ConnectionError::NoListener,
        other => ConnectionError::Rejected(other),
    }
}

/// The meaning of an error number with which connecting failed.
pub(super) fn connect_failure(status: c_int) -> ConnectionError {
    match status.saturating_abs() {
        libc::ETIMEDOUT => ConnectionError::TimedOut,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENODEV | libc::EADDRNOTAVAIL => {
            ConnectionError::Unreachable
        }
        libc::ECONNREFUSED => ConnectionError::NoListener,
        _ => ConnectionError::QueuePair,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_by_their_numbers() {
        assert_eq!(work_result(0), Ok(()));
        for (number, error) in [
            (1, WorkError::Local),
            (4, WorkError::Local),
            (5, WorkError::Flushed),
            (9, WorkError::RemoteInvalidRequest),
            (10, WorkError::RemoteAccess),
            (11, WorkError::RemoteOperation),
            (12, WorkError::RetriesExceeded),
            (13, WorkError::ReceiverNotReady),
            (19, WorkError::Device(19)),
            (4711, WorkError::Device(4711)),
        ] {
            assert_eq!(work_result(number), Err(error), "status {number}");
        }
    }

    #[test]
    fn rejections_by_their_reasons() {
        let words = PrivateData::new(b"no").unwrap();
        assert_eq!(rejection(28, words), ConnectionError::Refused(words));
        assert_eq!(rejection(8, words), ConnectionError::NoListener);
        assert_eq!(rejection(10, words), ConnectionError::Rejected(10));
    }

    #[test]
    fn failures_by_their_error_numbers() {
        assert_eq!(connect_failure(-110), ConnectionError::TimedOut);
        assert_eq!(connect_failure(-113), ConnectionError::Unreachable);
        assert_eq!(connect_failure(i32::MIN), ConnectionError::QueuePair);
    }
}
