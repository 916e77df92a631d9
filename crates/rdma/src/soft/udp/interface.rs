//! Network interfaces: which one has an address, how large its packets are, whether it carries traffic.

use std::io;
use std::net::IpAddr;

use rustix::fd::AsRawFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::sys::options;
use crate::device::{PathMtu, PortState};

/// What Linux takes off an Ethernet MTU for the headers of a packet (rdma_cm's `iboe_get_mtu`): the place of a global
/// route header, UDP, BTH, the largest extension headers, ICRC. Both sides must come to the same MTU.
const HEADERS_BYTES: u32 = 96;

/// A network interface and what it is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The most payload that fits a packet; `None` if the interface is too narrow for RoCE.
    pub mtu: Option<PathMtu>,
    /// Whether it carries traffic.
    pub state: PortState,
}

/// The interfaces that have IP addresses.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for entry in options::interface_addresses()? {
        match interfaces.iter_mut().find(|known| known.name == entry.name) {
            Some(known) => known.addresses.push(entry.address),
            None => interfaces.push(Interface {
                mtu: path_mtu(interface_mtu(&entry.name)?),
                state: if entry.running { PortState::Active } else { PortState::Down },
                name: entry.name,
                addresses: vec![entry.address],
            }),
        }
    }
    Ok(interfaces)
}

/// The interface that an address belongs to; of 127.0.0.0/8 all are the loopback interface's. `None` if it is not an
/// address of this machine (or network namespace).
pub fn interface_of(address: IpAddr) -> io::Result<Option<Interface>> {
    let entries = options::interface_addresses()?;
    let exact = entries.iter().find(|entry| entry.address == address);
    let loopback = || entries.iter().find(|entry| entry.loopback && entry.address.is_ipv4());
    let found = exact.or_else(|| if is_loopback_v4(address) { loopback() } else { None });
    let Some(found) = found else { return Ok(None) };
    let mut addresses: Vec<IpAddr> =
        entries.iter().filter(|entry| entry.name == found.name).map(|entry| entry.address).collect();
    if !addresses.contains(&address) {
        addresses.push(address);
    }
    Ok(Some(Interface {
        name: found.name.clone(),
        addresses,
        mtu: path_mtu(interface_mtu(&found.name)?),
        state: if found.running { PortState::Active } else { PortState::Down },
    }))
}

fn is_loopback_v4(address: IpAddr) -> bool {
    address.is_ipv4() && address.is_loopback()
}

fn interface_mtu(name: &str) -> io::Result<u32> {
    let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    options::interface_mtu(any.as_raw_fd(), name)
}

fn path_mtu(link_bytes: u32) -> Option<PathMtu> {
    PathMtu::largest_within(link_bytes.saturating_sub(HEADERS_BYTES))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_mtu_is_what_linux_takes() {
        assert_eq!(path_mtu(1500), Some(PathMtu::Bytes1024));
        assert_eq!(path_mtu(4200), Some(PathMtu::Bytes4096));
        assert_eq!(path_mtu(4191), Some(PathMtu::Bytes2048));
        assert_eq!(path_mtu(9000), Some(PathMtu::Bytes4096));
        assert_eq!(path_mtu(65536), Some(PathMtu::Bytes4096));
        assert_eq!(path_mtu(352), Some(PathMtu::Bytes256));
        assert_eq!(path_mtu(351), None);
        assert_eq!(path_mtu(0), None);
    }

    #[test]
    fn the_loopback_interface_has_all_of_its_network() {
        for address in [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 200, 1, 77)] {
            let interface = interface_of(address.into()).unwrap().unwrap();
            assert_eq!((interface.name.as_str(), interface.mtu), ("lo", Some(PathMtu::Bytes4096)));
            assert_eq!(interface.state, PortState::Active);
            assert!(interface.addresses.contains(&address.into()));
        }
    }

    #[test]
    fn an_address_of_others_has_no_interface() {
        // Addresses for documentation: RFC 5737 and RFC 3849.
        assert_eq!(interface_of(Ipv4Addr::new(192, 0, 2, 1).into()).unwrap(), None);
        assert_eq!(interface_of("2001:db8::1".parse::<Ipv6Addr>().unwrap().into()).unwrap(), None);
        assert_eq!(interface_of(Ipv4Addr::UNSPECIFIED.into()).unwrap(), None);
    }

    #[test]
    fn each_interface_is_listed_once_with_its_addresses() {
        let all = interfaces().unwrap();
        let loopback: Vec<_> = all.iter().filter(|interface| interface.name == "lo").collect();
        assert_eq!(loopback.len(), 1);
        assert!(loopback[0].addresses.contains(&Ipv4Addr::LOCALHOST.into()));
    }
}
