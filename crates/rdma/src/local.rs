//! The address to connect from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use thiserror::Error;

/// A port for the look-up of a route; any but 0 would do.
const DISCARD_PORT: u16 = 9;

/// Addresses of the loopback network that [`local_addresses`] names.
pub const LOOPBACK_CANDIDATES: usize = 64;

/// Why there is no address to connect from.
#[derive(Debug, Error)]
pub enum LocalAddressError {
    /// The address that was asked for is of another family.
    #[error("the local address {local} is of another family than {peer}")]
    Family {
        /// What was asked for.
        local: IpAddr,
        /// The peer.
        peer: IpAddr,
    },
    /// The route leads to the peer from its own address.
    #[error(
        "{0} is an address of this machine, and each address has one owner: give another of its addresses to come from"
    )]
    Own(IpAddr),
    /// There is no route.
    #[error("no address of this machine leads to {peer}: {source}")]
    NoRoute {
        /// The peer.
        peer: IpAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The address to connect to `peer` from: what the route says, unless the user did. One address has one owner of the
/// RoCEv2 port, so it must not be the peer's; of the loopback network there are enough.
pub fn local_address(peer: IpAddr, asked: Option<IpAddr>) -> Result<IpAddr, LocalAddressError> {
    if let Some(local) = asked {
        let is_same = local.is_ipv4() == peer.is_ipv4();
        return if is_same { Ok(local) } else { Err(LocalAddressError::Family { local, peer }) };
    }
    if let IpAddr::V4(v4) = peer
        && v4.is_loopback()
    {
        let second = Ipv4Addr::new(127, 0, 0, 2);
        return Ok(if v4 == Ipv4Addr::LOCALHOST { second } else { Ipv4Addr::LOCALHOST }.into());
    }
    let local = route_to(peer)?;
    if local == peer { Err(LocalAddressError::Own(peer)) } else { Ok(local) }
}

/// Addresses to connect to `peer` from, to be tried in this order while one is taken by another process: one, but for a
/// peer on the loopback network. There the search begins where the process identifier says, away from the addresses
/// that people write down for their targets.
pub fn local_addresses(peer: IpAddr, asked: Option<IpAddr>) -> Result<Vec<IpAddr>, LocalAddressError> {
    match peer {
        IpAddr::V4(v4) if v4.is_loopback() && asked.is_none() => {
            let first = std::process::id();
            let candidates = (0u32..).map(|next| loopback(first.wrapping_add(next)));
            let others = candidates.filter(|candidate| *candidate != v4).map(IpAddr::V4);
            Ok(others.take(LOOPBACK_CANDIDATES).collect())
        }
        _ => local_address(peer, asked).map(|address| vec![address]),
    }
}

/// 127.128.1.1 to 127.191.254.254, by number: no byte is 0 or 255.
fn loopback(number: u32) -> Ipv4Addr {
    let byte = |value: u32| u8::try_from(value % 254 + 1).unwrap_or(1);
    let second = u8::try_from(number / (254 * 254) % 64 + 128).unwrap_or(128);
    Ipv4Addr::new(127, second, byte(number / 254), byte(number))
}

/// The local address that the kernel would send from. Nothing is sent: connecting a datagram socket only looks up the route.
fn route_to(peer: IpAddr) -> Result<IpAddr, LocalAddressError> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let look = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((peer, DISCARD_PORT))?;
        socket.local_addr()
    };
    look().map(|local: SocketAddr| local.ip()).map_err(|source| LocalAddressError::NoRoute { peer, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connects_from_another_address_than_the_peers() {
        let from = |peer: &str| local_address(peer.parse().unwrap(), None).map(|local| local.to_string());
        assert_eq!(from("127.0.0.1").unwrap(), "127.0.0.2");
        assert_eq!(from("127.1.2.3").unwrap(), "127.0.0.1");
        assert!(matches!(from("::1"), Err(LocalAddressError::Own(_) | LocalAddressError::NoRoute { .. })));
        let peer = "127.1.2.3".parse().unwrap();
        let asked = |local: &str| local_address(peer, Some(local.parse().unwrap()));
        assert_eq!(asked("127.9.9.9").unwrap().to_string(), "127.9.9.9");
        assert!(matches!(asked("::1"), Err(LocalAddressError::Family { .. })));
    }

    #[test]
    fn candidates_are_many_on_the_loopback_network_and_never_the_peer() {
        let peer = loopback(std::process::id().wrapping_add(3));
        let candidates = local_addresses(peer.into(), None).unwrap();
        assert_eq!(candidates.len(), LOOPBACK_CANDIDATES);
        assert!(!candidates.contains(&peer.into()) && candidates.iter().all(IpAddr::is_loopback));
        let asked = "127.0.0.9".parse().unwrap();
        assert_eq!(local_addresses(peer.into(), Some(asked)).unwrap(), [asked]);
    }

    #[test]
    fn numbers_become_addresses_of_hosts() {
        assert_eq!(loopback(0), Ipv4Addr::new(127, 128, 1, 1));
        assert_eq!(loopback(253), Ipv4Addr::new(127, 128, 1, 254));
        assert_eq!(loopback(254), Ipv4Addr::new(127, 128, 2, 1));
        assert_eq!(loopback(254 * 254), Ipv4Addr::new(127, 129, 1, 1));
    }
}
