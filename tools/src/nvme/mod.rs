//! `remora id-ctrl`, `id-ns`, `smart-log`, `error-log`, `fw-log`, `get-log`: what a controller says of itself, in nvme-cli's words
//! and layout.
//!
//! - `device`: from a name to a controller that answers.
//! - `page`: the bytes of an answer and tables of the fields in them; `json`: objects that keep their order.
//! - One module for each command: the table, and what is peculiar to it.
//!
//! The tables show every bit that a device sends, also those that [`nvme_spec`] has no name for.

mod device;
mod error_log;
mod firmware;
mod get_log;
mod id_ctrl;
mod id_ns;
pub(crate) mod json;
mod page;
mod power;
mod smart;

use std::io::{self, Write};
use std::process::ExitCode;

use block::OpenError;
use block::uri::UriError;
use clap::{Args, ValueEnum};
use nvme_driver::AdminError;
use thiserror::Error;

use crate::cli::EXIT_FAILED;
use device::AdminDevice;
pub use get_log::GetLogOptions;
use json::Object;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Normal,
    /// For programs
    Json,
}

/// The device, and how to print its answer.
#[derive(Clone, Debug, Args)]
pub struct NvmeOptions {
    /// The device: nvme:0000:01:00.0/1, soft-nvme:PATH, rdma://HOST/NQN?ns=1
    pub device: String,

    /// How to print the answer
    #[arg(short, long, alias = "output_format", value_enum, default_value = "normal")]
    pub output_format: OutputFormat,
}

/// The device, and how many entries of its error log to print.
#[derive(Clone, Debug, Args)]
pub struct ErrorLogOptions {
    /// The device and the format
    #[command(flatten)]
    pub common: NvmeOptions,

    /// Most entries to print, the newest first; no more than the controller has
    #[arg(short = 'e', long, alias = "log_entries", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub log_entries: u16,
}

/// Why there is nothing to print.
#[derive(Debug, Error)]
enum NvmeError {
    /// The name is none.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// There is no such controller.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It does not answer.
    #[error("{device}: {source}")]
    Admin {
        /// Its name.
        device: String,
        /// Why.
        source: AdminError,
    },
    /// A remote one does not answer.
    #[error("{device}: {source}")]
    Remote {
        /// Its name.
        device: String,
        /// Why.
        source: initiator::AdminError,
    },
    /// Its answer is too short.
    #[error("{device}: {reason}")]
    Answer {
        /// Its name.
        device: String,
        /// What is wrong.
        reason: String,
    },
    /// The answer cannot be written out.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// What a command prints, in both formats.
struct Printed {
    text: String,
    json: Object,
}

/// `remora id-ctrl`.
#[must_use]
pub fn id_ctrl(options: &NvmeOptions) -> ExitCode {
    run(options, id_ctrl::print)
}

/// `remora id-ns`.
#[must_use]
pub fn id_ns(options: &NvmeOptions) -> ExitCode {
    run(options, id_ns::print)
}

/// `remora smart-log`.
#[must_use]
pub fn smart_log(options: &NvmeOptions) -> ExitCode {
    run(options, smart::print)
}

/// `remora error-log`.
#[must_use]
pub fn error_log(options: &ErrorLogOptions) -> ExitCode {
    run(&options.common, |device| error_log::print(device, options.log_entries))
}

/// `remora fw-log`.
#[must_use]
pub fn fw_log(options: &NvmeOptions) -> ExitCode {
    run(options, firmware::print)
}

/// `remora get-log`.
#[must_use]
pub fn get_log(options: &GetLogOptions) -> ExitCode {
    tell(write_log(options))
}

fn write_log(options: &GetLogOptions) -> Result<(), NvmeError> {
    let device = AdminDevice::open(&options.device.parse()?)?;
    let bytes = get_log::read(&device, options)?;
    if options.raw_binary {
        return Ok(io::stdout().write_all(&bytes)?);
    }
    write(&get_log::show(&device.name, options, &bytes), options.output_format)
}

fn run(options: &NvmeOptions, print: impl Fn(&AdminDevice) -> Result<Printed, NvmeError>) -> ExitCode {
    tell(ask_and_write(options, print))
}

fn ask_and_write(
    options: &NvmeOptions,
    print: impl Fn(&AdminDevice) -> Result<Printed, NvmeError>,
) -> Result<(), NvmeError> {
    let device = AdminDevice::open(&options.device.parse()?)?;
    write(&print(&device)?, options.output_format)
}

fn write(printed: &Printed, format: OutputFormat) -> Result<(), NvmeError> {
    match format {
        OutputFormat::Normal => io::stdout().write_all(printed.text.as_bytes())?,
        OutputFormat::Json => io::stdout().write_all(printed.json.pretty()?.as_bytes())?,
    }
    Ok(())
}

fn tell(told: Result<(), NvmeError>) -> ExitCode {
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done if nobody reads it.
            let _ = writeln!(io::stderr(), "remora: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

#[cfg(test)]
mod tests;
