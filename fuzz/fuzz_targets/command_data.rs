//! The data of commands: reservations, Dataset Management, host identifiers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nvme_spec::command::DsmRange;
use nvme_spec::features::{HostBehaviorSupport, HostIdentifier};
use nvme_spec::reservation::{AcquireData, RegisterData, ReleaseData, ReservationStatus, StatusReport};

/// What decodes encodes to the same meaning.
macro_rules! same_meaning {
    ($structure:ty, $bytes:expr) => {
        if let Ok(value) = <$structure>::from_bytes($bytes) {
            assert_eq!(<$structure>::from_array(&value.to_bytes()), value);
        }
    };
}

/// The registrants that can be read can be written where they came from.
fn reservation_status(extended: bool, bytes: &[u8]) {
    let Ok(status) = ReservationStatus::from_bytes(extended, bytes) else { return };
    let registrants: Vec<_> = status.iter().collect();
    let report = StatusReport {
        generation: status.generation,
        rtype: status.rtype,
        persist_through_power_loss: status.persist_through_power_loss,
        registrants: &registrants,
    };
    let mut copy = vec![0; bytes.len()];
    report.encode(extended, &mut copy);
    let again =
        ReservationStatus::from_bytes(extended, &copy).map(|status| status.iter().collect::<Vec<_>>());
    assert_eq!(again, Ok(registrants));
}

fuzz_target!(|data: &[u8]| {
    let Some((&selector, bytes)) = data.split_first() else { return };
    match selector % 9 {
        0 => {
            for range in bytes.chunks(DsmRange::BYTES).flat_map(DsmRange::from_bytes) {
                let _ = range.end();
                same_meaning!(DsmRange, &range.to_bytes());
            }
        }
        1 => same_meaning!(RegisterData, bytes),
        2 => same_meaning!(AcquireData, bytes),
        3 => same_meaning!(ReleaseData, bytes),
        4 => same_meaning!(HostBehaviorSupport, bytes),
        5 => drop(HostIdentifier::from_bytes(false, bytes)),
        6 => drop(HostIdentifier::from_bytes(true, bytes)),
        7 => reservation_status(false, bytes),
        _ => reservation_status(true, bytes),
    }
});
