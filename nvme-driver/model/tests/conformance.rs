//! The driver on the software SSD, with threads and real time, passes the suite of every block device.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;

use block::conformance::Subject;
use block::uri::Scheme;
use block::{BlockDevice, OpenOptions, Openers};

fn open(uri: &str) -> Arc<dyn BlockDevice> {
    let mut openers = Openers::default();
    openers.register(Scheme::SoftNvme, Box::new(nvme_model::open_soft_nvme));
    openers.open_text(uri, &OpenOptions::READ_WRITE).unwrap()
}

fn subject(parameters: &'static str) -> Subject {
    Subject::new(move || open(&format!("soft-nvme:?size=4MiB&{parameters}")))
}

/// Each call makes another image, whose folder is removed with the process' temporary files.
fn image() -> Arc<dyn BlockDevice> {
    let folder = tempfile::tempdir().unwrap();
    let device = open(&format!("soft-nvme:{}?size=4MiB", folder.path().join("drive").display()));
    // The open file lives on without its name.
    drop(folder);
    device
}

block::conformance_tests!(memory_512, subject("bs=512"));
block::conformance_tests!(memory_4096, subject("bs=4096"));
block::conformance_tests!(without_sgl, subject("sgl=0"));
block::conformance_tests!(without_shadow_doorbells, subject("dbbuf=0"));
block::conformance_tests!(without_write_cache, subject("vwc=0"));
block::conformance_tests!(smallest_transfers, subject("mdts=1&sgl=0"));
block::conformance_tests!(slow, subject("latency_us=50"));
block::conformance_tests!(image_file, Subject::new(image));
