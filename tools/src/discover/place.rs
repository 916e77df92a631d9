//! Addresses of services as users write them.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

use block::uri::{DeviceUri, Host, NVME_RDMA_PORT, Parameters, Target};
use initiator::{ResolveError, resolve};
use nvme_spec::Nsid;
use nvmf::host::discovery::RdmaEndpoint;

/// A host, and a port if one was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: Host,
    port: u16,
}

impl Place {
    /// The same host's other port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port }
    }

    /// The address. Asks the network for names.
    pub fn resolve(&self) -> Result<SocketAddr, ResolveError> {
        resolve(&self.host, self.port)
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(address) => Host::V4(*address.ip()),
            SocketAddr::V6(address) => Host::V6 { address: *address.ip(), zone: None },
        };
        Self { host, port: address.port() }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no address: write 192.0.2.1, 192.0.2.1:4420, a host's name or [2001:db8::1]:4420"
            )
        };
        let text = text.strip_prefix("rdma://").map_or(text, |rest| rest.trim_end_matches('/'));
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self { host: Host::V6 { address, zone: None }, port: NVME_RDMA_PORT });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let host = host.parse().map_err(|_| wrong())?;
        let port = match port {
            None => NVME_RDMA_PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        };
        Ok(Self { host, port })
    }
}

/// What a namespace of a subsystem is opened by.
pub(crate) fn namespace_uri(endpoint: &RdmaEndpoint, nsid: Nsid) -> DeviceUri {
    let Place { host, port } = endpoint.address.into();
    let target = Target::Rdma { host, port, nqn: endpoint.subsystem.to_string() };
    let mut parameters = Parameters::default();
    // Nothing is refused but a second one of the same name.
    let _ = parameters.insert("ns", &nsid.0.to_string());
    DeviceUri::new(target).with_parameters(parameters)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_in_the_usual_ways() {
        let cases = [
            ("192.0.2.1", "192.0.2.1:4420"),
            ("192.0.2.1:8009", "192.0.2.1:8009"),
            ("rdma://192.0.2.1:8009", "192.0.2.1:8009"),
            ("rdma://192.0.2.1/", "192.0.2.1:4420"),
            ("2001:db8::1", "[2001:db8::1]:4420"),
            ("[2001:db8::1]", "[2001:db8::1]:4420"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("storage-7.example", "storage-7.example:4420"),
            ("storage-7.example:99", "storage-7.example:99"),
        ];
        for (text, expected) in cases {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), expected, "{text}");
        }
        for bad in
            ["", ":", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.256", "a b", "[::1", "rdma://"]
        {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_a_place() {
        let address: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(Place::from(address).resolve().unwrap(), address);
        let endpoint = RdmaEndpoint { address, subsystem: "nqn.2024-05.com.example:a?b".parse().unwrap() };
        let uri = namespace_uri(&endpoint, Nsid(3));
        assert_eq!(uri.to_string(), "rdma://[2001:db8::1]:80/nqn.2024-05.com.example:a%3Fb?ns=3");
        assert_eq!(uri.to_string().parse::<DeviceUri>().unwrap(), uri);
        assert_eq!(Place::from(address).with_port(81).resolve().unwrap().port(), 81);
    }
}
