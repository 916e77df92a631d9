//! `remora attach`: a device for other programs, through NBD; `remora attachments` and `remora detach`: what is attached.
//!
//! `run`: the attaching process. `registry`: where attachments are found. `control`: what is said to them.
//! `notify`: what the service manager is told.

mod control;
mod error;
mod list;
mod notify;
mod registry;
mod run;
mod signals;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use initiator::nbd::{Address, ExportName};

use crate::cli::{EXIT_FAILED, EXIT_USAGE};
use error::AttachError;

const AFTER_HELP: &str = "\
DEVICE is a URI: mem:4GiB, soft-nvme:PATH, file:PATH, nvme:0000:01:00.0/1, rdma://HOST/NQN?ns=1, ...

It runs until Ctrl-C, SIGTERM or `remora detach NAME`. Then new commands are answered with ESHUTDOWN, what is under way
ends and is answered, and the device is flushed: exit code 0 says that all of this went well, 1 that something is missing.

A Unix socket is its owner's only. A port of another address than loopback can be used by whoever reaches it: NBD here has
neither passwords nor encryption.

Examples:
  remora attach mem:1GiB --nbd unix:/tmp/a.sock
  nbdinfo 'nbd+unix:///?socket=/tmp/a.sock'
  qemu-img convert -n -O raw image.qcow2 'nbd:unix:/tmp/a.sock'";

/// How the attaching thread waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Poll {
    /// Look again and again
    Always,
    /// Look for some microseconds, then sleep until something arrives
    #[default]
    Adaptive,
}

impl From<Poll> for initiator::nbd::Poll {
    fn from(poll: Poll) -> Self {
        match poll {
            Poll::Always => Self::Always,
            Poll::Adaptive => Self::Adaptive,
        }
    }
}

/// Attach a device for other programs, through NBD.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct AttachOptions {
    /// The device
    pub device: String,

    /// Where to listen: unix:PATH, tcp:HOST:PORT, or tcp:PORT on loopback; several are possible
    #[arg(long, required = true, value_name = "WHERE")]
    pub nbd: Vec<Address>,

    /// Refuse writes
    #[arg(long)]
    pub read_only: bool,

    /// The attachment's name, which is the export's too [default: made of WHERE]
    #[arg(long)]
    pub name: Option<ExportName>,

    /// Most connections at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub connections: u16,

    /// How the thread waits
    #[arg(long, value_enum, default_value_t)]
    pub poll: Poll,
}

/// List attachments.
#[derive(Clone, Copy, Debug, Args)]
pub struct AttachmentsOptions {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// End an attachment, and wait until it has ended.
#[derive(Clone, Debug, Args)]
pub struct DetachOptions {
    /// The attachment
    pub name: ExportName,
}

/// `remora attach`.
pub fn attach(options: &AttachOptions) -> ExitCode {
    conclude(run::attach(options))
}

/// `remora attachments`.
pub fn attachments(options: &AttachmentsOptions) -> ExitCode {
    conclude(list::attachments(options))
}

/// `remora detach`.
pub fn detach(options: &DetachOptions) -> ExitCode {
    conclude(list::detach(options))
}

fn conclude(result: Result<(), AttachError>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    error::tell(&error);
    ExitCode::from(if error.is_usage() { EXIT_USAGE } else { EXIT_FAILED })
}
