//! Identify structures of any content and length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nvme_spec::identify::{
    IdentifyController, IdentifyNamespace, IndependentNamespace, NamespaceIds, NamespaceList, NvmController,
    NvmNamespace,
};
use nvme_spec::prp::PageSize;

/// What decodes encodes to the same meaning.
macro_rules! same_meaning {
    ($structure:ty, $bytes:expr) => {
        if let Ok(value) = <$structure>::from_bytes($bytes) {
            assert_eq!(<$structure>::from_array(&value.to_bytes()), value);
        }
    };
}

fuzz_target!(|data: &[u8]| {
    let Some((&selector, bytes)) = data.split_first() else { return };
    match selector % 7 {
        0 => {
            same_meaning!(IdentifyController, bytes);
            if let Ok(controller) = IdentifyController::from_bytes(bytes) {
                let _ = format!(
                    "{controller:?} {:?}",
                    controller.max_transfer_bytes(PageSize::from_mps(selector))
                );
            }
        }
        1 => {
            same_meaning!(IdentifyNamespace, bytes);
            if let Ok(namespace) = IdentifyNamespace::from_bytes(bytes) {
                let _ = namespace.format().data_bytes();
            }
        }
        2 => same_meaning!(NvmNamespace, bytes),
        3 => same_meaning!(NvmController, bytes),
        4 => same_meaning!(IndependentNamespace, bytes),
        5 => {
            if let Ok(list) = NamespaceList::from_bytes(bytes) {
                assert_eq!(list.iter().count(), list.len());
            }
        }
        _ => {
            if let Ok(ids) = NamespaceIds::from_bytes(bytes) {
                assert_eq!(NamespaceIds::from_bytes(&ids.to_bytes()), Ok(ids));
            }
        }
    }
});
