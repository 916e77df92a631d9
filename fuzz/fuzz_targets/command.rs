//! Submission queue entries as a host may write them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nvme_spec::Sqe;
use nvme_spec::command::{AdminCommand, NvmCommand};

fuzz_target!(|bytes: [u8; 64]| {
    let sqe = Sqe::from_bytes(&bytes);
    assert_eq!(sqe.to_bytes(), bytes);
    let _ = sqe.data_pointer();
    if let Ok(command) = NvmCommand::try_from(&sqe) {
        assert_eq!(NvmCommand::try_from(&command.sqe(sqe.cid())), Ok(command));
    }
    if let Ok(command) = AdminCommand::try_from(&sqe) {
        assert_eq!(AdminCommand::try_from(&command.sqe(sqe.cid())), Ok(command));
    }
});
