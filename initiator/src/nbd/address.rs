//! Where an export is served: `unix:PATH` or `tcp:HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket, for its owner only.
    Unix(PathBuf),
    /// A port, for whoever can reach it.
    Tcp(SocketAddr),
}

/// No such place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not a place at all.
    #[error("`{0}` is no place to listen at: unix:PATH, tcp:HOST:PORT or tcp:PORT (on loopback)")]
    Form(String),
    /// A host that has no address.
    #[error("`{0}` has no address")]
    NoAddress(String),
}

impl Address {
    /// Whether programs of other machines may reach it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }

    /// How NBD's clients name it (the NBD project's doc/uri.md).
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Unix(path) => format!("nbd+unix:///?socket={}", escaped(path.as_os_str().as_bytes())),
            Self::Tcp(address) => format!("nbd://{address}"),
        }
    }
}

/// A query's value, with `%XX` for whatever has a meaning in URIs.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", rest)) => tcp(rest.strip_prefix(':').unwrap_or(rest), text).map(Self::Tcp),
            _ => Err(AddressError::Form(text.to_owned())),
        }
    }
}

fn tcp(place: &str, text: &str) -> Result<SocketAddr, AddressError> {
    if let Ok(port) = place.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    if let Ok(address) = place.parse() {
        return Ok(address);
    }
    let form = || AddressError::Form(text.to_owned());
    let (host, port) = place.rsplit_once(':').ok_or_else(form)?;
    let port: u16 = port.parse().map_err(|_| form())?;
    let found = (host, port).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| AddressError::NoAddress(host.to_owned()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, AddressError> {
        text.parse::<Address>().map(|address| address.to_string())
    }

    #[test]
    fn places_are_read() {
        assert_eq!(shown("unix:/run/a.sock").unwrap(), "unix:/run/a.sock");
        assert_eq!(shown("tcp:127.0.0.2:10809").unwrap(), "tcp:127.0.0.2:10809");
        assert_eq!(shown("tcp:[::1]:10809").unwrap(), "tcp:[::1]:10809");
    }

    #[test]
    fn nobody_else_can_reach_what_names_no_host() {
        for text in ["tcp:10809", "tcp::10809"] {
            assert_eq!(shown(text).unwrap(), "tcp:127.0.0.1:10809");
        }
        assert!(!"tcp:10809".parse::<Address>().unwrap().is_remote());
        assert!("tcp:0.0.0.0:10809".parse::<Address>().unwrap().is_remote());
        assert!(!"unix:a".parse::<Address>().unwrap().is_remote());
    }

    #[test]
    fn clients_are_told_a_uri() {
        let uri = |text: &str| text.parse::<Address>().unwrap().uri();
        assert_eq!(uri("unix:/run/a b&c.sock"), "nbd+unix:///?socket=/run/a%20b%26c.sock");
        assert_eq!(uri("tcp:[::1]:10809"), "nbd://[::1]:10809");
    }

    #[test]
    fn others_are_refused_in_words() {
        for text in ["", "unix:", "/run/a.sock", "tcp:", "tcp:host", "tcp:127.0.0.1:70000", "udp:1"] {
            assert_eq!(shown(text), Err(AddressError::Form(text.to_owned())), "{text}");
        }
    }
}
