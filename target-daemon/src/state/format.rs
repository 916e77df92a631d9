//! The bytes of the file of changes.
//!
//! | bytes | |
//! |---|---|
//! | 0-7 | magic, `REMORTGT` |
//! | 8-11 | version, 1 |
//! | 12-15 | CRC-32C of all other bytes |
//! | 16-23 | compatible features: what an unknown bit stands for may be forgotten |
//! | 24-31 | incompatible features: an unknown bit forbids to use the file |
//! | 32-39 | bytes that follow |
//! | 40- | the changes, as JSON |
//!
//! Numbers are little-endian.

use block::DeviceUri;
use crc_fast::{CrcAlgorithm, Digest};
use nvme_spec::Nsid;
use nvmf::wire::Nqn;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::{CHANGES_MAX, Changes};
use crate::config::Namespace;
use crate::export::NamespaceKey;

const MAGIC: [u8; 8] = *b"REMORTGT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 40;
const CRC_AT: usize = 12;

/// The incompatible features that this version knows: none.
const INCOMPATIBLE_KNOWN: u64 = 0;

/// Why bytes are no changes.
#[derive(Debug, Error)]
pub enum FormatError {
    /// They are something else, or cut off.
    #[error("this is no file of changes, or its beginning is damaged")]
    Magic,
    /// A later version made them.
    #[error("it has version {0}, and this program knows version {VERSION}")]
    Version(u32),
    /// They have features that must be understood.
    #[error("it has features {0:#x} that this program does not know")]
    Features(u64),
    /// They are not what was written.
    #[error("it is damaged: its checksum is wrong")]
    Checksum,
    /// They mean nothing.
    #[error("it does not read as changes: {0}")]
    Content(String),
}

#[derive(Serialize, Deserialize)]
struct Content {
    added: Vec<Added>,
    removed: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
struct Added {
    #[serde(flatten)]
    key: Key,
    device: String,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nguid: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    nqn: String,
    nsid: u32,
}

/// Changes as bytes.
pub(super) fn encode(changes: &Changes) -> Result<Vec<u8>, FormatError> {
    let content = Content {
        added: changes.added.iter().map(Added::of).collect(),
        removed: changes.removed.iter().map(Key::of).collect(),
    };
    let content = serde_json::to_vec(&content).map_err(|error| FormatError::Content(error.to_string()))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&0u64.to_le_bytes());
    bytes.extend_from_slice(&INCOMPATIBLE_KNOWN.to_le_bytes());
    bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&content);
    let crc = crc(&bytes);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc);
    Ok(bytes)
}

/// Changes of bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Changes, FormatError> {
    let (header, content) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(FormatError::Magic)?;
    if header[..8] != MAGIC {
        return Err(FormatError::Magic);
    }
    let version = u32::from_le_bytes(field(header, 8));
    if version != VERSION {
        return Err(FormatError::Version(version));
    }
    if u64::from_le_bytes(field(header, 32)) != content.len() as u64 || field(header, CRC_AT) != crc(bytes) {
        return Err(FormatError::Checksum);
    }
    let unknown = u64::from_le_bytes(field(header, 24)) & !INCOMPATIBLE_KNOWN;
    if unknown != 0 {
        return Err(FormatError::Features(unknown));
    }
    let content: Content =
        serde_json::from_slice(content).map_err(|error| FormatError::Content(error.to_string()))?;
    content.read()
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&header[at..at + N]);
    field
}

/// Over everything but its own place.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&bytes[..CRC_AT]);
    digest.update(&bytes[CRC_AT + 4..]);
    let [a, b, c, d, ..] = digest.finalize().to_le_bytes();
    [a, b, c, d]
}

impl Content {
    fn read(self) -> Result<Changes, FormatError> {
        if self.added.len() + self.removed.len() > CHANGES_MAX {
            return Err(FormatError::Content(format!("more than {CHANGES_MAX} changes")));
        }
        let added = self.added.into_iter().map(Added::read).collect::<Result<_, _>>()?;
        let removed = self.removed.into_iter().map(Key::read).collect::<Result<_, _>>()?;
        Ok(Changes { added, removed })
    }
}

impl Added {
    fn of((key, namespace): (&NamespaceKey, &Namespace)) -> Self {
        Self {
            key: Key::of(key),
            device: namespace.device.to_string(),
            read_only: namespace.read_only,
            uuid: namespace.uuid.map(|uuid| uuid.to_string()),
            nguid: namespace.nguid.map(|nguid| Uuid::from_bytes(nguid).simple().to_string()),
        }
    }

    fn read(self) -> Result<(NamespaceKey, Namespace), FormatError> {
        let wrong = |error: &dyn std::fmt::Display| FormatError::Content(error.to_string());
        let identifier = |text: Option<String>| {
            text.map(|text| Uuid::try_parse(&text)).transpose().map_err(|error| wrong(&error))
        };
        let device: DeviceUri = self.device.parse().map_err(|error| wrong(&error))?;
        let (uuid, nguid) = (identifier(self.uuid)?, identifier(self.nguid)?);
        let nguid = nguid.map(Uuid::into_bytes);
        Ok((self.key.read()?, Namespace { device, read_only: self.read_only, uuid, nguid }))
    }
}

impl Key {
    fn of(key: &NamespaceKey) -> Self {
        Self { nqn: key.nqn.as_str().to_owned(), nsid: key.nsid.0 }
    }

    fn read(self) -> Result<NamespaceKey, FormatError> {
        let nqn: Nqn = self.nqn.parse().map_err(|error| FormatError::Content(format!("{error}")))?;
        Ok(NamespaceKey { nqn, nsid: Nsid(self.nsid) })
    }
}
