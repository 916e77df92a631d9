//! Device URIs: how a device is named in configurations, on command lines and in Python.
//!
//! ```text
//! nvme:0000:01:00.0/1              namespace 1 of a PCIe drive
//! soft-nvme:PATH?size=4GiB         the software SSD on a file; `soft-nvme:?size=4GiB` in memory
//! file:PATH                        a file or kernel block device
//! mem:4GiB                         memory
//! null:4GiB                        nothing; `null:` is the largest legal device
//! rdma://HOST[:4420]/NQN?ns=1      a remote namespace; an IPv6 address stands in brackets
//! mirror:NAME                      a mirror
//! ```
//!
//! `?` introduces parameters, `name=value` with `&` between. In paths, values and NQNs `%XX` stands for a byte.

mod error;
mod escape;
mod host;
mod parameters;
mod pci;
mod size;
mod target;

use std::fmt;
use std::str::FromStr;

pub use error::{ParameterError, UriError};
pub use host::{Host, HostError};
pub use parameters::{COMMON_PARAMETERS, PARAMETERS_MAX, ParameterReader, Parameters};
pub use pci::{PciAddress, PciAddressError};
pub use size::{SizeError, format_size, parse_size};
pub use target::{MIRROR_NAME_BYTES_MAX, NQN_BYTES_MAX, NVME_RDMA_PORT, Target};

/// Longest URI that is read: a path of PATH_MAX bytes, each escaped, and parameters.
pub const URI_BYTES_MAX: usize = 16 * 1024;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A PCIe drive.
    Nvme,
    /// The software SSD.
    SoftNvme,
    /// A file or kernel block device.
    File,
    /// Memory.
    Mem,
    /// Nothing.
    Null,
    /// A remote namespace over RDMA.
    Rdma,
    /// A mirror.
    Mirror,
}

impl Scheme {
    /// All schemes.
    pub const ALL: [Self; 7] =
        [Self::Nvme, Self::SoftNvme, Self::File, Self::Mem, Self::Null, Self::Rdma, Self::Mirror];

    /// What stands before the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::SoftNvme => "soft-nvme",
            Self::File => "file",
            Self::Mem => "mem",
            Self::Null => "null",
            Self::Rdma => "rdma",
            Self::Mirror => "mirror",
        }
    }

    fn list() -> String {
        Self::ALL.map(|scheme| format!("{scheme}:")).join(", ")
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A device's name: what it is, and parameters. `Display` writes what `FromStr` reads back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceUri {
    target: Target,
    parameters: Parameters,
}

impl DeviceUri {
    /// A name without parameters.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { target, parameters: Parameters::default() }
    }

    /// The same with other parameters.
    #[must_use]
    pub fn with_parameters(&self, parameters: Parameters) -> Self {
        Self { target: self.target.clone(), parameters }
    }

    /// What it names.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The kind of device.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.target.scheme()
    }

    /// What stands after the `?`.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

impl FromStr for DeviceUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > URI_BYTES_MAX {
            return Err(UriError::TooLong { bytes: text.len() });
        }
        let scheme_end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len());
        let (scheme, rest) = text.split_at(scheme_end);
        let rest = match rest.strip_prefix(':') {
            Some(rest) if !scheme.is_empty() => rest,
            _ => return Err(UriError::NoScheme { text: text.to_owned() }),
        };
        let known = Scheme::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(scheme));
        let scheme = known.ok_or_else(|| UriError::UnknownScheme { scheme: scheme.to_owned() })?;
        let (target, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Self { target: Target::parse(scheme, target)?, parameters: Parameters::parse(parameters)? })
    }
}

impl fmt::Display for DeviceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.target, self.parameters)
    }
}

#[cfg(test)]
mod tests;
