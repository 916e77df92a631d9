//! What a URI names: one typed shape for each scheme.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nvme_spec::Nsid;

use super::error::UriError;
use super::size::{format_size, parse_size};
use super::{Host, PciAddress, Scheme, escape};

/// The port that NVMe over RDMA listens on (IANA's nvme, Base 1.5 of the RDMA transport).
pub const NVME_RDMA_PORT: u16 = 4420;

/// Longest NVMe qualified name (Base 4.7: 223 bytes without the terminator).
pub const NQN_BYTES_MAX: usize = 223;

/// Longest name of a mirror.
pub const MIRROR_NAME_BYTES_MAX: usize = 64;

/// What a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A namespace of a PCIe drive, driven from userspace.
    Nvme {
        /// The controller.
        address: PciAddress,
        /// The namespace.
        nsid: Nsid,
    },
    /// The software SSD.
    SoftNvme {
        /// Its file; memory if there is none.
        path: Option<PathBuf>,
    },
    /// A file or kernel block device.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// Memory.
    Mem {
        /// Its bytes.
        bytes: u64,
    },
    /// Nothing.
    Null {
        /// Its bytes; without them, the largest legal device: 2^64 - 1 blocks.
        bytes: Option<u64>,
    },
    /// A remote namespace over RDMA.
    Rdma {
        /// Who exports it.
        host: Host,
        /// Where it listens.
        port: u16,
        /// The subsystem's NVMe qualified name.
        nqn: String,
    },
    /// A mirror of other devices.
    Mirror {
        /// Its name in the file of mirrors.
        name: String,
    },
}

impl Target {
    /// Reads what stands between the scheme's colon and the `?`.
    pub(super) fn parse(scheme: Scheme, text: &str) -> Result<Self, UriError> {
        match scheme {
            Scheme::Nvme => nvme(text),
            Scheme::SoftNvme => Ok(Self::SoftNvme { path: path(text)? }),
            Scheme::File => match path(text)? {
                Some(path) => Ok(Self::File { path }),
                None => Err(part("path", text, "file:/path/to/file")),
            },
            Scheme::Mem => Ok(Self::Mem { bytes: size(scheme, text)? }),
            Scheme::Null if text.is_empty() => Ok(Self::Null { bytes: None }),
            Scheme::Null => Ok(Self::Null { bytes: Some(size(scheme, text)?) }),
            Scheme::Rdma => rdma(text),
            Scheme::Mirror => mirror(text),
        }
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::Nvme { .. } => Scheme::Nvme,
            Self::SoftNvme { .. } => Scheme::SoftNvme,
            Self::File { .. } => Scheme::File,
            Self::Mem { .. } => Scheme::Mem,
            Self::Null { .. } => Scheme::Null,
            Self::Rdma { .. } => Scheme::Rdma,
            Self::Mirror { .. } => Scheme::Mirror,
        }
    }

    /// Whether two devices of this name are the same one. Two `mem:4GiB` are not.
    #[must_use]
    pub const fn is_unique(&self) -> bool {
        !matches!(self, Self::Mem { .. } | Self::Null { .. } | Self::SoftNvme { path: None })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme())?;
        match self {
            Self::Nvme { address, nsid } => write!(f, "{address}/{nsid}"),
            Self::SoftNvme { path: None } | Self::Null { bytes: None } => Ok(()),
            Self::SoftNvme { path: Some(path) } | Self::File { path } => f.write_str(&path_text(path)),
            Self::Mem { bytes } | Self::Null { bytes: Some(bytes) } => f.write_str(&format_size(*bytes)),
            Self::Rdma { host, port: NVME_RDMA_PORT, nqn } => write!(f, "//{host}/{}", nqn_text(nqn)),
            Self::Rdma { host, port, nqn } => write!(f, "//{host}:{port}/{}", nqn_text(nqn)),
            Self::Mirror { name } => f.write_str(name),
        }
    }
}

fn path_text(path: &Path) -> String {
    escape::encode(path.as_os_str().as_bytes(), "?")
}

fn nqn_text(nqn: &str) -> String {
    escape::encode(nqn.as_bytes(), "?")
}

fn part(what: &'static str, found: &str, shape: &'static str) -> UriError {
    UriError::Part { what, found: found.to_owned(), shape }
}

fn nvme(text: &str) -> Result<Target, UriError> {
    let shape = "nvme:0000:01:00.0/1 (domain:bus:device.function as lspci -D writes it, then the namespace)";
    let (address, number) = text.split_once('/').ok_or_else(|| part("drive and namespace", text, shape))?;
    let address = address.parse().map_err(|_| part("PCI address", address, shape))?;
    let nsid = decimal(number).map(Nsid).filter(|nsid| nsid.is_one_namespace());
    Ok(Target::Nvme { address, nsid: nsid.ok_or_else(|| part("namespace number", number, shape))? })
}

fn path(text: &str) -> Result<Option<PathBuf>, UriError> {
    let bytes = escape::decode(text).map_err(|_| UriError::Escape { text: text.to_owned() })?;
    if bytes.contains(&0) {
        return Err(part("path", text, "a path without zero bytes"));
    }
    Ok(if bytes.is_empty() { None } else { Some(PathBuf::from(OsString::from_vec(bytes))) })
}

fn size(scheme: Scheme, text: &str) -> Result<u64, UriError> {
    parse_size(text).map_err(|source| UriError::Size { of: scheme.to_string(), source })
}

fn rdma(text: &str) -> Result<Target, UriError> {
    let shape =
        "rdma://HOST[:PORT]/NQN, an IPv6 address in brackets: rdma://[fe80::1%25eth0]:4420/nqn.2014-08.org:a";
    let (authority, nqn) = text
        .strip_prefix("//")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| part("remote namespace", text, shape))?;
    let (host, port) = host_and_port(authority);
    let host = host.parse().map_err(|_| part("host", host, shape))?;
    let port = match port {
        None => NVME_RDMA_PORT,
        Some(port) => decimal(port)
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| *number != 0)
            .ok_or_else(|| part("port", port, shape))?,
    };
    Ok(Target::Rdma { host, port, nqn: read_nqn(nqn, shape)? })
}

/// Splits at the last colon behind the brackets. An address with colons and no brackets stays whole, and is no host.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    let brackets_end = authority.rfind(']').unwrap_or(0);
    let after = &authority[brackets_end..];
    match after.rsplit_once(':') {
        Some((before, port)) if !before.contains(':') => {
            (&authority[..brackets_end + before.len()], Some(port))
        }
        _ => (authority, None),
    }
}

fn read_nqn(text: &str, shape: &'static str) -> Result<String, UriError> {
    let escape = || UriError::Escape { text: text.to_owned() };
    let nqn = String::from_utf8(escape::decode(text).map_err(|_| escape())?).map_err(|_| escape())?;
    let good = nqn.starts_with("nqn.") && nqn.len() <= NQN_BYTES_MAX && !nqn.contains('\0');
    if good { Ok(nqn) } else { Err(part("NVMe qualified name", text, shape)) }
}

fn mirror(text: &str) -> Result<Target, UriError> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.is_empty() || text.len() > MIRROR_NAME_BYTES_MAX || !text.bytes().all(letter) {
        return Err(part(
            "mirror's name",
            text,
            "mirror:NAME, of at most 64 letters, digits, `.`, `_` and `-`",
        ));
    }
    Ok(Target::Mirror { name: text.to_owned() })
}

fn decimal(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}
