//! A program with the provider `verbs` starts where rdma-core is not installed: nothing of it is loaded before it is asked for.
#![cfg(feature = "verbs")]

use rdma::verbs::Verbs;
use rdma::{DevicesError, Provider};

fn is_mapped(library: &str) -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap_or_default().contains(library)
}

/// In a process of its own, as the libraries stay once they are loaded.
#[test]
fn libraries_are_loaded_when_they_are_asked_for() {
    assert!(is_mapped("libc.so"), "maps can be read");
    assert!(!is_mapped("libibverbs") && !is_mapped("librdmacm"), "the linker has put them into the program");
    match Verbs.devices() {
        Ok(_) => assert!(is_mapped("libibverbs") && is_mapped("librdmacm")),
        Err(DevicesError::Library { library, reason }) => {
            assert!(library.starts_with("lib") && !reason.is_empty(), "{library}: {reason}");
        }
        Err(DevicesError::System(error)) => assert!(is_mapped("librdmacm"), "{error}"),
    }
}
