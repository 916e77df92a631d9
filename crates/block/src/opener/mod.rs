//! From a name to a device: each program fills a registry with what it can open.

mod builtin;
mod error;
mod part;

use std::collections::HashMap;
use std::sync::Arc;

use crate::claim::Access;
use crate::device::BlockDevice;
use crate::uri::{DeviceUri, Scheme};

pub use error::OpenError;
use part::Divided;

/// How a device is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// For reading only, or for writing as well.
    pub access: Access,
}

impl OpenOptions {
    /// For reading only.
    pub const READ: Self = Self { access: Access::Read };
    /// For reading and writing.
    pub const READ_WRITE: Self = Self { access: Access::ReadWrite };
}

/// Opens devices of one kind.
pub trait Opener: Send + Sync {
    /// Opens a device. The URI is of the scheme that the opener was registered for; it refuses parameters that it does
    /// not know (see [`crate::uri::ParameterReader::finish`]).
    fn open(&self, uri: &DeviceUri, options: &OpenOptions) -> Result<Arc<dyn BlockDevice>, OpenError>;
}

impl<F> Opener for F
where
    F: Fn(&DeviceUri, &OpenOptions) -> Result<Arc<dyn BlockDevice>, OpenError> + Send + Sync,
{
    fn open(&self, uri: &DeviceUri, options: &OpenOptions) -> Result<Arc<dyn BlockDevice>, OpenError> {
        self(uri, options)
    }
}

/// What a program can open.
///
/// Every URI may have `?offset=` and `?length=`, in bytes: a part of the device, as a slice with a claim. Parts of one
/// device share it, so that several can be open at once, and claims keep them apart. The whole device is opened anew
/// each time, and refused by its own means (a lock, VFIO) if it is open.
#[derive(Default)]
pub struct Openers {
    by_scheme: HashMap<Scheme, Box<dyn Opener>>,
    divided: Divided,
}

impl Openers {
    /// A registry that opens what this crate has: `mem:`, `null:` and `file:`.
    #[must_use]
    pub fn with_builtin() -> Self {
        let mut openers = Self::default();
        openers.register(Scheme::Mem, Box::new(builtin::open_mem));
        openers.register(Scheme::Null, Box::new(builtin::open_null));
        openers.register(Scheme::File, Box::new(builtin::open_file));
        openers
    }

    /// From now on `opener` opens devices of this kind.
    pub fn register(&mut self, scheme: Scheme, opener: Box<dyn Opener>) {
        self.by_scheme.insert(scheme, opener);
    }

    /// Opens a device by its name.
    pub fn open(&self, uri: &DeviceUri, options: &OpenOptions) -> Result<Arc<dyn BlockDevice>, OpenError> {
        let (whole, part) = part::take_part(uri)?;
        match part {
            None => self.open_whole(uri, options),
            Some(part) => {
                let open = || self.open_whole(&whole, options);
                let parent = if whole.target().is_unique() {
                    self.divided.get_or_open(&whole, options.access, open)?
                } else {
                    open()?
                };
                part.open(parent, uri, options.access)
            }
        }
    }

    fn open_whole(&self, uri: &DeviceUri, options: &OpenOptions) -> Result<Arc<dyn BlockDevice>, OpenError> {
        match self.by_scheme.get(&uri.scheme()) {
            Some(opener) => opener.open(uri, options),
            None => Err(OpenError::NoOpener { scheme: uri.scheme(), known: self.known() }),
        }
    }

    /// Opens a device by its name's text.
    pub fn open_text(&self, uri: &str, options: &OpenOptions) -> Result<Arc<dyn BlockDevice>, OpenError> {
        self.open(&uri.parse::<DeviceUri>()?, options)
    }

    fn known(&self) -> String {
        let known = Scheme::ALL.iter().filter(|scheme| self.by_scheme.contains_key(scheme));
        known.map(|scheme| format!("{scheme}:")).collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Debug for Openers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Openers({})", self.known())
    }
}

#[cfg(test)]
mod tests;
