//! Single values, read the same way in the file, on the command line and in control requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use block::DeviceUri;
use block::uri::{NVME_RDMA_PORT, UriError};
use thiserror::Error;
use uuid::Uuid;

/// Where a target listens that was told nothing: this machine only.
pub(super) const LISTENER_DEFAULT: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), NVME_RDMA_PORT);

/// A value that does not read as what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Of an address.
    #[error(
        "`{0}` is no address: write one of this machine's, such as 127.0.0.2, 192.0.2.7:4420 or [::1]:4420"
    )]
    Listener(String),
    /// Of an address with a port.
    #[error("`{0}` is no address with a port: write one such as 127.0.0.1:9420")]
    Metrics(String),
    /// Of a UUID or NGUID.
    #[error(
        "`{0}` is no {1}: write 32 hexadecimal digits that are not all 0, with dashes as a UUID has them or without"
    )]
    Identifier(String, &'static str),
    /// Of a device.
    #[error(transparent)]
    Device(#[from] UriError),
    /// A part of a device that has no bytes.
    #[error("a length of 0 bytes: leave it away for all that follows the offset")]
    NoLength,
}

/// An address to listen at, whose port may be left away.
pub(crate) fn read_listener(text: &str) -> Result<SocketAddr, ValueError> {
    let without_port = |text: &str| text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, NVME_RDMA_PORT));
    let bracketed = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = text.parse().ok().or_else(|| without_port(text)).or_else(|| without_port(bracketed()?));
    address.filter(|address| address.port() != 0).ok_or_else(|| ValueError::Listener(text.to_owned()))
}

/// An address for metrics; port 0 takes a free one.
pub(crate) fn read_metrics(text: &str) -> Result<SocketAddr, ValueError> {
    text.parse().map_err(|_| ValueError::Metrics(text.to_owned()))
}

/// A UUID or NGUID, `what` says which.
pub(crate) fn read_identifier(text: &str, what: &'static str) -> Result<Uuid, ValueError> {
    let read = Uuid::try_parse(text).ok().filter(|uuid| !uuid.is_nil());
    read.ok_or_else(|| ValueError::Identifier(text.to_owned(), what))
}

/// A device's name. Offset and length, in bytes with units, may stand beside it instead of among its parameters.
pub(crate) fn read_device(
    text: &str,
    offset: Option<&str>,
    length: Option<&str>,
) -> Result<DeviceUri, ValueError> {
    let uri: DeviceUri = text.parse()?;
    let mut parameters = uri.parameters().clone();
    for (name, value) in [("offset", offset), ("length", length)] {
        if let Some(value) = value {
            parameters.insert(name, value).map_err(UriError::from)?;
        }
    }
    let mut reader = parameters.reader();
    reader.take_size("offset").map_err(UriError::from)?;
    match reader.take_size("length").map_err(UriError::from)? {
        Some(0) => Err(ValueError::NoLength),
        _ => Ok(uri.with_parameters(parameters)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_may_leave_the_port_away() {
        for (text, address) in [
            ("127.0.0.2", "127.0.0.2:4420"),
            ("0.0.0.0:4421", "0.0.0.0:4421"),
            ("::1", "[::1]:4420"),
            ("[::1]", "[::1]:4420"),
            ("[::]:1", "[::]:1"),
        ] {
            assert_eq!(read_listener(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in ["", "localhost", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0", "[127.0.0.1"] {
            assert_eq!(read_listener(text), Err(ValueError::Listener(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn identifiers_are_not_zero() {
        let uuid = read_identifier("00112233-4455-6677-8899-aabbccddeeff", "UUID").unwrap();
        assert_eq!(uuid.as_bytes()[..3], [0x00, 0x11, 0x22]);
        assert_eq!(read_identifier("00112233445566778899AABBCCDDEEFF", "NGUID"), Ok(uuid));
        for text in ["", "0011", &"0".repeat(32)] {
            assert!(read_identifier(text, "UUID").is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_stands_beside_the_device_or_in_it_not_twice() {
        let read = |text, offset, length| read_device(text, offset, length).map(|uri| uri.to_string());
        assert_eq!(read("file:/d", Some("1GiB"), Some("512m")).unwrap(), "file:/d?offset=1GiB&length=512m");
        let said = |text, offset, length| read(text, offset, length).unwrap_err().to_string();
        assert_eq!(said("file:/d?offset=1", Some("2"), None), "parameter `offset` is given twice");
        assert!(said("file:/d", Some("1x"), None).starts_with("parameter `offset`: `x` in `1x` is no unit"));
        assert_eq!(read_device("mem:1m", None, Some("0")), Err(ValueError::NoLength));
        assert!(said("disk:/d", None, None).starts_with("`disk:` is no kind of device: write one of nvme:,"));
    }
}
