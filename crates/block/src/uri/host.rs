//! Whom to connect to: an IPv4 address, an IPv6 address with its zone, or a name.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest host name (RFC 1035, clause 2.3.4, without the final dot).
const NAME_BYTES_MAX: usize = 253;

/// Longest label of a host name (RFC 1035, clause 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Longest name of a network interface: Linux's IFNAMSIZ without the terminator.
const ZONE_BYTES_MAX: usize = 15;

/// A host. In a URI an IPv6 address stands in brackets, its zone after `%25` (RFC 6874) or a plain `%`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6 {
        /// The address.
        address: Ipv6Addr,
        /// The zone of a link-local address: an interface's name or number.
        zone: Option<String>,
    },
    /// A name to look up.
    Name(String),
}

/// A text that is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostError;

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if let Some(inside) = text.strip_prefix('[') {
            return v6(inside.strip_suffix(']').ok_or(HostError)?);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::V4(address));
        }
        // 10.0.0.256 is a mistyped address and not a name.
        let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if numeric || !is_name(text) { Err(HostError) } else { Ok(Self::Name(text.to_owned())) }
    }
}

fn v6(text: &str) -> Result<Host, HostError> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address = address.parse().map_err(|_| HostError)?;
    // `%25` is the escaped `%`; a zone of the name 25 is written `%2525`.
    let zone = zone.map(|zone| zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone));
    if zone.is_some_and(|zone| !is_zone(zone)) {
        return Err(HostError);
    }
    Ok(Host::V6 { address, zone: zone.map(str::to_owned) })
}

fn is_zone(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-~".contains(&b);
    !text.is_empty() && text.len() <= ZONE_BYTES_MAX && text.bytes().all(letter)
}

fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && label.bytes().all(letter)
    };
    text.len() <= NAME_BYTES_MAX && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6 { address, zone: None } => write!(f, "[{address}]"),
            Self::V6 { address, zone: Some(zone) } => write!(f, "[{address}%25{zone}]"),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        assert_eq!("192.0.2.1".parse(), Ok(Host::V4(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!("[::1]".parse(), Ok(Host::V6 { address: Ipv6Addr::LOCALHOST, zone: None }));
        assert_eq!("storage-1.example.".parse(), Ok(Host::Name("storage-1.example.".into())));
    }

    #[test]
    fn zones_are_read_with_and_without_the_escape() {
        for (text, zone, canonical) in [
            ("[fe80::1%25eth0]", "eth0", "[fe80::1%25eth0]"),
            ("[fe80::1%eth0]", "eth0", "[fe80::1%25eth0]"),
            ("[fe80::1%25]", "25", "[fe80::1%2525]"),
            ("[fe80::1%2525]", "25", "[fe80::1%2525]"),
        ] {
            let host: Host = text.parse().unwrap();
            assert_eq!(host, Host::V6 { address: "fe80::1".parse().unwrap(), zone: Some(zone.into()) });
            assert_eq!(host.to_string(), canonical);
        }
    }

    #[test]
    fn nothing_else_is_a_host() {
        let long = "a".repeat(64);
        for text in [
            "",
            ".",
            "::1",
            "[::1",
            "[::1%]",
            "[fe80::1%e/0]",
            "[1.2.3.4]",
            "10.0.0.256",
            "10.1",
            "-a",
            "a..b",
            "a b",
            &long,
        ] {
            assert_eq!(text.parse::<Host>(), Err(HostError), "{text}");
        }
    }
}
