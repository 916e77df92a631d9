//! The suite run on everything that this crate has.

use std::sync::Arc;

use nvme_spec::Lba;

use super::Subject;
use crate::claim::Access;
use crate::device::BlockDevice;
use crate::file::{FileDevice, FileOptions};
use crate::geometry::{BlockSize, Limits};
use crate::mem::MemDevice;
use crate::null::NullDevice;
use crate::opener::OpenError;
use crate::request::BlockRange;
use crate::slice::SliceDevice;
use crate::split::SplitDevice;
use crate::split::limited::LimitedDevice;

fn mem(block_size: BlockSize) -> Arc<dyn BlockDevice> {
    Arc::new(MemDevice::new("mem", block_size, 4 << 20, Access::ReadWrite).unwrap())
}

fn null(block_size: BlockSize, blocks: u64) -> Subject {
    Subject::new(move || Arc::new(NullDevice::new("null", block_size, blocks, Access::ReadWrite)))
        .without_data()
}

/// A file beside the test's program: /tmp may be memory, and know no direct I/O.
fn file(block_size: BlockSize, direct: bool) -> Arc<dyn BlockDevice> {
    let program = std::env::current_exe().unwrap();
    let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let options = FileOptions {
        access: Access::ReadWrite,
        block_size: Some(block_size),
        size: Some(4 << 20),
        direct: None,
    };
    let open = |direct| {
        FileDevice::open(&folder.path().join("disk"), "file", FileOptions { direct: Some(direct), ..options })
    };
    let device = match open(direct) {
        Err(OpenError::Shape { reason, .. }) if direct => {
            eprintln!("NOT TESTED, the page cache instead: {reason}");
            open(false)
        }
        other => other,
    };
    Arc::new(device.unwrap())
}

/// Linux copies to and from the page cache without a lock against the other direction.
fn files(make: impl Fn() -> Arc<dyn BlockDevice> + Send + Sync + 'static) -> Subject {
    Subject::new(make).with_torn_overlaps()
}

fn slice(parent: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
    let range = BlockRange::new(Lba(17), 300);
    Arc::new(SliceDevice::new(parent, "slice", range, Access::ReadWrite).unwrap())
}

const TINY: Limits = Limits {
    transfer_blocks_max: 3,
    zeroes_blocks_max: 2,
    discard_blocks_max: 5,
    boundary_blocks: 8,
    segments_max: 2,
    segment_alignment: 4,
    seam_alignment: 4096,
};

/// A boundary is no limit of a device, but the limited one is strict, to test the splitter.
const NO_BOUNDARY: Limits = Limits { boundary_blocks: 0, ..TINY };

fn limited(parent: Arc<dyn BlockDevice>, limits: Limits) -> Arc<dyn BlockDevice> {
    Arc::new(LimitedDevice::new(parent, limits))
}

fn split(parent: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
    Arc::new(SplitDevice::new(limited(parent, TINY)))
}

crate::conformance_tests!(mem_512, Subject::new(|| mem(BlockSize::B512)));
crate::conformance_tests!(mem_4096, Subject::new(|| mem(BlockSize::B4096)));
crate::conformance_tests!(null_512, null(BlockSize::B512, 1000));
crate::conformance_tests!(null_largest, null(BlockSize::B4096, u64::MAX));
crate::conformance_tests!(file_512_buffered, files(|| file(BlockSize::B512, false)));
crate::conformance_tests!(file_4096_buffered, files(|| file(BlockSize::B4096, false)));
crate::conformance_tests!(file_512_direct, files(|| file(BlockSize::B512, true)));
crate::conformance_tests!(file_4096_direct, files(|| file(BlockSize::B4096, true)));
crate::conformance_tests!(slice_of_mem, Subject::new(|| slice(mem(BlockSize::B512))));
crate::conformance_tests!(slice_of_file, files(|| slice(file(BlockSize::B512, false))));
crate::conformance_tests!(limited_mem, Subject::new(|| limited(mem(BlockSize::B512), NO_BOUNDARY)));
crate::conformance_tests!(split_mem, Subject::new(|| split(mem(BlockSize::B512))));
crate::conformance_tests!(
    split_null,
    Subject::new(|| split(Arc::new(NullDevice::new("null", BlockSize::B512, u64::MAX, Access::ReadWrite))))
        .without_data()
);
crate::conformance_tests!(split_file, files(|| split(file(BlockSize::B4096, false))));
crate::conformance_tests!(split_of_slice, Subject::new(|| split(slice(mem(BlockSize::B512)))));

#[test]
fn devices_for_reading_refuse_what_changes_them() {
    let size = BlockSize::B512;
    let mem = Subject::new(move || Arc::new(MemDevice::new("mem", size, 4 << 20, Access::Read).unwrap()));
    let null =
        Subject::new(move || Arc::new(NullDevice::new("null", size, 1000, Access::Read))).without_data();
    let slice = Subject::new(|| {
        let range = BlockRange::new(Lba(17), 300);
        Arc::new(SliceDevice::new(super::tests::mem(BlockSize::B512), "slice", range, Access::Read).unwrap())
    });
    let split = Subject::new(move || {
        split(Arc::new(MemDevice::new("mem", BlockSize::B512, 4 << 20, Access::Read).unwrap()))
    });
    for subject in [mem, null, slice, split] {
        super::geometry_is_sound(&subject);
        super::abilities_are_honest(&subject);
        super::boundaries_are_kept(&subject);
    }
}
