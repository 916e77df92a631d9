//! Who a file is: derived from the machine and the path.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, absolute};

use crate::device::Identity;
use crate::identity::derive;

/// The identity of the file at a path. Symbolic links stay as they are, so /dev/disk/by-id names are as stable as they
/// promise; two machines with the same path differ by their machine-id.
pub(super) fn of(path: &Path) -> Identity {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let uuid = derive(&[b"remora file", &machine, path.as_os_str().as_bytes()]);
    let (serial, _) = uuid.as_u64_pair();
    Identity {
        model: "Remora file".to_owned(),
        serial: format!("{serial:016x}"),
        uuid: Some(uuid),
        ..Identity::default()
    }
}
