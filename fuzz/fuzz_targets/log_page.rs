//! Log pages of any content and length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nvme_spec::log::{
    AnaGroups, AnaHeader, AnaWriter, ChangedNamespaces, CommandsSupported, DiscoveryEntry, DiscoveryHeader,
    ErrorEntry, FirmwareSlots, ReservationNotification, SmartHealth,
};

/// What decodes encodes to the same meaning.
macro_rules! same_meaning {
    ($structure:ty, $bytes:expr) => {
        if let Ok(value) = <$structure>::from_bytes($bytes) {
            assert_eq!(<$structure>::from_array(&value.to_bytes()), value);
        }
    };
}

/// Each group that can be read can be written where it came from.
fn ana(bytes: &[u8]) {
    let Ok(header) = AnaHeader::from_bytes(bytes) else { return };
    let groups = &bytes[AnaHeader::BYTES..];
    let mut copy = vec![0; groups.len()];
    let mut writer = AnaWriter::new(&mut copy);
    for group in AnaGroups::new(header.groups, groups).map_while(Result::ok) {
        let nsids: Vec<_> = group.nsids().collect();
        assert_eq!(writer.push(group.anagrpid, group.change_count, group.state, &nsids), Ok(()));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&selector, bytes)) = data.split_first() else { return };
    match selector % 9 {
        0 => same_meaning!(ErrorEntry, bytes),
        1 => same_meaning!(SmartHealth, bytes),
        2 => same_meaning!(FirmwareSlots, bytes),
        3 => drop(ChangedNamespaces::from_bytes(bytes)),
        4 => same_meaning!(CommandsSupported, bytes),
        5 => ana(bytes),
        6 => same_meaning!(DiscoveryHeader, bytes),
        7 => {
            same_meaning!(DiscoveryEntry, bytes);
            let _ = DiscoveryEntry::from_bytes(bytes).map(|entry| format!("{entry:?}"));
        }
        _ => same_meaning!(ReservationNotification, bytes),
    }
});
