//! Where the demo plays: a folder, addresses, sizes and times.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::error::DemoError;

/// RoCEv2's port; each address has one owner of it.
const ROCE_PORT: u16 = 4791;

/// Addresses that are tried.
pub(super) const ADDRESSES_MAX: usize = 256;

/// How large and how long the demo is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Bytes of each software SSD.
    pub(super) image_bytes: u64,
    /// Bytes at its beginning that are made durable before anything happens.
    pub(super) durable_bytes: u64,
    /// Bytes behind them that the mixed workload uses.
    pub(super) mixed_bytes: u64,
    /// How long the workload runs before the kill, and after the return.
    pub(super) at_work: Duration,
    /// How long the killed target stays dead.
    pub(super) dead: Duration,
}

impl Scale {
    pub(super) fn new(is_quick: bool) -> Self {
        let (durable_bytes, at_work_ms, dead_ms) =
            if is_quick { (16 << 20, 700, 400) } else { (64 << 20, 3000, 1000) };
        Self {
            image_bytes: 4 * durable_bytes,
            durable_bytes,
            mixed_bytes: durable_bytes,
            at_work: Duration::from_millis(at_work_ms),
            dead: Duration::from_millis(dead_ms),
        }
    }
}

/// The demo's temporary folder; it goes with this value.
#[derive(Debug)]
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Result<Self, DemoError> {
        tempfile::Builder::new().prefix("remora-demo-").tempdir().map(Self).map_err(DemoError::Folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes it away, and says so if that fails.
    pub(super) fn remove(self) -> Result<(), DemoError> {
        let path = self.0.path().to_owned();
        self.0.close().map_err(|source| DemoError::File { path, source })
    }
}

/// Loopback addresses that nobody has RoCEv2's port of. The search begins where the process identifier says, so that
/// demos that start together seldom meet; whoever loses the race for an address takes the next.
pub(super) fn free_addresses() -> impl Iterator<Item = Ipv4Addr> {
    let first = std::process::id();
    (0u32..)
        .take(ADDRESSES_MAX)
        .map(move |next| candidate(first.wrapping_mul(2).wrapping_add(next)))
        .filter(is_free)
}

/// 127.64.1.1 to 127.127.254.254, by number: no byte is 0 or 255, and none is an address that hosts look for first.
fn candidate(number: u32) -> Ipv4Addr {
    let byte = |value: u32| u8::try_from(value % 254 + 1).unwrap_or(1);
    let second = u8::try_from(number / (254 * 254) % 64 + 64).unwrap_or(64);
    Ipv4Addr::new(127, second, byte(number / 254), byte(number))
}

fn is_free(address: &Ipv4Addr) -> bool {
    UdpSocket::bind((*address, ROCE_PORT)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_use_are_passed_over() {
        let mut free = free_addresses();
        let (first, second) = (free.next().unwrap(), free.next().unwrap());
        assert!(first.is_loopback() && second.is_loopback() && first != second);
        let _taken = UdpSocket::bind((first, ROCE_PORT)).unwrap();
        assert!(!is_free(&first) && is_free(&second));
    }

    #[test]
    fn numbers_become_addresses_of_hosts() {
        assert_eq!(candidate(0), Ipv4Addr::new(127, 64, 1, 1));
        assert_eq!(candidate(254), Ipv4Addr::new(127, 64, 2, 1));
        assert_eq!(candidate(64 * 254 * 254 - 1), Ipv4Addr::new(127, 127, 254, 254));
    }

    #[test]
    fn the_folder_goes_with_its_files() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        std::fs::write(folder.file("x"), "x").unwrap();
        folder.remove().unwrap();
        assert!(!path.exists());
    }
}
