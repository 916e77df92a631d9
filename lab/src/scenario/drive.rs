//! What many stories begin with: a guest in which VFIO has the drive, and our benchmark on it.

use crate::error::{Result, ensure};
use crate::guest::{Guest, Lab, Traffic};
use crate::machine::{DRIVE, Machine};

/// How our benchmark verifies here. NVMe promises that a read finds each logical block wholly old or wholly new even while
/// a write of it is in flight (NVM Command Set 2.1.4, AWUN). QEMU's drive says so, too, and does not keep it: threads of a
/// pool copy to and from a file, on a page cache that locks nothing between them, and blocks come out torn at multiples of
/// 64 bytes. The kernel's own driver gets them as well. So what overlaps is not asked of this drive; all else is.
pub const VERIFY: &str = "--verify crc32c --serialize-overlap";

/// Huge pages for our driver, in pages of 2 MiB.
const HUGE_PAGES: u32 = 64;

/// A guest with huge pages whose drive at `address` VFIO has.
pub fn taken(lab: &Lab, machine: &Machine, address: &str) -> Result<Guest> {
    let mut guest = lab.boot(machine)?;
    guest.run(&format!("hugepages {HUGE_PAGES}; give {address} vfio-pci"))?;
    Ok(guest)
}

/// The usual guest, with the drive at [`DRIVE`].
pub fn ready(lab: &Lab) -> Result<Guest> {
    taken(lab, &Machine::default(), DRIVE)
}

/// A command line of our benchmark on a namespace of the drive at [`DRIVE`].
pub fn bench(nsid: u32, query: &str, options: &str) -> String {
    bench_at(DRIVE, nsid, query, options)
}

/// The same, wherever the drive is.
pub fn bench_at(address: &str, nsid: u32, query: &str, options: &str) -> String {
    format!("remora bench 'nvme:{address}/{nsid}{query}' {options}")
}

/// Fails unless a namespace's backend has read and written so much since.
pub fn moved(guest: &mut Guest, nsid: u32, since: Traffic, read: u64, written: u64) -> Result<()> {
    let now = guest.qmp().traffic(nsid)?;
    let did_read = now.bytes_read - since.bytes_read;
    let did_write = now.bytes_written - since.bytes_written;
    ensure(did_read >= read && did_write >= written, || {
        format!(
            "the drive read {did_read} and wrote {did_write} bytes of namespace {nsid}, \
             at least {read} and {written} were to be"
        )
    })
}

/// How many lines of QEMU's log tell of an event.
pub fn count(log: &str, event: &str) -> usize {
    log.lines().filter(|line| line.contains(event)).count()
}
