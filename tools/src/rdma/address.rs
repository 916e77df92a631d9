//! Addresses as users write them.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

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
}
