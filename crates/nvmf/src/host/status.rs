//! What a status means to whoever asked for the I/O.

use block::IoError;
use nvme_spec::{Status, StatusCode};

/// What can be done about a status that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Nothing: the same command fails again, here and elsewhere.
    Final,
    /// The same command may succeed later, after the Command Retry Delay that the status names (0 is none).
    Retry {
        /// Command Retry Delay (CRD): Identify Controller says how long that is.
        delay: u8,
    },
    /// Another path to the namespace may serve it.
    OtherPath,
}

/// What can be done about a status that is no success. Do Not Retry is final, whatever else the status says (Base, Status Field).
#[must_use]
pub fn disposition(status: Status) -> Disposition {
    const FINAL_WITHOUT_SAYING: [StatusCode; 3] =
        [StatusCode::COMPARE_FAILURE, StatusCode::RESERVATION_CONFLICT, StatusCode::LBA_OUT_OF_RANGE];
    if status.dnr() || FINAL_WITHOUT_SAYING.contains(&status.code()) {
        Disposition::Final
    } else if status.is_path_error() {
        Disposition::OtherPath
    } else {
        Disposition::Retry { delay: status.retry_delay() }
    }
}

/// The error of a status that is no success. What the device did is not known, but where the status says that nothing was done.
#[must_use]
pub fn error_of(status: Status) -> IoError {
    match status.code() {
        StatusCode::COMPARE_FAILURE => IoError::Miscompare,
        StatusCode::NAMESPACE_IS_WRITE_PROTECTED => IoError::ReadOnly,
        StatusCode::ABORTED_SQ_DELETION => IoError::Reset,
        _ => IoError::Device(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_an_error() {
        assert_eq!(error_of(StatusCode::COMPARE_FAILURE.into()), IoError::Miscompare);
        assert_eq!(error_of(Status::permanent(StatusCode::NAMESPACE_IS_WRITE_PROTECTED)), IoError::ReadOnly);
        assert_eq!(error_of(StatusCode::ABORTED_SQ_DELETION.into()), IoError::Reset);
        for raw in (1..0x800).filter(|raw| ![0x285, 0x20, 0x08].contains(raw)) {
            let status = Status::from_raw(raw);
            assert_eq!(error_of(status), IoError::Device(status));
        }
    }

    #[test]
    fn dnr_is_final_and_passing_states_are_not() {
        let busy = StatusCode::NAMESPACE_NOT_READY;
        assert_eq!(disposition(Status::permanent(busy)), Disposition::Final);
        assert_eq!(disposition(busy.into()), Disposition::Retry { delay: 0 });
        let delayed = Status::new(StatusCode::COMMAND_INTERRUPTED).with_retry_delay(2);
        assert_eq!(disposition(delayed), Disposition::Retry { delay: 2 });
        let transition = StatusCode::ASYMMETRIC_ACCESS_TRANSITION;
        assert_eq!(disposition(transition.into()), Disposition::OtherPath);
        assert_eq!(disposition(Status::permanent(transition)), Disposition::Final);
        assert_eq!(disposition(StatusCode::COMPARE_FAILURE.into()), Disposition::Final);
    }
}
