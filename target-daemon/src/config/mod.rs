//! What a target is told to do: the file, the command line, and what both come to.
//!
//! - `file`: keys as they are written; `check`: what they mean, with a line for each problem.
//! - `arguments`: the shortest start, without a file.
//! - `values`: single values, the same in file, command line and control requests.
//! - `names`: names and identities that are derived, so that a restart does not change them.
//! - `overlap`: a device that would be exported twice.

mod arguments;
mod check;
mod file;
mod names;
mod overlap;
mod problem;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use block::DeviceUri;
use nvme_spec::Nsid;
use nvmf::controller::Limits;
use nvmf::wire::Nqn;
use rdma::ProviderChoice;
use tracing::Level;
use uuid::Uuid;

use crate::engine::{BufferOptions, EngineOptions, Poll};

pub(crate) use arguments::{Shortest, from_arguments};
pub(crate) use check::{from_toml, read_control, read_level};
pub(crate) use names::Machine;
pub(crate) use overlap::first_overlap;
pub use problem::{ConfigError, Place, Problem};
pub(crate) use values::{read_device, read_identifier, read_metrics};

/// The version of the file that this program reads.
pub const VERSION: u64 = 1;

/// Largest file that is read.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// How long draining may take if nothing is said.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// How long draining may take at most.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Where the control socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPath {
    /// Where it is looked for; if it cannot be there the target runs without.
    Default(PathBuf),
    /// There, or the target does not start.
    At(PathBuf),
    /// Nowhere.
    None,
}

impl Default for ControlPath {
    /// root's is in /run, others' in the directory that is theirs at run time, if they have one.
    fn default() -> Self {
        let folder = if rustix::process::geteuid().is_root() {
            Some(PathBuf::from("/run"))
        } else {
            std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from)
        };
        folder.map_or(Self::None, |folder| Self::Default(folder.join("remora").join("target.sock")))
    }
}

/// Everything that a target is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where hosts connect to.
    pub listeners: Vec<SocketAddr>,
    /// What carries RDMA.
    pub provider: ProviderChoice,
    /// A thread for each, pinned to that core or not.
    pub reactors: Vec<Option<usize>>,
    /// How they wait.
    pub poll: Poll,
    /// Their memory.
    pub buffers: BufferOptions,
    /// What hosts are granted.
    pub limits: Limits,
    /// Where metrics are served over HTTP.
    pub metrics: Option<SocketAddr>,
    /// Where the control socket is.
    pub control: ControlPath,
    /// Where changes at run time are kept. Without it they last as long as the process.
    pub state_dir: Option<PathBuf>,
    /// What is logged.
    pub log: Level,
    /// How long draining may take.
    pub drain_timeout: Duration,
    /// What is exported.
    pub subsystems: BTreeMap<Nqn, Subsystem>,
}

/// A subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsystem {
    /// Serial number.
    pub serial: String,
    /// Model.
    pub model: String,
    /// Controllers get their identifiers from here.
    pub controller_ids: RangeInclusive<u16>,
    /// Who may attach.
    pub hosts: Hosts,
    /// Its namespaces.
    pub namespaces: BTreeMap<Nsid, Namespace>,
}

/// Who may attach to a subsystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Everybody.
    pub any: bool,
    /// Those with these names, which they give themselves: this does not authenticate.
    pub listed: BTreeSet<Nqn>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// What it is on.
    pub device: DeviceUri,
    /// Whether hosts may only read it.
    pub read_only: bool,
    /// Its UUID, if not the device's.
    pub uuid: Option<Uuid>,
    /// Its NGUID, if not the device's.
    pub nguid: Option<[u8; 16]>,
}

/// Reads a configuration file.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(read)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(read)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    from_toml(&text, &Machine::this())
        .map_err(|problems| ConfigError::Problems { name: path.display().to_string(), problems })
}

impl Config {
    /// What the engine is to be made of.
    pub(crate) fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            reactors: self.reactors.clone(),
            provider: self.provider,
            listeners: self.listeners.clone(),
            limits: self.limits,
            buffers: self.buffers,
            poll: self.poll,
        }
    }
}
