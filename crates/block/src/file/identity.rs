//! Who a file is: derived from the machine and the path, so that it is the same after every restart.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, absolute};

use uuid::{Builder, Uuid};

use crate::device::Identity;

/// The identity of the file at a path. Symbolic links stay as they are, so /dev/disk/by-id names are as stable as they
/// promise; two machines with the same path differ by their machine-id.
pub(super) fn of(path: &Path) -> Identity {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let uuid = derive(&machine, path.as_os_str().as_bytes());
    let (serial, _) = uuid.as_u64_pair();
    Identity {
        model: "Remora file".to_owned(),
        serial: format!("{serial:016x}"),
        uuid: Some(uuid),
        ..Identity::default()
    }
}

/// A UUID of version 8 (RFC 9562, 5.8) from FNV-1a in 128 bits. Never change it: hosts know devices by it.
fn derive(machine: &[u8], path: &[u8]) -> Uuid {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let parts = [b"remora file".as_slice(), machine, path];
    let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0]));
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    Builder::from_custom_bytes(hash.to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_depends_on_machine_and_path_and_never_changes() {
        // Hosts have seen this value: a change of the derivation would make every exported file a stranger.
        assert_eq!(derive(b"m", b"/a").to_string(), "85d22d70-995e-822e-92d9-2007d2268be2");
        assert_ne!(derive(b"m", b"/a"), derive(b"m", b"/b"));
        assert_ne!(derive(b"m", b"/a"), derive(b"n", b"/a"));
        assert_ne!(derive(b"m/", b"a"), derive(b"m", b"/a"));
    }
}
