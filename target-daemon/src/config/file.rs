//! The configuration file as it is written: keys and their places, nothing checked.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "version")]
    _version: u64,
    pub(super) listen: Option<Vec<Spanned<String>>>,
    pub(super) provider: Option<Spanned<String>>,
    pub(super) cores: Option<Vec<Spanned<usize>>>,
    pub(super) reactors: Option<Spanned<usize>>,
    pub(super) poll: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) buffers: Buffers,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) metrics: Option<Spanned<String>>,
    pub(super) control: Option<Spanned<String>>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) log: Option<Spanned<String>>,
    pub(super) drain_timeout_s: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) subsystem: Vec<Subsystem>,
}

/// `[buffers]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Buffers {
    pub(super) data: Option<Spanned<Size>>,
    pub(super) receives: Option<Spanned<u32>>,
    pub(super) reads: Option<Spanned<Size>>,
}

/// `[limits]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) io_queues: Option<Spanned<u16>>,
    pub(super) io_queue_entries: Option<Spanned<u16>>,
    pub(super) admin_queue_entries: Option<Spanned<u16>>,
    pub(super) in_capsule: Option<Spanned<Size>>,
    pub(super) transfer_max: Option<Spanned<Size>>,
    pub(super) controllers: Option<Spanned<u16>>,
}

/// `[[subsystem]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subsystem {
    pub(super) nqn: Spanned<String>,
    pub(super) serial: Option<Spanned<String>>,
    pub(super) model: Option<Spanned<String>>,
    pub(super) cntlid: Option<Spanned<[u16; 2]>>,
    #[serde(default)]
    pub(super) allow_any_host: bool,
    #[serde(default)]
    pub(super) hosts: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) namespace: Vec<Namespace>,
}

/// `[[subsystem.namespace]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Namespace {
    pub(super) nsid: Spanned<u32>,
    pub(super) device: Spanned<String>,
    pub(super) offset: Option<Spanned<Size>>,
    pub(super) length: Option<Spanned<Size>>,
    pub(super) uuid: Option<Spanned<String>>,
    pub(super) nguid: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) read_only: bool,
}

/// Which version a file says that it is: read before anything else, since another version has other keys.
#[derive(Debug, Deserialize)]
pub(super) struct Versioned {
    pub(super) version: Option<Spanned<toml::Value>>,
}

/// A size: a text such as `"4GiB"`, or a number of bytes.
#[derive(Debug)]
pub(super) struct Size(pub(super) String);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"4GiB\", or a number of bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        Ok(Size(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
        u64::try_from(bytes)
            .map(|bytes| Size(bytes.to_string()))
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
    }
}
