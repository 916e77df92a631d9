//! What a host is told when a device fails.

use block::{InvalidRequest, IoError, Op};
use nvme_spec::{Status, StatusCode};

/// "No space left on device", by the kernel's number.
const ENOSPC: i32 = 28;

/// The status for a device's error. Do Not Retry is only for what no repetition can change: a host that sees it gives up, and a
/// restart, a reset or a rebuild passes.
#[must_use]
pub fn status_of(error: IoError, op: Op) -> Status {
    let passing = Status::new;
    match error {
        IoError::Invalid(InvalidRequest::Range) => Status::permanent(StatusCode::LBA_OUT_OF_RANGE),
        // Commands were checked and are split: these are faults of the target itself.
        IoError::Invalid(_) => passing(StatusCode::INTERNAL_ERROR),
        IoError::NotSupported => Status::permanent(StatusCode::INVALID_OPCODE),
        IoError::ReadOnly => Status::permanent(StatusCode::NAMESPACE_IS_WRITE_PROTECTED),
        IoError::Device(status) => device(status),
        IoError::Os { errno: ENOSPC } => passing(StatusCode::CAPACITY_EXCEEDED),
        IoError::Os { .. } if op.changes_data() => passing(StatusCode::WRITE_FAULT),
        IoError::Os { .. } if op.has_data() => passing(StatusCode::UNRECOVERED_READ_ERROR),
        IoError::Os { .. } => passing(StatusCode::INTERNAL_ERROR),
        IoError::Miscompare => Status::permanent(StatusCode::COMPARE_FAILURE),
        IoError::TimedOut | IoError::Reset => passing(StatusCode::COMMAND_INTERRUPTED),
        IoError::Gone => passing(StatusCode::NAMESPACE_NOT_READY),
    }
}

/// A drive's own status, without what only its own controller can mean: its error log, its delays, its paths, its queues.
fn device(status: Status) -> Status {
    if status.is_success() {
        return Status::new(StatusCode::INTERNAL_ERROR);
    }
    if status.is_aborted() || status.is_path_error() {
        return Status::new(StatusCode::COMMAND_INTERRUPTED);
    }
    status.with_more(false).with_retry_delay(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn do_not_retry_is_only_for_what_is_final() {
        let write = Op::Write { fua: false };
        for (error, status) in [
            (IoError::Invalid(InvalidRequest::Range), Status::permanent(StatusCode::LBA_OUT_OF_RANGE)),
            (IoError::Invalid(InvalidRequest::Segments), Status::new(StatusCode::INTERNAL_ERROR)),
            (IoError::NotSupported, Status::permanent(StatusCode::INVALID_OPCODE)),
            (IoError::ReadOnly, Status::permanent(StatusCode::NAMESPACE_IS_WRITE_PROTECTED)),
            (IoError::Os { errno: 28 }, Status::new(StatusCode::CAPACITY_EXCEEDED)),
            (IoError::Os { errno: 5 }, Status::new(StatusCode::WRITE_FAULT)),
            (IoError::Miscompare, Status::permanent(StatusCode::COMPARE_FAILURE)),
            (IoError::TimedOut, Status::new(StatusCode::COMMAND_INTERRUPTED)),
            (IoError::Reset, Status::new(StatusCode::COMMAND_INTERRUPTED)),
            (IoError::Gone, Status::new(StatusCode::NAMESPACE_NOT_READY)),
        ] {
            assert_eq!(status_of(error, write), status, "{error}");
        }
        let read = status_of(IoError::Os { errno: 5 }, Op::Read);
        assert_eq!(read, Status::new(StatusCode::UNRECOVERED_READ_ERROR));
    }

    #[test]
    fn a_drives_status_is_passed_on_without_what_is_its_own_affair() {
        let fault = Status::permanent(StatusCode::WRITE_FAULT);
        let with_more = fault.with_more(true).with_retry_delay(2);
        assert_eq!(status_of(IoError::Device(with_more), Op::Read), fault);
        for passing in [StatusCode::ABORT_REQUESTED, StatusCode::INTERNAL_PATH_ERROR] {
            let status = status_of(IoError::Device(Status::permanent(passing)), Op::Read);
            assert_eq!(status, Status::new(StatusCode::COMMAND_INTERRUPTED));
        }
        let lie = status_of(IoError::Device(Status::SUCCESS), Op::Read);
        assert!(!lie.is_success());
    }
}
