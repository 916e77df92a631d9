//! Identities that are derived, so that they are the same after every restart.

use uuid::{Builder, Uuid};

/// A UUID of version 8 (RFC 9562, 5.8) from FNV-1a in 128 bits over the parts. Never change it: hosts know devices by it.
#[must_use]
pub fn derive(parts: &[&[u8]]) -> Uuid {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0]));
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    Builder::from_custom_bytes(hash.to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_identity_never_changes() {
        // Hosts have seen this value (computed independently): another one would make every exported file a stranger.
        let uuid = derive(&[b"remora file", b"m", b"/a"]);
        assert_eq!(uuid.to_string(), "85d22d70-995e-822e-92d9-2007d2268be2");
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(derive(&[b"m", b"/a"]), derive(&[b"m", b"/b"]));
        assert_ne!(derive(&[b"m/", b"a"]), derive(&[b"m", b"/a"]));
    }
}
