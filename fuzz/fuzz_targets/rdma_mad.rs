//! Messages of the connection manager as anybody may send them to queue pair 1.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rdma::soft::cm::{Route, route};
use rdma::soft::wire::mad::{Mad, MadError, Message, RdmaCmHeader};

fuzz_target!(|bytes: &[u8]| {
    let route = route(bytes);
    match Mad::read(bytes) {
        Ok(mad) => {
            assert_eq!(Mad::read(&mad.write()), Ok(mad));
            if let Message::Request(request) = mad.message
                && let Ok((header, user)) = RdmaCmHeader::read(&request.private_data)
            {
                assert_eq!(RdmaCmHeader::read(&header.write(&user)), Ok((header, user)));
            }
        }
        Err(MadError::Refused { .. }) => {}
        Err(_) => assert_eq!(route, Route::Anyone),
    }
});
