//! Socket addresses as the C libraries want them, and the addresses of this machine.
#![allow(unsafe_code, reason = "reads and makes C socket addresses")]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

use libc::{sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage};

/// Most interfaces' addresses that are looked at.
const ADDRESSES_MAX: usize = 4096;

/// `AF_INET` and `AF_INET6` in the type of an address's field.
const FAMILY_IPV4: libc::sa_family_t = 2;
const FAMILY_IPV6: libc::sa_family_t = 10;
const _: () = assert!(libc::AF_INET == FAMILY_IPV4 as i32 && libc::AF_INET6 == FAMILY_IPV6 as i32);

/// A socket address in C's form.
pub(super) struct RawAddress {
    storage: sockaddr_storage,
}

impl RawAddress {
    /// The C form of an address.
    pub(super) fn new(address: SocketAddr) -> Self {
        // SAFETY: all zeroes are a valid sockaddr_storage: integers and byte arrays only.
        let mut storage: sockaddr_storage = unsafe { mem::zeroed() };
        let place = &raw mut storage;
        match address {
            SocketAddr::V4(address) => {
                let raw = sockaddr_in {
                    sin_family: FAMILY_IPV4,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                // SAFETY: `storage` is larger than any socket address and aligned for each.
                unsafe { place.cast::<sockaddr_in>().write(raw) };
            }
            SocketAddr::V6(address) => {
                let raw = sockaddr_in6 {
                    sin6_family: FAMILY_IPV6,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                // SAFETY: as above.
                unsafe { place.cast::<sockaddr_in6>().write(raw) };
            }
        }
        Self { storage }
    }

    /// For a C function, which reads it during the call.
    pub(super) fn as_mut_ptr(&mut self) -> *mut sockaddr {
        (&raw mut self.storage).cast()
    }
}

/// The meaning of a C socket address; `None` if it is neither IPv4 nor IPv6.
pub(super) fn from_storage(storage: &sockaddr_storage) -> Option<SocketAddr> {
    let place: *const sockaddr_storage = storage;
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage is as large as any socket address and aligned for it; all bytes are integers.
            let raw = unsafe { place.cast::<sockaddr_in>().read() };
            let ip = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(raw.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let raw = unsafe { place.cast::<sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Some(SocketAddr::from((ip, u16::from_be(raw.sin6_port))))
        }
        _ => None,
    }
}

/// The addresses of this machine that can be named without a scope: no link-local and no loopback ones.
pub(super) fn of_this_machine() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: `first` outlives the call, which puts a list there or answers with an error.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    for _ in 0..ADDRESSES_MAX {
        // SAFETY: `next` is null or an entry of the list, which is ours until it is freed below.
        let Some(entry) = (unsafe { next.as_ref() }) else { break };
        addresses.extend(address_of(entry).filter(is_usable));
        next = entry.ifa_next;
    }
    // SAFETY: the list is getifaddrs', freed once; nothing refers to it any more.
    unsafe { libc::freeifaddrs(first) };
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn address_of(entry: &libc::ifaddrs) -> Option<IpAddr> {
    // SAFETY: an entry's address is null or a socket address of its family, in the list's memory.
    let family = unsafe { entry.ifa_addr.as_ref() }?.sa_family;
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: an address of that family is a sockaddr_in; read unaligned, as the list promises no alignment.
            let raw = unsafe { entry.ifa_addr.cast::<sockaddr_in>().read_unaligned() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, with a sockaddr_in6.
            let raw = unsafe { entry.ifa_addr.cast::<sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(raw.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

fn is_usable(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !is_link_local && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_c() {
        for address in ["10.1.2.3:4420", "[2001:db8::7]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(from_storage(&RawAddress::new(address).storage), Some(address));
        }
        let raw = RawAddress::new("1.2.3.4:258".parse().unwrap());
        let place: *const sockaddr_storage = &raw.storage;
        // SAFETY: the storage is larger than 8 bytes, all of them initialized.
        let bytes = unsafe { place.cast::<[u8; 8]>().read() };
        assert_eq!(&bytes[2..], [1, 2, 1, 2, 3, 4], "port and address are in network order");
    }

    #[test]
    fn what_needs_a_scope_is_not_listed() {
        for address in ["127.0.0.1", "::1", "fe80::1", "169.254.1.1"] {
            assert!(!is_usable(&address.parse().unwrap()), "{address}");
        }
        assert!(of_this_machine().unwrap().iter().all(is_usable));
    }
}
