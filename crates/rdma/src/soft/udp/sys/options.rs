//! What the operating system is asked beyond what rustix covers: options of UDP sockets, and network interfaces.
#![allow(unsafe_code, reason = "system calls that have no safe wrapper")]

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::{self, NonNull};

use libc::{c_int, socklen_t};

/// A switch of a UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::soft::udp) enum Switch {
    /// Merge datagrams of one sender into one buffer.
    Gro,
    /// Take IPv6 datagrams that have no UDP checksum.
    NoCheck6Rx,
}

/// Sets a switch.
pub(in crate::soft::udp) fn switch_on(socket: BorrowedFd<'_>, switch: Switch) -> io::Result<()> {
    let option = match switch {
        Switch::Gro => libc::UDP_GRO,
        Switch::NoCheck6Rx => libc::UDP_NO_CHECK6_RX,
    };
    set_option(socket, libc::IPPROTO_UDP, option, &1)
}

/// Gives the group of sockets that `socket` is in a program that picks one for each packet.
pub(in crate::soft::udp) fn steer(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // The kernel only reads what `filter` points to, during the call.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY (of the pointer inside): `set_option` passes the structure to the kernel, which copies `len` entries of the
    // slice that outlives the call.
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

fn set_option<T: Copy>(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let length =
        socklen_t::try_from(size_of::<T>()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the kernel reads `length` bytes of `value`, which is borrowed for the call and that long.
    let answer =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(value).cast(), length) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An address of an interface, as the kernel lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::soft::udp) struct InterfaceAddress {
    /// The interface.
    pub(in crate::soft::udp) name: String,
    /// One of its addresses.
    pub(in crate::soft::udp) address: IpAddr,
    /// Whether it is the loopback interface.
    pub(in crate::soft::udp) loopback: bool,
    /// Whether it is up and has a carrier.
    pub(in crate::soft::udp) running: bool,
}

/// All IP addresses of this network namespace with their interfaces.
pub(in crate::soft::udp) fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut first = MaybeUninit::<*mut libc::ifaddrs>::uninit();
    // SAFETY: the call writes one pointer to `first`.
    let answer = unsafe { libc::getifaddrs(first.as_mut_ptr()) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so it has written the pointer.
    let first = unsafe { first.assume_init() };
    let mut addresses = Vec::new();
    let mut next = NonNull::new(first);
    while let Some(entry) = next {
        // SAFETY: `entry` is an entry of the list, which stays as it is until `freeifaddrs` below.
        let entry = unsafe { entry.as_ref() };
        addresses.extend(interface_address(entry));
        next = NonNull::new(entry.ifa_next);
    }
    // SAFETY: `first` is what `getifaddrs` gave and is freed once; nothing copied above points into it.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

/// The entry must be one of a list that `getifaddrs` made and nobody has freed.
fn interface_address(entry: &libc::ifaddrs) -> Option<InterfaceAddress> {
    let socket_address = NonNull::new(entry.ifa_addr)?;
    // SAFETY: an address of the list begins with its family.
    let family = unsafe { socket_address.as_ref() }.sa_family;
    let address = match c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: an address of family AF_INET is a `sockaddr_in`, which the C library has laid out aligned.
            let address = unsafe { socket_address.cast::<libc::sockaddr_in>().as_ref() };
            IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)))
        }
        libc::AF_INET6 => {
            // SAFETY: likewise a `sockaddr_in6`.
            let address = unsafe { socket_address.cast::<libc::sockaddr_in6>().as_ref() };
            IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr))
        }
        _ => return None,
    };
    // SAFETY: the name of an entry is a string that ends with a zero and lives as long as the list.
    let name = unsafe { CStr::from_ptr(entry.ifa_name) };
    let is = |flag: c_int| u32::try_from(flag).is_ok_and(|flag| entry.ifa_flags & flag != 0);
    Some(InterfaceAddress {
        name: name.to_string_lossy().into_owned(),
        address,
        loopback: is(libc::IFF_LOOPBACK),
        running: is(libc::IFF_UP) && is(libc::IFF_RUNNING),
    })
}

/// The MTU of an interface of the network namespace that `socket` is in: the most bytes of an IP packet.
pub(in crate::soft::udp) fn interface_mtu(socket: RawFd, name: &str) -> io::Result<u32> {
    let mut request =
        libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_mtu: 0 } };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: the request is a whole `ifreq`, which the call reads and writes; its name ends with a zero.
    let answer = unsafe { libc::ioctl(socket, libc::SIOCGIFMTU, &raw mut request) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so this is the field of the union that it has written.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))
}
