//! Connections that a host may open: private data, a first capsule, Connect data.
#![no_main]

use block::Timestamp;
use libfuzzer_sys::fuzz_target;
use nvmf::controller::{
    Arrival, Limits, PendingAction, PendingQueue, SubsystemOptions, Target, check_request,
};
use nvmf::wire::rdma::RequestData;
use nvmf::wire::{CONNECT_DATA_BYTES, CommandCapsule, ConnectData};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (private_data, message) = input;
    let Ok(request) = RequestData::read(private_data) else { return };
    assert_eq!(RequestData::read(&request.to_bytes()), Ok(request));
    let limits = Limits::default();
    if check_request(&request, &limits).is_err() {
        return;
    }
    let Ok(mut target) = Target::new(limits) else { return };
    let Ok(nqn) = "nqn.2024-05.com.example:s".parse() else { return };
    let mut options = SubsystemOptions::new(nqn, "S");
    options.allow_any_host = true;
    assert!(target.add_subsystem(options).is_ok());
    let now = Timestamp::default();
    let Ok(capsule) = CommandCapsule::read(message) else { return };
    if let PendingAction::Connect { sqe, offset } = PendingQueue::new(request, now).handle_capsule(&capsule) {
        let data = &capsule.data[offset..offset + CONNECT_DATA_BYTES];
        if let Ok(read) = ConnectData::read(data) {
            assert_eq!(ConnectData::read(&read.to_bytes()), Ok(read));
        }
        let address = ([192, 0, 2, 1], 4420).into();
        target.connect(now, &sqe, data, &Arrival { local: address, peer: address, request });
    }
});
