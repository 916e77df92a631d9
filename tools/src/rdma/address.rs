//! Addresses as users write them, and the address to connect from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

use super::error::RdmaError;

/// An address, and a port if one was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

impl Target {
    /// With a port for those who wrote none.
    #[must_use]
    pub fn or_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, self.port.unwrap_or(port))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Self { address, port: None });
        }
        let with_port: SocketAddr = text.parse().map_err(|_| {
            format!("`{text}` is no address: write 192.0.2.1, 192.0.2.1:7174 or [2001:db8::1]:7174")
        })?;
        if with_port.port() == 0 {
            return Err("port 0 means nothing to RDMA".to_owned());
        }
        Ok(Self { address: with_port.ip(), port: Some(with_port.port()) })
    }
}

/// The address to connect to `peer` from: what the route says, unless the user did. One address has one owner of the
/// RoCEv2 port, so it must not be the peer's; of the loopback network there are enough.
pub fn local_address(peer: IpAddr, asked: Option<IpAddr>) -> Result<IpAddr, RdmaError> {
    if let Some(local) = asked {
        return if local.is_ipv4() == peer.is_ipv4() {
            Ok(local)
        } else {
            Err(RdmaError::Usage(format!("--local {local}: {peer} is of another address family")))
        };
    }
    if let IpAddr::V4(v4) = peer
        && v4.is_loopback()
    {
        let second = Ipv4Addr::new(127, 0, 0, 2);
        return Ok(if v4 == Ipv4Addr::LOCALHOST { second } else { Ipv4Addr::LOCALHOST }.into());
    }
    let local = route_to(peer)?;
    if local == peer {
        return Err(RdmaError::Usage(format!(
            "{peer} is an address of this machine, and each address has one owner: give --local another of its addresses"
        )));
    }
    Ok(local)
}

/// The local address that the kernel would send from. Nothing is sent: connecting a datagram socket only looks up the route.
fn route_to(peer: IpAddr) -> Result<IpAddr, RdmaError> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let look = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((peer, DISCARD_PORT))?;
        socket.local_addr()
    };
    look().map(|local| local.ip()).map_err(|source| RdmaError::NoRoute { peer, source })
}

/// A port for the look-up of a route; any but 0 would do.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_in_the_usual_ways() {
        for (text, address, port) in [
            ("127.0.0.1", "127.0.0.1", None),
            ("127.0.0.1:7174", "127.0.0.1", Some(7174)),
            ("fd00::2", "fd00::2", None),
            ("[fd00::2]", "fd00::2", None),
            ("[fd00::2]:80", "fd00::2", Some(80)),
        ] {
            assert_eq!(text.parse(), Ok(Target { address: address.parse().unwrap(), port }), "{text}");
        }
        for bad in ["", "host", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0", "[fd00::2", "a:b"]
        {
            // A missing bracket is forgiven, everything else is not.
            assert!(bad == "[fd00::2" || bad.parse::<Target>().is_err(), "{bad}");
        }
        assert_eq!("fd00::2".parse::<Target>().unwrap().or_port(7).to_string(), "[fd00::2]:7");
    }

    #[test]
    fn one_connects_from_another_address_than_the_peers() {
        let from = |peer: &str| local_address(peer.parse().unwrap(), None).map(|local| local.to_string());
        assert_eq!(from("127.0.0.1").unwrap(), "127.0.0.2");
        assert_eq!(from("127.1.2.3").unwrap(), "127.0.0.1");
        assert!(matches!(from("::1"), Err(RdmaError::Usage(_) | RdmaError::NoRoute { .. })));
        let peer = "127.1.2.3".parse().unwrap();
        let asked = |local: &str| local_address(peer, Some(local.parse().unwrap()));
        assert_eq!(asked("127.9.9.9").unwrap().to_string(), "127.9.9.9");
        assert!(matches!(asked("::1"), Err(RdmaError::Usage(_))));
    }
}
