//! SGL descriptors as a host may write them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nvme_spec::sgl::{Sgl, SglDescriptor};

fuzz_target!(|bytes: [u8; 16]| {
    let descriptor = SglDescriptor::from_bytes(bytes);
    assert_eq!(descriptor.to_bytes(), bytes);
    if let Ok(sgl) = Sgl::try_from(descriptor) {
        assert_eq!(Sgl::try_from(SglDescriptor::from(sgl)), Ok(sgl));
    }
});
