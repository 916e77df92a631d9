//! `remora drives`: which NVMe drives the machine has, and who drives them.
//!
//! - `host`: the files and powers that all of it needs, so that tests have a machine of their own.
//! - `drive`: what is known of a drive; `list`: how it is told.
//! - `in_use`: who would lose a drive that is taken.
//! - `bind`: to vfio-pci and back.

mod bind;
mod drive;
mod error;
mod host;
mod in_use;
mod list;

#[cfg(test)]
mod test_machine;

use std::io::{self, Write};
use std::process::ExitCode;

use block::uri::PciAddress;
use clap::Subcommand;

use crate::cli::EXIT_FAILED;
pub(crate) use drive::Drive;
use error::DrivesError;
use host::{Host, ThisKernel};
pub(crate) use list::{size, table};

/// Look after NVMe drives.
#[derive(Clone, Debug, Subcommand)]
pub enum DrivesCommand {
    /// List the NVMe drives, and whether they can be taken
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a drive from the kernel's driver, so that it can be opened as nvme:ADDRESS/NSID
    Bind {
        /// The drive's PCI address, such as 0000:01:00.0
        #[arg(value_parser = parse_address)]
        address: PciAddress,
    },
    /// Give a drive back to the kernel's driver
    Unbind {
        /// The drive's PCI address, such as 0000:01:00.0
        #[arg(value_parser = parse_address)]
        address: PciAddress,
    },
}

/// The NVMe drives of this machine's PCI bus.
pub(crate) fn all() -> Vec<Drive> {
    drive::all(&Host::this())
}

/// Runs the command and tells how it went.
#[must_use]
pub fn command(command: &DrivesCommand) -> ExitCode {
    let told = run(&Host::this(), command).and_then(|text| {
        io::stdout().write_all(text.as_bytes()).map_err(|source| DrivesError::Output { source })
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done if nobody reads it.
            let _ = writeln!(io::stderr(), "remora: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn run(host: &Host<ThisKernel>, command: &DrivesCommand) -> Result<String, DrivesError> {
    match command {
        DrivesCommand::List { json: false } => Ok(table(&drive::all(host))),
        DrivesCommand::List { json: true } => list::json(&drive::all(host)),
        DrivesCommand::Bind { address } => bind::bind(host, *address),
        DrivesCommand::Unbind { address } => bind::unbind(host, *address),
    }
}

fn parse_address(text: &str) -> Result<PciAddress, String> {
    text.parse().map_err(|_| "a PCI address is written as 0000:01:00.0".to_owned())
}
