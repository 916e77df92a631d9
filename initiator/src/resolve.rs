//! From a host as a user writes it to an address.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use block::uri::Host;
use thiserror::Error;

/// Why a host has no address.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// The name server, or the file of hosts, knows nothing of it.
    #[error("the host {name} has no address: {source}")]
    Name {
        /// The name.
        name: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// A link-local address, which RDMA connections of ours cannot use.
    #[error("{0} is a link-local address, which cannot be used here: give another address of that host")]
    Zone(Host),
}

/// The address of a host: the first that the system names, with IPv4 before IPv6, as RDMA networks mostly are. Asks the
/// network for names.
pub fn resolve(host: &Host, port: u16) -> Result<SocketAddr, ResolveError> {
    match host {
        Host::V4(address) => Ok((*address, port).into()),
        Host::V6 { address, zone: None } if !address.is_unicast_link_local() => Ok((*address, port).into()),
        Host::V6 { .. } => Err(ResolveError::Zone(host.clone())),
        Host::Name(name) => {
            let failed = |source| ResolveError::Name { name: name.clone(), source };
            let found: Vec<_> = (name.as_str(), port).to_socket_addrs().map_err(failed)?.collect();
            choose(&found).ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))
        }
    }
}

fn choose(found: &[SocketAddr]) -> Option<SocketAddr> {
    let usable = |address: &&SocketAddr| match address.ip() {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    found.iter().filter(usable).min_by_key(|address| address.is_ipv6()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_are_and_names_are_asked_for() {
        let of = |host: &str| resolve(&host.parse().unwrap(), 4420);
        assert_eq!(of("192.0.2.1").unwrap().to_string(), "192.0.2.1:4420");
        assert_eq!(of("[fd00::1]").unwrap().to_string(), "[fd00::1]:4420");
        assert!(matches!(of("[fe80::1%25eth0]"), Err(ResolveError::Zone(_))));
        assert!(of("localhost").unwrap().ip().is_loopback());
        let error = of("no-such-host.invalid").unwrap_err().to_string();
        assert!(error.starts_with("the host no-such-host.invalid has no address"), "{error}");
    }

    #[test]
    fn ipv4_comes_first_and_link_local_never() {
        let addresses: Vec<SocketAddr> =
            ["[fe80::1]:1", "[fd00::1]:1", "192.0.2.1:1"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(choose(&addresses), Some(addresses[2]));
        assert_eq!(choose(&addresses[..2]), Some(addresses[1]));
        assert_eq!(choose(&addresses[..1]), None);
    }
}
